"""From text to canonical events: every check is one vectorised pass, and a row may fail several.

A row's faults are a mask of `rows.BIT`; 0 is a good row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from clickflow.events import texts, times
from clickflow.events.contract import EVENT_TYPES, NEEDS_ITEM, SCHEMA
from clickflow.events.presets import ANY_TYPE
from clickflow.events.pseudonyms import pseudonyms
from clickflow.events.rows import BIT

TEXTS = ("user_id", "session_id", "item_id", "category", "brand", "campaign")
WHOLE = 2.0**53
"""Whole numbers are exact up to here."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a good row is. Times are microseconds since 1970, UTC."""

    event_types: Mapping[str, str]
    time_format: str | None
    timezone: str
    cancel_prefix: str
    latest: int
    """Events after this are in the future."""
    max_text_length: int
    require_user: bool
    key: bytes
    """The secret of the pseudonyms."""


@dataclass(frozen=True)
class Checked:
    """The rows of a block: canonical (and without meaning where the mask is not 0), and their faults."""

    table: pa.Table
    mask: NDArray[np.int32]


def check(table: pa.Table, rules: Rules, con: Any) -> Checked:
    """Check rows whose columns are canonical but hold what the source holds.

    `con` is a DuckDB connection of this thread.
    """
    count = table.num_rows
    mask = np.zeros(count, np.int32)

    def flag(reason: str, bad: NDArray[np.bool_]) -> None:
        mask[bad] |= BIT[reason]

    text = {name: _text(table, name) for name in ("event_type", *TEXTS)}
    for column in text.values():
        flag("too_long", texts.lengths(column) > rules.max_text_length)
        flag("broken_encoding", _has_nul(column))
    micros, known = _time(table, text["session_id"], rules, con)
    known &= micros >= 0
    flag("unparseable_time", ~known)
    flag("future_time", known & (micros > rules.latest))

    kind, typed = _types(text["event_type"], rules.event_types)
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

    price, priced, bad = _number(table, "price", con)
    flag("bad_number", bad)
    flag("negative_price", priced & (price < 0))
    quantity, counted, bad = _number(table, "quantity", con)
    quantity = np.where(cancelled, -quantity, quantity)
    whole = (quantity == np.floor(quantity)) & (np.abs(quantity) <= WHOLE)
    flag("bad_number", bad | counted & ~whole)
    flag("negative_quantity", counted & (quantity < 0))
    flag("zero_quantity", counted & (quantity == 0))

    order, ordered, bad = _whole(table, "order", con)
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
        "quantity": pa.array(np.where(counted & whole, quantity, 0).astype(np.int64), mask=~(counted & whole)),
        "campaign": text["campaign"],
        "order": pa.array(order, mask=~ordered),
    }
    return Checked(pa.table(columns, schema=SCHEMA), mask)


def _text(table: pa.Table, name: str) -> pa.Array:
    if name not in table.column_names:
        return pa.nulls(table.num_rows, pa.string())
    return texts.cleaned(table[name])


def _has_nul(array: pa.Array) -> NDArray[np.bool_]:
    if not (texts.letters(array) == 0).any():
        return np.zeros(len(array), bool)
    found = pc.match_substring(array, "\0").fill_null(False)
    return np.asarray(found.to_numpy(zero_copy_only=False), bool)


def _time(table: pa.Table, session: pa.Array, rules: Rules, con: Any) -> times.Micros:
    column = table["event_time"].combine_chunks()
    if column.type != pa.string():
        return times.from_arrow(column, rules.timezone, con)
    text = texts.cleaned(column)
    if rules.time_format == "order":
        return times.in_order(session, text, con)
    return times.parse(text, rules.time_format, rules.timezone, con)


def _types(column: pa.Array, mapped: Mapping[str, str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Action codes, and which rows have one. A mapping goes before the canonical names; case matters in neither."""
    lower = {name.lower(): kind for name, kind in mapped.items()}
    other = EVENT_TYPES.index(mapped[ANY_TYPE]) if ANY_TYPE in mapped else -1

    def code(name: str) -> int:
        kind = mapped.get(name) or lower.get(name.lower()) or name.lower()
        return EVENT_TYPES.index(kind) if kind in EVENT_TYPES else other

    coded = column.dictionary_encode()
    codes = np.array([code(name) for name in coded.dictionary.to_pylist()] + [other], np.int64)
    index = coded.indices.fill_null(len(codes) - 1).to_numpy(zero_copy_only=False)
    found = codes[index]
    return np.maximum(found, 0), found >= 0


def _whole(table: pa.Table, name: str, con: Any) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """The whole numbers of a column of text, exact to 64 bits; which rows have one, and which something else."""
    count = table.num_rows
    if name not in table.column_names:
        return np.zeros(count, np.int64), np.zeros(count, bool), np.zeros(count, bool)
    column = texts.cleaned(table[name])
    cast = "CASE WHEN regexp_full_match(x, '[+-]?[0-9]+([.]0*)?') THEN try_cast(split_part(x, '.', 1) AS BIGINT) END"
    found = con.from_arrow(pa.table({"x": column})).select(f"{cast} AS y").to_arrow_table()["y"].combine_chunks()
    known = texts.valid(found)
    return found.fill_null(0).to_numpy(zero_copy_only=False), known, texts.valid(column) & ~known


def _number(table: pa.Table, name: str, con: Any) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """The values of a column, which rows have one, and which have something that is none."""
    count = table.num_rows
    if name not in table.column_names:
        return np.zeros(count), np.zeros(count, bool), np.zeros(count, bool)
    column = table[name].combine_chunks()
    if column.type == pa.string():
        column = texts.cleaned(column, texts.NULLS)
        value, known = times.numbers(column, con)
        return value, known, texts.valid(column) & ~known
    column = column.cast(pa.float64(), safe=False)
    value = column.fill_null(np.nan).to_numpy(zero_copy_only=False).copy()
    known = np.isfinite(value)
    value[~known] = 0
    # NaN is how typed tables say that there is nothing
    missing = ~texts.valid(column) | np.asarray(pc.is_nan(column).fill_null(True).to_numpy(zero_copy_only=False), bool)
    return value, known, ~known & ~missing
