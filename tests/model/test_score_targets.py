"""Predictions as files and as tables: each partition once, whatever is killed, and by whom else they are written."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from killed_scoring import ACTIONS, CURRENT, ITEMS, LINES, MODEL, SIZE, WHO, scoring, together
from pyarrow import parquet
from small_models import Folders, exported

from clickflow.artefact.artefact import load
from clickflow.params.file import load as load_params
from clickflow.params.score import Score
from clickflow.sequences.store import read_card
from clickflow.serving import batch, folder, score_database, tables
from clickflow.serving.partitions import Batch
from clickflow.system.errors import ClickflowError, UsageError
from clickflow.system.files import read_json, sha256_folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """The folders of an artefact, and of the store it was made from."""
    return exported(tmp_path_factory.mktemp("shop"))


@pytest.fixture(autouse=True)
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "scores.sqlite"
    monkeypatch.setenv("CLICKFLOW_SCORE_URL", f"sqlite:///{file}")
    monkeypatch.setattr(batch, "PARTITION", SIZE)
    return file


def rows(file: Path) -> dict[str, list[Any]]:
    """All tables, in order, without the times of writing."""
    with closing(sqlite3.connect(file)) as con:
        names = [name for (name,) in con.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        contents = {}
        for name in names:
            columns = [each[1] for each in con.execute(f"PRAGMA table_info({name})") if each[1] != "written_at"]
            quoted = ", ".join(f'"{column}"' for column in columns)
            contents[name] = sorted(con.execute(f"SELECT {quoted} FROM {name}"), key=str)
    return contents


def partitions(store: Path) -> int:
    return sum(-(-part.sequences // SIZE) for part in read_card(store).splits.values())


@pytest.mark.slow
def test_killed_anywhere_the_next_run_ends_as_if_nothing_had_been(
    folders: Folders, tmp_path: Path, database: Path
) -> None:
    """At five places, spread over all touches of a file and statements of SQL."""
    scoring(*folders, tmp_path / "whole", sql=True)
    words = [sys.executable, str(Path(__file__).with_name("killed_scoring.py")), *map(str, folders), str(tmp_path), "5"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100
    want, tables_wanted = sha256_folder(tmp_path / "whole"), rows(database)
    for here in tmp_path.glob("at-*"):
        assert sorted(path.name for path in here.iterdir()) == ["predictions", "scores.sqlite"], here
        assert sha256_folder(here / "predictions") == want, here
        assert rows(here / "scores.sqlite") == tables_wanted, here


def test_a_table_holds_what_the_files_hold(folders: Folders, tmp_path: Path, database: Path) -> None:
    card = scoring(*folders, tmp_path / "out", sql=True)
    assert card["partitions"] == partitions(folders[1]) == 7
    assert card["tables"] == {ITEMS: 2000, ACTIONS: 400}
    contents = rows(database)
    files = parquet.read_table(tmp_path / "out/items.parquet").to_pylist()
    assert sorted((row["session_id"], row["rank"], row["item_id"], row["probability"]) for row in files) == sorted(
        (row[2], row[5], row[6], row[7]) for row in contents[ITEMS]
    )
    assert {row[4] for row in contents[ITEMS]} == {row["last_event"].strftime("%Y-%m-%d %H:%M:%S.%f") for row in files}
    assert [row[:3] for row in contents[CURRENT]] == [(MODEL, card["batch"], WHO["version"])]
    assert sorted(row[2] for row in contents[LINES]) == list(range(7))


def test_no_byte_of_a_forgotten_person_stays_in_the_file(folders: Folders, tmp_path: Path, database: Path) -> None:
    """SQLite keeps the bytes of rows that are deleted until others take their place."""
    scoring(*folders, tmp_path / "out", sql=True)
    session, other = sorted((row[2] for row in rows(database)[ACTIONS]), key=len)[-2:]  # no other begins so
    assert session.encode() in database.read_bytes()
    who: dict[str, Any] = {"users": (), "sessions": (session,)}
    engine = score_database.connect(Score())
    assert tables.without(engine, Score(), **who, dry=True) == {ITEMS: 5, ACTIONS: 1}
    assert tables.without(engine, Score(), **who, dry=False) == {ITEMS: 5, ACTIONS: 1}
    assert session.encode() not in database.read_bytes()
    with closing(sqlite3.connect(database)) as con:
        con.execute("PRAGMA secure_delete = OFF")  # which some are built with, and most are not
        con.execute(f"DELETE FROM {ITEMS}")
        con.execute(f"DELETE FROM {ACTIONS}")
        con.commit()
    assert other.encode() in database.read_bytes()
    assert tables.without(engine, Score(), (), (other,), dry=False) == {}
    assert other.encode() not in database.read_bytes()


def test_a_run_again_changes_nothing_and_says_so(
    folders: Folders, tmp_path: Path, database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scoring(*folders, tmp_path / "out", sql=True)
    before, bytes_before = sha256_folder(tmp_path / "out"), database.read_bytes()
    inode = (tmp_path / "out").stat().st_ino
    capsys.readouterr()
    card = scoring(*folders, tmp_path / "out", sql=True)
    stderr = capsys.readouterr().err
    assert stderr.count("7 of 7 partitions are there already") == 2
    assert card["rows"] == {"items.parquet": 2000, "actions.parquet": 400}
    assert (sha256_folder(tmp_path / "out"), (tmp_path / "out").stat().st_ino) == (before, inode)
    assert database.read_bytes() == bytes_before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


class Full(Exception):
    """What goes wrong after so many partitions."""


def failing(monkeypatch: pytest.MonkeyPatch, target: Any, after: int) -> None:
    taken = target.take

    def take(self: Any, partition: Any) -> None:
        if len(self.lines) == after:
            raise Full
        taken(self, partition)

    monkeypatch.setattr(target, "take", take)


def test_other_predictions_are_begun_anew_and_it_is_said(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        failing(patch, folder.Folder, 3)
        with pytest.raises(Full):
            scoring(*folders, tmp_path / "out", sql=False)
    assert not (tmp_path / "out").exists()
    capsys.readouterr()
    assert scoring(*folders, tmp_path / "out", sql=False, top=4)["rows"]["items.parquet"] == 1600
    assert "top 5 → 4; the run that did not end is begun anew" in capsys.readouterr().err
    assert (
        scoring(*folders, tmp_path / "new", sql=False, top=4)["batch"] == read_json(tmp_path / "out/card.json")["batch"]
    )
    assert sha256_folder(tmp_path / "out") == sha256_folder(tmp_path / "new")


@pytest.mark.parametrize("cut", [1, 300, 801])
def test_a_manifest_that_was_cut_and_a_file_that_was_changed(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cut: int
) -> None:
    scoring(*folders, tmp_path / "whole", sql=False)
    with monkeypatch.context() as patch:
        failing(patch, folder.Folder, 4)
        with pytest.raises(Full):
            scoring(*folders, tmp_path / "out", sql=False)
    partial = tmp_path / ".out.partial"
    (partial / "items.parquet/part-00000.parquet").write_bytes(b"PAR1")
    manifest = partial / folder.MANIFEST
    manifest.write_bytes(manifest.read_bytes()[:-cut])
    scoring(*folders, tmp_path / "out", sql=False)
    assert "1 partitions are not as they were written" in capsys.readouterr().err
    assert sha256_folder(tmp_path / "out") == sha256_folder(tmp_path / "whole")


def test_one_run_at_a_time_writes_a_folder(folders: Folders, tmp_path: Path) -> None:
    each = Batch({"model": MODEL}, 1, {}, {})
    with folder.Folder(tmp_path / "out", each), pytest.raises(UsageError, match="another run writes predictions"):
        scoring(*folders, tmp_path / "out", sql=False)
    scoring(*folders, tmp_path / "out", sql=False)


def test_two_runs_at_once_do_not_double(folders: Folders, tmp_path: Path, database: Path) -> None:
    scoring(*folders, None, sql=True)
    want = rows(database)
    both = tmp_path / "both.sqlite"
    together(f"sqlite:///{both}", *folders)
    assert rows(both) == want


def test_the_second_of_two_leaves_the_rows_of_the_first(folders: Folders, database: Path) -> None:
    """Both have begun before either has written."""
    score, engine = Score(), score_database.connect(Score())
    artefact = load(folders[0], threads=1)

    class Late(tables.Tables):
        def __enter__(self) -> Any:
            super().__enter__()
            scoring(*folders, None, sql=True)
            return self

    batch.write(artefact, folders[1], [lambda each: Late(engine, score, each)], who=WHO, top=5, since_hours=None)
    contents = rows(database)
    assert (len(contents[ITEMS]), len(contents[ACTIONS]), len(contents[LINES])) == (2000, 400, 7)


def test_rows_that_somebody_removed_are_made_again(
    folders: Folders, database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scoring(*folders, None, sql=True)
    want = rows(database)
    with closing(sqlite3.connect(database)) as con, con:
        con.execute(f"DELETE FROM {ITEMS} WHERE partition = 2 AND rank = 1")
        con.execute(f"DELETE FROM {LINES} WHERE partition = 5")
    scoring(*folders, None, sql=True)
    assert "1 partitions have not the rows that were written" in capsys.readouterr().err
    assert rows(database) == want


def test_so_many_batches_stay_and_the_current_one_is_named(folders: Folders, database: Path) -> None:
    names = [scoring(*folders, None, sql=True, top=top)["batch"] for top in (1, 2, 3, 4)]
    contents = rows(database)
    assert {row[0] for row in contents[ITEMS]} == {row[1] for row in contents[LINES]} == set(names[1:])
    assert [row[1] for row in contents[CURRENT]] == [names[3]]
    assert scoring(*folders, None, sql=True, top=2)["batch"] == names[1]
    assert [row[1] for row in rows(database)[CURRENT]] == [names[1]], "as after a rollback"
    assert {row[0] for row in rows(database)[ITEMS]} == set(names[1:])


def test_a_run_that_did_not_end_is_not_current(
    folders: Folders, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = scoring(*folders, None, sql=True, top=1)["batch"]
    with monkeypatch.context() as patch:
        failing(patch, tables.Tables, 3)
        with pytest.raises(Full):
            scoring(*folders, None, sql=True)
    contents = rows(database)
    assert [row[1] for row in contents[CURRENT]] == [first]
    assert len(contents[LINES]) == 7 + 3


def test_a_table_with_other_columns_is_left_alone(folders: Folders, database: Path) -> None:
    with closing(sqlite3.connect(database)) as con, con:
        con.execute(f"CREATE TABLE {ITEMS} (batch TEXT, partition BIGINT, session_id TEXT, user_id TEXT, rank TEXT)")
    with pytest.raises(UsageError) as error:
        scoring(*folders, None, sql=True)
    message = str(error.value)
    assert "lacks last_event, item_id, probability; rank is TEXT, not SMALLINT" in message
    assert f"ALTER TABLE {ITEMS} ADD COLUMN probability REAL" in message
    assert rows(database)[ITEMS] == []


def test_a_database_that_refuses_and_one_that_is_away(
    folders: Folders, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scoring(*folders, None, sql=True, top=1)
    monkeypatch.setenv("CLICKFLOW_SCORE_URL", f"sqlite:///file:{database}?mode=ro&uri=true")
    with pytest.raises(UsageError, match="does not let the predictions be written") as refused:
        scoring(*folders, None, sql=True)
    assert "0 of 7 partitions are in the tables" in str(refused.value)
    monkeypatch.setenv("CLICKFLOW_SCORE_URL", f"sqlite:///{tmp_path}/nowhere/x.sqlite")
    with pytest.raises(ClickflowError, match="is away: the predictions could not be prepared") as away:
        scoring(*folders, None, sql=True)
    assert away.value.exit_code == 1, "trying again may help"


@pytest.mark.parametrize("url", ["", "mysql://u:s3cret@h/d", "no url s3cret", "oracle+x://u:s3cret@h"])
def test_no_such_url_is_an_error_without_it(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("CLICKFLOW_SCORE_URL", url)
    with pytest.raises(UsageError, match="CLICKFLOW_SCORE_URL") as error:
        score_database.connect(Score())
    assert "s3cret" not in str(error.value)


def test_values_of_rows_are_in_no_error(folders: Folders, database: Path) -> None:
    scoring(*folders, None, sql=True, top=1)
    with closing(sqlite3.connect(database)) as con, con:
        con.execute(f"CREATE TRIGGER no BEFORE INSERT ON {ACTIONS} BEGIN SELECT RAISE(ABORT, 'refused by a rule'); END")
    with pytest.raises(UsageError, match="does not take the predictions") as error:
        scoring(*folders, None, sql=True)
    sessions = parquet.read_table(folders[1] / "train/sequences.parquet")["session_id"].to_pylist()
    assert not any(name in str(error.value).split() for name in sessions)


def test_every_name_fits_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa

    engine = score_database.connect(Score())
    for columns in (["batch"], ["Yes", "yes"], ["x" * 64]):
        schema = pa.schema([("user_id", pa.string()), *((name, pa.float32()) for name in columns)])
        each = Batch({"model": MODEL, "version": 1}, 1, {"it.parquet": schema}, {})
        with pytest.raises(UsageError, match="cannot name"), tables.Tables(engine, Score(), each):
            pass


def test_a_run_names_no_other_tables(root: Path) -> None:
    from clickflow.orchestration import permitted

    text = (root / "params.yaml").read_text(encoding="utf-8") + "\nruns: {overrides: ['*']}\n"
    for name in ("score.sql_url_env", "score.sql_connection", "score.sql_prefix", "score.sql", "score"):
        with pytest.raises(UsageError, match="score comes from the commit alone"):
            permitted.check(text, {name: "X" if name != "score" else {"sql_url_env": "X"}})


def test_who_is_forgotten_is_in_no_table(folders: Folders, root: Path) -> None:
    from clickflow.privacy import scored
    from clickflow.privacy.people import People, Person

    for top in (1, 2):
        scoring(*folders, None, sql=True, top=top)
    params = load_params(root / "params.yaml")
    person = People((Person("name", "nobody", sessions=frozenset({"train-0", "test-1"})),), b"key")
    for dry in (True, False):
        removed, unreached = scored.remove(params, person, dry=dry)
        assert {each.thing: each.rows for each in removed} == {ITEMS: 6, ACTIONS: 4}
        assert unreached == []
    assert scored.remove(params, person, dry=False) == ([], [])


def test_the_manifest_says_what_is_done(folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        failing(patch, folder.Folder, 2)
        with pytest.raises(Full):
            scoring(*folders, tmp_path / "out", sql=False)
    first, *lines = map(json.loads, (tmp_path / ".out.partial/manifest.jsonl").read_text().splitlines())
    assert first["key"]["version"] == 1 and len(first["key"]["data_sha256"]) == 64
    assert [line["partition"] for line in lines] == [0, 1]
    assert all(len(digest) == 64 for line in lines for digest in line["files"].values())
    assert sa.inspect(score_database.connect(Score()).engine).get_table_names() == []
