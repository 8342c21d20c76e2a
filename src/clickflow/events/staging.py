"""Good rows on their way from the order of the sources to days: Arrow files in a scratch folder, one batch a day."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from clickflow.events.contract import SCHEMA
from clickflow.system.moments import DAY

STAGED = SCHEMA.append(pa.field("source", pa.int32())).append(pa.field("position", pa.int64()))
"""Canonical columns, and which raw row it was."""

REFUSED = pa.schema([("source", pa.int32()), ("position", pa.int64()), ("mask", pa.int32()), ("raw", pa.string())])

REFUSED_BYTES = 64 << 20


@dataclass
class Stage:
    """A scratch folder that takes good and refused rows and gives them back by day, and by source.

    No more is held in memory than `rows` good rows and `REFUSED_BYTES` of refused ones.
    """

    folder: Path
    rows: int = 1_000_000
    waiting: list[pa.Table] = field(default_factory=list)
    held: int = 0
    days: dict[int, list[tuple[Path, int]]] = field(default_factory=dict)
    refusals: list[pa.Table] = field(default_factory=list)
    refused_bytes: int = 0
    refused_files: list[Path] = field(default_factory=list)

    def add(self, table: pa.Table, source: int, positions: NDArray[np.int64]) -> None:
        """Take good canonical rows of one source."""
        if not table.num_rows:
            return
        table = table.append_column("source", pa.array(np.full(table.num_rows, source, np.int32)))
        self.waiting.append(table.append_column("position", pa.array(positions)))
        self.held += table.num_rows
        if self.held >= self.rows:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if not self.waiting:
            return
        table = pa.concat_tables(self.waiting)
        self.waiting, self.held = [], 0
        day = table["event_time"].cast(pa.int64()).to_numpy() // DAY
        if (np.diff(day) < 0).any():
            order = np.argsort(day, kind="stable")
            table, day = table.take(pa.array(order)), day[order]
        edges = np.flatnonzero(np.diff(day)) + 1
        path = self.folder / f"rows-{sum(1 for _ in self.folder.glob('rows-*')):06}.arrow"
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, STAGED) as writer:
            number = 0
            for start, stop in zip([0, *edges.tolist()], [*edges.tolist(), len(day)], strict=True):
                for batch in table.slice(start, stop - start).to_batches():
                    writer.write_batch(batch)
                    self.days.setdefault(int(day[start]), []).append((path, number))
                    number += 1

    def refuse(self, source: int, positions: NDArray[np.int64], masks: NDArray[np.int32], raws: list[str]) -> None:
        """Take refused rows of one source, in any order."""
        if not raws:
            return
        columns = [
            pa.array(np.full(len(raws), source, np.int32)),
            pa.array(positions),
            pa.array(masks),
            pa.array(raws, pa.string()),
        ]
        self.refusals.append(pa.table(columns, schema=REFUSED))
        self.refused_bytes += self.refusals[-1].nbytes
        if self.refused_bytes >= REFUSED_BYTES:
            self._flush_refusals()

    def _flush_refusals(self) -> None:
        path = self.folder / f"refused-{len(self.refused_files):06}.arrow"
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, REFUSED) as writer:
            writer.write_table(pa.concat_tables(self.refusals))
        self.refused_files.append(path)
        self.refusals, self.refused_bytes = [], 0

    def day(self, day: int) -> pa.Table:
        """The rows of a day, mapped from disk."""
        batches = []
        for path in dict.fromkeys(path for path, _ in self.days[day]):
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            batches += [reader.get_batch(number) for at, number in self.days[day] if at == path]
        return pa.Table.from_batches(batches, STAGED)

    def refused(self) -> pa.Table:
        """All refused rows; those that were written are mapped from disk."""
        tables = [pa.ipc.open_file(pa.memory_map(str(path))).read_all() for path in self.refused_files]
        return pa.concat_tables([REFUSED.empty_table(), *tables, *self.refusals])
