"""Predictions in tables of a real PostgreSQL, which the test starts for itself on loopback."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pyarrow import parquet

sys.path.insert(0, str(Path(__file__).parents[1] / "model"))

import postgres_server
from killed_scoring import ACTIONS, CURRENT, ITEMS, LINES, SIZE, scoring, statements
from small_models import Folders, exported

from clickflow.params.score import Score
from clickflow.serving import batch, score_database, tables
from clickflow.system.errors import ClickflowError, UsageError
from killing import killed

pytestmark = pytest.mark.platform


@pytest.fixture(scope="module")
def server() -> Iterator[postgres_server.Server]:
    with postgres_server.running() as server:
        yield server


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """The folders of an artefact, and of the store it was made from."""
    return exported(tmp_path_factory.mktemp("shop"))


@pytest.fixture(autouse=True)
def empty(server: postgres_server.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    monkeypatch.setenv("CLICKFLOW_SCORE_URL", server.url)
    monkeypatch.setattr(batch, "PARTITION", SIZE)


def rows(server: postgres_server.Server) -> dict[str, list[Any]]:
    """All tables, in order, without the times of writing."""
    contents = {}
    with psycopg.connect(server.url) as con:
        for name in (ITEMS, ACTIONS, LINES, CURRENT):
            columns = con.execute(f"SELECT * FROM {name} LIMIT 0").description or []
            kept = ", ".join(f'"{column.name}"' for column in columns if column.name != "written_at")
            contents[name] = sorted(con.execute(f"SELECT {kept} FROM {name}"), key=str)
    return contents


def test_the_tables_hold_what_the_files_hold_and_a_run_again_nothing_else(
    folders: Folders, server: postgres_server.Server, tmp_path: Path
) -> None:
    scoring(*folders, tmp_path / "out", sql=True)
    first = rows(server)
    files = parquet.read_table(tmp_path / "out/items.parquet").to_pylist()
    assert sorted(
        ((r["session_id"], r["user_id"], r["last_event"], r["rank"], r["item_id"], r["probability"]) for r in files),
        key=str,
    ) == sorted(((*row[2:7], pytest.approx(row[7], rel=1e-6)) for row in first[ITEMS]), key=str)
    assert (len(first[ITEMS]), len(first[ACTIONS]), len(first[LINES]), len(first[CURRENT])) == (2000, 400, 7, 1)
    with psycopg.connect(server.url) as con:
        before = con.execute(f"SELECT written_at, xmin::text FROM {LINES} ORDER BY partition").fetchall()
        scoring(*folders, None, sql=True)
        assert con.execute(f"SELECT written_at, xmin::text FROM {LINES} ORDER BY partition").fetchall() == before
    assert rows(server) == first
    gone = tables.without(score_database.connect(Score()), Score(), {"nobody"}, {"train-0"}, dry=False)
    assert gone == {ITEMS: 5, ACTIONS: 1}


def test_two_at_once_and_one_killed_do_not_double(folders: Folders, server: postgres_server.Server) -> None:
    scoring(*folders, None, sql=True)
    want = rows(server)
    server.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    words = [sys.executable, "-c", "import sys, pathlib, killed_scoring as k; a = pathlib.Path\n"
             "k.scoring(a(sys.argv[1]), a(sys.argv[2]), None, sql=True)"]  # fmt: skip
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "model")}
    started = [subprocess.Popen([*words, *map(str, folders)], env=env, stderr=subprocess.PIPE) for _ in range(3)]
    for each in started:
        _, stderr = each.communicate()
        assert each.returncode == 0, stderr.decode()
    assert rows(server) == want
    for at in (20, 33, 46):
        server.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        assert not killed(at, lambda: scoring(*folders, None, sql=True), "nothing", statements)
        scoring(*folders, None, sql=True)
        assert rows(server) == want


def test_many_that_end_in_the_same_moment_name_one_current_batch(
    folders: Folders, server: postgres_server.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    scoring(*folders, None, sql=True)
    want = rows(server)
    together, finish = threading.Barrier(6, timeout=60), tables.Tables.finish

    def at_once(self: tables.Tables, card: Any) -> Any:
        together.wait()
        return finish(self, card)

    monkeypatch.setattr(tables.Tables, "finish", at_once)
    for before in (f"DELETE FROM {CURRENT}", f"UPDATE {CURRENT} SET batch = 'of before'"):
        server.execute(before)
        with ThreadPoolExecutor(6) as pool:
            for done in [pool.submit(scoring, *folders, None, sql=True) for _ in range(6)]:
                done.result()
        assert rows(server) == want


def test_a_server_that_goes_away_keeps_what_it_has(
    folders: Folders, server: postgres_server.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = tables.Tables.take

    def take(self: Any, partition: Any) -> None:
        if len(self.lines) == 3:
            server.stop()
        taken(self, partition)

    with monkeypatch.context() as patch:
        patch.setattr(tables.Tables, "take", take)
        with pytest.raises(ClickflowError, match="is away: the predictions could not be written") as away:
            scoring(*folders, None, sql=True)
    assert away.value.exit_code == 1
    assert "3 of 7 partitions are in the tables" in str(away.value)
    assert "p4ssw0rd" not in str(away.value)
    server.start()
    assert len(rows(server)[LINES]) == 3 and rows(server)[CURRENT] == []
    scoring(*folders, None, sql=True)
    assert (len(rows(server)[ITEMS]), len(rows(server)[LINES])) == (2000, 7)


def test_rights_are_named(folders: Folders, server: postgres_server.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    scoring(*folders, None, sql=True, top=1)
    server.execute("DROP ROLE IF EXISTS clerk; CREATE ROLE clerk LOGIN PASSWORD 'cl3rk'")
    monkeypatch.setenv("CLICKFLOW_SCORE_URL", server.url.replace("shop:p4ssw0rd-of-tests", "clerk:cl3rk"))

    def refused() -> str:
        with pytest.raises(UsageError) as error:
            scoring(*folders, None, sql=True)
        assert "cl3rk" not in str(error.value) and "SELECT, INSERT, UPDATE and DELETE" in str(error.value)
        return str(error.value)

    assert "no schema has been selected" in refused()
    server.execute("GRANT USAGE ON SCHEMA public TO clerk")
    assert f"permission denied for table {LINES}" in refused()
    server.execute("GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO clerk")
    assert "permission denied for table" in refused()
    server.execute("GRANT UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO clerk")
    scoring(*folders, None, sql=True)
    server.execute(f"DROP TABLE {ACTIONS}")
    assert "permission denied for schema public" in refused()
    monkeypatch.setenv("CLICKFLOW_SCORE_URL", server.url.replace("p4ssw0rd-of-tests", "wr0ng-word"))
    with pytest.raises(ClickflowError, match="could not be prepared") as error:
        scoring(*folders, None, sql=True)
    assert "wr0ng-word" not in str(error.value)


def test_columns_are_held_and_a_value_is_in_no_error(folders: Folders, server: postgres_server.Server) -> None:
    server.execute(f"CREATE TABLE {ITEMS} (batch text, partition bigint, session_id text, user_id text, rank text)")
    with pytest.raises(UsageError, match="lacks last_event, item_id, probability; rank is TEXT"):
        scoring(*folders, None, sql=True)
    server.execute(f"DROP TABLE {ITEMS}")
    scoring(*folders, None, sql=True, top=1)
    server.execute(f"ALTER TABLE {ITEMS} ADD CHECK (rank < 3)")
    with pytest.raises(UsageError, match="does not take the predictions") as error:
        scoring(*folders, None, sql=True)
    assert "SQLSTATE 23514" in str(error.value) and "COPY" not in str(error.value)
