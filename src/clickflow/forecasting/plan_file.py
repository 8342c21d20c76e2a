"""A shop's plan as a file: CSV `date[,until][,series_id],COLUMN…`, promotions and prices of days past and ahead."""

import csv
import datetime
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.forecasting.panel import Panel
from clickflow.forecasting.planned import PRICE, Plan
from clickflow.system.errors import DataError, nearest

Array = NDArray[Any]

DATE, UNTIL, SERIES = "date", "until", "series_id"
ENDS = (("first", 0), ("last", 1))
"""Of a row's days: the first, and the one after the last."""
MOST_COLUMNS = 20
LONGEST = 3_660
"""Days from `date` to `until`: more is a date that is none."""
EXAMPLE = "date,until,series_id,promotion,price"


@dataclass(frozen=True)
class Row:
    """A line: of which days (since 1970, the last one too) and series (None: all), and its columns, NaN where blank."""

    line: int
    first: int
    last: int
    series: str | None
    values: tuple[float, ...]


@dataclass(frozen=True)
class PlanFile:
    """What a file plans, by line, and where it stands."""

    file: Path
    names: tuple[str, ...]
    rows: tuple[Row, ...] = field(repr=False)

    def of(self, held: Panel, horizon: int) -> tuple[Plan, tuple[str, ...]]:
        """The plan of a panel and of the horizon ahead, and what is to be said of it. Rows of one series stand before
        those of all; a period of several days has the mean of its days. Raises DataError where two rows say different
        things of one series and day.
        """
        stop = held.dates(np.array([held.periods + horizon]))[0]
        first, days = int(held.start.astype(np.int64)), int((stop - held.start).astype(np.int64))
        place = {name: row for row, name in enumerate(held.ids)}
        unknown = {row.series for row in self.rows if row.series and row.series not in place}
        rows = [row for row in self.rows if row.series is None or row.series in place]
        series = np.array([-1 if row.series is None else place[row.series] for row in rows], np.int64)
        low, high = (np.clip([getattr(row, of) + more - first for row in rows], 0, days) for of, more in ENDS)
        which = np.repeat(np.arange(len(rows)), high - low)  # a row for each of its days
        day = np.arange(len(which)) - np.repeat(np.cumsum(high - low) - high, high - low)
        values = np.full((len(held.values), days, len(self.names)), np.nan)
        for number, name in enumerate(self.names):
            said = np.array([row.values[number] for row in rows])[which]
            there = np.flatnonzero(~np.isnan(said))
            self._agree(series[which[there]], day[there], said[there], [rows[row].line for row in which[there]])
            of_all, own = there[series[which[there]] < 0], there[series[which[there]] >= 0]
            values[:, day[of_all], number] = said[of_all]
            values[series[which[own]], day[own], number] = said[own]
            if name != PRICE:
                values[..., number] = np.nan_to_num(values[..., number])
        plan = Plan(self.names, _by_period(values, held, horizon))
        return plan, tuple(self._notes(plan, held, unknown))

    def _agree(self, series: Array, day: Array, said: Array, lines: list[int]) -> None:
        order = np.lexsort((day, series))
        same = (np.diff(series[order]) == 0) & (np.diff(day[order]) == 0) & (np.diff(said[order]) != 0)
        if len(at := np.flatnonzero(same)):
            two = sorted(lines[row] for row in order[at[0] : at[0] + 2])
            raise DataError(
                f"{self.file}: lines {two[0]} and {two[1]} say different things of the same day",
                kept="nothing was run",
                next_step="leave one of them",
            )

    def _notes(self, plan: Plan, held: Panel, unknown: set[str]) -> list[str]:
        notes = []
        if unknown:
            one = next(row.series for row in self.rows if row.series in unknown) or ""
            notes.append(
                f"{len(unknown):,} series of {self.file} are not forecast ({one}{nearest(one, held.ids[:10_000])}): "
                "what it plans of them is not used"
            )
        read = plan.read(held.periods, plan.values.shape[1] - held.periods)
        for number, name in enumerate(self.names):
            before, ahead = read[:, : held.periods, number], read[:, held.periods :, number]
            if not before.any() and ahead.any():
                notes.append(
                    f"{name} is planned ahead and never was before: what it does is not known, and taken for nothing"
                )
            elif before.any() and ahead.size and not ahead.any():
                notes.append(f"{name} is as usual on all days ahead: {self.file} plans nothing of it there")
        return notes


def _by_period(values: Array, held: Panel, horizon: int) -> Array:
    """The mean of the days of each period, [s, t + h, k]; of no known day NaN."""
    if held.step == "day":
        return values
    begins = held.dates(np.arange(held.periods + horizon))
    starts = (begins - held.start).astype(np.int64)
    known = ~np.isnan(values)
    count = np.add.reduceat(known.astype(np.int64), starts, 1)
    total = np.add.reduceat(np.nan_to_num(values), starts, 1)
    mean: Array = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean


def read(file: Path) -> PlanFile:
    """The plan of a file. Raises DataError with the line where it cannot be read."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            reader = csv.reader(text, strict=True)
            header = [name.strip() for name in next(reader, [])]
            names = _columns(file, header)
            lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(f"{file} cannot be read: {reason}", kept="nothing was run") from error
    rows, wrong = [], []
    for number, cells in lines:
        try:
            rows.append(_row(number, header, names, cells))
        except ValueError as error:
            wrong.append(f"line {number}: {error}")
    if wrong:
        more = f" ({len(wrong) - 1:,} more lines cannot be read)" if len(wrong) > 1 else ""
        raise DataError(f"{file}, {wrong[0]}{more}", kept="nothing was run", next_step="mend the file")
    if not rows:
        raise DataError(f"{file} plans nothing: it has no rows", kept="nothing was run")
    return PlanFile(file, names, tuple(rows))


def _columns(file: Path, header: list[str]) -> tuple[str, ...]:
    names = tuple(name for name in header if name not in (DATE, UNTIL, SERIES))
    twice = sorted({name for name in header if header.count(name) > 1})
    if DATE not in header or not names or "" in header or twice or len(names) > MOST_COLUMNS:
        raise DataError(
            f"{file}: its first line names the columns {DATE}, {UNTIL} and {SERIES} (both may be missing), and 1 to "
            f"{MOST_COLUMNS} others, each once; it is {','.join(header)[:200]!r}",
            kept="nothing was run",
            next_step=f"as in {EXAMPLE}",
        )
    return names


def _row(number: int, header: list[str], names: tuple[str, ...], cells: list[str]) -> Row:
    """Raises ValueError that says what is wrong."""
    if len(cells) != len(header):
        raise ValueError(f"{len(cells)} cells, and {len(header)} columns")
    cell = dict(zip(header, map(str.strip, cells), strict=True))
    first = _day(cell[DATE])
    last = _day(cell[UNTIL]) if cell.get(UNTIL) else first
    if not first <= last <= first + LONGEST:
        raise ValueError(f"{cell[DATE]} to {cell[UNTIL]} are no days one after the other")
    return Row(number, first, last, cell.get(SERIES) or None, tuple(_number(name, cell[name]) for name in names))


def _day(text: str) -> int:
    """Days since 1970."""
    try:
        if len(text) != len("2025-11-28"):
            raise ValueError
        return (datetime.date.fromisoformat(text) - datetime.date(1970, 1, 1)).days
    except ValueError:
        raise ValueError(f"{text!r} is no date such as 2025-11-28") from None


def _number(name: str, text: str) -> float:
    if not text:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (name == PRICE and value <= 0):
        wanted = "a price above 0" if name == PRICE else "a number (1 where it holds, 0 or nothing where not)"
        raise ValueError(f"{name} is {text!r}, not {wanted}")
    return value
