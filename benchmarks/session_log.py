"""Public session logs, tab-separated `SessionId ItemId Time` (gzip or not), as packed splits in memory.

    python benchmarks/session_log.py --events 300000 --items 5000 --out simulated.tsv

writes the visits of a simulated shop as such a file.
"""

import argparse
import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.cli import guarded
from clickflow.sequences.features import derived
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.sequences.store import PackedSplit
from clickflow.system.errors import DataError, UsageError

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
    valid: PackedSplit | None = None
    """The last sessions of the training part, which are not in `train`, where some are held out."""


def options(parser: argparse.ArgumentParser) -> None:
    """What `log` reads, as options of a benchmark."""
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--tail", type=float, help="share of the training sessions, the last, in place of --test")
    parser.add_argument("--longest", type=float, help="share of the training sessions, the longest, in place of --test")


def log(
    train: Path, test: Path | None, tail: float | None, longest: float | None = None, *, hold_out: float = 0.0
) -> SessionLog:
    """The log in the files `train` and `test`, or in `train` alone, of whose sessions the last, a share `tail`, or the
    longest, a share `longest`, are then what is asked about. `hold_out`: the share of the training sessions, the last,
    that become `valid`.
    """
    if [test, tail, longest].count(None) != 2:
        raise UsageError(
            "one of --test, --tail and --longest is needed", next_step="name a test file, or a share to hold out"
        )
    learned = read(train)
    clock = bool(np.median(learned[2]) > CLOCK) if len(learned[2]) else False
    learned = (*learned[:2], ordered(learned[0], learned[2]))
    if test is not None:
        testing = read(test)
    else:
        held = most(learned, longest) if longest is not None else last(learned, float(tail or 0))
        testing, learned = chosen(learned, held), chosen(learned, ~held)
    session, item, when = learned
    items, index = np.unique(item, return_inverse=True)
    at = np.minimum(np.searchsorted(items, testing[1]), max(0, len(items) - 1))
    known = items[at] == testing[1] if len(items) else np.zeros(len(at), bool)
    test_session, _, test_when = chosen(testing, known)
    rows, valid = (session, index + FIRST_ITEM, when), None
    if hold_out:
        late = last(rows, hold_out)
        rows, valid = chosen(rows, ~late), pack(*chosen(rows, late))
    return SessionLog(pack(*rows), pack(test_session, at[known] + FIRST_ITEM, test_when), len(items), clock, valid)


def last(rows: Rows, share: float) -> NDArray[np.bool_]:
    """Which rows are of the sessions that end last, a share of all sessions."""
    session, _, when = rows
    _, number = np.unique(session, return_inverse=True)
    end = np.full(number.max(initial=-1) + 1, -np.inf)
    np.maximum.at(end, number, when)
    late: NDArray[np.bool_] = np.argsort(np.argsort(end, kind="stable"))[number] >= len(end) * (1 - share)
    return late


def most(rows: Rows, share: float) -> NDArray[np.bool_]:
    """Which rows are of the longest sessions, a share of all sessions; of equal ones the last."""
    session, _, when = rows
    _, number = np.unique(session, return_inverse=True)
    length = np.bincount(number)
    end = np.full(len(length), -np.inf)
    np.maximum.at(end, number, when)
    long: NDArray[np.bool_] = np.argsort(np.lexsort((end, length)))[number] >= len(length) * (1 - share)
    return long


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
    timed = (
        derived({"time": time_us}, offsets)
        if n
        else dict.fromkeys(("hour", "weekday", "gap", "since_start"), np.zeros(0))
    )
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
    order: NDArray[np.float64] = turn * span + (when - when.min())
    return order


def simulated(out: Path, *, events: int, items: int, seed: int) -> None:
    """Write the views of a simulated shop's visits to `out`, in the order of their times."""
    import pyarrow as pa
    from pyarrow import compute, csv, parquet

    from clickflow.sources.simulator import simulate

    settings = dataclasses.replace(simulate.DEFAULTS, events=events, items=items)
    with tempfile.TemporaryDirectory() as folder:
        simulate.simulate(settings, Path(folder), seed=seed, fmt="parquet", truth=False)
        files = sorted(Path(folder).glob("events-*.parquet"))
        columns = ["session_id", "item_id", "event_time", "event_type"]
        table = pa.concat_tables([parquet.read_table(file, columns=columns) for file in files])
    views = table.filter(compute.equal(table["event_type"], "view"))
    seconds = compute.divide(views["event_time"].cast(pa.timestamp("us")).cast(pa.int64()), 1_000_000)
    named = pa.table([views["session_id"], views["item_id"], seconds], names=list(COLUMNS))
    csv.write_csv(named, out, csv.WriteOptions(delimiter="\t", quoting_style="none", quoting_header="none"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--items", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    simulated(args.out, events=args.events, items=args.items, seed=args.seed)


if __name__ == "__main__":
    guarded(main)
