"""The broker: its machine, and the process that drives it."""
