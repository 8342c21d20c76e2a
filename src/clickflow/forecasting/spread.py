"""From a mean and an error to quantiles: by a series' own standardised errors, never below zero."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

NORMAL = (-1.2815516, 0.0, 1.2815516)
"""Quantiles .1 .5 .9 of the standard normal distribution."""
TRUST = 20
"""Errors of a series that weigh as much as the normal distribution in its quantiles."""


def standardised(errors: Array) -> tuple[Array, Array]:
    """Root mean square of each row's errors [s], and quantiles .1 .5 .9 of what is left over it [s, 3].

    `errors` [s, t], NaN: none. With few of them the quantiles are drawn to the normal distribution's.
    """
    count = (~np.isnan(errors)).sum(1)
    square = np.nansum(errors**2, 1)
    deviation = np.sqrt(square / np.maximum(count, 1))
    ratio = errors / np.maximum(deviation, 1e-12)[:, None]
    filled = np.where(count[:, None] > 0, ratio, 0.0)
    shape = quantiles(filled, (0.1, 0.5, 0.9)).T
    share = (count / (count + TRUST))[:, None]
    return deviation, share * shape + (1 - share) * np.array(NORMAL)


def quantiles(values: Array, levels: Sequence[float]) -> Array:
    """`np.nanquantile` of each row, [q, s]: rows of as many values at once, where it takes one row after the other."""
    out = np.full((len(levels), len(values)), np.nan)
    count, ordered = (~np.isnan(values)).sum(1), np.sort(values, 1)
    for length in np.unique(count[count > 0]):
        rows = count == length
        out[:, rows] = np.quantile(ordered[rows, :length], levels, axis=1)
    return out


def forecast(mean: Array, deviation: Array, shape: Array) -> Array:
    """[s, h, 4]: mean and quantiles from `mean` [s, h], `deviation` [s, h], `shape` [s, 3]; none is negative."""
    levels = mean[..., None] + deviation[..., None] * shape[:, None, :]
    out: Array = np.maximum(np.concatenate([mean[..., None], np.sort(levels, -1)], -1), 0.0)
    return out
