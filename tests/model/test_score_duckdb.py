"""Predictions as tables in a file of DuckDB: each partition once, whatever is killed, and whoever else writes."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest
from killed_scoring import ACTIONS, CURRENT, ITEMS, LINES, SIZE, scoring, together
from pyarrow import parquet
from small_models import Folders, exported

from clickflow.params.score import Score
from clickflow.serving import batch, duckdb_dialect, score_database, tables
from clickflow.system.errors import ClickflowError


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """The folders of an artefact, and of the store it was made from."""
    return exported(tmp_path_factory.mktemp("shop"))


@pytest.fixture(autouse=True)
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "scores.duckdb"
    monkeypatch.setenv("CLICKFLOW_SCORE_URL", f"duckdb:///{file}")
    monkeypatch.setattr(batch, "PARTITION", SIZE)
    return file


def rows(file: Path) -> dict[str, list[Any]]:
    """All tables, in order, without the times of writing."""
    contents = {}
    with duckdb.connect(str(file), read_only=True) as con:
        for name in (ITEMS, ACTIONS, LINES, CURRENT):
            columns = [each[0] for each in con.execute(f"DESCRIBE {name}").fetchall() if each[0] != "written_at"]
            quoted = ", ".join(f'"{column}"' for column in columns)
            contents[name] = sorted(con.execute(f"SELECT {quoted} FROM {name}").fetchall(), key=str)
    return contents


def test_a_table_holds_what_the_files_hold_and_a_run_again_nothing_else(
    folders: Folders, tmp_path: Path, database: Path
) -> None:
    card = scoring(*folders, tmp_path / "out", sql=True)
    assert card["tables"] == {ITEMS: 2000, ACTIONS: 400}
    contents = rows(database)
    files = parquet.read_table(tmp_path / "out/items.parquet").to_pylist()
    own = [(r["session_id"], r["last_event"].replace(tzinfo=None), r["rank"], r["item_id"]) for r in files]
    assert sorted(own) == sorted((row[2], row[4], row[5], row[6]) for row in contents[ITEMS])
    assert {round(row["probability"], 6) for row in files} == {round(row[7], 6) for row in contents[ITEMS]}
    assert (len(contents[LINES]), len(contents[CURRENT])) == (7, 1)
    scoring(*folders, None, sql=True)
    assert rows(database) == contents
    with duckdb.connect(str(database)) as con:  # whose rows are not all there is made again
        con.execute(f"DELETE FROM {ITEMS} WHERE partition = 3")
    scoring(*folders, None, sql=True)
    assert rows(database) == contents


@pytest.mark.slow
def test_killed_anywhere_the_next_run_ends_as_if_nothing_had_been(
    folders: Folders, tmp_path: Path, database: Path
) -> None:
    scoring(*folders, None, sql=True)
    words = [sys.executable, str(Path(__file__).with_name("killed_scoring.py")), *map(str, folders), str(tmp_path)]
    done = subprocess.run([*words, "5", "duckdb"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100
    want = rows(database)
    for here in tmp_path.glob("at-*"):
        assert rows(here / "scores.duckdb") == want, here


def test_two_processes_that_write_to_one_file_do_not_double(folders: Folders, tmp_path: Path, database: Path) -> None:
    scoring(*folders, None, sql=True)
    both = tmp_path / "both.duckdb"
    together(f"duckdb:///{both}", *folders)
    assert rows(both) == rows(database)


def test_who_finds_the_file_taken_waits_and_then_says_so(
    folders: Folders, tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duckdb_dialect, "WAIT", 0.2)
    holds, go = tmp_path / "holds", tmp_path / "go"
    code = (
        "import duckdb, pathlib, sys, time; con = duckdb.connect(sys.argv[1]); pathlib.Path(sys.argv[2]).touch()\n"
        "while not pathlib.Path(sys.argv[3]).exists(): time.sleep(.02)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(database), str(holds), str(go)])
    try:
        while not holds.exists():
            time.sleep(0.02)
        with pytest.raises(ClickflowError, match="could not be prepared"):
            scoring(*folders, None, sql=True)
        monkeypatch.setattr(duckdb_dialect, "WAIT", 60.0)
        go.touch()
        assert scoring(*folders, None, sql=True)["partitions"] == 7
    finally:
        go.touch()
        other.wait(30)


def test_no_byte_of_a_forgotten_person_stays_in_the_file(folders: Folders, database: Path) -> None:
    scoring(*folders, None, sql=True)
    before = rows(database)
    session = max((row[2] for row in before[ACTIONS]), key=len)
    who: dict[str, Any] = {"users": (), "sessions": (session,)}
    engine = score_database.connect(Score())
    assert tables.without(engine, Score(), **who, dry=True) == {ITEMS: 5, ACTIONS: 1}
    assert tables.without(engine, Score(), **who, dry=False) == {ITEMS: 5, ACTIONS: 1}
    contents = rows(database)
    assert contents[ACTIONS] == [row for row in before[ACTIONS] if row[2] != session]
    assert session not in str(contents)
    assert session.encode() not in b"".join(each.read_bytes() for each in database.parent.glob("*duckdb*"))
    scoring(*folders, None, sql=True)  # keys are there still: what was removed is made again, once
    assert len(rows(database)[LINES]) == 7


def test_a_file_that_is_written_anew_keeps_its_rights_and_stays_behind_its_link(
    folders: Folders, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scoring(*folders, None, sql=True)
    session = rows(database)[ACTIONS][0][2]
    database.chmod(0o600)
    link = database.with_name("link.duckdb")
    link.symlink_to(database)
    monkeypatch.setenv("CLICKFLOW_SCORE_URL", f"duckdb:///{link}")
    tables.without(score_database.connect(Score()), Score(), users=(), sessions=(session,), dry=False)
    assert link.is_symlink()
    assert database.stat().st_mode & 0o777 == 0o600
    assert session not in str(rows(database))
    assert sorted(each.name for each in database.parent.glob("*duckdb*")) == ["link.duckdb", "scores.duckdb"]
