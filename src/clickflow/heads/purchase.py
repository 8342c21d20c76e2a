"""Whether the visit comes to a purchase after this step."""

from typing import TYPE_CHECKING, Any

from clickflow.heads.head import NOTHING, Head, Store, steps_of
from clickflow.params.models import ProbabilityHead

if TYPE_CHECKING:
    from clickflow.heads.head import Ints

BOUGHT = "purchase"
"""The type of event."""


def targets(split: Any, event: "Ints", end: "Ints", store: Store) -> "Ints":
    """1 where a later step of the sequence is a purchase, 0 where none is.

    NOTHING from the first purchase of a visit on: what is asked is whether it comes to one.
    """
    import numpy as np

    _, before = steps_of(split, store, BOUGHT)
    offsets = np.asarray(split.offsets, np.int64)
    begin = offsets[np.searchsorted(offsets, event, side="right") - 1]
    bought = before[event + 1] > before[begin]
    return np.where(bought, NOTHING, (before[end] > before[event + 1]).astype(np.int64))


def lead(split: Any, event: "Ints", end: "Ints", store: Store) -> "Ints":
    """How many steps later the purchase is, 1 for the next step; NOTHING where there is none."""
    import numpy as np

    place, before = steps_of(split, store, BOUGHT)
    number = before[event + 1]
    there = number < before[end]
    return np.where(there, np.append(place, 0)[np.where(there, number, -1)] - event, NOTHING)


HEAD = Head(
    name="purchase",
    unit="session",
    kind="probability",
    question="Will this visit come to a purchase?",
    questions={"zh": "这次访问会走到购买吗？"},
    targets=targets,
    lead=lead,
    needs=(BOUGHT,),
    params=ProbabilityHead,
    baselines=("majority", "markov", "logistic", "boosting"),
    primary="log_loss",
    at_end=True,
    beat_baselines={"log_loss": {"majority": "hold", "*": "warn"}},
    truth="bought",
    means={"en": "a purchase", "zh": "购买"},
    note="Asked after every step up to the first purchase; yes where one follows in the same visit.",
)
