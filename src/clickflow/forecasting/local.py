"""The local methods by name: each reads one series at a time, though all are computed at once."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.forecasting.arima import sarima
from clickflow.forecasting.intermittent import croston_sba, tsb
from clickflow.forecasting.naive import seasonal_naive
from clickflow.forecasting.panel import Panel
from clickflow.forecasting.smoothing import ets
from clickflow.forecasting.theta import theta

Method = Callable[[Panel, int], NDArray[Any]]
"""Forecasts [s, h, 4], mean and `LEVELS`, of every series of a panel, for the periods after its last."""

MOST = 4_000_000
"""Periods whose forecasts are remembered, in all: 130 MB."""
_REMEMBERED: ContextVar[dict[Any, dict[bytes, NDArray[Any]]] | None] = ContextVar("_REMEMBERED", default=None)
"""By method and what else it reads, the forecasts [h, 4] of series, by a hash of their values."""


@contextmanager
def remembering() -> Iterator[None]:
    """While it lasts no method forecasts the same series twice, as a model does that mixes it and the baseline."""
    token = _REMEMBERED.set({})
    try:
        yield
    finally:
        _REMEMBERED.reset(token)


def _once(method: Method) -> Method:
    def forecast(known: Panel, horizon: int) -> NDArray[Any]:
        remembered = _REMEMBERED.get()
        if remembered is None or not len(known.values):
            return method(known, horizon)
        of = remembered.setdefault((method, known.step, known.season, known.periods, horizon), {})
        keys = [blake2b(row.tobytes(), digest_size=16).digest() for row in known.values]
        new = [at for at, key in enumerate(keys) if key not in of]
        fresh = {}
        if new:
            forecasts = method(replace(known.rows(np.array(new)), cycle=known.season), horizon)
            fresh = {keys[at]: each for at, each in zip(new, forecasts, strict=True)}
        together = np.stack([of[key] if key in of else fresh[key] for key in keys])
        if (sum(map(len, remembered.values())) + len(fresh)) * horizon <= MOST:
            of.update(fresh)
        return together

    return forecast


LOCAL: Mapping[str, Method] = {
    "seasonal_naive": seasonal_naive,
    "ets": _once(ets),
    "sarima": _once(sarima),
    "croston_sba": _once(croston_sba),
    "tsb": _once(tsb),
    "theta": _once(theta),
}
