"""Which item comes next."""

from typing import Any

import numpy as np

from clickflow.heads.head import NOTHING, Head, Ints, Store
from clickflow.params.models import NextItemHead


def targets(split: Any, event: Ints, end: Ints, store: Store, *, ahead: int = 1) -> Ints:  # noqa: ARG001
    """The item `ahead` steps after each position; NOTHING where the sequence has ended."""
    there = event + ahead < end
    item = np.asarray(split.item[np.where(there, event + ahead, event)]).astype(np.int64)
    return np.where(there, item, NOTHING)


HEAD = Head(
    name="next_item",
    unit="session",
    kind="ranking",
    question="Which item will this visitor look at next?",
    targets=targets,
    params=NextItemHead,
    baselines=("popularity", "repeat", "markov", "vsknn"),
    primary="mrr@20",
    floors={"recall@20": 0.05},
    beat_baselines={"recall@20": "reject", "mrr@20": "reject"},
)
