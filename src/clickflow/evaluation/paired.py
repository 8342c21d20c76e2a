"""Two systems on the same sequences: the paired cluster bootstrap.

A metric is a mean over predictions, and the predictions of one sequence hang together, so whole sequences are drawn
again, with replacement, the same ones for both systems (Efron and Tibshirani 1993, chapter 8; Field and Welsh 2007 for
clusters). The draws are `clickflow.evaluation.bootstrap.resampled`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

RESAMPLES = 2000
"""Draws: a bound at 95 % then rests on the 100 lowest."""


def per_sequence(sequence: Array, values: Array, level: Array | None = None, levels: int = 1) -> Array:
    """Sums per sequence and level, float64 [sequences, levels], of `values` [predictions].

    `sequence` [predictions]: the sequence of each, 0 to sequences - 1. `level` [predictions]: the slice of each, 0 to
    levels - 1; none given: one slice.
    """
    n = int(sequence.max(initial=-1)) + 1
    cell = sequence.astype(np.int64) * levels + (0 if level is None else level)
    return np.bincount(cell, weights=values.astype(np.float64), minlength=n * levels).reshape(n, levels)


@dataclass(frozen=True)
class Comparison:
    """A candidate against a reference on one metric.

    `change` = candidate / reference - 1, `low` and `high` its bounds, each at the confidence by itself; None where the
    reference is 0. `candidate` and `reference` are the metric. `proven`: the candidate is above (1 + margin) times the
    reference at the confidence; `refuted`: it is below it at the confidence. Neither: the data do not tell.
    """

    candidate: float
    reference: float
    change: float | None
    low: float | None
    high: float | None
    proven: bool
    refuted: bool


def compare(
    candidate: float, reference: float, candidates: Array, references: Array, *, margin: float, confidence: float
) -> Comparison:
    """Hold `candidate` against (1 + `margin`) times `reference`, from what both are in each resample [resamples].

    One-sided, by percentiles: proven where the (1 - confidence) quantile of the difference lies above 0, refuted where
    the confidence quantile lies below.
    """
    difference = candidates - (1 + margin) * references
    low, high = np.quantile(difference, [1 - confidence, confidence])
    change = interval = None
    if reference > 0 and np.all(references > 0):
        change = candidate / reference - 1
        interval = np.quantile(candidates / references - 1, [1 - confidence, confidence])
    return Comparison(
        candidate=candidate,
        reference=reference,
        change=change,
        low=None if interval is None else float(interval[0]),
        high=None if interval is None else float(interval[1]),
        proven=bool(low > 0),
        refuted=bool(high < 0),
    )
