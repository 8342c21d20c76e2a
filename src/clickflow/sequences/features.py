"""The columns of a step in the store (FEATURES), how each is read, and the statistics by which networks scale numbers.

A new step feature is one entry here, and its name in `params.models.Feature`. Pure numpy, so that the training core
reads the same table. A feature of a step is made from that step and earlier ones of its sequence, never from later
ones.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clickflow.system.moments import DAY, HOUR, SECOND

Array = NDArray[Any]

CHUNK = 1 << 20
"""Steps summed at a time: fixed, so that the order of additions, and so the last bit, is always the same."""
DIGITS = 6
"""Statistics are rounded to so many decimals: different processors' `log1p` differ in the last bits."""
SPREAD = 1e-4
"""A standard deviation below is none: scaled by it, what float32 rounds off would be a step of its own."""


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One column of a step: where its values come from, how they are stored, and who reads them how.

    Values come from a column of the canonical event (`event`), from the other columns of the sequence so far
    (`derive`: columns [e] and offsets [n + 1] to values [e]), or, with neither, are numbered by the engine.
    """

    stored: str
    """Its type in the store, as numpy names it."""
    kind: Literal["class", "number"] | None = None
    """How a network reads it where `encoder.features` names it: a class is embedded; a number is read as log(1 + x),
    standardised by the training part. None: it cannot be named there.
    """
    codes: int | Literal["actions", "categories"] = 0
    """Of a class: how many there are, or what of the store they are as many as."""
    width: int = 0
    """Of a class: numbers in its embedding."""
    named: bool = False
    """Whether only the stores of units that name it hold it (`Unit.columns`)."""
    optional: bool = False
    """Of a number: whether a step may be without (NaN in the store; 0, and a flag of its own, for a network)."""
    event: str | None = None
    derive: Callable[[Mapping[str, Array], Array], Array] | None = None
    of_clock: bool = False
    """Whether it means nothing where the log has an order and no clock: it is 0 there, and no network reads it."""
    tabular: Literal["log", "circle", "frequency"] | None = None
    """How baselines that read a table of numbers take it: the log of 1 + x; the sine and cosine of a class that comes
    round; the log of 1 + how often the value occurs in the training part. None: they do not read it.
    """

    @property
    def tensor(self) -> Literal["int64", "float32"]:
        """Its type as an input of a network."""
        return "float32" if self.kind == "number" else "int64"


def _gap(columns: Mapping[str, Array], offsets: Array) -> Array:
    time = columns["time"]
    gap = np.zeros(len(time), np.int64)
    np.subtract(time[1:], time[:-1], out=gap[1:])
    gap[offsets[:-1]] = 0
    return gap / SECOND


def _since_start(columns: Mapping[str, Array], offsets: Array) -> Array:
    time = columns["time"]
    since: Array = (time - np.repeat(time[offsets[:-1]], np.diff(offsets))) / SECOND
    return since


def _hour(columns: Mapping[str, Array], _: Array) -> Array:
    return columns["time"] // HOUR % 24


def _weekday(columns: Mapping[str, Array], _: Array) -> Array:
    return (columns["time"] // DAY + 3) % 7  # 1970-01-01 was a Thursday


FEATURES: dict[str, Feature] = {
    # index of `Card.actions`
    "action": Feature(stored="u1", kind="class", codes="actions", width=16),
    # microseconds since 1970 UTC
    "time": Feature(stored="<i8"),
    # seconds since the step before, 0 at the first of a sequence
    "gap": Feature(stored="<f4", kind="number", derive=_gap, of_clock=True, tabular="log"),
    # seconds since the first step of the sequence
    "since_start": Feature(stored="<f4", kind="number", derive=_since_start, of_clock=True, tabular="log"),
    # UTC
    "hour": Feature(stored="u1", kind="class", codes=24, width=8, derive=_hour, of_clock=True, tabular="circle"),
    # Monday is 0, UTC
    "weekday": Feature(stored="u1", kind="class", codes=7, width=4, derive=_weekday, of_clock=True),
    # index of vocabulary.parquet; every network reads it, by vectors of its own
    "item": Feature(stored="<i4", tabular="frequency"),
    # index of categories.parquet, of the event and not of the item: 0 none, 1 unknown
    "category": Feature(stored="<i4", kind="class", codes="categories", width=16, tabular="frequency"),
    "price": Feature(stored="<f4", kind="number", optional=True, event="price", tabular="log"),
    # pieces
    "quantity": Feature(stored="<f4", kind="number", named=True, optional=True, event="quantity", tabular="log"),
}
"""By name. The order is that of the embeddings in a network and of the columns in a table of a baseline."""


def held(columns: Iterable[str]) -> dict[str, Feature]:
    """The features in the store of a unit that names these `columns`, by name."""
    own = set(columns)
    return {name: feature for name, feature in FEATURES.items() if not feature.named or name in own}


def derived(columns: Mapping[str, Array], offsets: Array, *, clock: bool = True) -> dict[str, Array]:
    """The features of packed steps that follow from their other columns, each [e] in its type of the store.

    `columns` holds `time` int64 [e], microseconds since 1970 UTC, and what else is read; `offsets` int64 [n + 1],
    sequence i being steps `offsets[i]:offsets[i + 1]`, none of them empty, the first starting at 0. Without a `clock`
    the times are an order alone, and what is of the clock is 0.
    """
    steps = len(columns["time"])
    return {
        name: np.zeros(steps, feature.stored)
        if feature.of_clock and not clock
        else feature.derive(columns, offsets).astype(feature.stored)
        for name, feature in FEATURES.items()
        if feature.derive
    }


def amounts(split: Any, step: Any) -> tuple[Array, Array]:
    """Value and units of steps of a split, float64 each: price times quantity, a missing price as 0 and a missing
    quantity as 1.
    """
    price = np.nan_to_num(np.asarray(split.price[step], np.float64))
    if "quantity" not in split.columns:
        return price, np.ones(len(price))
    quantity = np.asarray(split.quantity[step], np.float64)
    units = np.where(np.isnan(quantity), 1.0, quantity)
    return price * units, units


def class_sizes(*, actions: int, categories: int) -> dict[str, int]:
    """How many classes each feature that is one has, where there are so many actions and categories."""
    counted = {"actions": actions, "categories": categories}
    return {
        name: counted[feature.codes] if isinstance(feature.codes, str) else feature.codes
        for name, feature in FEATURES.items()
        if feature.kind == "class"
    }


def statistics(columns: Mapping[str, Array]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation of log1p of each of the `columns` that is a number, over the steps that have it.

    A column without a value, or whose values hardly differ (`SPREAD`), has the deviation 1, so that scaling by it
    changes nothing.
    """
    scales = {}
    for name in columns:
        if name not in FEATURES or FEATURES[name].kind != "number":
            continue
        count, total, squares = 0, 0.0, 0.0
        for values in _chunks(columns[name]):
            logs = np.log1p(values[~np.isnan(values)].astype(np.float64))
            count += logs.size
            total += float(logs.sum())
            squares += float((logs * logs).sum())
        mean = total / count if count else 0.0
        deviation = max(squares / count - mean * mean, 0.0) ** 0.5 if count else 0.0
        deviation = round(deviation, DIGITS)
        scales[name] = {"mean": round(mean, DIGITS), "std": deviation if deviation >= SPREAD else 1.0}
    return scales


def _chunks(values: Array) -> Iterator[Array]:
    for first in range(0, len(values), CHUNK):
        yield values[first : first + CHUNK]
