"""Files that a server needs of a model before it can answer, written once beside the artefact.

All processes of a machine map them, later starts too. A process of its own writes them: the server goes on answering
meanwhile, and its memory does not grow.
"""

import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tokenize import TokenError
from typing import Any

import msgspec
import numpy as np

from clickflow.online import apart, table, weights
from clickflow.online.parts import Array, Make, Parts
from clickflow.system import process
from clickflow.system.errors import ClickflowError
from clickflow.system.files import sha256

LEAST = 1 << 24
"""Bytes of a model's file from which on what is made of it is laid out in files; of less it is made anew each time."""
KEPT = 3
"""Of so many models beside each other, those that were asked for latest."""
LONGEST = 900.0
"""Seconds that the other process may take."""
CODE = ("apart.py", "laid.py", "narrow.py", "parts.py", "table.py", "weights.py", "../artefact/int8.py")
"""Files of the source that say what is laid out: where one is another, so is that."""


class _Plan(msgspec.Struct, frozen=True):
    """Of the files of a folder."""

    parts: Parts | None
    sha256: dict[str, str]
    """By name of an array, whose files are called by their places in here."""


Taken = tuple[Parts | None, Mapping[str, Array]]


def out(file: Path, sha: str, known: int) -> Taken:
    """The parts of the model in `file`, whose hash that is, and their constants; no parts where it cannot be taken
    apart. Those of a large model are read from files, which another process makes where they are not there or not as
    they were written; where there can be none (a disk that is full, or read-only), this one makes all by itself.
    """
    if file.stat().st_size >= LEAST:
        folder = file.parent.parent / f".cut-{sha[:16]}-{_code()}"
        with contextlib.suppress(OSError, ClickflowError):
            return _read(folder) or _built_apart(file, sha, known, folder)
    return build(file, sha, known, lambda _, shape, kind: np.empty(shape, kind))


def build(file: Path, sha: str, known: int, make: Make) -> Taken:
    """As `out`, by this process; arrays are those that `make` gives. Raises OSError where the file is not that one."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    arrays: dict[str, Array] = {}

    def kept(name: str, shape: tuple[int, ...], kind: Any) -> Array:
        array = make(name, shape, kind)
        if not name.startswith("."):
            arrays[name] = array
        return array

    try:
        model, held = weights.light(file)
        parts = apart.parts(model, held, known, kept, file)
    except (ValueError, DecodeError):  # whoever opens it says what is wrong
        return None, {}
    if parts is None:
        return None, {}
    for name in sorted(
        {name for piece in (parts.reader, *(m.piece for m in parts.mixers.values())) for name in piece.held}
    ):
        kept(name, held[name].shape, held[name].dtype)[...] = held[name]
    if sha256(file) != sha:
        raise OSError(f"{file} is another than it was")
    return parts, arrays


def _built_apart(file: Path, sha: str, known: int, folder: Path) -> Taken:
    from filelock import FileLock

    with FileLock(folder.with_name(".cut.lock"), timeout=LONGEST):
        if taken := _read(folder):  # another process has made it meanwhile
            return taken
        command = [sys.executable, "-m", "clickflow.online.laid", str(file), sha, str(known), str(folder)]
        done = process.run(command, cwd=file.parent, env=os.environ, say=lambda _: None, capture=True, limit=LONGEST)
        if taken := _read(folder):
            return taken
    raise OSError(process.last_words(done))


def _read(folder: Path) -> Taken | None:
    """What lies there; None where it is not there, or not as it was written."""
    try:
        digest, _, body = (folder / "plan").read_bytes().partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != digest:
            return None
        plan = msgspec.json.decode(body, type=_Plan)
        held: dict[str, Array] = {}
        for place, (name, sha) in enumerate(plan.sha256.items()):
            file = folder / f"{place}.npy"
            if sha256(file) != sha:
                return None
            held[name] = np.load(file, mmap_mode="r")
        with contextlib.suppress(OSError):
            os.utime(folder)
    except (OSError, ValueError, MemoryError, SyntaxError, TokenError, msgspec.MsgspecError):
        return None
    return plan.parts, held


def write(file: Path, sha: str, known: int, folder: Path) -> None:
    """Lay out what `_read` reads, whole or not at all; what was not asked for longest goes."""
    with tempfile.TemporaryDirectory(prefix=".cut-", suffix=".new", dir=folder.parent) as scratch:
        fresh, places = Path(scratch, "it"), dict[str, Path]()
        fresh.mkdir()

        def make(name: str, shape: tuple[int, ...], kind: Any) -> Array:
            own = Path(scratch, f"{len(name)}{name[1:].replace('/', '_')[:99]}") if name.startswith(".") else None
            if own is None:
                own = places[name] = fresh / f"{len(places)}.npy"
            return np.lib.format.open_memmap(own, "w+", kind, shape)

        parts, arrays = build(file, sha, known, make)
        del arrays
        body = msgspec.json.encode(_Plan(parts, {name: sha256(own) for name, own in places.items()}))
        (fresh / "plan").write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    there = sorted(folder.parent.glob(".cut-*-*/"), key=lambda each: each.stat().st_mtime)
    for old in there[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    for old in folder.parent.glob(".items-*.npy"):  # of releases before
        old.unlink(missing_ok=True)


@cache
def _code() -> str:
    here, digest = Path(__file__).parent, hashlib.sha256()
    for name in CODE:
        digest.update((here / name).read_bytes())
    return digest.hexdigest()[:8] + ("" if table.signed() else "u")  # made on this kind of processor


if __name__ == "__main__":
    os.nice(5)  # who answers goes first
    write(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
