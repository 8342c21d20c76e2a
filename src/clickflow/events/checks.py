"""From text to canonical events: every check is one vectorised pass, and a row may fail several.

A row's faults are a mask of `rows.BIT`; 0 is a good row.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from clickflow.events import amounts, clocks, texts, times
from clickflow.events.contract import EVENT_TYPES, GROUPS, IDENTITIES, NEEDS_ITEM, SCHEMA
from clickflow.events.event_types import nulls_of, resolver
from clickflow.events.forgotten import NOBODY, Forgotten
from clickflow.events.presets import IGNORE
from clickflow.events.pseudonyms import pseudonyms
from clickflow.events.rows import BIT
from clickflow.events.shapes import shape
from clickflow.events.unread import Unread

OPTIONAL = ("category", "brand", "campaign", "item_name", *GROUPS)
"""Those among them that an event means something without."""
WHOLE = 2.0**53
"""Whole numbers are exact up to here."""
UNKNOWN, LEFT_OUT = -1, -2
"""Codes beside those of types."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a good row is. Times are microseconds since 1970, UTC."""

    event_types: Mapping[str, str]
    nulls: Mapping[str, Sequence[str]]
    """Texts that stand for nothing, by column; "*": in every column."""
    decimal: str
    thousands: str | None
    currency: Sequence[str]
    time_format: str | None
    timezone: str
    cancel_prefix: str
    latest: int
    """Events after this are in the future."""
    max_text_length: int
    bad_optional: str
    """empty: an optional value that cannot be read is left empty, and counted; quarantine: it costs the row."""
    require_user: bool
    key: bytes
    """The secret of the pseudonyms."""
    forgotten: Forgotten = NOBODY
    """People whose rows are kept nowhere."""


@dataclass(frozen=True)
class Checked:
    """The rows of a block: canonical (and without meaning where the mask is not 0), and their faults.

    Rows of `ignored` types are neither good nor bad; `types_ignored` counts them by type. Nor are those of `forgotten`
    people, which are of no ignored type. `unread` has column, reason, which good rows had an optional value that could
    not be read, and those values. `currencies` counts the prices of good rows by what is written beside them.
    `swapped` counts the times that would be some with day and month changed over, `rounded` by column the long numbers
    that are ids (see `texts.rounded`).
    """

    table: pa.Table
    mask: NDArray[np.int32]
    ignored: Mask
    forgotten: Mask
    types_ignored: Mapping[str, int]
    swapped: int
    rounded: Mapping[str, tuple[int, int, int, int]]
    unread: Sequence[tuple[str, str, NDArray[np.int64], pa.Array]]
    currencies: Mapping[str, int]

    @property
    def good(self) -> Mask:
        """Rows that are accepted."""
        good: Mask = (self.mask == 0) & ~self.ignored & ~self.forgotten
        return good

    @property
    def bad(self) -> Mask:
        """Rows for quarantine."""
        bad: Mask = (self.mask != 0) & ~self.ignored & ~self.forgotten
        return bad

    def unread_at(self, lines: NDArray[np.int64]) -> Unread:
        """What could not be read, where the rows stand on `lines`."""
        unread: dict[str, dict[str, dict[str, Any]]] = {}
        for column, reason, rows, values in self.unread:
            first = int(np.argmin(lines[rows]))
            seen = {"count": len(rows), "line": int(lines[rows[first]]), "text": shape(str(values[first].as_py()))}
            unread.setdefault(column, {})[reason] = seen
        return unread


def check(table: pa.Table, rules: Rules, con: Any) -> Checked:
    """Check rows whose columns are canonical but hold what the source holds.

    `con` is a DuckDB connection of this thread.
    """
    count = table.num_rows
    mask = np.zeros(count, np.int32)
    unread: list[tuple[str, str, Mask, pa.Array]] = []

    def flag(reason: str, bad: Mask) -> None:
        mask[bad] |= BIT[reason]

    def spoil(name: str, reason: str, bad: Mask, values: pa.Array) -> None:
        """An optional value that cannot be read."""
        if rules.bad_optional == "quarantine":
            flag(reason, bad)
        elif bad.any():
            unread.append((name, reason, bad, values))

    text = _texts(table, rules, flag, spoil)
    rounded = {name: texts.rounded(text[name]) for name in ("user_id", "session_id", "item_id")}
    (micros, known, clock), swapped = _time(table, text["session_id"], rules, con)
    known &= micros >= 0
    flag("unparseable_time", ~known)
    flag("ambiguous_time", known & (clock == clocks.TWICE))
    flag("nonexistent_time", known & (clock == clocks.NEVER))
    flag("future_time", known & (micros > rules.latest))

    kind, typed, ignored, types_ignored = _types(text["event_type"], rules.event_types)
    flag("unknown_type", ~typed)
    if rules.cancel_prefix and text["session_id"].null_count < count:
        starts = pc.starts_with(text["session_id"], rules.cancel_prefix).fill_null(False)
        cancelled = np.asarray(starts.to_numpy(zero_copy_only=False), bool)
        kind = np.where(cancelled & typed, EVENT_TYPES.index("cancel"), kind)
    else:
        cancelled = np.zeros(count, bool)
    needs = np.array([name in NEEDS_ITEM for name in EVENT_TYPES])
    flag("null_item", typed & needs[kind] & ~texts.valid(text["item_id"]))
    user = texts.valid(text["user_id"])
    flag("null_user_and_session", ~user & ~texts.valid(text["session_id"]))
    if rules.require_user:
        flag("null_user", ~user)

    price, priced, bad, prices = _amount(table, "price", rules, con)
    spoil("price", "bad_number", bad, prices)
    # a number beside which no currency may stand has none
    written = (bad | priced if rules.currency else bad) & (prices.type == pa.string())
    flag("negative_price", priced & (price < 0))
    quantity, counted, bad, shown = _amount(table, "quantity", rules, con)
    quantity = np.where(cancelled, -quantity, quantity)
    whole = (quantity == np.floor(quantity)) & (np.abs(quantity) <= WHOLE)
    spoil("quantity", "bad_number", bad | counted & ~whole, shown)
    counted &= whole
    flag("negative_quantity", counted & (quantity < 0))
    flag("zero_quantity", counted & (quantity == 0))

    order, ordered, bad = _whole(table, "order", rules, con)
    flag("bad_order", bad)

    names = pa.DictionaryArray.from_arrays(pa.array(kind.astype(np.int8)), pa.array(EVENT_TYPES))
    columns = {
        "event_time": pa.array(np.where(known, micros, 0)).cast(pa.timestamp("us", tz="UTC")),
        "event_type": names.dictionary_decode(),
        "user_id": pseudonyms(text["user_id"], rules.key, "user"),
        "session_id": pseudonyms(text["session_id"], rules.key, "session"),
        "item_id": text["item_id"],
        "category": text["category"],
        "brand": text["brand"],
        # adding zero makes -0.0 a plain 0.0: equal prices have equal bytes
        "price": pa.array(price + 0.0, mask=~priced),
        "quantity": pa.array(np.where(counted, quantity, 0).astype(np.int64), mask=~counted),
        "campaign": text["campaign"],
        "order": pa.array(order, mask=~ordered),
        **{name: text[name] for name in ("item_name", *GROUPS)},
    }
    forgotten = rules.forgotten.rows(columns["user_id"], columns["session_id"])
    forgotten |= rules.forgotten.earlier(text["user_id"], text["session_id"])
    forgotten &= ~ignored
    good = (mask == 0) & ~ignored & ~forgotten
    left = [(name, reason, np.flatnonzero(bad & good), values) for name, reason, bad, values in unread]
    return Checked(
        pa.table(columns, schema=SCHEMA),
        mask,
        ignored,
        forgotten,
        types_ignored,
        swapped,
        {name: counts for name, counts in rounded.items() if counts[0]},
        [(name, reason, rows, values.take(pa.array(rows))) for name, reason, rows, values in left if len(rows)],
        _currencies(prices, np.flatnonzero(written & good), rules),
    )


def _texts(
    table: pa.Table,
    rules: Rules,
    flag: Callable[[str, Mask], None],
    spoil: Callable[[str, str, Mask, pa.Array], None],
) -> dict[str, pa.Array]:
    """The columns of text as they are kept, their faults flagged: of an optional value that is spoilt, none."""
    count = table.num_rows
    text = {name: _text(table, name, rules) for name in ("event_type", *IDENTITIES)}
    for name, column in text.items():
        if column.null_count == count:
            continue
        flag("broken_encoding", _has_nul(column))
        faults = {"not_scalar": texts.structures(column)}
        long = texts.lengths(column) > rules.max_text_length
        if name == "item_name":  # a title may be long: that is no fault of the event
            faults["too_long"] = long
        else:
            flag("too_long", long)
        if name in IDENTITIES:
            text[name], faults["inexact_id"] = texts.identity(column)
        if name not in OPTIONAL or rules.bad_optional == "quarantine":
            for reason, bad in faults.items():
                flag(reason, bad)
            continue
        gone = np.zeros(count, bool)
        for reason, bad in faults.items():
            spoil(name, reason, bad & ~gone, column)
            gone |= bad
        if gone.any():
            text[name] = texts.with_nulls(text[name], gone | ~texts.valid(column))
    return text


def _currencies(prices: pa.Array, rows: NDArray[np.int64], rules: Rules) -> dict[str, int]:
    """How many of the prices in `rows` are written with each currency."""
    if not len(rows):
        return {}
    seen = amounts.currencies(prices.take(pa.array(rows)), rules.currency)
    return {str(each["values"]): int(each["counts"]) for each in pc.value_counts(seen.drop_null()).to_pylist()}


def _text(table: pa.Table, name: str, rules: Rules) -> pa.Array:
    if name not in table.column_names:
        return pa.nulls(table.num_rows, pa.string())
    return texts.cleaned(table[name], _nulls(name, rules))


def _nulls(name: str, rules: Rules) -> list[str]:
    return nulls_of(rules.nulls, name, rules.event_types)


def _has_nul(array: pa.Array) -> NDArray[np.bool_]:
    if not (texts.letters(array) == 0).any():
        return np.zeros(len(array), bool)
    nul = pc.match_substring(array, "\0").fill_null(False)
    return np.asarray(nul.to_numpy(zero_copy_only=False), bool)


def _time(table: pa.Table, session: pa.Array, rules: Rules, con: Any) -> tuple[times.Times, int]:
    """The times, and how many more there would be with day and month changed over."""
    column = table["event_time"].combine_chunks()
    if column.type != pa.string():
        return times.from_arrow(column, rules.timezone), 0
    text = texts.cleaned(column, _nulls("event_time", rules))
    if rules.time_format == "order":
        micros, known = times.in_order(session, text, con)
        return times.Times(micros, known, np.zeros(len(micros), np.int8)), 0
    moments = times.parse(text, rules.time_format, rules.timezone, con)
    return moments, times.swapped(text, moments.known, rules.time_format, con)


def _types(column: pa.Array, mapped: Mapping[str, str]) -> tuple[NDArray[np.int64], Mask, Mask, dict[str, int]]:
    """Action codes, which rows have one, which are to be ignored, and how many of these by type ("*": of the rest)."""
    kinds = {name: code for code, name in enumerate(EVENT_TYPES)} | {IGNORE: LEFT_OUT}
    resolve = resolver(mapped)
    coded = column.dictionary_encode()
    resolved = [resolve(name) for name in [*coded.dictionary.to_pylist(), None]]
    codes = np.array([UNKNOWN if kind is None else kinds[kind] for _, kind in resolved], np.int64)
    index = coded.indices.fill_null(len(codes) - 1).to_numpy(zero_copy_only=False)
    types = codes[index]
    ignored = types == LEFT_OUT
    counts: dict[str, int] = {}
    if ignored.any():
        for at, number in enumerate(np.bincount(index[ignored], minlength=len(codes)).tolist()):
            if number:
                counts[resolved[at][0]] = counts.get(resolved[at][0], 0) + number
    return np.maximum(types, 0), types != UNKNOWN, ignored, counts


def _whole(
    table: pa.Table, name: str, rules: Rules, con: Any
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """The whole numbers of a column of text, exact to 64 bits; which rows have one, and which something else."""
    count = table.num_rows
    if name not in table.column_names:
        return np.zeros(count, np.int64), np.zeros(count, bool), np.zeros(count, bool)
    column = texts.cleaned(table[name], _nulls(name, rules))
    cast = "CASE WHEN regexp_full_match(x, '[+-]?[0-9]+([.]0*)?') THEN try_cast(split_part(x, '.', 1) AS BIGINT) END"
    numbers = con.from_arrow(pa.table({"x": column})).select(f"{cast} AS y").to_arrow_table()["y"].combine_chunks()
    known = texts.valid(numbers)
    return numbers.fill_null(0).to_numpy(zero_copy_only=False), known, texts.valid(column) & ~known


def _amount(table: pa.Table, name: str, rules: Rules, con: Any) -> tuple[NDArray[np.float64], Mask, Mask, pa.Array]:
    """The values of a column, which rows have one, which have something that is none, and what stands there."""
    count = table.num_rows
    if name not in table.column_names:
        return np.zeros(count), np.zeros(count, bool), np.zeros(count, bool), pa.nulls(count, pa.string())
    column = table[name].combine_chunks()
    if column.type != pa.string():
        return *amounts.of_numbers(column), column
    column = texts.cleaned(column, [null for null in _nulls(name, rules) if null not in amounts.NAN])
    currency = rules.currency if name == "price" else ()
    return *amounts.of_text(amounts.plain(column, rules.decimal, rules.thousands, currency), con), column
