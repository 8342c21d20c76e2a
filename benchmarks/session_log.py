"""Public session logs, tab-separated `SessionId ItemId Time` (gzip or not), as packed splits in memory."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.errors import DataError, UsageError
from clickflow.sequences.features import of_time
from clickflow.sequences.store import PackedSplit

COLUMNS = ("SessionId", "ItemId", "Time")
CUTOFFS = (1, 5, 10, 20)
CLOCK = 1e8
"""Times below are no seconds since 1970 but an order."""

Rows = tuple[NDArray[Any], NDArray[Any], NDArray[np.float64]]
"""Session, item (both as text) and time of each row."""


@dataclass(frozen=True)
class SessionLog:
    """What is learned from and what is asked about; `items` of the training part, of which alone `test` has any."""

    train: PackedSplit
    test: PackedSplit
    items: int
    clock: bool
    """Whether `Time` is seconds since 1970."""


def log(train: Path, test: Path | None, tail: float | None) -> SessionLog:
    """The log in the files `train` and `test`, or in `train` alone, whose last sessions, a share `tail`, are then
    what is asked about.
    """
    if (test is None) == (tail is None):
        raise UsageError("one of --test and --tail is needed", next_step="name a test file, or a share to hold out")
    learned = read(train)
    clock = bool(np.median(learned[2]) > CLOCK) if len(learned[2]) else False
    learned = (*learned[:2], ordered(learned[0], learned[2]))
    if test is not None:
        asked = read(test)
    else:
        late = last(learned, float(tail or 0))
        asked, learned = chosen(learned, late), chosen(learned, ~late)
    session, item, when = learned
    items, index = np.unique(item, return_inverse=True)
    at = np.minimum(np.searchsorted(items, asked[1]), max(0, len(items) - 1))
    known = items[at] == asked[1] if len(items) else np.zeros(len(at), bool)
    session_asked, _, when_asked = chosen(asked, known)
    return SessionLog(pack(session, index + 2, when), pack(session_asked, at[known] + 2, when_asked), len(items), clock)


def last(rows: Rows, share: float) -> NDArray[np.bool_]:
    """Which rows are of the sessions that end last, a share of all sessions."""
    session, _, when = rows
    _, number = np.unique(session, return_inverse=True)
    end = np.full(number.max(initial=-1) + 1, -np.inf)
    np.maximum.at(end, number, when)
    late: NDArray[np.bool_] = np.argsort(np.argsort(end, kind="stable"))[number] >= len(end) * (1 - share)
    return late


def chosen(rows: Rows, which: NDArray[np.bool_]) -> Rows:
    """Some of the rows."""
    session, item, when = rows
    return session[which], item[which], when[which]


def read(path: Path) -> Rows:
    """Session, item (both as text) and time of each row; gzip by the file's name."""
    import pyarrow as pa
    from pyarrow import csv

    try:
        table = csv.read_csv(
            path,
            parse_options=csv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=csv.ConvertOptions(
                include_columns=COLUMNS,
                column_types={"SessionId": pa.string(), "ItemId": pa.string(), "Time": pa.float64()},
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
        raise DataError(
            f"{path} cannot be read as tab-separated {' '.join(COLUMNS)}: {error}", kept="nothing was run"
        ) from error
    session, item = (table[name].to_numpy(zero_copy_only=False).astype(str) for name in COLUMNS[:2])
    return session, item, table["Time"].to_numpy()


def pack(session: NDArray[Any], item: NDArray[np.int64], when: NDArray[np.float64]) -> PackedSplit:
    """Rows in any order as a packed split in memory: steps of a session by time, ties in the order of the file."""
    _, number = np.unique(session, return_inverse=True)
    order = np.lexsort((when, number))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(number))]).astype(np.int64)
    time_us = (when[order] * 1e6).astype(np.int64)
    n = len(order)
    timed = of_time(time_us, offsets) if n else dict.fromkeys(("hour", "weekday", "gap", "since_start"), np.zeros(0))
    return PackedSplit(
        offsets=offsets,
        item=item[order].astype(np.int32),
        action=np.zeros(n, np.uint8),
        time=time_us,
        price=np.full(n, np.nan, np.float32),
        category=np.zeros(n, np.int32),
        **timed,
    )


def ordered(session: NDArray[Any], when: NDArray[np.float64]) -> NDArray[np.float64]:
    """The times, where they order the sessions: by a clock, or by one order of all rows. Where `Time` begins again in
    every session it says nothing about which is more recent, and the order of the sessions in the file stands in.
    """
    if not len(when) or np.median(when) > CLOCK or len(np.unique(when)) == len(when):
        return when
    _, first, number = np.unique(session, return_index=True, return_inverse=True)
    turn = np.argsort(np.argsort(first))[number]
    # within a session as before: sessions are set apart by more than the longest of them
    span = when.max() - when.min() + 1
    made: NDArray[np.float64] = turn * span + (when - when.min())
    return made
