"""What an estimator is fitted to: rows, targets, weights, and whose each row is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from clickflow.sequences.features import Array

Folds = list[tuple[Array, Array]]
"""Rows to fit on, and rows to ask of what was fitted."""


@dataclass(frozen=True)
class Problem:
    """N rows of features with an answer each."""

    x: Array
    """float32 [N, F], NaN where a feature does not exist."""
    target: Array
    """float64 [N]: the class, or the amount."""
    weights: Array
    """float64 [N], positive."""
    groups: Array
    """int64 [N]: rows of one group are never in two folds."""
    answer: str
    """`probability`, `classes` or `amount`; within a hurdle also `log`, of an amount."""
    classes: int
    """How many; 0 for amounts and their logs."""
    plain: tuple[bool, ...]
    """Which columns are logarithms already."""
    times: Array | None = None
    """int64 [N]: when each was asked, where that is to part the folds too."""

    def __len__(self) -> int:
        return len(self.target)

    @property
    def width(self) -> int:
        """Scores a row: one log-odds of two classes, a log-probability each of more; the log of an expected amount."""
        return self.classes if self.classes > 2 else 1

    def part(self, rows: Array) -> "Problem":
        """These rows of it."""
        return replace(
            self,
            x=self.x[rows],
            target=self.target[rows],
            weights=self.weights[rows],
            groups=self.groups[rows],
            times=None if self.times is None else self.times[rows],
        )

    def columns(self, indexes: Sequence[int]) -> "Problem":
        """The same rows with these columns of x alone."""
        plain = tuple(self.plain[index] for index in indexes)
        return replace(self, x=np.ascontiguousarray(self.x[:, list(indexes)]), plain=plain)

    def folds(self, n: int, seed: int) -> Iterator[tuple[Array, Array]]:
        """Rows to fit on and rows to ask, n times; each row is asked once, each group in one fold.

        With `times` n folds more, which ask their groups again, each within one of n spans of time, and fit to other
        groups at other times: rows of few days tell trees which day it is, and what is learned of that day is of no use
        later. The later answer counts.
        """
        names, owner = np.unique(self.groups, return_inverse=True)
        fold = (np.random.default_rng(seed).permutation(len(names)) % n)[owner]
        for each in range(n):
            yield np.flatnonzero(fold != each), np.flatnonzero(fold == each)
        spans = self._spans(n) if self.times is not None else np.empty(0)
        for each in range(n if len(spans) else 0):
            yield (
                np.flatnonzero((fold != each) & (spans != each)),
                np.flatnonzero((fold == each) & (spans == each)),
            )

    def _spans(self, n: int) -> Array:
        """int64 [N]: in which of n spans of time each row is, of about as many rows each; one moment is in one span."""
        assert self.times is not None
        _, moment, rows = np.unique(self.times, return_inverse=True, return_counts=True)
        middle = (np.cumsum(rows) - rows / 2) / len(self)
        spans: Array = np.minimum((middle * n).astype(np.int64), n - 1)[moment]
        return spans
