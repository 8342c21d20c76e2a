"""Exceptions of files, engines, memory and disks as errors that a user can act on.

`as_error` turns what the file system, Arrow, DuckDB, ONNX Runtime, SQLite and the parsers raise into a
`ClickflowError`. Every other exception is a bug of this program; `keep` writes its traceback to a log file
(docs/reference/cli.md).
"""

import errno
import os
import re
import resource
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clickflow.system.errors import ClickflowError, DataError, UsageError
from clickflow.system.paths import Paths

DEBUG = "CLICKFLOW_DEBUG"
"""Set to anything: the traceback of what is no `ClickflowError` is shown."""
KEPT = "finished outputs are as they were; unfinished ones were not put in place"
LOGS = 20
"""Tracebacks that are kept, the newest."""

ROOM = "make room there (`clickflow prune` removes old runs and failures), then run it again"
MEMORY = (
    "lower the memory_gb of its section in params.yaml, close other programs, raise the limit (`ulimit -v`, the "
    "container's), or take a larger machine"
)

OWNER = "`ls -ld` shows whose it is: change its mode or owner"

FILES: dict[int, tuple[type[ClickflowError], str, str]] = {
    errno.ENOSPC: (ClickflowError, "no space is left on the disk of {}", ROOM),
    errno.EDQUOT: (ClickflowError, "the disk quota is used up at {}", ROOM),
    errno.EFBIG: (
        ClickflowError,
        "{} grew beyond what its disk or a limit allows",
        "raise `ulimit -f`",
    ),
    errno.EROFS: (UsageError, "the disk of {} is mounted read-only", "mount it writable, or work elsewhere"),
    errno.EACCES: (UsageError, "this user may not open {}", OWNER),
    errno.EPERM: (
        UsageError,
        "this user may not do that to {}",
        OWNER,
    ),
    errno.EMFILE: (ClickflowError, "too many files are open, {} is one more", "raise `ulimit -n`, then run it again"),
    errno.ENFILE: (ClickflowError, "this machine has too many files open, {} is one more", "close other programs"),
    errno.ENAMETOOLONG: (UsageError, "the name {} is longer than the file system allows", "use a shorter path"),
    errno.ENOENT: (UsageError, "there is no {}", "make it, or check the path that leads to it"),
    errno.ENOTDIR: (UsageError, "{} is not a folder, or a part of its path is not", "check the path"),
    errno.EISDIR: (UsageError, "{} is a folder, where a file is due", "move it away, or check the path"),
    errno.EEXIST: (UsageError, "{} is there already", "move it away"),
    errno.ELOOP: (UsageError, "{} is a link that leads to itself", "correct the link"),
    errno.ENXIO: (UsageError, "{} is a device or a pipe without data", "name a regular file"),
    errno.ENODEV: (UsageError, "{} is a device, no file", "name a regular file"),
    errno.EIO: (ClickflowError, "the disk could not read or write {}", "check the disk (`dmesg`)"),
    errno.ESTALE: (ClickflowError, "{} is gone from its server", "mount it again, then run it again"),
    errno.EBUSY: (ClickflowError, "{} is in use", "end what uses it, then run it again"),
    errno.ENOMEM: (ClickflowError, "out of memory for {}", MEMORY),
}
"""Of an OSError by its number: whose fault, what happened to {}, what to do."""

NO_MEMORY = re.compile(r"bad_alloc|out of memory|allocat.* memory|memory allocat|can't start new thread", re.IGNORECASE)

UNREADABLE = {
    "pyarrow.lib.ArrowException": "Arrow",
    "_duckdb.Error": "DuckDB",
    "duckdb.Error": "DuckDB",
    "safetensors.SafetensorError": "safetensors",
    "safetensors._safetensors_rust.SafetensorError": "safetensors",
    "sqlite3.Error": "SQLite",
    "yaml.error.YAMLError": "YAML",
    "json.decoder.JSONDecodeError": "JSON",
    "zlib.error": "gzip",
    "gzip.BadGzipFile": "gzip",
    "zipfile.BadZipFile": "zip",
    "_lzma.LZMAError": "xz",
    "builtins.EOFError": "the reader",
    "builtins.UnicodeError": "the text decoder",
    "builtins.RecursionError": "the parser",
}
"""Classes of exceptions that bytes and engines lead to, and who speaks."""
ENGINE_MODULES = {"onnxruntime": "ONNX Runtime"}

QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`")
LONGEST = 300


def as_error(error: BaseException, subject: str = "", kept: str = KEPT) -> ClickflowError | None:
    """The exception as a `ClickflowError`; None where files, engines, memory and disks did not cause it.

    `subject` names the file (or row, or task) that was read; where its bytes cannot be read it is a `DataError`.
    """
    if isinstance(error, ClickflowError):
        return error
    if _lacks_memory(error):
        return ClickflowError("out of memory" + (f" for {subject}" if subject else ""), kept=kept, next_step=MEMORY)
    speaker = _speaker(error)
    if speaker is None:
        return None
    if number := getattr(error, "errno", None) or _number(error):
        return _of_file(error, number, subject, kept)
    said = "it is nested too deeply" if isinstance(error, RecursionError) else without_values(str(error))
    if subject:
        return DataError(
            f"{subject}: {speaker} cannot read it ({said})", kept=kept, next_step="fetch or write it again"
        )
    return ClickflowError(
        f"{speaker} failed: {said}",
        kept=kept,
        next_step="check the free disk and memory, and the files that this step reads; then run it again",
    )


@contextmanager
def of_file(path: Path, kept: str) -> Iterator[None]:
    """An exception in this block, raised while a file is read, becomes an error that names the file."""
    try:
        yield
    except ClickflowError:
        raise
    except Exception as error:
        fault = as_error(error, str(path), kept)
        if fault is None:
            raise
        raise fault from error


def explain(error: Exception, paths: Paths) -> ClickflowError:
    """The error to show for an unexpected exception that ended a command; it names the log file with the traceback."""
    known = as_error(error)
    log = keep(error, paths.home) if paths.params.is_file() or os.environ.get("CLICKFLOW_HOME") else None
    if known is not None:
        known.next_step += f"; details: {log}" if log else ""
        return known
    where = f"{log}, which quotes no values" if log else f"what it prints with {DEBUG}=1"
    return ClickflowError(
        f"this is an error of clickflow itself ({type(error).__name__}: {without_values(str(error))})",
        kept=KEPT,
        next_step=f"report it to those who keep this repository, with {where}; {DEBUG}=1 shows the traceback",
    )


def without_values(text: str) -> str:
    """The first line of an engine's message without what it quotes, which may be a row's; paths stay."""
    line = (text.strip().splitlines() or [""])[0]
    line = QUOTED.sub(lambda quoted: quoted[0] if "/" in quoted[0] else "…", line)
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} …"


def keep(error: BaseException, home: Path) -> Path | None:
    """Write the traceback to a file of its own below `home`/faults, for its owner alone; None where that fails."""
    try:
        folder = home / "faults"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for old in sorted(folder.glob("*.log"))[: -LOGS + 1]:
            with suppress(OSError):
                old.unlink()
        path = folder / f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}.log"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(_traceback(error).encode("utf-8", "backslashreplace").decode())
    except (OSError, MemoryError):
        return None
    return path


def _traceback(error: BaseException) -> str:
    """Where it happened, through what led to it; messages without what they quote."""
    parts: list[str] = []
    for at in chain(error):
        frames = "".join(traceback.format_tb(at.__traceback__))
        parts.append(f"{frames}{type(at).__module__}.{type(at).__qualname__}: {without_values(str(at))}\n")
    return "\nwhich led to:\n\n".join(reversed(parts))


def chain(error: BaseException) -> list[BaseException]:
    """An error and what led to it, the first cause last; at most ten."""
    links, at = [error], error
    while len(links) < 10 and (cause := at.__cause__ or (None if at.__suppress_context__ else at.__context__)):
        links.append(at := cause)
    return links


def _lacks_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    known = "OutOfMemory" in type(error).__name__
    return known or (isinstance(error, RuntimeError | OSError) and NO_MEMORY.search(str(error)) is not None)


def _of_file(error: BaseException, number: int, subject: str, kept: str) -> ClickflowError:
    name = getattr(error, "filename2", None) or getattr(error, "filename", None)
    if isinstance(name, bytes):
        name = os.fsdecode(name)
    quoted = re.search(r"['\"](/[^'\"]*)['\"]", str(error))
    where = str(name) if name is not None else subject or (quoted[1] if quoted else "a file")
    kind, what, step = FILES.get(
        number, (ClickflowError, f"{{}}: {os.strerror(number).lower()}", "mend that, then run it again")
    )
    if number == errno.EMFILE:
        step = f"{step} (now {resource.getrlimit(resource.RLIMIT_NOFILE)[0]})"
    return kind(what.format(where), kept=kept, next_step=step)


def _number(error: BaseException) -> int | None:
    """Engines have errors of the disk in classes of their own, that say the number, or its meaning, in words."""
    said = str(error)
    match = re.search(r"\[errno (\d+)\]", said)
    return int(match[1]) if match else next((number for number in FILES if os.strerror(number) in said), None)


def _speaker(error: BaseException) -> str | None:
    for kind in type(error).__mro__:
        name = f"{kind.__module__}.{kind.__qualname__}"
        if name in UNREADABLE:
            return UNREADABLE[name]
        if (module := kind.__module__.partition(".")[0]) in ENGINE_MODULES:
            return ENGINE_MODULES[module]
    return "the reader" if isinstance(error, OSError) else None
