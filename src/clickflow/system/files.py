"""Atomic, durable writes: after a kill, a full disk or a power cut a file has all of its old or all of its new bytes.

What must survive goes through `write_bytes` (and `write_text`, `write_json`), `replacing` or `append`: all bytes
written, the file synced, renamed, its folder synced. What a kill leaves beside it, the next write of the same name
removes.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from clickflow.system.errors import ClickflowError, DataError, UsageError

LEFT_BEHIND = re.compile(r"\.(.+)\.(\d+)\.(tmp|new|old)", re.DOTALL)
"""The names of what is not in its place yet, with the process that makes it."""
SUM = "_sha256"
"""Of a record: the hash of what else stands in it."""


class NotWritten(ClickflowError, OSError):
    """A file could not be written; the one that was there is as it was."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(
            f"{path} could not be written: {error.strerror or error}",
            kept="what was there before is as it was, no part was written",
            next_step="see to space and rights (`df -h`, `ls -ld`) of its folder, then do the same again",
        )
        self.errno = error.errno


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """The SHA-256 of a JSON value, whatever the order of its keys; what JSON lacks is hashed as its text."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def sha256_folder(folder: Path) -> str:
    """One hash over every file's relative path and bytes below `folder`, in sorted order."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{sha256(path)}\n".encode())
    return digest.hexdigest()


def write_bytes(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write so that a reader, or a crash, sees the old content or the new, never a part; raises NotWritten.

    `mode`: of a new file, before the umask.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _beside(path, ".tmp") as temporary:
            try:
                handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
                try:
                    _write_all(handle, data)
                    os.fsync(handle)
                finally:
                    os.close(handle)
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        sync_folder(path.parent)
    except OSError as error:
        raise NotWritten(path, error) from error


def write_text(path: Path, text: str, *, mode: int = 0o666) -> None:
    """`write_bytes` of a text, in UTF-8."""
    write_bytes(path, text.encode(), mode=mode)


def write_json(path: Path, value: Any) -> None:
    """`value` as JSON with sorted keys: the same value gives the same bytes."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def write_record(path: Path, content: Mapping[str, Any], *, mode: int = 0o666) -> None:
    """`write_json` of an object that no folder's hashes cover, with its own hash: a bit that flips in it shows."""
    whole = {**content, SUM: sha256_json(content)}
    write_text(path, json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False) + "\n", mode=mode)


def read_json(path: Path) -> Any:
    """The JSON value in `path`. Raises OSError, and ValueError where it is none, or is nested too deeply."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def unsealed(content: Any) -> Any:
    """What `write_record` was given; what has no hash in it, as it is. Raises ValueError where the hash is not its."""
    if not isinstance(content, dict) or SUM not in content:
        return content
    rest = {name: value for name, value in content.items() if name != SUM}
    if content[SUM] != sha256_json(rest):
        raise ValueError("it is not what was written")
    return rest


def read_record(file: Path, what: str, *, key: str = "", kept: str, why: str) -> dict[str, Any]:
    """A JSON object that the home keeps (with `key`: what stands there under it); empty where there is none yet.

    Raises DataError where it is damaged: `what` it is, and `why` it must be put back from a backup.
    """
    try:
        content = unsealed(read_json(file))
        return dict(content[key] if key else content)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{file}, {what}, cannot be read ({error})", kept=kept, next_step=f"put it back from a backup: {why}"
        ) from error


def append(path: Path, line: bytes, *, mode: int = 0o644) -> None:
    """Add a line, which ends with a line break, whole or not at all; it is on disk by then. Raises NotWritten.

    One writer at a time: a lock is held on the file.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, mode)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            size = os.fstat(handle).st_size
            try:
                _write_all(handle, line)
                os.fsync(handle)
            except BaseException:
                os.ftruncate(handle, size)
                raise
        finally:
            os.close(handle)
        sync_folder(path.parent)
    except OSError as error:
        raise NotWritten(path, error) from error


def sync_folder(folder: Path) -> None:
    """Have what was renamed or made in `folder` on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems do not know it of folders
            os.fsync(handle)
    finally:
        os.close(handle)


def put_in_place(fresh: Path, path: Path) -> None:
    """Sync a file that another library wrote, and rename it to `path`."""
    _sync(fresh)
    fresh.replace(path)
    sync_folder(path.parent)


@contextmanager
def replacing(folder: Path, *, seal: Callable[[Path], object] | None = None) -> Iterator[Path]:
    """Yield an empty sibling folder; on success it takes the place of `folder`, on failure it is removed and
    `folder` stays as it was. `seal`: records the hashes of its files in it (`integrity.seal`).
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _beside(folder, ".new") as fresh:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        try:
            yield fresh
            if seal:
                seal(fresh)
            sync_tree(fresh)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        _swap(fresh, folder)
        sync_folder(folder.parent)


def _swap(fresh: Path, folder: Path) -> None:
    """Put `fresh` in the place of `folder`, which another process may do at the same moment: the last one stays."""
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    while True:
        with suppress(FileNotFoundError):  # there is none, or another has just moved it aside
            folder.rename(old)
        try:
            fresh.rename(folder)
            taken = False
        except OSError as error:
            taken = error.errno in (errno.ENOTEMPTY, errno.EEXIST)
            if not taken:
                with suppress(OSError):
                    old.rename(folder)
                raise
        shutil.rmtree(old, ignore_errors=True)
        if not taken:
            return


def sync_tree(folder: Path) -> None:
    """Have all that lies below `folder` on disk."""
    for path in (*folder.rglob("*"), folder):
        if path.is_file():
            _sync(path)
        elif path.is_dir():
            sync_folder(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_new(path: Path, data: bytes, *, mode: int) -> bool:
    """`write_bytes`, where there is no such file yet: False where there is one, which is left as it is."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _beside(path, ".tmp") as temporary:
            write_bytes(temporary, data, mode=mode)
            try:
                os.link(temporary, path)  # unlike a rename it takes no other's place
            except FileExistsError:
                return False
            finally:
                temporary.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise NotWritten(path, error) from error
    return True


def _write_all(handle: int, data: bytes) -> None:
    """All of it: `os.write` may write less, as on a disk that is nearly full."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


@contextmanager
def whole(file: Path) -> Iterator[Path]:
    """A name beside `file` under which another writes it: `file` is there once all of it is on disk, or is not."""
    with _beside(file, ".new") as fresh:
        try:
            yield fresh
            put_in_place(fresh, file)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise


@contextmanager
def _beside(path: Path, ending: str) -> Iterator[Path]:
    """The name under which a new `path` is made; what ended processes left under such names is removed first."""
    for left in _left(path):
        tidy(left)
    yield path.with_name(f".{path.name}.{os.getpid()}{ending}")


def _left(path: Path) -> Iterator[Path]:
    return (each for each in left_behind(path.parent) if each.name.startswith(f".{path.name}."))


def left_behind(folder: Path) -> Iterator[Path]:
    """What processes that have ended left in `folder` of what they were making: `.NAME.PID.tmp` and the like."""
    for path in list(folder.iterdir()):
        match = LEFT_BEHIND.fullmatch(path.name)
        if match and not alive(int(match[2])):
            yield path


def tidy(left: Path) -> None:
    """Remove what was left behind; what was moved aside, and has no successor yet, goes back to its place."""
    match = LEFT_BEHIND.fullmatch(left.name)
    place = left.with_name(match[1]) if match else left
    if match and match[3] == "old" and not place.exists():
        left.rename(place)
    elif left.is_dir():
        shutil.rmtree(left, ignore_errors=True)
    else:
        left.unlink(missing_ok=True)


@contextmanager
def scratch_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` for what is in the making; it is removed, also what a killed run left in it."""
    folder = out.with_name(f".{out.name}.scratch")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)  # rows may lie here meanwhile
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def alive(pid: int) -> bool:
    """Whether there is a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OverflowError:
        return False
    except PermissionError:
        pass
    return True


def withhold() -> None:
    """From now on this process, and what it starts, makes files for its user and group alone: 0640, 0750, or less."""
    os.umask(os.umask(0o077) | 0o027)


def check_folder(out: Path, kind: str | None, what: str, record: str = "card.json") -> None:
    """Raise UsageError unless `out` is missing, empty, or holds what it is for, made before: `what`, whose `record` is
    there and says the `kind`; None: it need not. So no other folder is ever replaced.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        if (out / record).is_file() if kind is None else read_json(out / record)["kind"] == kind:
            return
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise UsageError(
        f"--out {out} exists and holds no {what}",
        kept="nothing was written",
        next_step="name a new folder, or one that the same command has made, which is then replaced",
    )
