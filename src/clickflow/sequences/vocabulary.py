"""Which items and categories a model knows, and what the training part says of each item. Pure numpy.

Indexes of items: 0 padding, 1 unknown, from 2 on the items of the training part with enough support, the most
frequent first, equals by id; from `known` on every other item of any part, so that packing loses nothing.
Indexes of categories: 0 none, 1 unknown, from 2 on those of the training part, the most frequent first.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from clickflow.sequences.features import Array
from clickflow.sequences.indexes import FIRST_ITEM, UNKNOWN

NONE = 0
"""The index of a step without a category."""
CHUNK = 1 << 20
MOST_KEYS = 1 << 24
"""Steps that are sorted at once: 128 MB of keys."""


@dataclass(frozen=True)
class Vocabulary:
    """`order` int64 [items]: the engine's numbers in the order of the indexes (row r has index r + 2); `count` int64
    [items]: their steps in the training part; `known`: the first index unknown to models; `index` int32: by the
    engine's number, the index (0 where it is in no part).
    """

    order: Array
    count: Array
    known: int
    index: Array


def of_items(train: Array, elsewhere: Array, min_count: int) -> Vocabulary:
    """`train`, `elsewhere` int64: steps of each item, by the engine's number (which follows the ids), in the training
    part and in the other parts.
    """
    numbers = np.flatnonzero(train + elsewhere)
    known = train[numbers] >= min_count
    order = numbers[np.lexsort((numbers, -train[numbers], ~known))]
    return _vocabulary(order, train, int(known.sum()))


def of_categories(train: Array) -> Vocabulary:
    """`train` int64: steps of each category in the training part, by the engine's number. The rest are unknown (1)."""
    numbers = np.flatnonzero(train)
    order = numbers[np.lexsort((numbers, -train[numbers]))]
    categories = _vocabulary(order, train, len(order))
    categories.index[categories.index == 0] = UNKNOWN
    return categories


def _vocabulary(order: Array, count: Array, known: int) -> Vocabulary:
    index = np.zeros(len(count), np.int32)
    index[order] = np.arange(FIRST_ITEM, FIRST_ITEM + len(order))
    return Vocabulary(order=order, count=count[order], known=FIRST_ITEM + known, index=index)


def medians(item: Array, price: Array, items: int) -> Array:
    """The median price of each item, float64 [items] by index - 2, NaN where no step has a price.

    `item` int32 [e] and `price` float32 [e] >= 0 are the packed training part; the values come in float32 precision.
    """
    prices = np.full(items, np.nan)
    for first, last in _ranges(item, items):
        # float32 >= 0 sort like their bits, so that one sort of integers orders by item and by price
        keys = _sorted_keys(item, price, lambda values: ~np.isnan(values), first, last)
        size = np.bincount((keys >> 32).astype(np.int64) - first, minlength=last - first)
        start = np.cumsum(size) - size
        values = (keys & 0xFFFFFFFF).astype(np.uint32).view(np.float32).astype(np.float64)
        some = np.flatnonzero(size)
        low, high = start[some] + (size[some] - 1) // 2, start[some] + size[some] // 2
        prices[first - FIRST_ITEM + some] = (values[low] + values[high]) / 2
    return prices


def modes(item: Array, value: Array, items: int) -> Array:
    """The most frequent value of each item, int32 [items] by index - 2; equals: the smaller one; 0: none."""
    most_frequent = np.full(items, NONE, np.int32)
    for first, last in _ranges(item, items):
        keys = _sorted_keys(item, value, lambda values: values != NONE, first, last)
        pairs, count = np.unique(keys, return_counts=True)
        owner, choice = (pairs >> 32).astype(np.int64), (pairs & 0xFFFFFFFF).astype(np.int32)
        best = np.lexsort((choice, -count, owner))
        heads = best[np.flatnonzero(np.diff(owner[best], prepend=-1))]
        most_frequent[owner[heads] - FIRST_ITEM] = choice[heads]
    return most_frequent


def _ranges(item: Array, items: int) -> Iterator[tuple[int, int]]:
    """Ranges of item indexes that cover all, none with more than `MOST_KEYS` steps (or one item)."""
    count = np.zeros(FIRST_ITEM + items, np.int64)
    for start in range(0, len(item), CHUNK):
        count += np.bincount(item[start : start + CHUNK], minlength=len(count))
    first = FIRST_ITEM
    while first < len(count):
        last = first + max(1, int(np.searchsorted(np.cumsum(count[first:]), MOST_KEYS, side="right")))
        yield first, last
        first = last


def _sorted_keys(item: Array, values: Array, present: Callable[[Array], Array], first: int, last: int) -> Array:
    """Item and the 32 bits of its value, of the steps where the value is present and the item in the range."""
    keys = []
    for start in range(0, len(item), CHUNK):
        owner, value = item[start : start + CHUNK], values[start : start + CHUNK]
        take = (owner >= first) & (owner < last) & present(value)
        # adding 0 turns the float -0 into 0, whose bits sort right
        keys.append(owner[take].astype(np.uint64) << 32 | (value[take] + 0).view(np.uint32))
    joined = np.concatenate(keys) if keys else np.zeros(0, np.uint64)
    joined.sort()
    return joined
