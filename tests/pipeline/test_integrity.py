"""Bytes are checked where they are read: whatever is done to a file of a sealed folder, its reader says which."""

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clickflow.system import integrity
from clickflow.system.errors import DataError

NAMES = ("card.json", "day=2026-01-05/events.parquet", "day=2026-01-06/events.parquet", "train/item.npy")


def sealed(folder: Path) -> Path:
    """A sealed folder."""
    for number, name in enumerate(NAMES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes((number * 7 + at) % 251 for at in range(400)))
    integrity.seal(folder)
    return folder


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 1 << at % 8
    path.write_bytes(data)


WAYS: dict[str, Callable[[Path, int], object]] = {
    "flipped": flip,
    "cut": lambda path, at: os.truncate(path, at % path.stat().st_size),
    "longer": lambda path, at: path.write_bytes(path.read_bytes() + b"\0" * (1 + at % 9)),
    "removed": lambda path, _: path.unlink(),
    "replaced": lambda path, at: path.unlink() or path.write_bytes(bytes(400 - at % 2)),  # type: ignore[func-returns-value]
    "joined": lambda path, at: path.with_name(f"x{at}.parquet").write_bytes(b"more"),
}


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from([*NAMES, integrity.SEAL]),
    way=st.sampled_from(sorted(WAYS)),
    at=st.integers(0, 10_000),
    seen=st.booleans(),
    back=st.booleans(),
)
def test_whatever_is_done_to_a_file_is_noticed(
    tmp_path: Path, name: str, way: str, at: int, seen: bool, back: bool
) -> None:
    """`seen`: it was checked, and remembered, before; `back`: the time of its last write is set back."""
    shutil.rmtree(tmp_path, ignore_errors=True)
    folder, home = sealed(tmp_path / "data"), tmp_path / "home"
    if seen:
        integrity.verify(folder, home=home)
    path = folder / name
    stat = path.stat()
    WAYS[way](path, at)
    if back and path.exists():
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(DataError) as error:
        integrity.verify(folder, home=home)
    assert (path.name if way != "joined" else f"x{at}.parquet") in str(error.value)
    assert error.value.kept
    assert "dvc checkout" in error.value.next_step


def test_two_files_that_changed_places_are_noticed(tmp_path: Path) -> None:
    folder = sealed(tmp_path / "data")
    one, other = (folder / name for name in NAMES[1:3])
    one.rename(folder / "aside")
    other.rename(one)
    (folder / "aside").rename(other)
    with pytest.raises(DataError, match=r"2 files of .* are not what the stage wrote"):
        integrity.verify(folder, home=None)


def test_what_was_seen_is_not_read_again(tmp_path: Path) -> None:
    folder, home = sealed(tmp_path / "data"), tmp_path / "home"
    time.sleep(0.1)  # what is younger than a tick of the clock is not remembered
    integrity.verify(folder, home=home)
    with sqlite3.connect(home / integrity.CACHE) as con:
        assert con.execute("SELECT count(*) FROM hashes").fetchone() == (len(NAMES),)
        con.execute("UPDATE hashes SET sha256 = 'remembered'")
    ((_, _, digest),) = integrity.Hashes(home).of([folder / NAMES[0]])
    assert digest == "remembered"
    integrity.verify(folder, home=home)  # what is remembered is held against the file before anything is refused
    (home / integrity.CACHE).write_bytes(b"no database" * 1000)
    integrity.verify(folder, home=home)


def _verify(folder: Path, home: Path) -> None:
    for _ in range(20):
        integrity.verify(folder, home=home)


def test_several_processes_may_remember_at_once(tmp_path: Path) -> None:
    folder, home = sealed(tmp_path / "data"), tmp_path / "home"
    workers = [get_context("fork").Process(target=_verify, args=(folder, home)) for _ in range(4)]
    for worker in workers:
        worker.start()
    workers[0].kill()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers[1:]] == [0, 0, 0]
    integrity.verify(folder, home=home)


def test_a_folder_that_was_never_sealed_is_refused(tmp_path: Path) -> None:
    folder = sealed(tmp_path / "data")
    (folder / integrity.SEAL).unlink()
    with pytest.raises(DataError, match=r"has no _hashes\.json"):
        integrity.verify(folder, home=None)
    integrity.verify(tmp_path / "nowhere", home=None)
