"""Who each sequence came from: the bootstrap draws whole customers, or sessions where no customer is known.

The visits of one customer resemble each other. Drawn one by one they would count as independent, and every confidence
interval would be too narrow.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.sequences.card import SPLITS
from clickflow.sequences.store import owners
from clickflow.sequences.units import UNITS

Codes = npt.NDArray[np.int32]
"""Of sequences or rows: from 0 on a customer; below 0 a session whose customer is not known."""


def of(store: Path, split: str) -> Codes:
    """The owner of each sequence of a split [n]; the pieces of a long session are one session's."""
    return owners(store, (split,))[split]


NEW, RETURNING, NOBODY = "new", "returning", "unknown"
GROUPS = (NEW, RETURNING, NOBODY)
"""What a customer is at a sequence; unknown: nobody knows who it was."""


def groups(store: Path, split: str, horizon: int = 0) -> npt.NDArray[np.str_] | None:
    """What the customer of each sequence of a split [n] is at it. New: it is the first of theirs in the log; of a
    history as of a cut-off, that it began no longer before than its answers reach, `horizon` in microseconds. None
    where nobody is known.
    """
    import pyarrow as pa
    from pyarrow import parquet

    parts = [name for name in SPLITS if (store / name / "sequences.parquet").is_file()]
    files = {name: store / name / "sequences.parquet" for name in parts}
    there = set(parquet.read_schema(files[split]).names)
    if not {"user_id", "start"} <= there:
        return None
    names = ["user_id", *(name for name in ("session_id", "start", "cut_off") if name in there)]
    tables = {name: parquet.read_table(file, columns=names) for name, file in files.items()}
    table = pa.concat_tables(tables.values(), promote_options="permissive")
    owners = [
        table[name].combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy()
        for name in ("session_id", "user_id")
        if name in there
    ]
    user = owners[-1]
    start = _microseconds(table["start"])
    if "cut_off" in there:
        new = _microseconds(table["cut_off"]) - start <= horizon
    else:
        began = (
            _first(owners[0], start) if len(owners) > 1 else start
        )  # the pieces of a long session begin when it does
        new = began <= _first(user, began)
    labels = np.where(user < 0, NOBODY, np.where(new, NEW, RETURNING))
    before = sum(len(tables[name]) for name in parts[: parts.index(split)])
    own = labels[before : before + len(tables[split])]
    return own if (own != NOBODY).any() else None


MOST_GROUPS = 12
"""Countries that are told apart: those of most sequences."""
OTHER = "other"


def attributes(store: Path, split: str) -> dict[str, npt.NDArray[np.str_]]:
    """By column of the log, such as country, the group of the customer of each sequence of a split [n], where the log
    says it; `OTHER` where it is a rare one.
    """
    from pyarrow import parquet

    file = store / split / "groups.parquet"
    if not file.is_file():
        return {}
    groups = {}
    for name, column in zip((table := parquet.read_table(file)).column_names, table.columns, strict=True):
        said = column.drop_null().to_pylist()
        often = sorted(set(said), key=lambda each: (-said.count(each), each))[:MOST_GROUPS]
        if said:
            groups[name] = np.array(
                [NOBODY if each is None else each if each in often else OTHER for each in column.to_pylist()]
            )
    return groups


def _first(owner: npt.NDArray[Any], time: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The first time of each row's owner [n]; its own where that is not known, below 0."""
    first = np.full(int(owner.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, owner[owner >= 0], time[owner >= 0])
    firsts: npt.NDArray[np.int64] = time.copy()
    firsts[owner >= 0] = first[owner[owner >= 0]]
    return firsts


def _microseconds(column: Any) -> npt.NDArray[np.int64]:
    import pyarrow as pa

    kind = pa.timestamp("us", tz="UTC") if pa.types.is_timestamp(column.type) else pa.int64()
    times: npt.NDArray[np.int64] = column.cast(kind).cast(pa.int64()).to_numpy()
    return times


def themselves(sequences: int) -> Codes:
    """The owners of sequences of which nothing is known: each is its own."""
    return -1 - np.arange(sequences, dtype=np.int32)


def count(codes: Codes) -> dict[str, int]:
    """How many customers, and how many sessions of nobody known."""
    resampled = np.unique(codes)
    return {"customers": int((resampled >= 0).sum()), "sessions": int((resampled < 0).sum())}


def called(unit: str) -> str:
    """What is drawn again of a unit, one of them."""
    known = UNITS.get(unit)
    return "customer" if known is None or known.owner == "user_id" else unit


def named(counts: Mapping[str, int]) -> str:
    """The counts in words."""
    customers, sessions = counts["customers"], counts["sessions"]
    if not customers:
        return f"{sessions:,} sessions"
    return f"{customers:,} customers" + (f" and {sessions:,} sessions whose customer is not known" if sessions else "")
