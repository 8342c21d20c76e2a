"""What a forecast of several steps says of their sum."""

from typing import TYPE_CHECKING, Any

from clickflow.heads.head import LEVELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

WIDTH = 2 * 1.2815516
"""Standard deviations between the outer quantiles of a normal distribution, of `LEVELS`."""
TOGETHER = 0.2
"""Correlation of the errors of any two steps of one forecast: a level that is wrong is wrong for all of them."""


def total(forecast: "NDArray[Any]") -> "tuple[NDArray[Any], NDArray[Any]]":
    """Mean and standard deviation [n] of the sum over the steps of forecasts [n, steps, 4]."""
    import numpy as np

    deviation = (forecast[..., len(LEVELS)] - forecast[..., 1]) / WIDTH
    square = (1 - TOGETHER) * (deviation**2).sum(1) + TOGETHER * deviation.sum(1) ** 2
    return forecast[..., 0].sum(1), np.sqrt(square)


def rises(before: "NDArray[Any]", forecast: "NDArray[Any]") -> "NDArray[Any]":
    """How likely more is sold in the steps of `forecast` [n, steps, 4] than the sum of `before` [n, steps]."""
    import numpy as np
    from scipy import stats

    mean, deviation = total(forecast)
    probability: NDArray[Any] = stats.norm.cdf((mean - np.nansum(before, 1)) / np.maximum(deviation, 1e-9))
    return probability
