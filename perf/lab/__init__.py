"""How the scripts of `perf/` measure: one way for each thing."""
