"""Writing a packed store: columns that grow batch by batch, and tables whose bytes do not depend on the batches."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from clickflow.sequences.card import Part
from clickflow.sequences.features import Array, Feature
from clickflow.sequences.store import OFFSETS
from clickflow.sequences.units.unit import ArrowType
from clickflow.system.files import sha256

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP = 1 << 17


class SplitWriter:
    """Writes one split batch by batch, hashing as it goes; use it in a `with` block.

    `columns` are those of a step. The numbers of sequences and steps are given in advance, because they stand at the
    head of the files.
    """

    def __init__(
        self,
        folder: Path,
        split: str,
        columns: Mapping[str, Feature],
        *,
        n_sequences: int,
        n_events: int,
        bounds: Iterable[str] = (),
    ) -> None:
        """`bounds`: the names of what says where sequences lie, where they may overlap (`store.Bounds`)."""
        self.split, self.n_sequences, self.n_events = split, n_sequences, n_events
        (folder / split).mkdir(parents=True)
        self._path = folder / split
        self._sequences = self._steps = 0
        self.first: int | None = None
        self.last: int | None = None
        self._columns = {
            name: _Column(self._path / f"{name}.npy", np.dtype(feature.stored), n_events)
            for name, feature in columns.items()
        }
        self._bounds = {name: _Column(self._path / f"{name}.npy", OFFSETS, n_sequences) for name in bounds}
        self._offsets = None if self._bounds else _Column(self._path / "offsets.npy", OFFSETS, n_sequences + 1)
        if self._offsets:
            self._offsets.append(np.zeros(1, OFFSETS))

    def append(self, lengths: Array, columns: Mapping[str, Array]) -> None:
        """Append whole sequences, or with bounds the steps of whole persons: `lengths` [n] and, for every column,
        sum(lengths) values.
        """
        for name, column in self._columns.items():
            column.append(columns[name])
        if self._offsets:
            self._offsets.append(self._steps + np.cumsum(lengths))
            self._sequences += len(lengths)
        self._steps += int(lengths.sum())
        if len(time := columns["time"]):
            first, last = int(time.min()), int(time.max())
            self.first = first if self.first is None else min(self.first, first)
            self.last = last if self.last is None else max(self.last, last)

    def append_bounds(self, bounds: Mapping[str, Array]) -> None:
        """Append sequences that lie within the steps: each of the `bounds` by name, [n]."""
        for name, column in self._bounds.items():
            column.append(bounds[name])
        self._sequences += len(next(iter(bounds.values())))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for column in self._all:
            column.close()
        if error is None and (self._sequences, self._steps) != (self.n_sequences, self.n_events):
            raise AssertionError(
                f"{self.split}: {self._sequences} sequences of {self._steps} steps were written, "
                f"{self.n_sequences} of {self.n_events} were announced"
            )

    @property
    def part(self) -> Part:
        """The split's line on the card."""
        return Part(sequences=self._sequences, events=self._steps, first=self.first, last=self.last)

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 by path in the store, once closed."""
        return {f"{self.split}/{column.path.name}": column.sha256 for column in self._all}

    @property
    def _all(self) -> "list[_Column]":
        return [*self._columns.values(), *self._bounds.values(), *([self._offsets] if self._offsets else [])]


class _Column:
    """A flat .npy file that grows; its length is known in advance."""

    def __init__(self, path: Path, kind: "np.dtype[Any]", length: int) -> None:
        self.path, self._kind = path, kind
        self._file = path.open("w+b")
        np.lib.format.write_array_header_1_0(
            self._file, {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": (length,)}
        )
        self._file.seek(0)
        self._digest = hashlib.sha256(self._file.read())

    def append(self, values: Array) -> None:
        data = np.ascontiguousarray(values, self._kind)
        self._file.write(data.data)
        self._digest.update(data.data)

    def close(self) -> None:
        self._file.close()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def write_table(path: Path, tables: "Iterable[pa.Table]", schema: "pa.Schema") -> str:
    """Write a Parquet file from a stream of tables in row groups of one size, however the stream was cut: the same
    rows give the same bytes. Returns its SHA-256.
    """
    import pyarrow as pa
    from pyarrow import parquet

    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        waiting: pa.Table = schema.empty_table()
        for table in tables:
            waiting = pa.concat_tables([waiting, table.cast(schema)])
            whole = len(waiting) // ROW_GROUP * ROW_GROUP
            if whole:
                writer.write_table(waiting.slice(0, whole).combine_chunks(), row_group_size=ROW_GROUP)
                waiting = waiting.slice(whole)
        if len(waiting):
            writer.write_table(waiting.combine_chunks(), row_group_size=ROW_GROUP)
    return sha256(path)


def row_schema(row: Mapping[str, ArrowType]) -> "pa.Schema":
    """The columns of sequences.parquet, as the unit says them; row i is sequence i."""
    import pyarrow as pa

    types = {"string": pa.string(), "int32": pa.int32(), "time": pa.timestamp("us", tz="UTC")}
    return pa.schema([(name, types[kind]) for name, kind in row.items()])


def vocabulary_schema() -> "pa.Schema":
    """The columns of vocabulary.parquet; row r has index r + 2."""
    import pyarrow as pa

    return pa.schema(
        [
            ("item_id", pa.string()),
            ("index", pa.int32()),
            ("count", pa.int64()),
            ("category", pa.int32()),
            ("price", pa.float64()),
            ("brand", pa.string()),
            ("name", pa.string()),
        ]
    )


def categories_schema() -> "pa.Schema":
    """The columns of categories.parquet; row r has index r + 2, all of them from the training part."""
    import pyarrow as pa

    return pa.schema([("category", pa.string()), ("index", pa.int32()), ("count", pa.int64())])
