"""The log of answers and of what became of them: Parquet by hour below `<home>/live`, pseudonyms only.

    answers/hour=2026-11-29T03/WORKER-12.parquet      a row an answer of a head
    outcomes/hour=2026-11-29T03/WORKER-12.parquet     a row a step, or a word of feedback

Rows wait in memory, a bounded number, and are written by a thread of its own every few seconds: a file at a time,
synced and renamed, so that a crash loses the rows that wait and harms none that were written. Each process writes files
of its own; when an hour is over, it makes one of those it has of it. What does not fit into the queue, or cannot be
written, is dropped and counted, in the log too. Reading counts each row once, whatever was written twice.
"""

import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from clickflow.system import files
from clickflow.system.console import say
from clickflow.system.errors import ClickflowError, DataError

if TYPE_CHECKING:
    import pyarrow as pa

Table = Literal["answers", "outcomes"]
CHAMPION, CANARY, SHADOW = "champion", "canary", "shadow"
"""Arms."""
STEP, SHOWN, CLICKED, BOUGHT, DROPPED = "step", "shown", "clicked", "bought", "dropped"
"""Kinds of outcome; dropped: so many rows, `value`, are missing."""
Row = tuple[Table, tuple[Any, ...]]
HOUR, DAY = 3600, 86_400
AT_ONCE = 200
"""Rows that become columns without a pause: nothing else of Python runs meanwhile, and answers wait."""
REST, BRIEF = 5.0, 0.002
"""The pause: so many times as long as making them took; and seconds, where rows are let go."""
LEFT = 60
"""Seconds after which nobody writes a file that is not in its place any more."""
PREFIX = "hour="
FORM = "%Y-%m-%dT%H"

COLUMNS: dict[Table, dict[str, str]] = {
    "answers": {
        "at": "time",
        "request": "string",
        "user_id": "string",
        "session_id": "string",
        "model": "string",
        "version": "int32",
        "arm": "string",
        "test": "int32",
        "output": "string",
        "kind": "string",
        "steps": "int32",
        "last_item": "string",
        "last_action": "string",
        "labels": "strings",
        "scores": "floats",
        "pinned": "strings",
        "fallback": "string",
        "plain": "bool",
        "seconds": "float32",
    },
    "outcomes": {
        "at": "time",
        "id": "string",
        "kind": "string",
        "request": "string",
        "user_id": "string",
        "session_id": "string",
        "item": "string",
        "action": "string",
        "time": "int64",
        "category": "string",
        "price": "float64",
        "quantity": "float64",
        "value": "float64",
    },
}
"""What a row holds. `at`: when the server had it, microseconds, UTC, no two rows of a process at once. Of an answer:
`test` is the ledger's line that began a canary, 0 without one; `steps` how many of the history there were; `labels` and
`scores` are the first items with their probabilities, the classes with theirs, or the parts of an amount; `pinned` are
items that were shown beside them because a pin said so, and are none of the model's; `plain` says that no rule of the
shop had a say in it. Of an outcome: `time` is the event's own, `value` money, or how many.
"""
NAMES: dict[Table, tuple[str, ...]] = {table: tuple(columns)[1:] for table, columns in COLUMNS.items()}
"""The columns after `at`."""
SINCE = frozenset({"pinned"})
"""Columns that files of before have not."""
KEYS: dict[Table, str] = {"answers": "request, arm, model, output", "outcomes": "id"}
"""What makes a row the one it is."""


def schema(table: Table) -> "pa.Schema":
    """The columns of a file."""
    import pyarrow as pa

    kinds = {
        "time": pa.timestamp("us", tz="UTC"),
        "strings": pa.list_(pa.string()),
        "floats": pa.list_(pa.float32()),
        **{name: getattr(pa, name)() for name in ("string", "int32", "int64", "float32", "float64")},
        "bool": pa.bool_(),
    }
    return pa.schema([(name, kinds[kind]) for name, kind in COLUMNS[table].items()])


@dataclass
class Log:
    """Rows of one process on their way to the disk; for many threads. `folder`: `live` of a home."""

    folder: Path
    seconds: float = 5.0
    most: int = 100_000
    keep_days: float = 90.0
    clock: Callable[[], int] = time.time_ns
    worker: str = field(default_factory=lambda: f"{os.getpid()}-{secrets.token_hex(4)}")
    counted: Callable[[int], object] = lambda _: None
    """Told of rows that are dropped."""
    dropped: int = 0
    written: int = 0
    wrong: str = ""
    """Why rows could not be written the last time; empty where they could."""

    def __post_init__(self) -> None:
        self._lock, self._flushing = threading.Lock(), threading.Lock()
        self._rows: list[Row] = []
        self._last = self._number = self._reported = 0
        self._parts: dict[Path, list[Path]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="live-log", daemon=True)

    def start(self) -> "Log":
        """Begin to write."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Write what waits, and end."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)
        self.flush()

    def now(self) -> int:
        """Microseconds since 1970 UTC."""
        return self.clock() // 1000

    @property
    def waiting(self) -> int:
        """How many rows wait."""
        return len(self._rows)

    def put(self, table: Table, **row: Any) -> bool:
        """Have a row written; ids are pseudonyms. False where it was dropped: too many wait."""
        with self._lock:
            if len(self._rows) >= self.most:
                self.dropped += 1
                self.counted(1)
                return False
            self._last = max(self.now(), self._last + 1)
            row.setdefault("id", None)
            if table == "outcomes" and row["id"] is None:
                self._number += 1
                row["id"] = f"{self.worker}-{self._number}"
            self._rows.append((table, (self._last, *map(row.get, NAMES[table]))))
        return True

    def flush(self) -> None:
        """Write what waits, now. What cannot be written waits on, and is dropped where there is no more room."""
        with self._flushing:
            with self._lock:
                rows, self._rows = self._rows, []
                lost = self.dropped - self._reported
            try:
                made = self._made(rows, lost)
                with shared(self.folder):
                    self._write(made)
                    self._tidy()
            except (OSError, ClickflowError) as error:
                self._failed(rows, error, keep=True)
            except Exception as error:
                self._failed(rows, error, keep=False)
            else:
                self._reported += lost
                if lost:
                    say(f"warning: the log of answers dropped {lost:,} rows: more than live.queue came at once")
                if self.wrong:
                    say("the log of answers is written again")
                self.wrong = ""
                self._let_go(rows)

    def _let_go(self, rows: list[Row]) -> None:
        """Empty the list a few at a time: all of them at once would hold up who answers."""
        while rows:
            del rows[-AT_ONCE:]
            self._ended.wait(BRIEF)

    def _failed(self, rows: list[Row], error: Exception, *, keep: bool) -> None:
        """The disk may have room again; a row that cannot be written never will."""
        if not self.wrong:
            say(f"warning: the log of answers cannot be written, answers go on without it: {error}")
        said = error.what if isinstance(error, ClickflowError) else f"{type(error).__name__}: {error}"
        self.wrong = said.splitlines()[0]
        with self._lock:
            kept = rows[: max(0, self.most - len(self._rows))] if keep else []
            self.dropped += len(rows) - len(kept)
            self.counted(len(rows) - len(kept))
            self._rows = [*kept, *self._rows]

    def _work(self) -> None:
        while not self._ended.wait(self.seconds):
            self.flush()

    def _made(self, rows: list[Row], lost: int) -> "dict[tuple[Table, int], pa.Table]":
        """Their columns, by table and hour; with pauses, so before the folder is held: forgetting waits for that."""
        if lost:
            given = {"id": f"{self.worker}-lost-{self.dropped}", "kind": DROPPED, "value": float(lost)}
            line = (self.now(), *map(given.get, NAMES["outcomes"]))
            rows = [*rows, ("outcomes", line)]
        by: dict[tuple[Table, int], list[tuple[Any, ...]]] = {}
        for table, row in rows:
            by.setdefault((table, row[0] // (HOUR * 1_000_000)), []).append(row)
        rest = 0.0 if self._ended.is_set() else REST
        return {(table, hour): _table(table, own, rest) for (table, hour), own in sorted(by.items())}

    def _write(self, made: "dict[tuple[Table, int], pa.Table]") -> None:
        for (table, hour), own in made.items():
            file = self._file(table, hour)
            write(file, self._remembered(own))
            self._parts.setdefault(file.parent, []).append(file)
            self.written += len(own)

    def _file(self, table: Table, hour: int) -> Path:
        self._number += 1
        named = datetime.fromtimestamp(hour * HOUR, UTC).strftime(FORM)
        return self.folder / table / f"{PREFIX}{named}" / f"{self.worker}-{self._number}.parquet"

    def _remembered(self, table: "pa.Table") -> "pa.Table":
        """The rows of who was not forgotten, under this key or one before it."""
        import pyarrow as pa

        from clickflow.events import forgotten
        from clickflow.events.pseudonyms import load_key

        now = forgotten.load(self.folder.parent, load_key(self.folder.parent))
        for listed in filter(None, (now, *now.before)):
            users, sessions = (table[f"{kind}_id"].combine_chunks() for kind in forgotten.KINDS)
            table = table.filter(pa.array(~listed.rows(users, sessions)))
        return table

    def _tidy(self) -> None:
        """One file of the parts of each hour that is over; nothing of hours that are kept no longer."""
        current = self.now() // 1_000_000
        for folder in [each for each in self._parts if _hour(each) + HOUR <= current]:
            parts = [file for file in self._parts[folder] if file.is_file()]  # who is forgotten takes files away
            if len(parts) > 1:
                import pyarrow as pa

                whole = pa.concat_tables(map(_checked, parts))
                write(folder / f"{self.worker}.parquet", self._remembered(whole))
                for part in parts:
                    part.unlink(missing_ok=True)
            for left in folder.glob(".*.tmp"):  # of a process that was killed while it wrote
                with suppress(OSError):
                    if left.stat().st_mtime < current - LEFT:
                        left.unlink()
            del self._parts[folder]
        for folder in hours(self.folder):
            if _hour(folder) + HOUR < current - self.keep_days * DAY:
                shutil.rmtree(folder, ignore_errors=True)


def _table(table: Table, rows: list[tuple[Any, ...]], rest: float) -> "pa.Table":
    import pyarrow as pa

    form = schema(table)

    def part(own: list[tuple[Any, ...]]) -> "pa.Table":
        columns = zip(form, zip(*own, strict=True), strict=True)
        return pa.table([pa.array(values, field.type) for field, values in columns], schema=form)

    parts = []
    for at in range(0, len(rows), AT_ONCE):
        began = time.thread_time()
        parts.append(part(rows[at : at + AT_ONCE]))
        time.sleep(rest * (time.thread_time() - began))
    return pa.concat_tables(parts)


def write(file: Path, table: "pa.Table") -> None:
    """Write a file of the log, whole or not at all."""
    import pyarrow as pa
    from pyarrow import parquet

    sink = pa.BufferOutputStream()
    # ids hardly repeat: to look for those that do takes twice the time, and more room
    parquet.write_table(table, sink, compression="zstd", use_dictionary=False, write_page_checksum=True)
    files.write_bytes(file, sink.getvalue().to_pybytes(), mode=0o640)


def place(home: Path) -> Path:
    """Where the log of a home lies."""
    return home / "live"


def hours(folder: Path) -> Iterator[Path]:
    """The folders of the log, of all its tables."""
    for table in COLUMNS:
        yield from sorted((folder / table).glob(f"{PREFIX}*"))


def _hour(folder: Path) -> int:
    """When an hour began, seconds since 1970 UTC; 0 of a folder that is none."""
    with suppress(ValueError):
        return round(datetime.strptime(folder.name.removeprefix(PREFIX), FORM).replace(tzinfo=UTC).timestamp())
    return 1 << 40


def read(folder: Path, table: Table, *, since: int = 0) -> "pa.Table":
    """The rows from `since` on (microseconds since 1970 UTC), each once, in the order in which they came.

    Raises DataError where a file is none of the log's, or a bit of it has flipped.
    """
    import duckdb

    rows = _rows(folder, table, since // 1_000_000 - HOUR)
    if rows is None:
        return schema(table).empty_table()
    columns = ", ".join(f'"{name}"' for name in COLUMNS[table])
    query = f"""SELECT {columns} FROM rows
        WHERE epoch_us("at") >= ? QUALIFY row_number() OVER (PARTITION BY {KEYS[table]} ORDER BY "at") = 1
        ORDER BY "at", {KEYS[table]}"""
    with duckdb.connect(":memory:", config={"threads": 1, "memory_limit": "1GB"}) as con:
        con.register("rows", rows)
        return con.sql(query, params=[since]).to_arrow_table().cast(schema(table))


def _rows(folder: Path, table: Table, first: int) -> "pa.Table | None":
    """What the files hold of hours from `first` on; None where there is none."""
    import pyarrow as pa

    while True:
        names = [
            file
            for each in sorted((folder / table).glob(f"{PREFIX}*"))
            if _hour(each) >= first
            for file in sorted(each.glob("*.parquet"))
        ]
        with suppress(FileNotFoundError):  # a server has just made one file of several: they are looked for again
            parts = [_checked(name) for name in names]
            return pa.concat_tables(parts) if parts else None


def _checked(file: Path) -> "pa.Table":
    """The rows of a file, each page held against its checksum; files of before have none. No checksum covers what says
    how a column is to be read, so that is held against what this program writes.
    """
    import pyarrow as pa
    from pyarrow import ArrowException, parquet

    name: Table = "answers" if file.parents[1].name == "answers" else "outcomes"
    form = schema(name)
    try:
        opened = parquet.ParquetFile(file, page_checksum_verification=True)
        rows = opened.read()
        for each in form:
            if each.name in SINCE and each.name not in rows.schema.names:  # a file of before
                rows = rows.append_column(each, pa.nulls(len(rows), each.type))
        rows = rows.select(form.names)
        other = [path.split(".")[0] for path, *_ in _kinds(opened.schema) - _written(name)]
        other += [each.name for each in form if rows.schema.field(each.name).type != each.type]
        if other := sorted({*other} & {*form.names}):
            raise ValueError(f"its column {other[0]} is of another kind")
        return rows.cast(form)
    except FileNotFoundError:
        raise
    except (ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
        raise DataError(
            f"{file} of the log of answers cannot be read: {str(error).splitlines()[0]}",
            kept="the log is as it was",
            next_step="move the file that is named away; the server goes on writing files of its own",
        ) from error


def _kinds(of: Any) -> set[tuple[str, ...]]:
    """The columns of a Parquet file, each with what says how its bytes are read."""
    columns = (of.column(place) for place in range(len(of)))
    return {(each.path, each.physical_type, str(each.logical_type)) for each in columns}


@cache
def _written(table: Table) -> set[tuple[str, ...]]:
    """`_kinds` of the files that `write` writes."""
    import pyarrow as pa
    from pyarrow import parquet

    sink = pa.BufferOutputStream()
    parquet.write_table(schema(table).empty_table(), sink)
    return _kinds(parquet.ParquetFile(pa.BufferReader(sink.getvalue())).schema)


@contextmanager
def shared(folder: Path) -> Iterator[None]:
    """While a process writes; see `settled`."""
    with _locked(folder, exclusive=False):
        yield


def settled(folder: Path) -> None:
    """Return when every write that began before this call is done: later ones know who was forgotten by now."""
    if folder.is_dir():
        with _locked(folder, exclusive=True):
            pass


@contextmanager
def _locked(folder: Path, *, exclusive: bool) -> Iterator[None]:
    import fcntl

    folder.mkdir(parents=True, exist_ok=True, mode=0o750)
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o640)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


def users(folder: Path, names: Iterable[str]) -> set[str]:
    """Those of `names` that are pseudonyms of users in the log."""
    there: set[str | None] = set().union(*(read(folder, table)["user_id"].to_pylist() for table in COLUMNS))
    return {name for name in names if name in there}


def visits(folder: Path, users: list[str]) -> dict[str, list[str]]:
    """By user, the sessions of the log that name nobody else; all pseudonyms."""
    owners: dict[str, dict[str, set[str]]] = {}
    for table in COLUMNS:
        rows = read(folder, table).select(["user_id", "session_id"])
        for user, session in zip(rows["user_id"].to_pylist(), rows["session_id"].to_pylist(), strict=True):
            if user and session:
                owners.setdefault(session, {}).setdefault("users", set()).add(user)
    by_user: dict[str, list[str]] = {}
    for session, who in sorted(owners.items()):
        if len(who["users"]) == 1 and (user := next(iter(who["users"]))) in users:
            by_user.setdefault(user, []).append(session)
    return by_user
