"""The local methods by name: each reads one series at a time, though all are computed at once."""

from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from clickflow.forecasting.arima import sarima
from clickflow.forecasting.intermittent import croston_sba, tsb
from clickflow.forecasting.naive import seasonal_naive
from clickflow.forecasting.panel import Panel
from clickflow.forecasting.smoothing import ets
from clickflow.forecasting.theta import theta

Method = Callable[[Panel, int], NDArray[Any]]
"""Forecasts [s, h, 4], mean and `LEVELS`, of every series of a panel, for the periods after its last."""

LOCAL: Mapping[str, Method] = {
    "seasonal_naive": seasonal_naive,
    "ets": ets,
    "sarima": sarima,
    "croston_sba": croston_sba,
    "tsb": tsb,
    "theta": theta,
}
