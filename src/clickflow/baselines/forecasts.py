"""Baselines of forecasts: local methods, which read a series at a time and learn nothing else, and boosted trees over
lags; and of trends a moving average.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.baselines.positions import Positions
from clickflow.forecasting import boosting
from clickflow.forecasting.local import LOCAL, Method
from clickflow.forecasting.panel import Panel
from clickflow.heads.forecasts import rises

Array = npt.NDArray[Any]
Known = tuple[Panel, int]
"""The training part's series up to its end, and how many steps are asked."""
Forecast = Callable[[Panel], Array]
"""Forecasts [s, horizon, 4] of what follows a panel."""


def _local(method: Method) -> Callable[[Known], Forecast]:
    def fit(known: Known) -> Forecast:
        return lambda panel: method(panel, known[1])

    return fit


def fit_boosting(known: Known) -> Forecast:
    """LightGBM over lags of all series; of too few of them the seasonal naive."""
    model = boosting.fit(known[0], known[1])
    return _local(LOCAL["seasonal_naive"])(known) if model is None else model.forecast


FORECAST: Mapping[str, Callable[[Known], Forecast]] = {
    **{name: _local(method) for name, method in LOCAL.items()},
    "boosting": fit_boosting,
}


def fit_moving_average(train: Positions) -> Callable[[Positions], Array]:
    """What rose from as many steps before to those just before goes on rising: log-probabilities of no and yes [N, 2].

    The horizon is the store's; the spread that of counts.
    """
    settings = train.store.own_settings
    steps = int(settings.get("horizon", 1))

    def answer(positions: Positions) -> Array:
        units = np.concatenate([[0.0], np.cumsum(np.asarray(positions.split.quantity, np.float64))])
        end = positions.event + 1
        back = [np.maximum(end - k * steps, positions.begin) for k in (1, 2)]
        now, before = units[end] - units[back[0]], units[back[0]] - units[back[1]]
        spread = 1.2815516 * np.sqrt(np.maximum(now + before, 1.0))
        forecast = np.stack([now, now - spread, now, now + spread], 1)[:, None]
        yes = np.clip(rises(before[:, None], forecast), 1e-6, 1 - 1e-6)
        logs: Array = np.log(np.stack([1 - yes, yes], 1))
        return logs

    return answer
