"""Nested columns of Arrow tables, by the paths and with the meaning of `fields`."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from clickflow.events.fields import steps_of

AsText = Callable[[pa.Array], pa.Array]


def is_list(kind: pa.DataType) -> bool:
    """Whether values are lists of any length."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


@dataclass(frozen=True)
class Exploded:
    """Rows, one an element of the list at `path`: which row of the batch each is of, its number there, the element."""

    path: str
    row: NDArray[np.int64]
    ordinal: NDArray[np.int64]
    element: pa.Array | None


def explode(batch: pa.RecordBatch, path: str, as_text: AsText) -> Exploded:
    """One row an element; a row without a list, or with an empty one, stays. No `path`: the rows as they are."""
    rows = np.arange(batch.num_rows, dtype=np.int64)
    if not path:
        return Exploded(path, rows, np.zeros_like(rows), None)
    column = _at(batch, path, as_text)
    if column is None or not is_list(column.type):
        return Exploded(path, rows, np.zeros_like(rows), column)
    long = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    counts = np.maximum(long, 1)
    row = np.repeat(rows, counts)
    ordinal = np.arange(len(row), dtype=np.int64) - np.repeat(np.cumsum(counts) - counts, counts)
    place = np.repeat(np.cumsum(long) - long, counts) + ordinal
    places = pa.array(place, mask=np.repeat(long == 0, counts))
    return Exploded(path, row, ordinal, pc.list_flatten(column).take(places))


def value_at(batch: pa.RecordBatch, field: str, rows: Exploded, as_text: AsText) -> pa.Array:
    """The column at a path, a value for each of `rows`; nulls where there is none."""
    element = rows.element
    if element is not None:
        if field == rows.path:
            return element
        if field.startswith(f"{rows.path}."):
            field = field.removeprefix(f"{rows.path}.")
            inner = _within(element, field, as_text)
            return pa.nulls(len(rows.row), pa.string()) if inner is None else inner
        if pa.types.is_struct(element.type):
            beside = rows.path.rpartition(".")[0]
            inner = _within(element, field.removeprefix(f"{beside}.") if beside else field, as_text)
            outer = _at(batch, field, as_text)
            if inner is not None and outer is not None and outer.type == inner.type:
                # a row without a list has its own field
                return pc.if_else(element.is_valid(), inner, outer.take(pa.array(rows.row)))
            if inner is not None:
                return inner
    values = _at(batch, field, as_text)
    if values is None:
        return pa.nulls(len(rows.row), pa.string())
    return values.take(pa.array(rows.row)) if rows.path else values


def paths(schema: pa.Schema, path: str) -> list[str]:
    """What can be asked for in a table: columns, fields of structs, and those of the elements at `path`."""
    names: list[str] = []

    def add(name: str, kind: pa.DataType) -> None:
        names.append(name)
        if is_list(kind):
            kind = kind.value_type
            if name == path and pa.types.is_struct(kind):
                names.extend(field.name for field in kind)
        if pa.types.is_struct(kind):
            for field in kind:
                add(f"{name}.{field.name}", field.type)

    for field in schema:
        add(field.name, field.type)
    return list(dict.fromkeys(names))


def has(schema: pa.Schema, field: str) -> bool:
    """Whether the column that a bracketed path begins with is there, whatever keys its values have."""
    return "[" in field and field.partition("[")[0] in paths(schema, "")


def _at(batch: pa.RecordBatch, field: str, as_text: AsText) -> pa.Array | None:
    if field in batch.schema.names:
        return batch.column(field)
    (first, _), *rest = steps_of(field)
    return _descend(batch.column(first), rest, as_text) if rest and first in batch.schema.names else None


def _within(element: pa.Array, field: str, as_text: AsText) -> pa.Array | None:
    return _descend(element, list(steps_of(field)), as_text)


def _descend(value: pa.Array, steps: list[tuple[str, bool]], as_text: AsText) -> pa.Array | None:
    for name, keyed in steps:
        kind = value.type
        if pa.types.is_struct(kind):
            if kind.get_field_index(name) < 0:
                return None
            value = pc.struct_field(value, name)
        elif keyed and (is_list(kind) or pa.types.is_map(kind)):
            entry = _entry(value, name)
            if entry is None:
                return None
            value = entry
        elif is_list(kind):
            return value
        else:
            return None
    if steps[-1][1] and pa.types.is_struct(value.type):
        parts = [as_text(pc.struct_field(value, field.name)) for field in value.type]
        value = pc.coalesce(*parts) if parts else pa.nulls(len(value), pa.string())
    return value


def _entry(value: pa.Array, key: str) -> pa.Array | None:
    """Of lists of structs of `key` and `value`, or of maps, the value of a key."""
    kind = value.type
    if pa.types.is_map(kind):
        value = value.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])))
    inner = value.type.value_type
    if not pa.types.is_struct(inner) or min(inner.get_field_index("key"), inner.get_field_index("value")) < 0:
        return None
    flat = pc.list_flatten(value)
    parents = pc.list_parent_indices(value).to_numpy(zero_copy_only=False)
    match = pc.equal(pc.struct_field(flat, "key").cast(pa.string()), key).fill_null(False)
    places = np.flatnonzero(match.to_numpy(zero_copy_only=False))
    owners, first = np.unique(parents[places], return_index=True)
    taken = np.zeros(len(value), np.int64)
    gone = np.ones(len(value), bool)
    taken[owners], gone[owners] = places[first], False
    return pc.struct_field(flat, "value").take(pa.array(taken, mask=gone))
