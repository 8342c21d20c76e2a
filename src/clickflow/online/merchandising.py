"""What merchants say of a list: items that stand at a place, and factors by which items are preferred or held back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from msgspec import Struct

Ints = npt.NDArray[np.int64]
T = TypeVar("T")


class Pin(Struct, frozen=True):
    """An item that stands at a place of the list, whatever the model answers of it."""

    place: int
    """From 1."""
    item: str


class Boost(Struct, frozen=True):
    """By what the answer about some items is multiplied where they are ordered."""

    factor: float
    """Below 1 they are held back."""
    of: Literal["items", "categories", "brands"]
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Weights:
    """What boosts come to, by the index of an item: those that name it, multiplied."""

    factors: npt.NDArray[np.float32]
    logs: npt.NDArray[np.float32]
    few: Ints | None
    """The indexes of items with a factor, where they are not too many to be scored one by one."""


def weights(
    boosts: Sequence[Boost],
    *,
    index_of: Mapping[str, int],
    category: Ints,
    category_of: Mapping[str, int],
    brand: Any,
    first: int,
    most: int,
) -> Weights:
    """`category`: of each item, by index; `brand`: an Arrow array of texts, from the item `first` on; `most`: see
    `Weights.few`.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    factors = np.ones(len(category), np.float64)
    for boost in boosts:
        if boost.of == "items":
            named = np.zeros(len(category), bool)
            named[[index_of[name] for name in boost.names if name in index_of]] = True
        elif boost.of == "categories":
            codes = [category_of[name] for name in boost.names if name in category_of]
            named = np.isin(category, codes)
        else:
            own = pc.is_in(brand.cast(pa.string()), value_set=pa.array(sorted(boost.names), pa.string()))
            named = np.concatenate([np.zeros(first, bool), own.to_numpy(zero_copy_only=False)])
        factors[named] *= boost.factor
    factors[:first] = 1
    few = np.flatnonzero(factors != 1)
    return Weights(factors.astype(np.float32), np.log(factors).astype(np.float32), few if len(few) <= most else None)


def placed(pins: Sequence[Pin], pinned: Sequence[T], others: Sequence[T]) -> list[T]:
    """The list: `pinned`, what stands for each of the pins, at their places, the others in their order at those that
    are left; pins behind the end of a list that is too short come last, in their order.
    """
    at = {pin.place: each for pin, each in sorted(zip(pins, pinned, strict=True), key=lambda pair: pair[0].place)}
    rest: list[T] = list(reversed(others))
    whole: list[T] = []
    while rest:
        whole.append(at.pop(len(whole) + 1) if len(whole) + 1 in at else rest.pop())
    return [*whole, *at.values()]
