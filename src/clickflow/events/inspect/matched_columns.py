"""Which column of a file is which canonical column, by its name and by its values."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from clickflow.events import suspects
from clickflow.events.inspect.form import Look
from clickflow.events.inspect.time_forms import ENOUGH, Clock, clock_of
from clickflow.events.inspect.words import CURRENCIES, NOBODY, PLACEHOLDERS, ZONES, column_named, plain, type_named
from clickflow.events.texts import identity

NAMED = 0.5
"""The share of values that have to be times where the column is called a time."""
MAX_TYPES = 60
"""A column of more different values is no type."""
SPACES = " \u00a0\u2009\u202f"
MOST_NAMELESS = 12
"""Of more columns without a name none is taken for an id by its place."""
NUMERIC = rf"^[^\d,.+-]{{0,4}}[+-]?\d[\d.,'’\s{SPACES}]*[^\d,.]{{0,4}}$"
COMMA = re.compile(rf"[^\d]*[+-]?\d{{1,3}}(?:[.'’{SPACES}]?\d{{3}})*,\d{{1,2}}[^\d]*")
POINT = re.compile(rf"[^\d]*[+-]?\d{{1,3}}(?:[,'’{SPACES}]?\d{{3}})*\.\d+[^\d]*")
GROUPED = re.compile(rf"(?<!\d)\d{{1,3}}(['’{SPACES}])\d{{3}}(?!\d)")
THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:\.\d{3})+")
BELOW_THOUSAND = re.compile(r"\d{1,3}")
ORDER_NUMBER = r"^#\d+$"
"""Of orders, as Shopify writes them below `Name`."""
SIGN = re.compile(r"^\s*([^\d\s.,+()'\x22-]{1,4})|([^\d\s.,+()'\x22-]{1,4})\s*$")


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the file: its values without nulls, and what was seen of them."""

    name: str
    filled: pa.Array
    rows: int
    counts: Mapping[str, int]
    """Of its most frequent values."""
    distinct: int

    @property
    def share(self) -> float:
        """Which part of the rows has a value."""
        return len(self.filled) / self.rows if self.rows else 0.0

    @property
    def numeric(self) -> float:
        """Which part of its values is a number, whatever groups or names it."""
        if not len(self.filled):
            return 0.0
        numbers = pc.match_substring_regex(self.filled, NUMERIC)
        return float(pc.mean(numbers.cast(pa.int8())).as_py())


@dataclass
class Mapped:
    """Canonical column: the file's, why, and what is not sure about it."""

    columns: dict[str, str] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)
    clock: Clock | None = None
    doubts: list[str] = field(default_factory=list)

    def take(self, canonical: str, column: Column, why: str) -> None:
        """Let a column of the file be a canonical one."""
        self.columns[canonical] = column.name
        self.why[column.name] = f"{why}; {column.distinct:,} different values"
        if column.share < 0.995:
            self.why[column.name] += f", {column.share:.0%} of the rows have one"


def columns_of(look: Look, nulls: Sequence[str]) -> list[Column]:
    """Every column of the rows that were looked at."""
    columns = []
    for name in look.table.column_names:
        array = look.table[name].combine_chunks()
        array = pc.utf8_trim_whitespace(array)
        gone = pc.or_(pc.equal(pc.binary_length(array), 0), pc.is_in(array, pa.array(list(nulls), pa.string())))
        filled = array.filter(pc.invert(gone.fill_null(True)))
        counted = filled.value_counts()
        order = pc.array_sort_indices(counted.field("counts"), order="descending")[:MAX_TYPES]
        counts = {row["values"]: row["counts"] for row in counted.take(order).to_pylist()}
        columns.append(Column(name=name, filled=filled, rows=len(array), counts=counts, distinct=len(counted)))
    return columns


def mapped(look: Look, columns: Sequence[Column], con: Any) -> Mapped:
    """The canonical columns of a file, the likeliest column for each; every choice has its reason."""
    result = Mapped()
    filled = [column for column in columns if len(column.filled)]
    named: dict[str, list[tuple[int, Column]]] = {}
    for column in filled:
        meant = column_named(column.name)
        if meant:
            named.setdefault(meant[0], []).append((meant[1], column))
        elif plain(column.name) == "name" and pc.all(pc.match_substring_regex(column.filled, ORDER_NUMBER)).as_py():
            named.setdefault("session_id", []).append((0, column))
    for choices in named.values():
        choices.sort(key=lambda choice: choice[0])
    _time(result, look, filled, named, con)
    _type(result, filled, named)
    taken = set(result.columns.values())
    for canonical in ("user_id", "session_id", "item_id"):
        _id(result, canonical, [column for _, column in named.get(canonical, []) if column.name not in taken])
        taken = set(result.columns.values())
    if not look.form.header and len(columns) > MOST_NAMELESS:
        result.doubts.append(f"the file has no header: name its {len(columns)} columns in source.header")
    elif not look.form.header:
        _by_place(result, [column for column in filled if column.name not in taken])
    for canonical in ("category", "brand", "item_name", "price", "quantity", "campaign", "country", "device"):
        taken = set(result.columns.values())
        free = [column for _, column in named.get(canonical, []) if column.name not in taken]
        if canonical in ("price", "quantity"):
            free = [column for column in free if column.numeric > 0.5]
        if free:
            result.take(canonical, free[0], "by its name")
            if len(free) > 1:
                others = ", ".join(column.name for column in free[1:])
                result.doubts.append(f"{canonical}: {free[0].name}, and not {others}")
    return result


def order_choices(columns: Sequence[Column], mapping: Mapped) -> list[str]:
    """Columns that could say in which order events of one moment were."""
    taken = set(mapping.columns.values())
    choices = []
    for column in columns:
        meant = column_named(column.name)
        if meant and meant[0] == "order" and column.name not in taken and column.numeric > 0.99:
            choices.append(column.name)
    return choices


def placeholders(columns: Sequence[Column], mapping: Mapped) -> dict[str, list[str]]:
    """Ids that look like nobody or nothing, by canonical column."""
    by_name = {column.name: column for column in columns}
    by_column = {}
    for canonical in ("user_id", "session_id", "item_id"):
        column = by_name.get(mapping.columns.get(canonical, ""))
        if column is None or not column.distinct:
            continue
        # an id far beyond the others': among numbered sessions 0 is one like the rest
        bound = max(10 * column.rows / column.distinct, 0.01 * column.rows)
        likely = [
            value
            for value, n in column.counts.items()
            if (name := value.casefold()) in NOBODY or (name in PLACEHOLDERS and n > bound)
        ]
        if likely:
            by_column[canonical] = likely
    return by_column


def amounts(columns: Sequence[Column], mapping: Mapped, *, typed: bool) -> tuple[dict[str, Any], list[str]]:
    """`decimal`, `thousands` and `currency` of prices and quantities, and what is not sure; `typed`: the format knows
    numbers.
    """
    by_name = {column.name: column for column in columns}
    values = [
        v
        for c in ("price", "quantity")
        if c in mapping.columns
        for v in by_name[mapping.columns[c]].filled[:2000].to_pylist()
    ]
    settings: dict[str, Any] = {}
    doubts = []
    comma = sum(bool(COMMA.fullmatch(value)) for value in values)
    point = sum(bool(POINT.fullmatch(value)) for value in values)
    groups = sum(bool(re.search(r"\d,\d{3}(?!\d)", value)) for value in values)
    apart = [match[1] for value in values if (match := GROUPED.search(value))]
    if comma > point:
        settings["decimal"] = ","
        if any("." in value for value in values):
            settings["thousands"] = "."
        elif apart:
            settings["thousands"] = _mark(apart)
    elif apart:
        settings["thousands"] = _mark(apart)
    elif not typed and _points_group(values):
        settings |= {"decimal": ",", "thousands": "."}
        doubts.append("numbers such as 1.299 may be thousands or decimals: they are taken for thousands")
    elif groups:
        settings["thousands"] = ","
        if not point:
            doubts.append("numbers such as 1,299 may be thousands or decimals: they are taken for thousands")
    signs = [match[1] or match[2] for value in values if (match := SIGN.search(value))]
    if len(signs) > 0.05 * len(values):
        settings["currency"] = sorted(set(signs))
        if len(settings["currency"]) > 1:
            doubts.append(f"several currencies ({', '.join(settings['currency'])}): prices are not converted")
    return settings, doubts


def _mark(apart: Sequence[str]) -> str:
    """What groups digits most often, where no comma and no point does; any white space stands for all of it."""
    mark = max(sorted(set(apart)), key=apart.count)
    return " " if mark.isspace() else mark


def _points_group(values: Sequence[str]) -> bool:
    """Whether points group digits: three stand behind each, and what has none is below a thousand."""
    pointed = [value for value in values if "." in value]
    whole = [value for value in values if "." not in value]
    return (
        len(pointed) >= 20
        and all(THOUSANDS.fullmatch(value) for value in pointed)
        and all(BELOW_THOUSAND.fullmatch(value) for value in whole)
    )


def suspicions(columns: Sequence[Column], mapping: Mapped) -> Iterator[str]:
    """What values of persons, visits and free texts leave unsure; items are looked at in all files that are tried."""
    by_name = {column.name: column for column in columns}
    for canonical in ("user_id", "session_id"):
        if column := by_name.get(mapping.columns.get(canonical, "")):
            ids = identity(column.filled.unique())[0].unique()
            yield from suspects.of_spelling(canonical, ids)
            yield from suspects.of_numbers(canonical, ids)
    for canonical in ("category", "brand", "campaign", "item_name"):
        if column := by_name.get(mapping.columns.get(canonical, "")):
            yield from suspects.of_addresses(canonical, column.filled.unique())
    if mapping.clock is not None and mapping.clock.zoned < 1:
        for column in columns:
            if plain(column.name.rpartition(".")[2]) in ZONES and column.distinct:
                some = ", ".join(list(column.counts)[:5])
                yield f"the zone of its times stands in {column.name} ({some}), which is not read: write it behind them"
    for column in columns:
        if plain(column.name) in CURRENCIES and column.distinct > 1 and "price" in mapping.columns:
            some = ", ".join(list(column.counts)[:5])
            yield f"prices are in several currencies, as {column.name} says ({some}): they are read as one"


def _time(
    result: Mapped, look: Look, filled: Sequence[Column], named: Mapping[str, list[tuple[int, Column]]], con: Any
) -> None:
    choices = [column for _, column in named.get("event_time", [])]
    rest = [column for column in filled if column not in choices]
    seen: list[tuple[Column, Clock]] = []
    for column in [*choices, *(rest if not choices else [])]:
        if column.name in look.form.clocks:
            zoned, date_only = look.form.clocks[column.name]
            why = "a date by its type" if date_only else "a time by its type"
            clock: Clock | None = Clock(None, 1.0, column.distinct, float(zoned), why, (), date_only)
        else:
            clock = clock_of(column.filled, con, NAMED if column in choices else ENOUGH)
        if clock is not None:
            seen.append((column, clock))
    if not seen and choices:
        for column in rest:
            clock = clock_of(column.filled, con)
            if clock is not None:
                seen.append((column, clock))
    if not seen:
        for column in choices:
            if pc.all(pc.match_substring_regex(column.filled, r"^\d{19}$")).as_py():
                result.doubts.append(
                    f"{column.name} holds nanoseconds since 1970, which are not read: write microseconds"
                )
        return
    # of several times the one that tells most moments apart
    best = max(range(len(seen)), key=lambda at: (seen[at][1].resolution > 2 * seen[0][1].resolution, -at))
    column, clock = seen[best]
    result.clock = clock
    result.take("event_time", column, f"{'by its name; ' if column in choices else ''}{clock.why}")
    result.doubts += clock.doubts
    if clock.share < 0.995:
        result.doubts.append(f"event_time: {1 - clock.share:.1%} of the times in {column.name} are not of that form")
    if column not in choices:
        result.doubts.append(f"event_time: {column.name}, by its values alone")
    if clock.date_only:
        for other in filled:
            if pc.all(pc.match_substring_regex(other.filled, r"^\d{1,2}:\d{2}(:\d{2})?")).as_py():
                result.doubts.append(
                    f"the time of day stands in {other.name}: write both into one column, date alone is read"
                )
    others = [other.name for other, _ in seen if other is not column]
    if others:
        result.doubts.append(f"event_time: {column.name}, and not {', '.join(others)}, which could be times too")


def _type(result: Mapped, filled: Sequence[Column], named: Mapping[str, list[tuple[int, Column]]]) -> None:
    taken = set(result.columns.values())
    choices = [column for _, column in named.get("event_type", []) if column.name not in taken]
    known = {
        column.name: sum(n for v, n in column.counts.items() if type_named(v)) / len(column.filled) for column in filled
    }
    good = [
        column for column in choices if column.distinct <= MAX_TYPES and (known[column.name] > 0 or column.distinct > 1)
    ]
    good.sort(key=lambda column: -known[column.name])
    if good:
        result.take("event_type", good[0], "by its name and values" if known[good[0].name] else "by its name")
        return
    by_value = [c for c in filled if c.name not in taken and c.distinct <= MAX_TYPES and known[c.name] > 0.5]
    if by_value:
        result.take("event_type", by_value[0], "by its values")
        result.doubts.append(f"event_type: {by_value[0].name}, by its values alone")


def _id(result: Mapped, canonical: str, choices: Sequence[Column]) -> None:
    good = []
    for column in choices:
        if canonical == "session_id" and column.share < 0.5:
            result.doubts.append(f"session_id: {column.name} is left out, {column.share:.0%} of the rows have one")
        elif column.name == canonical:
            good.append(column)  # it is taken by its name, whatever is said
        elif canonical != "item_id" and column.distinct == len(column.filled) and column.rows > 20:
            result.doubts.append(f"{canonical}: {column.name} is left out, no value of it comes twice")
        else:
            good.append(column)
    if not good:
        return
    result.take(canonical, good[0], "by its name")
    if len(good) > 1:
        result.doubts.append(f"{canonical}: {good[0].name}, and not {', '.join(column.name for column in good[1:])}")
    most, count = next(iter(good[0].counts.items()))
    if count > 0.2 * good[0].rows and good[0].distinct > 20:
        result.doubts.append(
            f"{canonical}: {count / good[0].rows:.0%} of the rows have {most!r}: one {canonical[:-3]}, or none?"
        )


def _by_place(result: Mapped, rest: Sequence[Column]) -> None:
    """Columns without a name: the ids by their order, as most logs have them."""
    ids = [
        column
        for column in rest
        if column.distinct > 1
        and column.share > 0.5
        and not (column.distinct == len(column.filled) and column.rows > 20)
        and not column.filled[0].as_py().startswith(("{", "["))
    ]
    if result.columns.get("user_id") or result.columns.get("item_id") or len(ids) < 2:
        return
    result.take("user_id", ids[0], "the first id")
    result.take("item_id", ids[1], "the second id")
    result.doubts.append(
        f"the file has no header: column {ids[0].name} is taken for the user (or session), {ids[1].name} for the item"
    )
