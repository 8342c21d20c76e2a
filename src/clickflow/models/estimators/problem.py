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

    def __len__(self) -> int:
        return len(self.target)

    @property
    def width(self) -> int:
        """Scores a row: one log-odds of two classes, a log-probability each of more; the log of an expected amount."""
        return self.classes if self.classes > 2 else 1

    def part(self, rows: Array) -> "Problem":
        """These rows of it."""
        return replace(
            self, x=self.x[rows], target=self.target[rows], weights=self.weights[rows], groups=self.groups[rows]
        )

    def columns(self, indexes: Sequence[int]) -> "Problem":
        """The same rows with these columns of x alone."""
        plain = tuple(self.plain[index] for index in indexes)
        return replace(self, x=np.ascontiguousarray(self.x[:, list(indexes)]), plain=plain)

    def folds(self, n: int, seed: int) -> Iterator[tuple[Array, Array]]:
        """Rows to fit on and rows to ask, n times; each row is asked once, each group in one fold."""
        names, owner = np.unique(self.groups, return_inverse=True)
        fold = np.random.default_rng(seed).permutation(len(names)) % n
        for each in range(n):
            held = fold[owner] == each
            yield np.flatnonzero(~held), np.flatnonzero(held)
