"""From the stream of steps and the order of the sequences to the packed columns: gather, number, write."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np

from clickflow.sequences import features
from clickflow.sequences.card import Part
from clickflow.sequences.cutting import step_types
from clickflow.sequences.features import Array
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.sequences.units.unit import ArrowType
from clickflow.sequences.vocabulary import NONE, Vocabulary, medians, modes
from clickflow.sequences.writer import (
    SplitWriter,
    categories_schema,
    row_schema,
    vocabulary_schema,
    write_table,
)

if TYPE_CHECKING:
    import pyarrow as pa

STEPS_AT_ONCE = 1 << 18
"""About so many steps are gathered at a time (one sequence more at most)."""
SEQUENCES_AT_ONCE = 1 << 15
"""Sequences read at a time."""


class Lying(Protocol):
    """Sequences that lie within the steps of persons, and may overlap."""

    @property
    def bounds(self) -> Mapping[str, Array]:
        """Where, by the names of `store.Bounds`, int64 [n]."""

    def rows(self, schema: "pa.Schema") -> "Iterator[pa.Table]":
        """Their rows of sequences.parquet."""


class StepFile:
    """The steps of all sequences, column by column, in the order in which they were cut; a scratch file."""

    def __init__(self, folder: Path, columns: Iterable[str] = ()) -> None:
        """`columns`: as the unit names them."""
        self._types = step_types(columns)
        self._paths = {name: folder / f"steps.{name}" for name in self._types}
        self._files = {name: path.open("wb") for name, path in self._paths.items()}

    def append(self, steps: Mapping[str, Array]) -> None:
        """Append one batch."""
        for name, file in self._files.items():
            file.write(np.ascontiguousarray(steps[name], self._types[name]).data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def map(self) -> dict[str, Array]:
        """The columns, mapped, once closed."""
        columns = {}
        for name, kind in self._types.items():
            path = self._paths[name]
            columns[name] = np.memmap(path, kind, mode="r") if path.stat().st_size else np.zeros(0, kind)
        return columns


@dataclass(frozen=True)
class Support:
    """What one part holds: sequences, steps, sequences of guests, and the steps of each item and each category, int64
    by the engine's number.
    """

    sequences: int
    events: int
    guests: int
    items: Array
    categories: Array


def support(path: Path, steps: Mapping[str, Array], items: int, categories: int) -> Support:
    """Count the part whose ordered sequences are in `path`; `items` and `categories` are how many numbers there are."""
    sequences = events = guests = 0
    by_item, by_category = np.zeros(items, np.int64), np.zeros(categories, np.int64)
    for batch in _batches(path):
        where, _ = _places(batch)
        sequences, events, guests = sequences + len(batch), events + len(where), guests + batch["user_id"].null_count
        by_item += np.bincount(steps["item"][where], minlength=items)
        codes = steps["category"][where]
        by_category += np.bincount(codes[codes >= 0], minlength=categories)
    return Support(sequences=sequences, events=events, guests=guests, items=by_item, categories=by_category)


def pack_split(
    folder: Path,
    split: str,
    path: Path,
    steps: Mapping[str, Array],
    *,
    n_sequences: int,
    n_events: int,
    items: Vocabulary,
    categories: Vocabulary,
    row: Mapping[str, ArrowType],
    clock: bool,
    advance: Callable[[int], None],
    lying: "Lying | None" = None,
) -> tuple[Part, dict[str, str]]:
    """Write the columns and sequences.parquet of one split; `path` holds its ordered sequences with the columns `row`,
    `clock` says whether their times are a clock's. With `lying`, `path` holds its persons instead, within whose steps
    the sequences lie.

    Returns the card's line of it, and the hashes of the files.
    """
    import pyarrow as pa

    schema, held = row_schema(row), features.held(steps)
    codes = np.append(categories.index, np.int32(NONE))  # the code -1, none, reads the last

    def tables(writer: SplitWriter) -> "Iterator[pa.Table]":
        for batch in _batches(path):
            where, offsets = _places(batch)
            columns = {name: values[where] for name, values in steps.items() if name in held}
            columns["item"] = items.index[columns["item"]]
            columns["category"] = codes[columns["category"]]
            writer.append(np.diff(offsets), columns | features.derived(columns, offsets, clock=clock))
            if lying is None:
                yield pa.table({field.name: batch[field.name].cast(field.type) for field in schema})
            advance(len(where))
        if lying is not None:
            writer.append_bounds(lying.bounds)
            yield from lying.rows(schema)

    bounds = lying.bounds if lying else ()
    with SplitWriter(folder, split, held, n_sequences=n_sequences, n_events=n_events, bounds=bounds) as writer:
        name = f"{split}/sequences.parquet"
        table = {name: write_table(folder / name, tables(writer), schema)}
    return writer.part, writer.files | table


def brands(path: Path, steps: Mapping[str, Array], item: Array, items: int) -> "pa.Array":
    """The brand of most steps of each item in the training part, the engine's number, by index - 2; equals: the first
    by its text; null: none. `path` holds the ordered sequences of that part, `item` int32 [e] its packed items.
    """
    import pyarrow as pa

    codes = path.with_suffix(".brand")
    with codes.open("wb") as file:
        for batch in _batches(path):
            where, _ = _places(batch)
            file.write((steps["brand"][where] + 1).data)
    codes_of_items = modes(item, np.memmap(codes, np.int32, mode="r"), items)
    return pa.array(codes_of_items - 1, mask=codes_of_items == NONE)


def write_groups(folder: Path, split: str, groups: "pa.Table") -> dict[str, str]:
    """Beside the sequences of a split, row for row, the country and the device of whoever each is of, and no id; null
    where that is not known. Returns the hash of the file.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import parquet

    users = parquet.read_table(folder / split / "sequences.parquet", columns=["user_id"])["user_id"]
    place = pc.index_in(users, groups["user_id"].combine_chunks())
    rows = groups.drop_columns("user_id").take(place.combine_chunks())
    name = f"{split}/groups.parquet"
    return {name: write_table(folder / name, [rows], pa.schema([(each, pa.string()) for each in rows.schema.names]))}


def write_vocabulary(
    folder: Path, items: Vocabulary, ids: "pa.Array", names: "pa.Array", brands: "pa.Array", train: Mapping[str, Array]
) -> dict[str, str]:
    """Write vocabulary.parquet; `ids` and `names` by the engine's number, `brands` by index - 2, `train` the packed
    training part. Returns its hash.
    """
    import pyarrow as pa

    n = len(items.order)
    order = pa.array(items.order)
    table = pa.table(
        [
            ids.take(order),
            pa.array(np.arange(FIRST_ITEM, FIRST_ITEM + n, dtype=np.int32)),
            pa.array(items.count),
            pa.array(modes(train["item"], train["category"], n)),
            pa.array(medians(train["item"], train["price"], n), from_pandas=True),
            brands,
            names.take(order),
        ],
        schema=vocabulary_schema(),
    )
    return {"vocabulary.parquet": write_table(folder / "vocabulary.parquet", [table], vocabulary_schema())}


def write_categories(folder: Path, categories: Vocabulary, paths: "pa.Array") -> dict[str, str]:
    """Write categories.parquet; `paths` by the engine's number. Returns its hash."""
    import pyarrow as pa

    n = len(categories.order)
    table = pa.table(
        [
            paths.take(pa.array(categories.order)),
            pa.array(np.arange(FIRST_ITEM, FIRST_ITEM + n, dtype=np.int32)),
            pa.array(categories.count),
        ],
        schema=categories_schema(),
    )
    return {"categories.parquet": write_table(folder / "categories.parquet", [table], categories_schema())}


def _batches(path: Path) -> "Iterator[pa.RecordBatch]":
    """The ordered sequences in `path`, in batches of few steps each."""
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=SEQUENCES_AT_ONCE):
            group = np.cumsum(batch["length"].to_numpy()) // STEPS_AT_ONCE
            edges = [0, *(np.flatnonzero(np.diff(group)) + 1), len(batch)]
            for first, last in pairwise(edges):
                yield batch.slice(first, last - first)


def _places(batch: "pa.RecordBatch") -> tuple[Array, Array]:
    """Where the steps of some sequences lie in the step file, int64 [e], and their offsets, int64 [n + 1]."""
    source, length = batch["source"].to_numpy(), batch["length"].to_numpy()
    offsets = np.concatenate([[0], np.cumsum(length)])
    return np.repeat(source - offsets[:-1], length) + np.arange(offsets[-1]), offsets
