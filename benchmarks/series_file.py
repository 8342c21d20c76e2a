"""Files of series, CSV `series_id,date,units[,price]`, as panels: what is read, what is not, and what is said of it."""

import csv
import datetime
import gzip
import io
import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.forecasting.panel import Panel, Step, panel, period, whole_periods
from clickflow.system.errors import DataError, UsageError, nearest

Array = NDArray[Any]

COLUMNS = ("series_id", "date", "units")
PRICE = "price"
DELIMITERS = (",", ";", "\t", "|")
DAY = re.compile(
    r"(\d{4})(?:-(\d{1,2})-(\d{1,2})|/(\d{1,2})/(\d{1,2})|(\d\d)(\d\d))"
    r"(?P<time>[T ]\d\d?(?::?\d\d(?::?\d\d(?:[.,]\d+)?)?)? ?(?:Z|UTC|[+-]\d\d(?::?\d\d)?)?)?"
)
"""2024-03-01, 2024/3/1, 20240301, and any of them with a time, which is not read: the day counts as it is written."""
MONTH = re.compile(r"(\d{4})-(\d\d?)")
WEEK = re.compile(r"(\d{4})-?W(\d\d)")
NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
COMMA = re.compile(r"[+-]?\d*,\d+")
SEVERAL = 4
"""Dates from which on their distances say what they are dates of."""
LONGEST_GAP = 1100
"""Days without a row of any series: more is a date that is none, such as 1900-01-01."""
EXAMPLE = "2024-03-01"


@dataclass
class Rows:
    """What the rows say: codes of series and of dates, units, prices [n] each; the names and days of the codes.

    `timed`: rows with a time of day; `blank`: lines without a value; `unpriced`: rows whose price is no number above 0.
    """

    ids: dict[str, int] = field(default_factory=dict)
    days: dict[str, int] = field(default_factory=dict)
    day: list[int] = field(default_factory=list)
    """Days since 1970 of each date as it is written."""
    series: list[int] = field(default_factory=list)
    date: list[int] = field(default_factory=list)
    units: list[float] = field(default_factory=list)
    price: list[float] = field(default_factory=list)
    timed: int = 0
    blank: int = 0
    unpriced: int = 0
    commas: int = 0
    points: int = 0
    trimmed: int = 0
    ignored: tuple[str, ...] = ()
    priced: bool = False


@dataclass(frozen=True)
class SeriesFile:
    """The panel of a file, and what was read otherwise than it stands there, a sentence each."""

    panel: Panel
    notes: tuple[str, ...]


def read(file: Path, step: Step) -> SeriesFile:
    """The panel of a CSV. Raises UsageError, and DataError with the line where it cannot be read."""
    rows = _rows(file, step)
    if not rows.units:
        raise DataError(f"{file} has no rows", kept="nothing was run")
    notes = _said(rows)
    days = np.array(rows.day, np.int64)[rows.date].astype("datetime64[D]")
    notes += _check_dates(file, days, step)
    names = np.array(list(rows.ids), object)
    order = np.array(sorted(range(len(names)), key=names.__getitem__))
    code = np.empty(len(names), np.int64)
    code[order] = np.arange(len(names))
    series, units = code[rows.series], np.array(rows.units)
    notes += _repeated(series, np.array(rows.date), units)
    whole = whole_periods(days, step)
    if not whole.any():
        raise DataError(f"{file} covers no whole {step}", kept="nothing was run", next_step="give a longer file")
    if not whole.all():
        gone = len(np.unique(series)) - len(np.unique(series[whole]))
        notes.append(
            f"{(~whole).sum():,} rows, {units[~whole].sum():,.10g} units, of a {step} that the file does not cover are "
            f"left out{f', and with them {gone:,} series' if gone else ''}"
        )
    kept, at = np.unique(series[whole], return_inverse=True)
    price = np.array(rows.price)[whole] if rows.priced else None
    notes += _missing(at, period(days[whole], step), step)
    held = panel(at, days[whole], units[whole], step=step, price=price)
    held, below = Panel(held.values, step, held.start, tuple(names[order[kept]].tolist()), held.price).not_negative()
    if below:
        notes.append(f"{below:,} periods have fewer than 0 units (returns): read as 0")
    if not np.nansum(held.values):
        raise DataError(f"{file} holds no sale: all units are 0", kept="nothing was run")
    if never := int((np.nansum(held.values, 1) == 0).sum()):
        notes.append(
            f"{never:,} series of {len(held.values):,} sold nothing at all: they are asked about as the others"
        )
    return SeriesFile(held, tuple(notes))


def _rows(file: Path, step: Step) -> Rows:
    """All rows, or DataError that counts those that cannot be read and names the first."""
    out = Rows()
    first, bad, line = "", 0, 1
    try:
        with _opened(file) as text:
            above, reader, at = _header(file, text, out)
            line = above
            for row in reader:
                line = above + reader.line_num
                if not any(map(str.strip, row)):
                    out.blank += 1
                elif wrong := _row(row, at, out, reader.dialect.delimiter, step):
                    bad += 1
                    first = first or f"line {line}: {wrong}"
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file} is no text in UTF-8: {error}",
            kept="nothing was run",
            next_step="save it as CSV in UTF-8, plain or gzip",
        ) from error
    except csv.Error as error:
        raise DataError(
            f"{file}, line {line + 1} or after it: {error}",
            kept="nothing was run",
            next_step='a quote that opens a field must close it, and one within it is written twice: "12"" pan"',
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file} cannot be read: {error}", kept="nothing was run") from error
    if bad:
        raise DataError(
            f"{file}: {bad:,} of {bad + len(out.units):,} rows cannot be read; the first is {first}",
            kept="nothing was run",
            next_step="put them right, or take them out of the file",
        )
    if out.commas and out.points:
        raise DataError(
            f"{file}: {out.commas:,} numbers have a decimal comma, {out.points:,} a point",
            kept="nothing was run",
            next_step="write all with a point, and none with a sign between thousands",
        )
    return out


def _opened(file: Path) -> io.TextIOWrapper:
    if not file.is_file():
        raise UsageError(f"there is no file {file}", kept="nothing was run")
    with file.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    opened: Any = gzip.open if packed else open
    text: io.TextIOWrapper = opened(file, "rt", encoding="utf-8-sig", newline="")
    return text


def _header(file: Path, text: Iterator[str], out: Rows) -> tuple[int, Any, dict[str, int]]:
    """How many lines lie before the rows, the reader of these, and where each column stands."""
    above, line = 1, next(text, "")
    while line and not line.strip():
        above, line = above + 1, next(text, "")
    if not line:
        raise DataError(f"{file} is empty", kept="nothing was run")
    named = {mark: _names(line, mark) for mark in DELIMITERS}
    mark = max(DELIMITERS, key=lambda mark: len(set(COLUMNS) & set(named[mark])))
    names = named[mark]
    if missing := [name for name in COLUMNS if name not in names]:
        hints = "".join(nearest(name, names) for name in missing[:1])
        raise DataError(
            f"{file} has no column {', '.join(missing)}; it has {', '.join(map(repr, names))}{hints}",
            kept="nothing was run",
            next_step="name the columns series_id,date,units and, where there are prices, price in the first line",
        )
    if twice := [name for name in (*COLUMNS, PRICE) if names.count(name) > 1]:
        raise DataError(f"{file} has several columns {twice[0]}", kept="nothing was run", next_step="keep one of them")
    out.priced = PRICE in names
    out.ignored = tuple(
        name or f"the {at + 1}. without a name" for at, name in enumerate(names) if name not in (*COLUMNS, PRICE)
    )
    at = {name: names.index(name) for name in (*COLUMNS, PRICE) if name in names}
    at["fields"] = len(names)
    return above, csv.reader(text, delimiter=mark, strict=True), at


def _names(line: str, mark: str) -> list[str]:
    row = next(csv.reader([line], delimiter=mark), [])
    return [name.strip().lower() for name in row]


def _row(row: list[str], at: dict[str, int], out: Rows, mark: str, step: Step) -> str:
    """Add a row to `out`; what is wrong with it, where it cannot be."""
    if len(row) < at["units"] + 1 or len(row) < at["date"] + 1 or any(map(str.strip, row[at["fields"] :])):
        return f"it has {len(row)} fields, the first line {at['fields']}"
    name, date, units = (row[at[name]].strip() for name in COLUMNS)
    out.trimmed += name != row[at["series_id"]]
    if not name:
        return "it has no series_id"
    if date not in out.days:
        day, wrong = _day(date, step)
        if wrong:
            return wrong
        out.days[date] = len(out.day)
        out.day.append(day)
    number = _number(units, mark, out)
    if not math.isfinite(number):
        return f"units {units!r} is no number"
    out.series.append(out.ids.setdefault(name, len(out.ids)))
    out.date.append(out.days[date])
    out.units.append(number)
    out.timed += len(date) > 10
    if out.priced:
        price = _number(row[at[PRICE]].strip() if at[PRICE] < len(row) else "", mark, out)
        out.unpriced += not (math.isfinite(price) and price > 0)
        out.price.append(price)
    return ""


def _number(text: str, mark: str, out: Rows) -> float:
    """The number of a field; NaN where it is none."""
    if NUMBER.fullmatch(text):
        out.points += mark == ";" and "." in text
        return float(text)
    if mark != "," and COMMA.fullmatch(text):
        out.commas += 1
        return float(text.replace(",", "."))
    return math.nan


def _day(text: str, step: Step) -> tuple[int, str]:
    """Days since 1970 of a date, and what is wrong with it."""
    try:
        if match := DAY.fullmatch(text):
            parts = [int(part) for part in match.groups()[:7] if part is not None]
            return _since(datetime.date(*parts)), ""
        for form, what in ((MONTH, "month"), (WEEK, "week")):
            if match := form.fullmatch(text):
                if step != what:
                    return 0, f"date {text!r} is a {what}, and --step is {step}"
                one, two = map(int, match.groups())
                day = datetime.date(one, two, 1) if what == "month" else datetime.date.fromisocalendar(one, two, 1)
                return _since(day), ""
    except ValueError:
        return 0, f"date {text!r} is no day of the calendar"
    return 0, f"date {text!r} is not written as {EXAMPLE}"


def _since(day: datetime.date) -> int:
    return day.toordinal() - datetime.date(1970, 1, 1).toordinal()


def _said(rows: Rows) -> list[str]:
    """What was read otherwise than it stands in the file."""
    priced, count = len(rows.units) - rows.unpriced, len(rows.units)
    sentences = (
        (len(rows.ignored), f"columns that are not read: {', '.join(rows.ignored)}"),
        (rows.blank, f"{rows.blank:,} lines hold nothing: passed over"),
        (rows.trimmed, f"{rows.trimmed:,} rows have spaces about their series_id: taken off"),
        (rows.commas, f"{rows.commas:,} numbers have a decimal comma"),
        (rows.timed, f"{rows.timed:,} rows name a time of day: the day counts as it is written, whatever its zone"),
        (
            rows.priced and rows.unpriced,
            f"{rows.unpriced:,} rows of {count:,} have a price that is no number above 0: it is not known there"
            + ("" if priced else ", so no price is read"),
        ),
    )
    rows.priced = rows.priced and priced > 0
    return [sentence for there, sentence in sentences if there]


def _repeated(series: Array, date: Array, units: Array) -> list[str]:
    """Rows of a series and date that another row names too."""
    order = np.lexsort((units, date, series))
    again = (np.diff(series[order]) == 0) & (np.diff(date[order]) == 0)
    same = again & (np.diff(units[order]) == 0)
    if not again.any():
        return []
    return [
        f"{again.sum():,} rows name a series and date that another row names, {same.sum():,} of them with the same "
        "units: summed; take repeats out of the file"
    ]


def _missing(series: Array, number: Array, step: Step) -> list[str]:
    """Periods that no row names, and what `panel` takes them for."""
    low = number.min()
    width = int(number.max() - low) + 1
    pairs = np.unique(series * width + (number - low))
    of, at = pairs // width, pairs % width
    count = np.bincount(of)
    first, last = np.full(len(count), width), np.zeros(len(count), np.int64)
    np.minimum.at(first, of, at)
    np.maximum.at(last, of, at)
    missing = last - first + 1 - count
    late, early = int((first > 0).sum()), int((last < width - 1).sum())
    notes = []
    if late:
        notes.append(f"{late:,} series begin after the first {step} of the file: they are not known before")
    if missing.any():
        ends = f"; {early:,} series that end before the file run on to its end, at 0" if early else ""
        notes.append(
            f"{missing.sum():,} {step}s between a series' first and last row, of {(missing > 0).sum():,} series, have "
            f"no row: read as 0 units{ends}"
        )
    elif early:
        notes.append(
            f"{early:,} series end before the file does: they are asked about up to their last row, as no {step} "
            "before it is missing"
        )
    return notes


def _check_dates(file: Path, days: Array, step: Step) -> list[str]:
    """What is to be said of the dates. Raises DataError where they are of another step, or one lies far from all
    others.
    """
    unique = np.unique(days)
    apart = np.diff(unique).astype(np.int64)
    if len(apart) and apart.max() > LONGEST_GAP:
        at = int(np.argmax(apart))
        raise DataError(
            f"{file} has no row between {unique[at]} and {unique[at + 1]}, {apart[at]:,} days",
            kept="nothing was run",
            next_step="take out what lies on the one side of it: a date that is none, or another time",
        )
    if len(unique) < SEVERAL:
        return []
    month = unique.astype("datetime64[M]")
    place = (unique - month.astype("datetime64[D]")).astype(np.int64)
    ends = (unique + 1).astype("datetime64[M]") > month
    monthly = len(np.unique(month)) == len(unique) and (len(np.unique(place)) == 1 or ends.all())
    months, weeks = np.diff(month).astype(np.int64), np.diff(period(unique, "week"))
    for there, what, other in (
        (step != "month" and monthly, "one day of each month alone", "--step month"),
        (step == "day" and not monthly and not (apart % 7).any(), "one day of each week alone", "--step week"),
        (step == "week" and not (weeks % 2).any() and weeks.all(), "every other week, or fewer", "--step month"),
        (step == "month" and not (months % 3).any() and months.all(), "every third month, or fewer", ""),
    ):
        if there:
            raise DataError(
                f"{file} names {what}, from {unique[0]} to {unique[-1]}: by --step {step} all between would be 0 units",
                kept="nothing was run",
                next_step=f"run it with {other}" if other else "give a file with a row for each month",
            )
    if step == "month" and not monthly and not (apart % 7).any():
        return ["the file names one day of each week alone: its months are of four weeks or of five"]
    return []
