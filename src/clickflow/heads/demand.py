"""What is sold in the steps ahead: units of an item, a category or the shop."""

from typing import TYPE_CHECKING, Any

from clickflow.heads.head import Head, Store
from clickflow.params.models import ForecastHead

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clickflow.heads.head import Ints


def targets(split: Any, event: "Ints", end: "Ints", store: Store) -> "NDArray[Any]":  # noqa: ARG001
    """Units of each step after `event` and before `end`, float64 [n, steps]."""
    import numpy as np

    steps = int((end - event - 1).max(initial=0))
    units: NDArray[Any] = np.asarray(split.quantity[event[:, None] + np.arange(1, steps + 1)], np.float64)
    return units


HEAD = Head(
    name="demand",
    unit="series",
    kind="forecast",
    question="How many units will be sold in each of the days (weeks) to come?",
    questions={"zh": "今后每天（每周）会卖出多少件？"},
    targets=targets,
    column="quantity",
    params=ForecastHead,
    baselines=("seasonal_naive", "ets", "sarima", "croston_sba", "tsb", "theta", "boosting"),
    primary="weighted_quantile_loss",
    at_end=True,
    floors={"coverage_80": 0.6},
    beat_baselines={"weighted_quantile_loss": {"seasonal_naive": "hold", "*": "warn"}},
    means={"en": "units sold", "zh": "销量"},
    note="Asked as of each origin of each series: the units of every step up to the horizon (sequences.series), what "
    "was cancelled taken off.",
)
