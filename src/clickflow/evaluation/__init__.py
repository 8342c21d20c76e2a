"""Metrics of a model and its baselines on held-out sequences: overall, in slices, calibration, the report."""
