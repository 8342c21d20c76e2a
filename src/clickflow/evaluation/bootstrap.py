"""Confidence intervals by resampling whole customers (cluster bootstrap, Efron 1979; percentile intervals).

The steps of one customer resemble each other, so the customer is drawn, with all predictions; where nobody is known,
the session. A resample is a multinomial weight each; metrics are ratios of weighted sums, so all resamples are one
matrix product. A `sequence` below is whatever is drawn.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Interval = dict[str, float | None]
CHUNK = 64
"""Resamples whose weights are held at once."""
CLASSES = 512
"""Rows that a metric orders are put into so many classes at most, of as many rows each, for the resamples."""


@dataclass(frozen=True)
class Resampling:
    """How intervals are made: resamples of whole customers, the confidence, the seed."""

    resamples: int
    confidence: float
    seed: int


def per_sequence(sequence: npt.NDArray[np.integer], values: Values) -> tuple[Values, npt.NDArray[np.integer]]:
    """Sums of `values` [N, M] over the predictions of each sequence: ([S, M], the S sequences in ascending order)."""
    sequences, index = np.unique(sequence, return_inverse=True)
    return np.hstack([cells(index, 0, column, 1) for column in values.T]), sequences


def cells(index: npt.NDArray[np.integer], cell: npt.NDArray[np.integer] | int, values: Values, size: int) -> Values:
    """Sums [S, size] of `values` [N], each into one `cell` [N] of its sequence `index` [N] (0..S-1)."""
    rows = int(index.max(initial=-1)) + 1
    summed = np.bincount(index * size + cell, weights=values.astype(np.float64), minlength=rows * size)
    return summed.astype(np.float64).reshape(rows, size)


def resampled(sums: Values, resamples: int, seed: int) -> Values:
    """Totals [resamples, M] of per-sequence sums [S, M], each over S sequences drawn with replacement.

    The sums may be a sparse matrix.
    """
    draw, size = np.random.default_rng(seed), sums.shape[0]
    totals = np.empty((resamples, sums.shape[1]))
    for start in range(0, resamples, CHUNK):
        count = min(CHUNK, resamples - start)
        # counts of equally likely draws: a multinomial, several times faster than asking for one
        drawn = draw.integers(size, size=(count, size)) + np.arange(count)[:, None] * size
        weights = np.bincount(drawn.ravel(), minlength=count * size).reshape(count, size)
        totals[start : start + count] = weights.astype(np.float64) @ sums
    return totals


def interval(samples: Values, confidence: float) -> tuple[Values, Values]:
    """The middle `confidence` of the samples [R, …]: (low, high); NaN samples are left out."""
    tail = (1 - confidence) / 2
    with np.errstate(all="ignore"):
        low, high = np.nanquantile(samples, [tail, 1 - tail], axis=0)
    return low, high


def summaries(
    names: Sequence[str],
    sums: Values,
    metric: Callable[[Values], Values],
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> dict[str, Interval]:
    """{name: {value, low, high}} of the metrics that `metric` makes of totals: [R, M] to [R, names].

    A metric that is not defined (no predictions) is None; so are its ends where there are no resamples.
    """
    value = metric(sums.sum(axis=0, keepdims=True))[0] if len(sums) else np.full(len(names), np.nan)
    ends = (np.full(len(names), np.nan),) * 2
    if len(sums) and resamples:
        ends = interval(metric(resampled(sums, resamples, seed)), confidence)
    return {
        name: {"value": number(value[i]), "low": number(ends[0][i]), "high": number(ends[1][i])}
        for i, name in enumerate(names)
    }


def sparse_cells(parts: Sequence[tuple[Any, Any, Values]], sequences: int, width: int) -> Any:
    """Sums [S, width] of values, each part (sequence, column, value) [N], as a sparse matrix."""
    from scipy import sparse

    rows, columns, cells_ = (
        np.concatenate([np.broadcast_to(part[k], part[2].shape) for part in parts]) for k in range(3)
    )
    return sparse.coo_array((cells_, (rows, columns)), shape=(sequences, width)).tocsr()


def classes(by: Values) -> npt.NDArray[np.int64]:
    """The class of each value [n], the largest first: each value one, or as many rows each where there are more values
    than `CLASSES`.
    """
    distinct, place = np.unique(-by, return_inverse=True)
    if len(distinct) <= CLASSES:
        return place.astype(np.int64)
    edges = np.unique(np.quantile(by, np.linspace(0, 1, CLASSES + 1)[1:-1]))
    return len(edges) - np.searchsorted(edges, by, side="right")


def interval_of(value: float, drawn: Values | None, confidence: float) -> Interval:
    """{value, low, high} of a metric and its draws [R]; None where it is not defined, or nothing was drawn."""
    low = high = float("nan")
    if drawn is not None and np.isfinite(value) and np.isfinite(drawn).any():
        low, high = (float(end) for end in interval(drawn, confidence))
    return {"value": number(value), "low": number(low), "high": number(high)}


def by_system(
    names: Sequence[str], sums: Values, metric: Callable[[Values], Values], how: Resampling
) -> dict[str, dict[str, Interval]]:
    """`summaries` of names that are a system, a space and a metric: {system: {metric: {value, low, high}}}."""
    flat = summaries(names, sums, metric, resamples=how.resamples, confidence=how.confidence, seed=how.seed)
    result: dict[str, dict[str, Interval]] = {}
    for name, interval in flat.items():
        system, key = name.split(" ")
        result.setdefault(system, {})[key] = interval
    return result


def number(value: float) -> float | None:
    """Six decimals: what differs between two processors' last bits is not written down."""
    return round(float(value), 6) if np.isfinite(value) else None
