"""What a forecast is worth: quantile loss, MASE, RMSE, coverage."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.forecasting.panel import LEVELS

Array = NDArray[Any]


def pinball(actual: Array, forecast: Array) -> Array:
    """Quantile loss of each level, [..., 3] for `actual` [...] and `forecast` [..., 4] (mean, then `LEVELS`)."""
    over = actual[..., None] - forecast[..., 1:]
    levels = np.array(LEVELS)
    loss: Array = np.maximum(levels * over, (levels - 1) * over)
    return loss


def naive_error(values: Array, season: int) -> Array:
    """The mean absolute error of the seasonal naive forecast inside each series, [s]: what MASE divides by.

    `values` [s, t], NaN where a series is not. NaN where it is no longer than a season, or never changes.
    """
    lag = season if values.shape[1] > season else 1
    step = np.abs(values[:, lag:] - values[:, :-lag])
    count = (~np.isnan(step)).sum(1)
    error = np.divide(np.nansum(step, 1), count, out=np.full(len(values), np.nan), where=count > 0)
    return np.where(error > 0, error, np.nan)


def summary(actual: Array, forecast: Array, scale: Array) -> dict[str, float]:
    """All metrics over `actual` [n, h] (NaN: not known), `forecast` [n, h, 4], `scale` [n] as from `naive_error`.

    `weighted_quantile_loss`: twice the quantile loss over the sum of what was sold, mean of the three levels (Gasthaus
    et al. 2019). `mase`: mean absolute error of the median over `scale`, mean over series and origins (Hyndman and
    Koehler 2006). `coverage_80`: share of the actual values from the .1 to the .9 quantile, both included; values are
    counts, so quantiles that are 0 cover more than they promise: `below_10` and `above_90` say which side.
    """
    known = ~np.isnan(actual)
    total = float(np.abs(actual[known]).sum())
    loss = pinball(actual, forecast)[known].sum(0) * 2
    deviation = np.where(known, np.abs(actual - forecast[..., 2]), 0).sum(1)
    count = known.sum(1)
    judged = (count > 0) & ~np.isnan(scale)
    mase = deviation[judged] / count[judged] / scale[judged]
    below, above = actual < forecast[..., 1], actual > forecast[..., 3]
    n = max(int(known.sum()), 1)
    return {
        "weighted_quantile_loss": float(loss.mean() / total) if total else float("nan"),
        "mase": float(mase.mean()) if judged.any() else float("nan"),
        "rmse": float(np.sqrt(np.mean((actual - forecast[..., 0])[known] ** 2))) if known.any() else float("nan"),
        "coverage_80": 1 - float((below | above)[known].sum()) / n,
        "below_10": float(below[known].sum()) / n,
        "above_90": float(above[known].sum()) / n,
    }
