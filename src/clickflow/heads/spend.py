"""What a customer buys for in the days ahead."""

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from clickflow.heads.head import Head, Store
from clickflow.params.models import AmountHead

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clickflow.heads.head import Ints

BOUGHT = "purchase"
"""The type of event."""
DECIMALS = 4
"""Of an amount."""


def targets(split: Any, event: "Ints", end: "Ints", store: Store) -> "NDArray[Any]":
    """The value of the purchases in the steps after `event` and before `end`, float64: price times quantity.

    A quantity that is not told is 1; a purchase without a price is worth nothing.
    """
    import numpy as np

    before = _value_before(split, store)
    spent: NDArray[Any] = np.maximum(before[end] - before[event + 1], 0.0).round(DECIMALS)
    return spent


def _value_before(split: Any, store: Store) -> "NDArray[Any]":
    """What was bought for before each index, float64 [steps + 1]. Kept as long as the split is."""
    import numpy as np

    from clickflow.sequences.features import amounts

    if split not in _VALUES:
        bought = np.asarray(split.action) == store.actions.index(BOUGHT)
        value, _ = amounts(split, slice(None))
        _VALUES[split] = np.concatenate([[0.0], np.cumsum(np.where(bought, value, 0.0))])
    return _VALUES[split]


_VALUES: "WeakKeyDictionary[Any, NDArray[Any]]" = WeakKeyDictionary()

HEAD = Head(
    name="spend",
    unit="customer",
    kind="amount",
    question="For how much will this customer buy in the days ahead?",
    questions={"zh": "这位顾客在今后这段时间里会买多少钱的东西？"},
    targets=targets,
    params=AmountHead,
    baselines=("mean", "rfm", "boosting"),
    primary="pinball",
    at_end=True,
    of_purchases=True,
    needs=(BOUGHT,),
    beat_baselines={"pinball": {"mean": "hold", "*": "warn"}},
    means={"en": "spend", "zh": "消费额"},
    note="Asked as of each cut-off: the value of all purchases of the days after it, without returns taken off.",
)
