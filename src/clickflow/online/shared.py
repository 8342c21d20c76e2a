"""Large tables of a model as a file that all workers of a machine map: its pages are in memory once."""

import contextlib
import os
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

LEAST = 1 << 25
"""Bytes from which on a table is shared."""
KEPT = 4
"""Files kept of a model: of its versions before, the latest."""


def shared(table: npt.NDArray[np.float32], folder: Path, name: str) -> npt.NDArray[np.float32]:
    """The same table out of a file beside the artefact in `folder`, which is written where it is not there yet; the
    table itself where it is small, or the file cannot be written (a disk that is full, or read-only).
    """
    if table.nbytes < LEAST:
        return table
    file = folder.parent / f".items-{name}.npy"
    try:
        if not file.exists():
            _write(table, file)
        held: npt.NDArray[np.float32] = np.load(file, mmap_mode="r")
        if held.shape == table.shape and held.dtype == table.dtype and _same(held, table):
            return held
    except (OSError, ValueError):
        pass
    return table


def _same(held: npt.NDArray[np.float32], table: npt.NDArray[np.float32]) -> bool:
    """Whether a file holds what was made: a processor of another kind rounds otherwise, and a file can be spoilt."""
    return np.array_equal(held, table)


def _write(table: npt.NDArray[np.float32], file: Path) -> None:
    """Whole or not at all; the oldest of other versions go."""
    handle, fresh = tempfile.mkstemp(dir=file.parent, prefix=".items-", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as out:
            np.save(out, table)
        Path(fresh).replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(fresh).unlink()
        raise
    there = sorted(file.parent.glob(".items-*.npy"), key=lambda each: each.stat().st_mtime)
    for old in there[:-KEPT]:
        old.unlink(missing_ok=True)
