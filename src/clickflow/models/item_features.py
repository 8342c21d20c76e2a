"""What is known of an item beside its number, joined to its embedding: category tree, brand, price, popularity.

Each is a few classes per item; all classes of all features share one small table, and an item's vectors of it are
summed. So a rare item starts from what its like have learned. `category`: every level of the dotted path is a class.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clickflow.sequences.indexes import FIRST_ITEM

LEVELS = 8
"""Levels of a category path that are read."""
PRICES = 16
"""Price buckets, of equally many items each."""

Codes = NDArray[np.int64]


class ItemFeatures(nn.Module):
    """The sum of the vectors of an item's classes; `codes` [known, C], 0 for none. It begins as nothing at all."""

    def __init__(self, codes: Codes, classes: int, units: int) -> None:
        super().__init__()
        self.register_buffer("codes", torch.from_numpy(codes))
        self.table = nn.Embedding(classes, units, padding_idx=0)
        nn.init.zeros_(self.table.weight)

    def forward(self, items: Tensor) -> Tensor:
        """Item indexes [n] to [n, D]."""
        codes: Tensor = self.get_buffer("codes")[items]
        vectors: Tensor = self.table(codes).sum(1)
        return vectors


def codes(
    names: Sequence[str],
    known: int,
    *,
    count: NDArray[np.integer],
    price: NDArray[np.floating],
    category: NDArray[np.integer],
    paths: Sequence[str],
    brand: Sequence[str | None],
) -> Codes:
    """Classes of the items 0 to known - 1 by the features `names`, [known, C]; 0: none, as for padding and unknown.

    `count`, `price` (NaN: none), `category` (0 none, 1 unknown, from 2 on an index into `paths`) and `brand` (None:
    none) of the items from 2 on; all of the training part. Prices fall into `PRICES` buckets of equally many items,
    counts into powers of two.
    """
    columns_of: dict[str, Callable[[], Codes]] = {
        "category": lambda: _levels(category[: known - FIRST_ITEM], paths),
        "brand": lambda: _names(brand[: known - FIRST_ITEM]),
        "price": lambda: _quantiles(price[: known - FIRST_ITEM]),
        "popularity": lambda: 1 + np.log2(np.maximum(count[: known - FIRST_ITEM], 1)).astype(np.int64)[:, None],
    }
    columns, taken = [np.zeros((known - FIRST_ITEM, 0), np.int64)], 0
    for name in names:
        column = columns_of[name]()
        columns.append(np.where(column > 0, column + taken, 0))
        taken += int(column.max(initial=0))
    classes = np.concatenate(columns, axis=1)
    return np.concatenate([np.zeros((FIRST_ITEM, classes.shape[1]), np.int64), classes])


def read(folder: Path, names: Sequence[str], known: int) -> Codes | None:
    """`codes` from the tables of a packed store; None where no feature is asked for."""
    if not names:
        return None
    from pyarrow import parquet

    items = parquet.read_table(folder / "vocabulary.parquet", columns=["count", "price", "category", "brand"])
    return codes(
        names,
        known,
        count=items["count"].to_numpy(),
        price=items["price"].to_numpy(),
        category=items["category"].to_numpy(),
        paths=parquet.read_table(folder / "categories.parquet", columns=["category"])["category"].to_pylist(),
        brand=items["brand"].to_pylist(),
    )


def _levels(category: NDArray[np.integer], paths: Sequence[str]) -> Codes:
    """[n, levels]: a class for each level of the path; equal beginnings are the same class."""
    parts = [path.split(".")[:LEVELS] for path in paths]
    number: dict[tuple[str, ...], int] = {}
    table = np.zeros((FIRST_ITEM + len(paths), max((len(part) for part in parts), default=0)), np.int64)
    for row, part in enumerate(parts, FIRST_ITEM):
        for level in range(len(part)):
            table[row, level] = number.setdefault(tuple(part[: level + 1]), len(number) + 1)
    levels: Codes = table[category]
    return levels


def _names(brand: Sequence[str | None]) -> Codes:
    """[n, 1]: a class for each brand, in the order of their texts, 0 where there is none."""
    number = {name: place for place, name in enumerate(sorted({name for name in brand if name is not None}), 1)}
    return np.array([number[name] if name is not None else 0 for name in brand], np.int64)[:, None]


def _quantiles(price: NDArray[np.floating]) -> Codes:
    """[n, 1]: the bucket of each price, 0 where there is none."""
    priced = price > 0
    if not priced.any():
        return np.zeros((len(price), 1), np.int64)
    edges = np.quantile(price[priced], np.linspace(0, 1, PRICES + 1)[1:-1])
    return np.where(priced, 1 + np.searchsorted(edges, price, side="right"), 0)[:, None]
