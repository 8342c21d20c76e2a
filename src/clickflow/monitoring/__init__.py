"""Freshness, drift and live metrics of the champion."""
