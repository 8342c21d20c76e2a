"""What cannot be seen of a source, is gone, or moves while it is read, is said: no row vanishes with exit code 0."""

import ctypes
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ingest_setup import HEADER, Desk, rows

from clickflow.events import checks, ingest
from clickflow.events.folders import find_files
from clickflow.system.errors import DataError


@pytest.fixture
def desk(tmp_path: Path, raw_params: dict[str, object]) -> Desk:
    return Desk(tmp_path / "w", raw_params)


def _without_rights() -> None:
    """Even root may read no more than the modes say (CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH leave with exec)."""
    for capability in (1, 2):
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)


def _listed_by_a_user(folder: Path) -> str:
    code = f"""
import sys
from pathlib import Path
from types import SimpleNamespace
from clickflow.system.errors import DataError
from clickflow.events.folders import find_files
try:
    print([name for name, _ in find_files(SimpleNamespace(path={str(folder)!r}, pattern="**/*"), Path("/"))])
except DataError as error:
    print(*error.lines(), sep="\\n")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, preexec_fn=_without_rights, check=True
    )
    return done.stdout


UNSEEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "a folder": (lambda log: (log / "2026").chmod(0), r"2026 cannot be listed: Permission denied"),
    "a file": (lambda log: (log / "2026/b.csv").chmod(0), r"b\.csv is not to be read by this user"),
    "a link to nothing": (lambda log: (log / "c.csv").symlink_to("/mnt/gone.csv"), r"a link to /mnt/gone\.csv, where"),
    "a link to a folder": (lambda log: (log / "more").symlink_to("/usr/share"), r"more is a link to a folder"),
    "a name": (
        lambda log: os.close(os.open(bytes(log / "x") + b"\xff.csv", os.O_CREAT)),
        r"\\xff\.csv: its name is no",
    ),
    "a pipe": (lambda log: os.mkfifo(log / "p.csv"), r"p\.csv is not a file, but a pipe"),
}


@pytest.mark.parametrize("what", UNSEEN)
def test_what_cannot_be_listed_or_opened_is_an_error(desk: Desk, what: str) -> None:
    spoil, message = UNSEEN[what]
    desk.put("a.csv", HEADER + rows(3))
    desk.put("2026/b.csv", HEADER + rows(3))
    assert "2026/b.csv" in _listed_by_a_user(desk.log)
    spoil(desk.log)
    error_text = _listed_by_a_user(desk.log)
    (desk.log / "2026").chmod(0o700)
    assert re.search(message, error_text)
    assert "kept: " in error_text
    assert "next: " in error_text


def test_the_pattern_finds_what_a_glob_finds(desk: Desk) -> None:
    for name in ("a.csv", "2026/b.csv", "2026/01/c.csv", "_x=1/d.csv", "logs.md/e.csv", "2026/f.txt"):
        desk.put(name, HEADER + rows(1))
    for name in (".hidden/g.csv", "_delta_log/h.csv", "_SUCCESS", "README.md"):
        desk.put(name, b"x")
    for pattern in ("**/*", "*.csv", "*/*.csv", "2026/*", "**/*.csv", "2026/**/*.csv", "*/01/*", "a.csv"):
        source = desk.params(source__pattern=pattern).source
        hidden = ("README.md", "_SUCCESS", "_delta_log/h.csv", ".hidden/g.csv")
        wanted = {path.relative_to(desk.log).as_posix() for path in desk.log.glob(pattern) if path.is_file()}
        assert {name for name, _ in find_files(source, desk.paths.root)} == wanted - set(hidden)


def test_a_source_that_is_gone_stops_the_run_unless_it_may_go(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.put("a.csv", HEADER + rows(30))
    desk.put("b.csv", HEADER + rows(20, first=30))
    desk.ingest()
    before = desk.bytes()
    (desk.log / "b.csv").unlink()
    with pytest.raises(DataError, match=r"b\.csv, of which 20 events were accepted, is no longer in log") as error:
        desk.ingest(ingest__missing_sources="stop")
    assert "ingest.missing_sources: drop" in error.value.next_step
    assert desk.bytes() == before
    (desk.paths.events / "day=2026-01-05/events.parquet").unlink()  # nothing to build on: they are still missed
    with pytest.raises(DataError, match="20 events were accepted, is no longer"):
        desk.ingest(ingest__missing_sources="stop")
    assert desk.ingest(ingest__missing_sources="drop").card["accepted"] == 30
    assert "their events are dropped" in capsys.readouterr().err


def test_another_source_replaces_the_one_before_and_says_so(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.put("a.csv", HEADER + rows(30))
    desk.put("other/b.csv", HEADER + rows(20))
    desk.ingest(source__pattern="a.csv")
    assert desk.ingest(source__path="log/other", ingest__missing_sources="stop").card["accepted"] == 20
    stderr = " ".join(capsys.readouterr().err.split())
    assert "the source is another one" in stderr
    assert "a.csv, of which 30 events were accepted; they are replaced" in stderr


MOVES: dict[str, Callable[[Path], object]] = {
    "changed: it had": lambda path: path.open("ab").write(rows(5, first=90)),
    "was replaced by another file": lambda path: (
        path.with_name(".n").write_bytes(b"x"),
        path.with_name(".n").replace(path),
    ),
    "was removed": lambda path: path.unlink(),
}


@pytest.mark.parametrize("move", MOVES)
def test_a_file_that_moves_while_it_is_read_is_refused(desk: Desk, move: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = desk.put("a.csv", HEADER + rows(30))
    real = ingest.rules_for  # type: ignore[attr-defined]

    def meanwhile(*given: Any) -> Callable[..., checks.Rules]:
        MOVES[move](path)  # between the hash and the last byte read
        return real(*given)

    monkeypatch.setattr(ingest, "rules_for", meanwhile)
    with pytest.raises(DataError, match=move) as error:
        desk.ingest()
    assert "rename it at the end" in error.value.next_step
    assert not desk.paths.events.exists()
