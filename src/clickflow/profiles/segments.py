"""Segments of customers: by k-means over how they buy, and by ranks of recency, frequency and money (the baseline)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from clickflow.profiles.embedding import Customers, Embedding, Floats, Ints

CLUSTERED = ("recency_days", "purchases", "purchases_90d", "amount")
"""What segments differ by: few features, so that another sample of customers gives the same ones. Of seven sets, these
were both steadier and better at who comes back than RFM on the validation part of UCI Online Retail
(docs/heads/profile.md).
"""
STARTS = 10
"""Of k-means."""
RANKS = 3
"""Of recency, and of frequency with money: RFM has the square of it in segments."""


class Segments(Protocol):
    """What puts customers into segments 0, 1, …"""

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    def of(self, customers: Customers) -> Ints:
        """The segment of each [N]."""
        ...


@dataclass(frozen=True)
class Clusters:
    """k-means over the standardised behaviour; segments in the order of what their customers spent, most first."""

    embedding: Embedding
    columns: tuple[int, ...]
    centre: Floats
    """[K, columns]"""

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.centre)

    def of(self, customers: Customers) -> Ints:
        """The nearest centre of each [N]."""
        own = self.embedding.standing(customers)[:, self.columns]
        away = (own**2).sum(axis=1)[:, None] - 2 * own @ self.centre.T + (self.centre**2).sum(axis=1)
        return np.asarray(away.round(9).argmin(axis=1), np.int64)


def clusters(customers: Customers, embedding: Embedding, count: int, seed: int) -> Clusters:
    """Learn `count` segments, or fewer where there are not so many different customers."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    columns = tuple(embedding.behaviour.index(name) for name in CLUSTERED if name in embedding.behaviour)
    own = embedding.standing(customers)[:, columns]
    with threadpool_limits(1):
        fitted = KMeans(min(count, len(np.unique(own, axis=0))), n_init=STARTS, random_state=seed).fit(own)
    spent = customers.column("amount")
    mean = np.bincount(fitted.labels_, spent) / np.maximum(np.bincount(fitted.labels_), 1)
    return Clusters(embedding, columns, fitted.cluster_centers_[np.argsort(-mean, kind="stable")])


@dataclass(frozen=True)
class Rfm:
    """Thirds by recency, times thirds by the mean rank of frequency and money; the limits are the training part's."""

    recency: Floats
    """[RANKS - 1] limits"""
    frequency: Floats
    """[M] sorted"""
    money: Floats
    """[M] sorted"""
    both: Floats
    """[RANKS - 1] limits of the mean rank"""

    @property
    def count(self) -> int:
        """How many there are."""
        return RANKS * RANKS

    def of(self, customers: Customers) -> Ints:
        """Recent buyers who buy much are 0 [N]."""
        recent = np.searchsorted(self.recency, customers.column("recency_days"), side="left")
        rank = (
            _rank(self.frequency, customers.column("purchases")) + _rank(self.money, customers.column("amount"))
        ) / 2
        much = RANKS - 1 - np.searchsorted(self.both, rank, side="right")
        return np.asarray(recent * RANKS + much, np.int64)


def rfm(customers: Customers) -> Rfm:
    """Learn the limits."""
    frequency, money = (np.sort(customers.column(name)) for name in ("purchases", "amount"))
    rank = (_rank(frequency, customers.column("purchases")) + _rank(money, customers.column("amount"))) / 2
    levels = np.arange(1, RANKS) / RANKS
    return Rfm(np.quantile(customers.column("recency_days"), levels), frequency, money, np.quantile(rank, levels))


def _rank(known: Floats, own: Floats) -> Floats:
    """The share of the known that lies below, ties by half."""
    below, upto = (np.searchsorted(known, own, side=side) for side in ("left", "right"))
    return np.asarray((below + upto) / (2 * max(1, len(known))))


def standings(customers: Customers, segment: Ints, count: int) -> list[Mapping[str, float]]:
    """Of each segment the rank (0 to 1) of its median customer among all, by feature, and the median of purchases."""
    names = ("recency_days", "tenure_days", "purchases", "amount", "amount_mean")
    standings: list[Mapping[str, float]] = []
    for each in range(count):
        rows = np.flatnonzero(segment == each)
        own = {
            name: float(_rank(np.sort(customers.column(name)), np.array([np.median(customers.column(name)[rows])]))[0])
            for name in names
            if len(rows)
        }
        once = float(np.median(customers.column("purchases")[rows])) if len(rows) else 0.0
        standings.append({**own, "bought": once})
    return standings
