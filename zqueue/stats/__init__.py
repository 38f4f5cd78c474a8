"""Figures: histograms, meters, pauses. Pure."""
