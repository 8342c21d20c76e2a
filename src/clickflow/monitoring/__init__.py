"""Drift and live metrics."""
