"""Two systems on the same rows: the paired cluster bootstrap.

A metric is a mean over predictions, and the predictions of one customer hang together, so whole customers (sessions,
where nobody is known) are drawn again, with replacement, the same ones for both systems (Efron and Tibshirani 1993,
chapter 8; Field and Welsh 2007 for clusters). The draws are `clickflow.evaluation.bootstrap.resampled`.
"""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

RESAMPLES = 2000
"""Draws: a bound at 95 % then rests on the 100 lowest."""


def bounds(observed: float, drawn: Array, confidence: float) -> tuple[float, float]:
    """A lower and an upper bound of a value, each at the confidence, from what it is in each draw [resamples].

    The more cautious of two: the percentile, and the normal bound with the draws' spread. The first alone is too narrow
    where few customers make most of the rows, and has no draws left in its tail at a high confidence.
    """
    low, high = np.quantile(drawn, [1 - confidence, confidence])
    spread = NormalDist().inv_cdf(confidence) * float(np.std(drawn))
    return min(float(low), observed - spread), max(float(high), observed + spread)


@dataclass(frozen=True)
class Comparison:
    """A candidate against a reference on one metric.

    `change` = candidate / reference - 1, `low` and `high` its bounds, each at the confidence by itself; None where the
    reference is 0. `candidate` and `reference` are the metric. `proven`: the candidate is better than (1 + margin)
    times the reference at the confidence; `refuted`: it is worse at the confidence. Neither: the data do not tell.
    """

    candidate: float
    reference: float
    change: float | None
    low: float | None
    high: float | None
    proven: bool
    refuted: bool


def compare(
    candidate: float,
    reference: float,
    candidates: Array,
    references: Array,
    *,
    margin: float,
    confidence: float,
    sign: int = 1,
) -> Comparison:
    """Hold `candidate` against (1 + `margin`) times `reference`, from what both are in each resample [resamples].

    One-sided: proven where the lower bound of the difference lies above 0, refuted where the upper one lies below.
    `sign` -1: less is better, and the candidate is to lie below (1 - `margin`) times the reference.
    """
    factor = 1 + sign * margin
    low, high = bounds(sign * (candidate - factor * reference), sign * (candidates - factor * references), confidence)
    change = interval = None
    if reference > 0 and np.all(references > 0):
        change = candidate / reference - 1
        interval = bounds(change, candidates / references - 1, confidence)
    return Comparison(
        candidate=candidate,
        reference=reference,
        change=change,
        low=None if interval is None else interval[0],
        high=None if interval is None else interval[1],
        proven=bool(low > 0),
        refuted=bool(high < 0),
    )
