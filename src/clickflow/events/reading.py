"""The pass over the raw files: blocks are read in order, checked by several threads, and staged in order."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from clickflow.events.checks import Rules, check
from clickflow.events.delimited import Delimited
from clickflow.events.engine import Engine
from clickflow.events.presets import Layout
from clickflow.events.rows import BIT, ORDINAL_BITS, UNREAD_IDS, Refused, Rows, escaped, lines_of, with_constants
from clickflow.events.sources import SourceFile
from clickflow.events.staging import Stage
from clickflow.events.storage import UNTOUCHED
from clickflow.events.times import PLAUSIBLE
from clickflow.events.unread import Unread, joined
from clickflow.system import console
from clickflow.system.errors import DataError
from clickflow.system.faults import of_file

FEW_STEPS, ONE_WAY = 20, 0.9
"""Of so many changes of time from a row to the next, the share in one direction that tells how a file stands."""
FEW_IDS = 20
"""Different ids from which on zeros at their end are no chance."""

Input = TypeVar("Input")
Output = TypeVar("Output")


@dataclass
class Tally:
    """Counts of one source."""

    read: int = 0
    blank_lines: int = 0
    good: int = 0
    early: int = 0
    """Of the good rows, those before `times.PLAUSIBLE`, and the time of one of them."""
    early_time: int = 0
    rises: int = 0
    """Good rows that are later than the row before, those that are earlier, and those of its instant."""
    falls: int = 0
    tied: int = 0
    swapped: int = 0
    """Times that would be some with day and month changed over."""
    rounded: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)
    """By column of ids: see `texts.rounded`; of the last of its figures the most that a block has."""
    ignored: Counter[str] = field(default_factory=Counter)
    forgotten: int = 0
    """Rows of people who are to be forgotten."""
    unread: Unread = field(default_factory=dict)
    currencies: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Result:
    """What became of a block."""

    source: int
    good: pa.Table
    positions: NDArray[np.int64]
    refused: tuple[NDArray[np.int64], NDArray[np.int32], list[str]]
    read: int
    blank: int
    consumed: int
    ignored: Mapping[str, int]
    forgotten: int
    unread: Unread
    currencies: Mapping[str, int]
    swapped: int
    rounded: Mapping[str, tuple[int, int, int, int]]


def read_files(
    files: Sequence[tuple[int, SourceFile]],
    rules: Callable[[Layout], Rules],
    stage: Stage,
    engine: Engine,
    threads: int,
) -> dict[int, Tally]:
    """Read and check files (with their numbers among the sources), and stage their rows; the counts of each."""
    tallies = {number: Tally() for number, _ in files}
    ruled = {number: rules(file.layout) for number, file in files}
    by_number = dict(files)

    def blocks() -> Iterator[tuple[int, Any]]:
        for number, file in files:
            with of_file(file.path, UNTOUCHED):
                for block in file.reader.blocks():
                    yield number, block

    def work(task: tuple[int, Any]) -> Result:
        number, block = task
        with of_file(by_number[number].path, UNTOUCHED):
            return check_block(number, by_number[number], block, ruled[number], engine.cursor())

    total = sum(file.path.stat().st_size for _, file in files)
    rows, done = 0, 0
    before = {number: 0 for number, _ in files}
    with console.progress("reading", total) as advance:
        for result in in_order(work, blocks(), threads):
            tally = tallies[result.source]
            tally.read += result.read
            tally.blank_lines += result.blank
            tally.ignored.update(result.ignored)
            tally.forgotten += result.forgotten
            tally.unread = joined(tally.unread, result.unread)
            tally.currencies.update(result.currencies)
            tally.swapped += result.swapped
            tally.rounded = together(tally.rounded, result.rounded)
            time = result.good["event_time"].cast(pa.int64()).to_numpy()
            early = time < PLAUSIBLE[0]
            later, earlier = changes(time)
            tally.rises += later
            tally.falls += earlier
            tally.tied += max(0, len(time) - 1) - later - earlier
            tally.good += len(time)
            if early.any():
                tally.early += int(early.sum())
                tally.early_time = tally.early_time or int(time[early][0])
            stage.add(result.good, result.source, result.positions)
            stage.refuse(result.source, *result.refused)
            rows += result.read
            done = result.consumed - before[result.source]
            before[result.source] = result.consumed
            advance(done, f"{rows:,} rows")
    return tallies


def check_block(number: int, file: SourceFile, block: Any, rules: Rules, con: Any) -> Result:
    """Parse and check one block; every row of it is in `good` or in `refused`, or counted as ignored or forgotten."""
    rows = with_constants(file.reader.parse(block), file.constants)
    checked = check(rows.table, rules, con)
    _no_other_header(file, rows, checked.mask)
    bad = np.flatnonzero(checked.bad)
    good, positions = checked.table, rows.positions
    refused = _as_arrays(rows.refused)
    if len(bad) or checked.types_ignored or checked.forgotten.any():
        fine = np.flatnonzero(checked.good)
        good, positions = good.take(pa.array(fine)), positions[fine]
        raws = file.reader.raw_at(block, rows.positions[bad])
        masks = checked.mask[bad]
        refused = (
            np.concatenate([refused[0], rows.positions[bad]]),
            np.concatenate([refused[1], masks]),
            refused[2] + [shown(raw, mask) for raw, mask in zip(raws, masks.tolist(), strict=True)],
        )
    forgotten = int(checked.forgotten.sum())
    if rules.forgotten and refused[2]:
        theirs = rules.forgotten.in_texts(refused[2], refused[1] & UNREAD_IDS != 0)
        forgotten += int(theirs.sum())
        kept = np.flatnonzero(~theirs)
        refused = refused[0][kept], refused[1][kept], [refused[2][at] for at in kept.tolist()]
    return Result(
        number,
        good,
        positions,
        refused,
        rows.read,
        rows.blank,
        block.consumed,
        checked.types_ignored,
        forgotten,
        checked.unread_at(lines_of(rows.positions)),
        checked.currencies,
        checked.swapped,
        checked.rounded,
    )


def changes(time: NDArray[np.int64]) -> tuple[int, int]:
    """How often a time is later, and how often earlier, than the one before."""
    return int((time[1:] > time[:-1]).sum()), int((time[1:] < time[:-1]).sum())


def one_way(these: int, others: int) -> bool:
    """Whether nearly all changes of time in a file are `these`."""
    return these >= FEW_STEPS and these >= ONE_WAY * (these + others)


Rounded = Mapping[str, tuple[int, int, int, int]]


def together(first: Rounded, second: Rounded) -> dict[str, tuple[int, int, int, int]]:
    """The counts of `texts.rounded` by column, of both."""
    counts = dict(first)
    for name, (long, lost, sharp, differ) in second.items():
        before = counts.get(name, (0, 0, 0, 0))
        counts[name] = before[0] + long, before[1] + lost, before[2] + sharp, max(before[3], differ)
    return counts


def cut_off(rounded: Rounded) -> Iterator[str]:
    """What is to be said of columns of ids that a program has rounded, a clause each."""
    for name, (long, lost, sharp, differ) in rounded.items():
        if differ >= FEW_IDS and lost >= 0.99 * long and sharp >= 0.5 * lost:
            yield (
                f"{name}: {lost:,} of its {long:,} long numbers end in zeros where programs keep no digits (15 in a "
                "spreadsheet, 17 in JavaScript, 6 or 7 where they were shown as 1.23457E+11): different ones have "
                "become one"
            )


def _no_other_header(file: SourceFile, rows: Rows, mask: NDArray[np.int32]) -> None:
    """Raise DataError where the header comes again with its columns in another order, as in files put together."""
    if not isinstance(file.reader, Delimited) or "event_time" not in rows.table.column_names:
        return
    lost = np.flatnonzero(mask & BIT["unparseable_time"])
    if not len(lost):
        return
    names = file.reader.names
    texts = rows.table.select([name for name in rows.table.column_names if name in file.reader.wanted])
    lost = lost[np.asarray(pc.is_in(texts["event_time"].take(pa.array(lost)), pa.array(names)).to_numpy(), bool)]
    for at, row in zip(lost.tolist(), texts.take(pa.array(lost)).to_pylist(), strict=True):
        own = {name: names[file.reader.wanted[name]] for name in row}
        if set(row.values()) <= set(names) and row != own:
            line = int(lines_of(rows.positions[at : at + 1])[0])
            raise DataError(
                f"{file.path}: its header comes again in line {line}, with the columns in another order: "
                "the rows after it would be read as other columns",
                kept=UNTOUCHED,
                next_step="put only files of the same columns together, or give them one by one",
            )


def shown(raw: str, mask: int) -> str:
    """The text of a refused row as quarantine holds it."""
    return escaped(raw.encode()) if mask & BIT["broken_encoding"] else raw


def fetch(
    files: Sequence[SourceFile], first: int, source: NDArray[np.int32], position: NDArray[np.int64], threads: int
) -> Iterator[tuple[int, NDArray[np.int64], list[str]]]:
    """The exact text of rows that are known by source (counted from `first`) and position: for each block that has
    some, source, positions, texts.
    """

    def blocks() -> Iterator[tuple[int, Any, NDArray[np.int64]]]:
        for number in np.unique(source).tolist():
            wanted = np.sort(position[source == number])
            at = 0
            for block in files[number - first].reader.blocks():
                stop = int(np.searchsorted(wanted, block.stop << ORDINAL_BITS))
                if stop > at:
                    yield number, block, wanted[at:stop]
                    at = stop
                if at == len(wanted):
                    break

    def work(task: tuple[int, Any, NDArray[np.int64]]) -> tuple[int, NDArray[np.int64], list[str]]:
        number, block, wanted = task
        return number, wanted, files[number - first].reader.raw_at(block, wanted)

    return in_order(work, blocks(), threads)


def in_order(work: Callable[[Input], Output], tasks: Iterable[Input], threads: int) -> Iterator[Output]:
    """`work` on every task by several threads; results in the order of the tasks, and never many more at once than
    there are threads.
    """
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[Future[Output]] = deque()
        try:
            for task in tasks:
                pending.append(pool.submit(work, task))
                if len(pending) > threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _as_arrays(refused: Refused) -> tuple[NDArray[np.int64], NDArray[np.int32], list[str]]:
    return np.array(refused.positions, np.int64), np.array(refused.masks, np.int32), list(refused.raws)
