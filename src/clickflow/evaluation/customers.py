"""Who each sequence came from: the bootstrap draws whole customers, or sessions where no customer is known.

The visits of one customer resemble each other. Drawn one by one they would count as independent, and every confidence
interval would be too narrow.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.int32]
"""Of sequences or rows: from 0 on a customer; below 0 a session whose customer is not known."""


def of(store: Path, split: str) -> Codes:
    """The owner of each sequence of a split [n]; the pieces of a long session are one session's."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import parquet

    file = store / split / "sequences.parquet"
    names = ["user_id", *({"session_id"} & set(parquet.read_schema(file).names))]
    table = parquet.read_table(file, columns=names)
    sessions = table["session_id"] if "session_id" in names else table["user_id"]
    user, session = (
        column.combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy().astype(np.int32)
        for column in (table["user_id"], pc.if_else(pc.is_null(table["user_id"]), sessions, pa.scalar(None)))
    )
    codes: Codes = np.where(user >= 0, user, -1 - session).astype(np.int32)
    return codes


def themselves(sequences: int) -> Codes:
    """The owners of sequences of which nothing is known: each is its own."""
    return -1 - np.arange(sequences, dtype=np.int32)


def count(codes: Codes) -> dict[str, int]:
    """How many customers, and how many sessions of nobody known."""
    resampled = np.unique(codes)
    return {"customers": int((resampled >= 0).sum()), "sessions": int((resampled < 0).sum())}


def named(counts: Mapping[str, int]) -> str:
    """The counts in words."""
    customers, sessions = counts["customers"], counts["sessions"]
    if not customers:
        return f"{sessions:,} sessions"
    return f"{customers:,} customers" + (f" and {sessions:,} sessions whose customer is not known" if sessions else "")
