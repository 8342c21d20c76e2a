"""What a shop plans of series, by day: rows of a file, or of `plan.npy` of a packed store. Reading needs numpy alone.

The days may lie ahead: a plan says what was known before, and nothing of what was sold.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.system.errors import DataError
from clickflow.system.files import sha256

Array = NDArray[Any]

FILE = "plan.npy"
"""In a packed store."""
PRICE = "price"
"""The column that is a price in force: it holds until the next one."""
EVERY = -1
"""The series of a row that is of all."""


@dataclass(frozen=True, eq=False)
class Plan:
    """Rows of series and days.

    `names` [k]: of the columns; `series` int64 [r]: a number, or `EVERY`; `first`, `stop` int64 [r]: days since 1970,
    the one after the last; `values` float64 [r, k], NaN where a row says nothing.
    `asked` [n]: of sequences the number of their series, where a split does not say it as its items.
    """

    names: tuple[str, ...]
    series: Array
    first: Array
    stop: Array
    values: Array
    asked: Array | None = None

    def of(self, asked: Array) -> "Plan":
        """For sequences of these series."""
        return replace(self, asked=asked)

    def numbers(self, split: Any, sequences: Array) -> Array:
        """Of which series some sequences of a packed split are."""
        if self.asked is not None:
            own: Array = self.asked[sequences]
            return own
        items: Array = np.asarray(split.item[np.asarray(split.end)[sequences] - 1], np.int64)
        return items

    def on(self, series: Array, start: int, days: int) -> Array:
        """What holds of series [s] on so many days from `start` on, [s, days, k]: 0 where nothing is planned; of
        `PRICE` the price, NaN where none is known yet. A row of one series stands before one of all.
        """
        each, back = np.unique(series, return_inverse=True)
        out = np.full((len(each), days, len(self.names)), np.nan)
        for own in (False, True):
            place, rows = self._placed(each, own=own)
            low, high = (np.clip(end[rows] - start, 0, days) for end in (self.first, self.stop))
            row = np.repeat(np.arange(len(rows)), high - low)  # one for each of its days
            day = np.arange(len(row)) - np.repeat(np.cumsum(high - low) - high, high - low)
            for number in range(len(self.names)):
                said = self.values[rows, number][row]
                there = ~np.isnan(said)
                out[place[row[there]] if own else slice(None), day[there], number] = said[there]
        for number, name in enumerate(self.names):
            if name == PRICE:
                now = out[:, :1, number]
                out[:, :1, number] = np.where(np.isnan(now), self._before(each, start, number)[:, None], now)
            else:
                out[..., number] = np.nan_to_num(out[..., number])
        laid: Array = out[back]
        return laid

    def _placed(self, each: Array, *, own: bool) -> tuple[Array, Array]:
        """Rows of one series each, and its place among `each` [s], sorted; or those of all, and none."""
        if not own:
            return np.zeros(0, np.int64), np.flatnonzero(self.series == EVERY)
        place = np.minimum(np.searchsorted(each, self.series), max(len(each) - 1, 0))
        rows = np.flatnonzero((self.series != EVERY) & (each[place] == self.series) if len(each) else [])
        return place[rows], rows

    def _before(self, each: Array, start: int, number: int) -> Array:
        """What a column said of series last before a day, NaN where nothing, [s]."""
        latest, held = np.full(len(each), np.iinfo(np.int64).min), np.full(len(each), np.nan)
        for own in (False, True):
            place, rows = self._placed(each, own=own)
            said = np.flatnonzero(~np.isnan(self.values[rows, number]) & (self.first[rows] < start))
            until = np.minimum(self.stop[rows[said]], start)
            order = np.argsort(until, kind="stable")
            then, values = until[order], self.values[rows[said[order]], number]
            if not own:
                latest[:], held[:] = (then[-1], values[-1]) if len(then) else (latest, held)
                continue
            last = dict(zip(place[said[order]].tolist(), range(len(order)), strict=True))
            at, of = np.array(list(last), np.int64), np.array(list(last.values()), np.int64)
            keep = then[of] >= latest[at]
            held[at[keep]] = values[of[keep]]
        return held


def write(folder: Path, plan: Plan) -> str:
    """Into a store; returns the hash of the file."""
    kind = [("series", "<i4"), ("first", "<i4"), ("stop", "<i4"), ("values", "<f8", (len(plan.names),))]
    rows = np.zeros(len(plan.series), np.dtype(kind))
    for name in ("series", "first", "stop", "values"):
        rows[name] = getattr(plan, name)
    np.save(folder / FILE, rows, allow_pickle=False)
    return sha256(folder / FILE)


def read(folder: Path, said: Mapping[str, Any]) -> Plan:
    """That of a store whose card says `said` of it. Raises DataError where it is not such a file."""
    try:
        rows, names = np.load(folder / FILE, allow_pickle=False), tuple(map(str, said["columns"]))
        values = rows["values"].reshape(len(rows), len(names))
        series, first, stop = (rows[name].astype(np.int64) for name in ("series", "first", "stop"))
        return Plan(names, series, first, stop, values)
    except (OSError, ValueError, EOFError, MemoryError, SyntaxError, TokenError, KeyError, IndexError) as error:
        raise DataError(
            f"{folder / FILE} cannot be read: {error}",
            next_step="run `dvc checkout` to put the recorded bytes back, or `dvc repro` to make them again",
        ) from error
