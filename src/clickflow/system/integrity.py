"""Bytes are checked where they are read, against the hashes that their producer recorded.

A stage seals each folder that it makes: `_hashes.json` holds size and SHA-256 of every file. Whoever reads the folder
calls `verify` first. What was hashed before and has the same device, inode, size and times is not hashed again: the
home remembers it, for all processes.
"""

import json
import os
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from clickflow.system.errors import DataError
from clickflow.system.files import sha256, sha256_json, write_json

SEAL = "_hashes.json"
CACHE = "hashes.sqlite"
"""In the home: the hashes of files by device, inode, size and times. It may be removed at any time."""
SETTLED_NS = 50_000_000
"""A file younger than this is not remembered: another write within a tick of the clock would not show."""
REMEMBERED = 200_000
SHOWN = 5

Fault = Literal["has changed", "is missing", "was not recorded"]
Marks = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class Damage:
    """A file that is not what was recorded."""

    path: Path
    fault: Fault
    more: str = ""


def marks(path: Path) -> Marks:
    """Device, inode, size, time of the last write and of the last change of a file: equal as long as its bytes are.

    The last one is not to be set back by anybody, unlike the one before.
    """
    stat = path.stat()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


class Hashes:
    """SHA-256 of files, remembered in `home` (None: not at all)."""

    def __init__(self, home: Path | None) -> None:
        self._file = None if home is None else home / CACHE
        self._known: dict[Marks, str] = {}
        self._new: dict[Marks, str] = {}

    def of(self, paths: Iterable[Path]) -> Iterator[tuple[Path, Marks, str]]:
        """Every file with its marks and its hash. Raises OSError; DataError where one changes while it is read."""
        paths = list(paths)
        self._recall([marks(path) for path in paths])
        for path in paths:
            before = marks(path)
            digest = self._known.get(before)
            if digest is None:
                digest = sha256(path)
                self._known[before] = digest
                if time.time_ns() - max(before[3:]) > SETTLED_NS:
                    self._new[before] = digest
            if marks(path)[:4] != before[:4]:  # a link made meanwhile is no change
                raise DataError(
                    f"{path} changed while it was read",
                    kept="no output was made from it",
                    next_step="run again when nobody writes to it any more",
                )
            yield path, before, digest
        self._remember()

    def _recall(self, wanted: list[Marks]) -> None:
        if self._file is None or not self._file.is_file() or all(mark in self._known for mark in wanted):
            return
        try:
            with closing(self._open()) as con:
                for mark in wanted:
                    row = con.execute(
                        "SELECT sha256 FROM hashes WHERE dev=? AND ino=? AND size=? AND mtime=? AND ctime=?",
                        [str(number) for number in mark],
                    ).fetchone()
                    if row:
                        self._known[mark] = row[0]
        except sqlite3.Error:
            self._forget()

    def _remember(self) -> None:
        """What cannot be remembered is hashed again the next time, and no harm is done."""
        new, self._new = self._new, {}
        if self._file is None or not new:
            return
        rows = [(*map(str, mark), digest) for mark, digest in new.items()]
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._open()) as con, con:
                con.executemany("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?, ?, ?)", rows)
                con.execute("DELETE FROM hashes WHERE rowid <= (SELECT max(rowid) FROM hashes) - ?", [REMEMBERED])
        except sqlite3.OperationalError:
            pass
        except (sqlite3.Error, OSError):
            self._forget()

    def _open(self) -> sqlite3.Connection:
        assert self._file is not None
        con = sqlite3.connect(self._file, timeout=20)
        con.execute(
            "CREATE TABLE IF NOT EXISTS hashes "
            "(dev TEXT, ino TEXT, size TEXT, mtime TEXT, ctime TEXT, sha256 TEXT, PRIMARY KEY (dev, ino))"
        )
        return con

    def _forget(self) -> None:
        """A cache that is broken is made anew."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)


def seal(folder: Path, home: Path | None = None, *, beside: Mapping[str, Path] | None = None) -> None:
    """Record size and SHA-256 of every file below `folder` in its `_hashes.json`; what is hidden is none of it.

    `beside`: files that lie elsewhere by the time they are read, by the path there, relative to `folder`.
    """
    (folder / SEAL).unlink(missing_ok=True)
    named = {path: name for name, path in [*_files(folder).items(), *(beside or {}).items()]}
    files = {named[path]: {"size": mark[2], "sha256": digest} for path, mark, digest in Hashes(home).of(sorted(named))}
    write_json(folder / SEAL, {"files": files, "seal": _seal(files)})


def verify(*folders: Path, home: Path | None) -> None:
    """Hold every file of sealed folders against what was recorded; the whole of it, before anything is used.

    Raises DataError with the files that changed, are missing or were never recorded, and with the way back. A folder
    that does not exist is left to who reads it.
    """
    for folder in folders:
        if folder.is_dir() and ((folder / SEAL).exists() or _files(folder)):
            refuse(folder, damaged(folder, home))


def verify_files(folder: Path, *names: str, home: Path | None) -> None:
    """`verify` of some files alone, by their names in the record; one that it does not name is held to be damaged."""
    recorded = _recorded(folder)
    faults = [Damage(folder / name, "was not recorded") for name in names if name not in recorded]
    refuse(folder, faults + damaged(folder, home, only=names))


def damaged(folder: Path, home: Path | None, *, only: Collection[str] = ()) -> list[Damage]:
    """What is not as recorded below `folder`, in order; of `only`, where files are named.

    Raises DataError where the record itself cannot be used.
    """
    recorded = {name: record for name, record in _recorded(folder).items() if not only or name in only}
    here = {} if only else _files(folder)
    faults: list[Damage] = []
    to_hash: dict[Path, str] = {}
    for name, record in recorded.items():
        path = folder / name
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            if name.startswith("../"):
                continue  # not every workspace has it; who reads it says so
            faults.append(Damage(path, "is missing"))
            continue
        if size != record["size"]:
            faults.append(Damage(path, "has changed", f"{size:,} bytes, {record['size']:,} were recorded"))
        else:
            to_hash[path] = record["sha256"]
    for path, _, digest in Hashes(home).of(to_hash):
        # what was remembered may have changed itself
        if digest != to_hash[path] and (digest := sha256(path)) != to_hash[path]:
            faults.append(Damage(path, "has changed", f"sha256 {digest[:12]}…, {to_hash[path][:12]}… was recorded"))
    faults += [Damage(path, "was not recorded") for name, path in here.items() if name not in recorded]
    return sorted(faults, key=lambda damage: damage.path)


def refuse(folder: Path, faults: list[Damage]) -> None:
    """Raise DataError where there are faults."""
    if not faults:
        return
    lines = [f"{each.path} {each.fault}{f' ({each.more})' if each.more else ''}" for each in faults[:SHOWN]]
    more = f"\n  and {len(faults) - SHOWN:,} more" if len(faults) > SHOWN else ""
    raise DataError(
        f"{lines[0]}: it is not what the stage wrote"
        if len(faults) == 1
        else f"{len(faults):,} files of {folder} are not what the stage wrote:\n  " + "\n  ".join(lines) + more,
        kept="nothing was read from them; every other file, and what was made before, is as it was",
        next_step=back(folder),
    )


def back(folder: Path) -> str:
    """How the recorded bytes of a folder are had again."""
    try:
        shown: Path | str = folder.relative_to(Path.cwd())
    except ValueError:
        shown = folder
    return (
        f"remove {shown}, then `dvc checkout {shown}` puts the recorded bytes back (`dvc pull` where they are in the "
        f"remote alone), or `dvc repro` makes them again"
    )


def _recorded(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / SEAL
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        files: dict[str, dict[str, Any]] = content["files"]
        whole = content["seal"] == _seal(files)
    except FileNotFoundError as error:
        raise DataError(
            f"{folder} has no {SEAL}: its bytes cannot be checked against what was written",
            kept="nothing was read",
            next_step=f"{back(folder)}; versions of clickflow before this one wrote none",
        ) from error
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        refuse(folder, [Damage(path, "has changed")])
    return files


def _seal(files: Mapping[str, Any]) -> str:
    return sha256_json(files)


def _files(folder: Path) -> dict[str, Path]:
    """Every file below a folder by its name there, without what is hidden and the seal itself."""
    files = {}
    for at, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            path = Path(at) / name
            inside = path.relative_to(folder).as_posix()
            if not name.startswith(".") and inside != SEAL:
                files[inside] = path
    return files
