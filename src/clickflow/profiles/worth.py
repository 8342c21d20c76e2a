"""What segments say of later purchases: shares and values of the test part's horizon, with intervals by customer.

Everything follows from counts by segment, so a resample of customers is one matrix product. What a segment is expected
to do is what its customers as of the last cut-off of the training part did: as of the first ones of a log everybody is
new, and a segment holds others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clickflow.evaluation import bootstrap
from clickflow.evaluation.bootstrap import Resampling
from clickflow.heads import HEADS
from clickflow.profiles.embedding import Customers, Floats, Ints
from clickflow.sequences.card import Card
from clickflow.sequences.store import open_split

TOP = 0.2
"""Of the customers, whose share of the later value is told."""
PRIOR = 1.0
"""Customers who came back, and as many who did not, added to each segment's of the training part."""


@dataclass(frozen=True)
class Later:
    """What N customers did in the horizon after their cut-off."""

    back: Floats
    """[N] 1: they bought"""
    value: Floats
    """[N] for how much"""


def later(store: Path, card: Card, customers: Customers) -> Later:
    """As the heads churn and spend ask."""
    split = open_split(store, customers.part)
    event, until = (np.asarray(each)[customers.sequence] for each in (np.asarray(split.end) - 1, split.until))
    gone, spent = (HEADS[name].targets(split, event, until, card) for name in ("churn", "spend"))
    return Later(1.0 - np.asarray(gone, np.float64), np.asarray(spent, np.float64))


@dataclass(frozen=True)
class Judged:
    """Of one way to make segments: counts [D, 3 K] of whoever is drawn (customers, those who came back, value), and
    what was expected of each segment: [K] share that comes back, [K] value.
    """

    sums: Floats
    expected_back: Floats
    expected_value: Floats


def judged(segment: Ints, owner: Ints, seen: Later, count: int, before: tuple[Ints, Later]) -> Judged:
    """Segments [N] of the test part's rows, `owner` [N] the customer of each; `before`: those learned from."""
    own, past = before
    size, back, value = (np.bincount(own, w, minlength=count) for w in (np.ones(len(own)), past.back, past.value))
    sums = [bootstrap.cells(owner, segment, w, count) for w in (np.ones(len(segment)), seen.back, seen.value)]
    return Judged(np.hstack(sums), (back + PRIOR) / (size + 2 * PRIOR), value / np.maximum(size, 1))


def measures(totals: Floats, own: Judged) -> dict[str, Floats]:
    """Of totals [R, 3 K]: log loss and ROC-AUC of coming back, and the lift of the later value of the top fifth, each
    [R]; customers of one segment tie.
    """
    size, back, value = np.split(totals, 3, axis=1)
    p = own.expected_back
    loss = -(back @ np.log(p) + (size - back) @ np.log(1 - p)) / size.sum(axis=1)
    order = np.argsort(p, kind="stable")
    gone, came = (size - back)[:, order], back[:, order]
    # segments of one expectation tie too, but no two have the same
    below = np.cumsum(gone, axis=1) - gone / 2
    pairs = came.sum(axis=1) * gone.sum(axis=1)
    auc = np.divide((came * below).sum(axis=1), pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
    return {"log_loss": loss, "roc_auc": auc, "top_fifth_lift": _lift(size, value, own.expected_value)}


def _lift(size: Floats, value: Floats, expected: Floats) -> Floats:
    """The share of the value that the fifth of customers with the highest expectation has, over a fifth."""
    order = np.argsort(-expected, kind="stable")
    size, value = size[:, order], value[:, order]
    left = TOP * size.sum(axis=1, keepdims=True) - (np.cumsum(size, axis=1) - size)
    share = np.clip(np.divide(left, size, out=np.zeros_like(size), where=size > 0), 0.0, 1.0)
    whole = value.sum(axis=1)
    lift: Floats = np.divide((share * value).sum(axis=1), whole * TOP, out=np.full(len(whole), np.nan), where=whole > 0)
    return lift


def compare(ways: Mapping[str, Judged], how: Resampling) -> dict[str, Any]:
    """Each way's measures, and the first's less each other's on the same resamples, with intervals."""
    rows = {name: own.sums for name, own in ways.items()}
    joined = np.hstack(list(rows.values()))
    drawn = np.split(bootstrap.resampled(joined, how.resamples, how.seed), _ends(rows), axis=1)
    points = {name: measures(own.sums.sum(axis=0, keepdims=True), own) for name, own in ways.items()}
    samples = {name: measures(part, ways[name]) for name, part in zip(ways, drawn, strict=True)}
    systems = {name: {m: _interval(points[name][m], samples[name][m], how) for m in points[name]} for name in ways}
    first = next(iter(ways))
    less = {
        other: {
            m: _interval(points[first][m] - points[other][m], samples[first][m] - samples[other][m], how)
            for m in points[first]
        }
        for other in list(ways)[1:]
    }
    return {"systems": systems, f"{first}_less": less}


def _ends(rows: Mapping[str, Floats]) -> list[int]:
    ends: list[int] = np.cumsum([own.shape[1] for own in rows.values()])[:-1].tolist()
    return ends


def by_segment(own: Judged, how: Resampling) -> list[dict[str, Any]]:
    """Of each segment: how many rows of the test part, the share that came back, the mean value and its lift over the
    mean of all, each with an interval.
    """
    totals = bootstrap.resampled(own.sums, how.resamples, how.seed)
    point, samples = (_shares(each) for each in (own.sums.sum(axis=0, keepdims=True), totals))
    size = np.split(own.sums.sum(axis=0), 3)[0]
    return [
        {
            "later_rows": int(size[k]),
            **{name: _interval(point[name][:, k], samples[name][:, k], how) for name in point},
        }
        for k in range(len(size))
    ]


def _shares(totals: Floats) -> dict[str, Floats]:
    size, back, value = np.split(totals, 3, axis=1)
    some = np.where(size > 0, size, np.nan)
    mean = value.sum(axis=1, keepdims=True) / size.sum(axis=1, keepdims=True)
    lift = np.divide(value / some, mean, out=np.full(size.shape, np.nan), where=mean > 0)
    return {"came_back": back / some, "value": value / some, "lift": lift}


def _interval(point: Floats, samples: Floats, how: Resampling) -> dict[str, float | None]:
    there = samples[~np.isnan(samples)]
    low, high = bootstrap.interval(there, how.confidence) if len(there) else (np.nan, np.nan)
    values = {"value": point[0], "low": low, "high": high}
    return {name: None if np.isnan(value) else round(float(value), 5) for name, value in values.items()}


def owners(users: Sequence[str]) -> Ints:
    """The same number [N] for the same customer, from 0 on."""
    return np.unique(np.asarray(users), return_inverse=True)[1].astype(np.int64)
