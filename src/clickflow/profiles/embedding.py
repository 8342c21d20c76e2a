"""The embedding of a customer as of a day: how they buy (standardised hand-made features), and what (an SVD of items).

What is learned here, means and deviations, weights of items and their directions, is of a cross-section of the
training part: all customers as of its last cut-off.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clickflow import features
from clickflow.features.customer import expanded
from clickflow.features.feature import Spans
from clickflow.sequences.card import Card
from clickflow.sequences.indexes import FIRST_ITEM, UNKNOWN
from clickflow.sequences.store import open_split

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

UNIT = "customer"
BEHAVIOUR = (
    "recency_days",
    "tenure_days",
    "purchases",
    "purchases_90d",
    "amount",
    "amount_mean",
    "gap_median_days",
    "overdue_share",
    "lines_mean",
    "price_mean",
    "rebought_share",
    "category_entropy",
    "returned_share",
    "weekend_share",
    "views_30d",
    "carts_30d",
)
"""The features in the embedding, as the log of 1 + size, standardised; one that does not vary is left out."""
TASTES = 16
"""Directions of the SVD, at most."""
LIMIT = 3.0
"""Standardised values are cut off there."""
SPREAD = 1e-4
BLOCK = 1 << 22
"""Cosines held at once."""
WEIGHTS = {"purchase": 1.0, "cart": 0.5, "favourite": 0.5, "view": 0.2}
"""What a step says of a taste, by its action; other actions say nothing."""


@dataclass(frozen=True)
class Customers:
    """N customers as of a day each."""

    user: Sequence[str]
    part: str
    sequence: Ints
    """[N] index in its part of the store"""
    values: Floats
    """[N, F] the features of the unit, in their order; NaN where a value does not exist"""
    seen: "csr_matrix"
    """[N, items + categories] the sum of the weights of the steps on each that the training part knows"""

    def __len__(self) -> int:
        return len(self.user)

    def column(self, name: str) -> Floats:
        """One feature [N]."""
        column: Floats = self.values[:, features.names(UNIT).index(name)]
        return column

    def take(self, rows: Ints) -> "Customers":
        """Some of them; the same one more than once, where they are drawn."""
        user = [self.user[k] for k in rows.tolist()]
        return Customers(user, self.part, self.sequence[rows], self.values[rows], self.seen[rows])


def read(store: Path, card: Card, part: str, *, last: bool = False, taste: bool = True) -> Customers:
    """The customers of a part of the store as of all its cut-offs, or as of the `last` alone; without `taste` nothing
    is said of items.
    """
    from pyarrow import parquet

    split = open_split(store, part)
    cut_off = np.asarray(split.cut_off)
    rows = np.flatnonzero(cut_off == cut_off.max()) if last and len(cut_off) else np.arange(split.n_sequences)
    begin, end = np.asarray(split.begin)[rows], np.asarray(split.end)[rows]
    values = features.compute(UNIT, split, Spans(begin, end, cut_off[rows]), card).astype(np.float64)
    users = parquet.read_table(store / part / "sequences.parquet", columns=["user_id"])["user_id"].take(rows)
    return Customers(users.to_pylist(), part, rows, values, _seen(split, card, begin, end if taste else begin))


def _seen(split: Any, card: Card, begin: Ints, end: Ints) -> "csr_matrix":
    """Steps on what the training part knows; an item beyond it is nobody's taste."""
    from scipy.sparse import csr_matrix

    weight = np.array([WEIGHTS.get(name, 0.0) for name in card.actions])
    row, step = expanded(begin, end)
    item, category = np.asarray(split.item)[step].astype(np.int64), np.asarray(split.category)[step].astype(np.int64)
    own = weight[np.asarray(split.action)[step]]
    items, categories = card.known - FIRST_ITEM, max(card.categories - FIRST_ITEM, 0)
    of_item = (item >= FIRST_ITEM) & (item < card.known) & (own > 0)
    of_category = (category > UNKNOWN) & (category < card.categories) & (own > 0)
    return csr_matrix(
        (
            np.concatenate([own[of_item], own[of_category]]),
            (
                np.concatenate([row[of_item], row[of_category]]),
                np.concatenate([item[of_item] - FIRST_ITEM, category[of_category] - FIRST_ITEM + items]),
            ),
        ),
        shape=(len(begin), items + categories),
    )


@dataclass(frozen=True)
class Embedding:
    """Both halves, each of mean square 1 over the customers that it was learned from."""

    behaviour: tuple[str, ...]
    mean: Floats
    deviation: Floats
    weight: Floats
    """[items + categories] the rarer, the more it says: ln(N / those who have it)"""
    direction: Floats
    """[items + categories, T]"""
    middle: Floats
    """[T] the mean taste"""
    scale: float

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns."""
        return (*self.behaviour, *(f"taste_{k + 1}" for k in range(self.direction.shape[1])))

    def standing(self, customers: Customers) -> Floats:
        """[N, B] the standardised behaviour, 0 (the mean) where a value does not exist."""
        standing = (_logs(customers, self.behaviour) - self.mean) / self.deviation
        return np.asarray(np.nan_to_num(np.clip(standing, -LIMIT, LIMIT)))

    def tastes(self, customers: Customers) -> Floats:
        """[N, T]; zeros of somebody who has nothing that is known."""
        rows = _weighted(customers.seen, self.weight)
        there = np.diff(rows.indptr) > 0
        tastes: Floats = np.where(there[:, None], (rows @ self.direction - self.middle) * self.scale, 0.0)
        return tastes

    def of(self, customers: Customers) -> Floats:
        """[N, B + T]."""
        return np.hstack([self.standing(customers) / np.sqrt(max(1, len(self.behaviour))), self.tastes(customers)])


def learn(customers: Customers, seed: int) -> Embedding:
    """From a cross-section. The sign of each direction is such that its largest weight is above 0."""
    from sklearn.decomposition import TruncatedSVD
    from threadpoolctl import threadpool_limits

    with np.errstate(invalid="ignore"):
        logs = _logs(customers, BEHAVIOUR)
    there = ~np.isnan(logs)
    count = np.maximum(there.sum(axis=0), 1)
    mean = np.where(there, logs, 0.0).sum(axis=0) / count
    deviation = np.sqrt((np.where(there, logs - mean, 0.0) ** 2).sum(axis=0) / count)
    kept = deviation > SPREAD
    have = np.bincount(customers.seen.indices, minlength=customers.seen.shape[1])
    weight = np.where(have > 0, np.log((1 + len(customers)) / np.maximum(have, 1)), 0.0)
    rows = _weighted(customers.seen, weight)
    width = min(TASTES, int((have > 0).sum()) - 1, len(customers) - 1)
    if width < 1:
        direction = np.zeros((len(weight), 0))
    else:
        with threadpool_limits(1):
            direction = TruncatedSVD(width, random_state=seed, n_iter=7).fit(rows).components_.T
        largest = np.abs(direction).argmax(axis=0)
        direction = direction * np.where(direction[largest, np.arange(width)] < 0, -1.0, 1.0)
    tastes = rows @ direction
    middle = tastes.mean(axis=0)
    spread = float(np.sqrt(((tastes - middle) ** 2).sum(axis=1).mean())) if width > 0 else 0.0
    return Embedding(
        behaviour=tuple(name for name, keep in zip(BEHAVIOUR, kept, strict=True) if keep),
        mean=mean[kept],
        deviation=deviation[kept],
        weight=weight,
        direction=direction,
        middle=middle,
        scale=1.0 / spread if spread > SPREAD else 1.0,
    )


def _logs(customers: Customers, names: Sequence[str]) -> Floats:
    return np.log1p(np.maximum(np.stack([customers.column(name) for name in names], axis=1), 0.0))


def _weighted(seen: "csr_matrix", weight: Floats) -> "csr_matrix":
    """Rows of length 1: the log of 1 + how much, times the weight."""
    from sklearn.preprocessing import normalize

    rows = seen.copy()
    rows.sum_duplicates()
    rows.data = np.log1p(rows.data) * weight[rows.indices]
    rows.eliminate_zeros()
    return normalize(rows)


def similar(embedded: Floats, rows: Ints, count: int) -> tuple[Ints, Floats]:
    """The `count` others nearest to each of `rows` by the cosine: indexes and cosines [R, count], nearest first."""
    length = np.linalg.norm(embedded, axis=1, keepdims=True)
    unit = embedded / np.maximum(length, 1e-12)
    count = min(count, len(unit) - 1)
    nearest, cosines = np.empty((len(rows), count), np.int64), np.empty((len(rows), count))
    block = max(1, BLOCK // len(unit))
    for start in range(0, len(rows), block):
        own = rows[start : start + block]
        away = -(unit[own] @ unit.T).round(9)
        away[np.arange(len(own)), own] = np.inf
        some = np.sort(np.argpartition(away, min(count, len(unit) - 1), axis=1)[:, :count], axis=1)
        order = np.argsort(np.take_along_axis(away, some, axis=1), axis=1, kind="stable")
        nearest[start : start + block] = np.take_along_axis(some, order, axis=1)
        cosines[start : start + block] = -np.take_along_axis(away, nearest[start : start + block], axis=1)
    return nearest, cosines
