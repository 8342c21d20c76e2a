"""Metrics, baselines, slices, calibration, the gate and the report."""
