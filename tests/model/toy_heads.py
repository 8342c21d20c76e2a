"""Heads of somebody's own, outside the package: of each kind of answer."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.heads.head import NOTHING, Head, Store
from clickflow.params.models import AmountHead, ClassesHead, ProbabilityHead, RankingHead

Ints = NDArray[np.int64]


def returning(split: Any, event: Ints, end: Ints, store: Store) -> Ints:
    """1 where the item of the next step was seen before in the visit, 0 where it is new; NOTHING at the end."""
    targets = np.full(event.shape, NOTHING)
    begin = np.asarray(split.offsets)[np.searchsorted(split.offsets, event, side="right") - 1]
    for place in zip(*np.nonzero(event + 1 < end), strict=True):
        seen = split.item[begin[place] : event[place] + 1]
        targets[place] = int(split.item[event[place] + 1] in seen)
    return targets


RETURNING = Head(
    name="returning",
    unit="session",
    kind="classes",
    question="Will this visitor go back to an item of this visit?",
    targets=returning,
    params=ClassesHead,
    baselines=("majority", "markov"),
    primary="log_loss",
    classes=lambda store: ("new", "seen"),
    floors={"accuracy": 0.5},
    beat_baselines={"log_loss": {"majority": "hold", "*": "warn"}},
)


def leaving(split: Any, event: Ints, end: Ints, store: Store) -> Ints:
    """1 where no step follows."""
    return np.where(event + 1 == end, 1, 0)


LEAVING = Head(
    name="leaving",
    unit="session",
    kind="probability",
    question="Is this the last step of the visit?",
    targets=leaving,
    params=ProbabilityHead,
    baselines=("majority", "markov"),
    primary="log_loss",
    at_end=True,
    floors={"roc_auc": 0.5, "recall@20%": 0.2},
    beat_baselines={"brier": "warn"},
)


def later_value(split: Any, event: Ints, end: Ints, store: Store) -> NDArray[Any]:
    """The sum of the prices of the steps that follow in the visit."""
    before = np.concatenate([[0.0], np.cumsum(np.nan_to_num(np.asarray(split.price, np.float64)))])
    values: NDArray[Any] = np.maximum(before[end] - before[event + 1], 0.0).round(3)
    return values


LATER_VALUE = Head(
    name="later_value",
    unit="session",
    kind="amount",
    question="What do the items cost that this visitor will still look at?",
    targets=later_value,
    params=AmountHead,
    baselines=("mean", "boosting"),
    primary="pinball",
    at_end=True,
    floors={"gini": 0.0},
    beat_baselines={"mae": "warn"},
)


@dataclass(frozen=True, kw_only=True)
class LaterItemHead(RankingHead):
    """Nothing is counted of items that far apart."""

    associations: bool = False


def later_item(split: Any, event: Ints, end: Ints, store: Store) -> Ints:
    """The item two steps after each position."""
    there = event + 2 < end
    return np.where(there, np.asarray(split.item[np.where(there, event + 2, event)]).astype(np.int64), NOTHING)


LATER_ITEM = Head(
    name="later_item",
    unit="session",
    kind="ranking",
    question="Which item will this visitor look at after the next one?",
    targets=later_item,
    params=LaterItemHead,
    baselines=("popularity",),
    primary="mrr@20",
    floors={"recall@20": 0.01},
    beat_baselines={"mrr@20": "warn"},
)
