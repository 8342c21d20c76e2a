"""The distributions of sequences over event types, items, lengths, hours and prices, as shares.

The same cells serve the training part, whose shares a model takes with it (`clickflow.evaluation.reference`), and the
windows that `clickflow watch` compares with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.evaluation import bootstrap
from clickflow.evaluation.lengths import FINE
from clickflow.evaluation.lengths import names as lengths_of
from clickflow.sequences.indexes import FIRST_ITEM, UNKNOWN
from clickflow.sequences.store import PackedSplit

Values = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

GROUPS = 100
"""Groups of items, each with about the same share of the training steps."""
PRICE_RANGES = 10
"""Ranges of prices, each with about the same share of the training steps that have one."""
CHUNK = 1 << 20
"""Steps looked at together."""


@dataclass(frozen=True)
class Cells:
    """What is counted: a vector of cells, each dimension a run of them.

    `actions`: names of the event types. `group` int64 [items of the model]: the popularity group of each item, -1 for
    those that have none (padding, unknown). `prices` float64: the inner edges of the price ranges.
    """

    actions: tuple[str, ...]
    group: Ints
    prices: Values

    @property
    def sizes(self) -> dict[str, int]:
        """Cells of each dimension, in their order."""
        return {
            "event_types": len(self.actions) + 1,
            "popularity": int(self.group.max(initial=0)) + 1,
            "unknown_items": 2,
            "session_length": len(FINE),
            "hour": 24,
            "price": len(self.prices) + 2,
        }

    @property
    def names(self) -> dict[str, list[str]]:
        """What each cell is called."""
        edges = [f"{edge:.6g}" for edge in self.prices]
        ranges = [f"{low} to {high}" for low, high in pairwise(edges)]
        below = [f"below {edges[0]}", *ranges, f"from {edges[-1]}"] if edges else ["any"]
        return {
            "event_types": [*self.actions, "other"],
            "popularity": [str(group + 1) for group in range(self.sizes["popularity"])],
            "unknown_items": ["known", "unknown"],
            "session_length": lengths_of(FINE),
            "hour": [f"{hour:02d}" for hour in range(24)],
            "price": [*below, "none"],
        }

    @property
    def places(self) -> dict[str, slice]:
        """Where the cells of each dimension stand in the vector."""
        ends = np.cumsum(list(self.sizes.values()))
        return {
            name: slice(int(end) - size, int(end)) for (name, size), end in zip(self.sizes.items(), ends, strict=True)
        }

    def counts(self, split: PackedSplit, chosen: Ints, item: Ints, action: Ints) -> Values:
        """Each of the `chosen` sequences in cells, [S, cells].

        `item` and `action` map the store's indexes to the model's items and to `actions`.
        """
        lengths = split.lengths[chosen]
        steps = _steps(split.begin[chosen], lengths)
        owner = np.repeat(np.arange(len(chosen)), lengths)
        rows = len(chosen)
        own = item[np.asarray(split.item[steps])]
        group = self.group[own]
        price = np.asarray(split.price[steps], np.float64)
        ranges = np.where(np.isnan(price), len(self.prices) + 1, np.searchsorted(self.prices, price, side="right"))
        known = group >= 0
        cells = {
            "event_types": (owner, action[np.asarray(split.action[steps])]),
            "popularity": (owner[known], group[known]),
            "unknown_items": (owner, (own <= UNKNOWN).astype(np.int64)),
            "session_length": (np.arange(rows), np.searchsorted(FINE, np.maximum(lengths, FINE[0]), "right") - 1),
            "hour": (owner, np.asarray(split.hour[steps], np.int64)),
            "price": (owner, ranges),
        }
        tables = [_table(rows, *cells[name], size) for name, size in self.sizes.items()]
        return np.concatenate(tables, axis=1)

    def shares(self, totals: Values) -> dict[str, Values]:
        """Totals [..., cells] as shares of each dimension, [..., its cells]; NaN where it holds nothing."""
        shares = {}
        for name, place in self.places.items():
            part = totals[..., place]
            with np.errstate(all="ignore"):
                shares[name] = part / part.sum(axis=-1, keepdims=True)
        return shares


def groups(counts: npt.ArrayLike, number: int = GROUPS) -> Ints:
    """The popularity group of every item of a vocabulary, [FIRST_ITEM + items]: -1 for padding and unknown.

    `counts` [items] are their training steps, the most frequent first. An item belongs to the group in which its
    share, laid after those before it, begins; an item with more than a group's share has one alone.
    """
    steps = np.asarray(counts, np.float64)
    before = np.cumsum(steps) - steps
    place = np.floor(before / max(float(steps.sum()), 1.0) * number).astype(np.int64)
    _, group = np.unique(np.minimum(place, number - 1), return_inverse=True)
    return np.concatenate([np.full(FIRST_ITEM, -1), group]).astype(np.int64)


def price_edges(prices: npt.NDArray[Any]) -> Values:
    """Inner edges of ranges with equal shares of `prices`; fewer where many prices are equal."""
    given = np.asarray(prices, np.float64)
    given = given[~np.isnan(given)]
    if not len(given):
        return np.zeros(0)
    inner = np.quantile(given, np.arange(1, PRICE_RANGES) / PRICE_RANGES, method="higher")
    return np.unique(inner[inner > given.min()])


def total(cells: Cells, split: PackedSplit, item: Ints, action: Ints) -> Values:
    """The cells of a whole split, [cells], counted a chunk at a time; of people as of several cut-offs, of the last
    one, where each of them is once.
    """
    counts = np.zeros(sum(cells.sizes.values()))
    if split.cut_off is not None:
        newest = np.flatnonzero(np.asarray(split.cut_off) == split.cut_off.max(initial=0))
        counts += cells.counts(split, newest, item, action).sum(axis=0)
        return counts
    edges = np.unique(np.searchsorted(split.offsets, np.arange(0, split.n_events + CHUNK, CHUNK)))
    for first, last in pairwise([*edges[edges < split.n_sequences], split.n_sequences]):
        counts += cells.counts(split, np.arange(first, last), item, action).sum(axis=0)
    return counts


def counted(split: PackedSplit) -> int:
    """How many sequences are in `total`."""
    return split.n_sequences if split.cut_off is None else int((split.cut_off == split.cut_off.max(initial=0)).sum())


def action_codes(stored: Sequence[str], own: Sequence[str]) -> Ints:
    """[stored]: where each event type stands in `own`; one more than its last for those it lacks."""
    places = {name: index for index, name in enumerate(own)}
    return np.array([places.get(name, len(own)) for name in stored], np.int64)


def _table(rows: int, owner: Ints, cell: Ints, size: int) -> Values:
    table = np.zeros((rows, size))
    counted = bootstrap.cells(owner, cell, np.ones(len(owner)), size)
    table[: len(counted)] = counted
    return table


def _steps(starts: Ints, lengths: Ints) -> Ints:
    """Indexes of all steps of sequences that begin at `starts`."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(np.asarray(starts) - before, lengths) + np.arange(int(lengths.sum()))
