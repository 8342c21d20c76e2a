"""Rows that were not accepted: written, read again, and restored byte for byte.

`data/quarantine/quarantine.parquet` has one row for every such raw row, in the order of the sources: `source` (the
file's name below `source.path`), `line` (1-based), `raw` (the row's exact text, without its line end) and `reasons`.
Where `broken_encoding` is among the reasons, `raw` has doubled backslashes and \\xNN for what is no text. It holds raw
ids: its folder is 0700, the file 0600, and with `ingest.encrypt: [quarantine]` its bytes are encrypted (`encryption`).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clickflow.events import encryption
from clickflow.events.rows import BIT, lines_of, reasons_of, unescaped

SCHEMA = pa.schema(
    [("source", pa.string()), ("line", pa.int64()), ("raw", pa.string()), ("reasons", pa.list_(pa.string()))]
)
FILE = "quarantine.parquet"
ROW_GROUP = 65_536


def raw_bytes(raw: str, reasons: Sequence[str]) -> bytes:
    """The bytes of a quarantined row as they stood in its source."""
    return unescaped(raw) if "broken_encoding" in reasons else raw.encode()


def as_quarantine(refused: pa.Table, names: Sequence[str], con: Any) -> Iterator[pa.Table]:
    """Refused rows (`staging.REFUSED`) in order, as quarantine's tables; `names` are those of the sources.

    Sorted by `con`, a DuckDB connection, within its memory.
    """
    if not refused.num_rows:
        return
    reader = con.from_arrow(refused).order("source, position").to_arrow_reader(ROW_GROUP)
    for batch in reader:
        masks, which = np.unique(batch["mask"].to_numpy(), return_inverse=True)
        reasons = pa.array([reasons_of(mask) for mask in masks.tolist()], pa.list_(pa.string()))
        columns = [
            pa.array(list(names), pa.string()).take(batch["source"]),
            pa.array(lines_of(batch["position"].to_numpy())),
            batch["raw"].cast(pa.string()),
            reasons.take(pa.array(which)),
        ]
        yield pa.table(columns, schema=SCHEMA)


def write(tables: Iterator[pa.Table], path: Path, key: bytes | None = None) -> int:
    """Write quarantine in row groups of one size, so that its bytes depend on the rows alone; the number of rows.

    With a key it is encrypted.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    path.touch(mode=0o600)
    waiting: list[pa.Table] = [SCHEMA.empty_table()]
    held = rows = 0
    with (
        encryption.writing(path, key) as file,
        pq.ParquetWriter(file, SCHEMA, compression="zstd", compression_level=1) as writer,
    ):
        for table in tables:
            waiting.append(table)
            held += table.num_rows
            rows += table.num_rows
            while held >= ROW_GROUP:
                whole = pa.concat_tables(waiting)
                writer.write_table(whole.slice(0, ROW_GROUP).combine_chunks())
                waiting, held = [whole.slice(ROW_GROUP)], held - ROW_GROUP
        if held or not rows:
            writer.write_table(pa.concat_tables(waiting).combine_chunks())
    return rows


def read(folder: Path, key: bytes) -> Iterator[pa.Table]:
    """The quarantined rows, in their order; the key opens them where they are encrypted.

    Raises DataError where it is another key.
    """
    with encryption.reading(folder / FILE, key) as opened, pq.ParquetFile(opened) as file:
        for batch in file.iter_batches(ROW_GROUP):
            yield pa.Table.from_batches([batch])


def guard(root: Path) -> None:
    """Close DVC's cache in a checkout to other users of the machine: it is to hold a copy of quarantine.

    A cache elsewhere, or one that DVC is told to share, is left as it is.
    """
    cache = root / ".dvc/cache"
    said = "".join(
        file.read_text(encoding="utf-8", errors="replace")
        for file in (root / ".dvc/config", root / ".dvc/config.local")
        if file.is_file()
    )
    if cache.parent.is_dir() and not cache.is_symlink() and "shared" not in said:
        try:
            cache.mkdir(mode=0o700, exist_ok=True)
            cache.chmod(0o700)
        except OSError:
            return  # somebody else's, who sees to it


def masks(table: pa.Table) -> np.ndarray:
    """The reasons of quarantined rows as masks."""
    reasons = table["reasons"].combine_chunks()
    bits = np.array([BIT[reason] for reason in reasons.flatten().to_pylist()], np.int32)
    ends = np.cumsum(reasons.value_lengths().to_numpy())
    return np.array([part.sum() for part in np.split(bits, ends[:-1])], np.int32) if len(ends) else bits
