"""A shop's plan as a file: CSV `date[,until][,series_id],COLUMN…`, promotions and prices of days past and ahead."""

import csv
import datetime
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.params.schema import Params
from clickflow.sequences.plan import EVERY, PRICE, Plan
from clickflow.sequences.units import UNITS
from clickflow.system.errors import DataError, UsageError, nearest

Array = NDArray[Any]

FOLDER = "plans"
"""Of the repository, one a unit in it: a run's clone has the files of its commit, and dvc.lock their hashes."""
DATE, UNTIL, SERIES = "date", "until", "series_id"
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

    def of(self, ids: Sequence[str], first: int = 0) -> tuple[Plan, tuple[str, ...]]:
        """The plan of series by their ids, numbered from `first` on, and the series that it names beside. Raises
        DataError where two rows say different things of one day.
        """
        place = {name: number for number, name in enumerate(ids, first)}
        rows = [row for row in self.rows if row.series is None or row.series in place]
        unknown = dict.fromkeys(row.series for row in self.rows if row.series and row.series not in place)
        plan = Plan(
            self.names,
            np.array([EVERY if row.series is None else place[row.series] for row in rows], np.int64),
            np.array([row.first for row in rows], np.int64),
            np.array([row.last + 1 for row in rows], np.int64),
            np.array([row.values for row in rows], np.float64).reshape(len(rows), len(self.names)),
        )
        self._agree(plan, np.array([row.line for row in rows], np.int64))
        return plan, tuple(unknown)

    def notes(
        self, plan: Plan, ids: Sequence[str], unknown: Sequence[str], *, trained: int, end: int, until: int
    ) -> Iterator[str]:
        """What is to be said of what `of` gave. `trained`: the day up to which a model learns; `end`, `until`: the
        first day ahead, and the one after the last that is forecast; days since 1970.
        """
        file = self.file.name
        if unknown:
            yield (
                f"{len(unknown):,} series of {file} are not forecast ({unknown[0]}"
                f"{nearest(unknown[0], ids[:10_000])}): what it plans of them is not used"
            )
        for number, name in enumerate(plan.names):
            values = plan.values[:, number]
            there = ~np.isnan(values) & ((values != 0) | (name == PRICE))
            if not (there & (plan.first < trained)).any():
                yield (
                    f"{name} is planned on no day before {_date(trained)}, up to which a model learns: what it does is "
                    "not known, and taken for nothing"
                )
        last = int(plan.stop.max(initial=0))
        if last < until:
            after = f"plans nothing after {_date(last - 1)}" if last else "plans no series that is forecast"
            days = until - max(last, end)
            yield f"{file} {after}: {days:,} of {until - end:,} days ahead are forecast without a plan"

    def _agree(self, plan: Plan, lines: Array) -> None:
        length = plan.stop - plan.first
        row = np.repeat(np.arange(len(length)), length)
        day = plan.first[row] + np.arange(len(row)) - np.repeat(np.cumsum(length) - length, length)
        order = np.lexsort((day, plan.series[row]))
        row, day = row[order], day[order]
        for number in range(len(self.names)):
            said = plan.values[row, number]
            there = np.flatnonzero(~np.isnan(said))
            series, days, said = plan.series[row[there]], day[there], said[there]
            same = (np.diff(series) == 0) & (np.diff(days) == 0) & (np.diff(said) != 0)
            if len(at := np.flatnonzero(same)):
                two = sorted(lines[row[there[at[0] : at[0] + 2]]].tolist())
                raise DataError(
                    f"{self.file}: lines {two[0]} and {two[1]} say different things of the same day",
                    kept="nothing was run",
                    next_step="leave one of them",
                )


def of_params(params: Params, unit: str, root: Path) -> PlanFile | None:
    """The plan that params name, below `FOLDER` of a repository; None where they name none. Raises UsageError where it
    is not there, or a link leads out; DataError with the line where it cannot be read.
    """
    name = getattr(getattr(params.sequences, UNITS[unit].section), "plan", "") if unit in UNITS else ""
    if not name:
        return None
    folder = root / FOLDER / unit
    file = folder / name
    if not file.resolve().is_relative_to(folder.resolve()):
        raise UsageError(
            f"sequences.{unit}.plan: {name} leads out of {FOLDER}/{unit}",
            kept="nothing was run",
            next_step=f"put the file itself into {FOLDER}/{unit}, and commit it",
        )
    if not file.is_file():
        there = sorted(each.name for each in folder.glob("*.csv"))
        raise UsageError(
            f"sequences.{unit}.plan: there is no {FOLDER}/{unit}/{name}{nearest(name, there)}",
            kept="nothing was run",
            next_step="put it there, and commit it: a run reads the files of its commit",
        )
    return read(file)


def _date(day: int) -> str:
    return str(np.datetime64(day, "D"))


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
