"""Features as a linear model reads them: the log of their size, standardised, and a flag where they do not exist."""

from dataclasses import dataclass

import numpy as np

from clickflow.models.estimators.graph import Graph
from clickflow.sequences.features import Array

LIMIT = 4.0
"""Standardised values are cut off there: one odd customer does not turn the weights."""
SPREAD = 1e-6
"""A column that varies less is no information, and is read as 0."""


@dataclass(frozen=True)
class Scaling:
    """sign(x) log(1 + |x|) unless `plain`, then (x - mean) / std within ±`LIMIT`; 0 and a flag where x is NaN."""

    plain: tuple[bool, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flagged: tuple[int, ...]
    """Columns that lack values in training: they have a flag, appended in this order."""

    @property
    def width(self) -> int:
        """Columns of what it returns."""
        return len(self.mean) + len(self.flagged)

    def apply(self, x: Array) -> Array:
        """float32 [N, F] to float64 [N, `width`]."""
        z = np.asarray(x, np.float64)
        missing = np.isnan(z)
        z = np.where(np.array(self.plain), z, np.sign(z) * np.log1p(np.abs(z)))
        z = np.clip((z - np.array(self.mean)) / np.array(self.std), -LIMIT, LIMIT)
        return np.hstack([np.where(missing, 0.0, z), missing[:, list(self.flagged)].astype(np.float64)])

    def emit(self, graph: Graph, x: str) -> str:
        """The same, as nodes."""
        missing = graph.add("IsNaN", x)
        zero = graph.constant(0.0)
        there = graph.add("Where", missing, zero, x)
        log = graph.add("Log", graph.add("Add", graph.add("Abs", there), graph.constant(1.0)))
        log = graph.add("Mul", graph.add("Sign", there), log)
        z = graph.add("Where", graph.constant(list(self.plain), bool), there, log)
        z = graph.add("Div", graph.add("Sub", z, graph.constant(self.mean)), graph.constant(self.std))
        z = graph.add("Clip", z, graph.constant(-LIMIT), graph.constant(LIMIT))
        z = graph.add("Where", missing, zero, z)
        if not self.flagged:
            return z
        flags = graph.add("Cast", missing, to=1)
        return graph.side_by_side([z, graph.columns(flags, list(self.flagged))])


def fit_scaling(x: Array, weights: Array, plain: tuple[bool, ...]) -> Scaling:
    """Weighted mean and standard deviation of each column, over the rows that have it."""
    z = np.asarray(x, np.float64)
    there = ~np.isnan(z)
    z = np.where(np.array(plain), z, np.sign(z) * np.log1p(np.abs(z)))
    w = weights[:, None] * there
    total = w.sum(axis=0)
    some = np.where(total > 0, total, 1.0)
    filled = np.where(there, z, 0.0)
    mean = (w * filled).sum(axis=0) / some
    std = np.sqrt((w * np.where(there, z - mean, 0.0) ** 2).sum(axis=0) / some)
    std = np.where(std > SPREAD * (1 + np.abs(mean)), std, np.inf)
    flagged = tuple(int(c) for c in np.flatnonzero(~there.all(axis=0) & there.any(axis=0)))
    large = np.finfo(np.float32).max
    return Scaling(plain, tuple(mean.tolist()), tuple(np.minimum(std, large).tolist()), flagged)
