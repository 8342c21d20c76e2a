"""What baselines learn from: the training part of a packed store, which is also what the network was trained on.

The validation part is not used: it chose the network's epoch, but no weight has seen it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.baselines.positions import Positions
from clickflow.sequences.indexes import FIRST_ITEM

Scores = Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float64]]
"""`scores(recent)`: items seen [N, L], newest first, 0 beyond the first step, to a score for each item [N, known]."""
ClassScores = Callable[[Positions], npt.NDArray[np.float64]]
"""`log_probabilities(positions)`: N positions to log-probabilities [N, classes]."""


@dataclass(frozen=True)
class History:
    """Training sequences; sequence i is `[offsets[i]:offsets[i + 1]]` of the flat columns."""

    offsets: npt.NDArray[np.int64]
    item: npt.NDArray[np.int64]
    """[e] item indexes; 1 for what the vocabulary lacks."""
    time: npt.NDArray[np.int64]
    """[e] time of each step, any unit; an order will do."""
    known: int
    """Item indexes are below."""

    @property
    def sequence(self) -> npt.NDArray[np.int64]:
        """[e] the sequence of each step."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    @property
    def end(self) -> npt.NDArray[np.int64]:
        """[n] time of each sequence's last step."""
        if not len(self.time):
            return np.zeros(len(self.offsets) - 1, np.int64)
        return self.time[np.maximum(self.offsets[1:] - 1, 0)]

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """[known] how often each item occurs; 0 for padding and unknown."""
        counted = np.bincount(self.item, minlength=self.known)
        counted[:FIRST_ITEM] = 0
        return counted


def history(train: Any, *, known: int) -> History:
    """The history of a split (`clickflow.sequences.store.PackedSplit`) for a model that knows items below `known`."""
    item = np.asarray(train.item).astype(np.int64)
    offsets = _offsets(train)
    return History(
        offsets=offsets,
        item=np.where(item < known, item, 1),
        time=np.asarray(train.time).astype(np.int64),
        known=known,
    )


def _offsets(train: Any) -> npt.NDArray[np.int64]:
    """Where sequences begin; of people as of several cut-offs, where each person's steps do, of whom one is asked."""
    if train.bounds is None:
        return np.asarray(train.offsets).astype(np.int64)
    begin = np.unique(np.asarray(train.begin, np.int64))
    return np.unique(np.concatenate([[0], begin, [len(train.item)]]))


def popular(past: History) -> npt.NDArray[np.float64]:
    """[known] popularity in [0, 1): how a baseline orders the items that it says nothing else about."""
    share: npt.NDArray[np.float64] = past.counts / (past.counts.sum() + 1.0)
    return share
