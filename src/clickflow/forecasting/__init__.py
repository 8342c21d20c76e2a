"""Forecasts of many series at once: local methods, a boosting model over all of them, and an ensemble of both."""
