"""Files that must survive are whole or as they were: on a full disk, after a kill, with a leftover beside them."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from clickflow.doctor import locks
from clickflow.events.pseudonyms import load_key
from clickflow.registry import ledger
from clickflow.system import files
from clickflow.system.errors import UsageError
from clickflow.system.paths import Paths

DEAD = 2**22 + 1
"""No process has this number: it is beyond the most that Linux gives."""


def full(code: str, limit: int) -> subprocess.CompletedProcess[str]:
    """Python code where no file may grow beyond `limit` bytes, as on a full disk: a write stops in its midst."""

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, preexec_fn=small)


def test_two_that_replace_a_folder_at_once_leave_one_of_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, rename, others = tmp_path / "made", Path.rename, [b"second", b"third"]

    def another_is_faster(self: Path, target: Path) -> Path:
        if self.name.endswith(".new") and others:
            place.mkdir()
            (place / "a").write_bytes(others.pop(0))
        return rename(self, target)

    place.mkdir()
    monkeypatch.setattr(Path, "rename", another_is_faster)
    with files.replacing(place) as fresh:
        (fresh / "a").write_bytes(b"last")
    assert (place / "a").read_bytes() == b"last"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def line(file: Path, reason: str) -> str:
    return (
        "from pathlib import Path\n"
        "from clickflow.system.errors import ClickflowError\n"
        "from clickflow.registry import ledger\n"
        f"file = Path({str(file)!r})\n"
        "try:\n"
        "    ledger.append(file, ledger.read(file), action='hold', model='m', version=1, champion=0, previous=0, "
        f"reason={reason!r}, facts={{}})\n"
        "except ClickflowError as error:\n"
        "    print(*error.lines(), sep='\\n')\n"
    )


def test_a_line_of_the_ledger_is_whole_or_absent_where_the_disk_is_full(tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    assert full(line(file, "one"), 1 << 20).stdout == ""
    before = file.read_bytes()
    done = full(line(file, "two" * 500), len(before) + 700)
    assert done.stdout.startswith(f"{file} could not be written: File too large\nkept: "), done.stderr
    assert "next: " in done.stdout
    assert file.read_bytes() == before
    assert full(line(file, "three"), 1 << 20).stdout == ""
    assert [entry.reason for entry in ledger.read(file)] == ["one", "three"]


def test_what_does_not_fit_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("old")
    code = f"""
from pathlib import Path
from clickflow.system import files
try:
    files.write_text(Path({str(file)!r}), "x" * 5000)
except files.NotWritten as error:
    print(error.what)
"""
    assert "could not be written: File too large" in full(code, 1000).stdout
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


@pytest.mark.parametrize("write", ["file", "folder", "doctor"])
def test_what_a_kill_left_goes_and_what_others_work_on_stays(tmp_path: Path, write: str) -> None:
    paths = Paths(tmp_path)
    place = paths.exported("m")
    place.parent.mkdir(parents=True)
    for pid in (DEAD, os.getppid()):
        (place.parent / f".exported.{pid}.tmp").write_text("half")
        (place.parent / f".exported.{pid}.new").mkdir()
    if write == "file":
        files.write_text(place, "whole")
    elif write == "folder":
        with files.replacing(place) as fresh:
            (fresh / "x").write_text("whole")
    else:
        place.mkdir()
        assert [finding.state for finding in locks.left(paths)] == ["warning"]
    assert sorted(path.name for path in place.parent.iterdir()) == [
        f".exported.{os.getppid()}.new",
        f".exported.{os.getppid()}.tmp",
        "exported",
    ]


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / f".made.{DEAD}.old").mkdir()
    (tmp_path / f".made.{DEAD}.old/x").write_text("before")
    with pytest.raises(KeyError), files.replacing(tmp_path / "made"):
        raise KeyError
    assert (tmp_path / "made/x").read_text() == "before"


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_doctor_mends_a_lock_of_dvc_that_a_kill_cut_short(tmp_path: Path, content: str) -> None:
    lock = tmp_path / ".dvc/tmp/rwlock"
    lock.parent.mkdir(parents=True)
    lock.write_text(content)
    (finding,) = locks.dvc(Paths(tmp_path))
    assert (finding.state, "damaged" in finding.words, lock.exists()) == ("warning", True, False)
    lock.write_text(json.dumps({"read": {}, "write": {}}))
    assert [finding.state for finding in locks.dvc(Paths(tmp_path))] == ["ok"]
    assert lock.exists()


def test_an_empty_key_is_said_with_what_it_means(tmp_path: Path) -> None:
    (tmp_path / "pseudonym.key").touch()
    with pytest.raises(UsageError, match=r"pseudonym\.key is empty") as error:
        load_key(tmp_path)
    assert "another pseudonym" in error.value.next_step
    (tmp_path / "pseudonym.key").unlink()
    assert load_key(tmp_path) == load_key(tmp_path)
    assert (tmp_path / "pseudonym.key").stat().st_mode & 0o777 == 0o600
