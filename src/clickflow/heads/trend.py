"""Whether more is sold in the steps ahead than in as many just before."""

from typing import TYPE_CHECKING, Any

from clickflow.heads.forecasts import rises
from clickflow.heads.head import NOTHING, Head, Store
from clickflow.params.models import ProbabilityHead

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clickflow.heads.head import Ints


def targets(split: Any, event: "Ints", end: "Ints", store: Store) -> "Ints":  # noqa: ARG001
    """1 where the steps after `event` and before `end` sum to more than as many up to `event`, 0 where to less; NOTHING
    where they are equal, there are none, or the series is younger than that.
    """
    import numpy as np

    before, first = _sums(split)
    steps = end - event - 1
    back = event + 1 - steps
    there = (steps > 0) & (back >= first[event])
    change = before[end] - 2 * before[event + 1] + before[np.where(there, back, 0)]
    return np.where(there & (change != 0), (change > 0).astype(np.int64), NOTHING)


def _sums(split: Any) -> "tuple[NDArray[Any], NDArray[Any]]":
    """Units before each index, and the first step of the series of each step."""
    import numpy as np

    units = np.concatenate([[0.0], np.cumsum(np.asarray(split.quantity, np.float64))])
    begins = np.zeros(len(units) - 1, np.int64)
    begins[np.asarray(split.begin)] = np.asarray(split.begin)
    return units, np.maximum.accumulate(begins)


HEAD = Head(
    name="trend",
    unit="series",
    kind="probability",
    question="Will more be sold in the days (weeks) to come than in as many just before?",
    questions={"zh": "今后这些天（周）的销量会比之前同样多的天（周）更高吗？"},
    targets=targets,
    of_forecast=rises,
    params=ProbabilityHead,
    baselines=("majority", "moving_average"),
    primary="log_loss",
    at_end=True,
    beat_baselines={"log_loss": {"majority": "hold", "*": "warn"}},
    calibration="warn",  # it is read off the forecast, which must not wait for it
    means={"en": "a rise", "zh": "上升"},
    note="Asked as of each origin of each series that is old enough; yes is more units in the horizon than in as many "
    "steps before it. Where both are equal nothing is asked.",
)
