"""The simulator as a source: its dirt ends in quarantine for the right reason, its truth follows the events."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ingest_setup import Desk, set_params

from clickflow.events.ingest import _logs_beside, ingest
from clickflow.params.schema import Params
from clickflow.system import files

LOG = {
    "simulator__events": 20_000,
    "simulator__dirt": 0.03,
    "simulator__days": 7,
    "simulator__items": 300,
    "ingest__bad_optional": "quarantine",  # every kind of dirt is a row in quarantine then
}


@pytest.fixture
def params(raw_params: dict[str, object]) -> Params:
    return set_params(raw_params, **LOG)


def test_every_dirty_row_is_found_and_no_other(tmp_path: Path, raw_params: dict[str, object], params: Params) -> None:
    desk = Desk(tmp_path / "w", raw_params)
    card = ingest(params, desk.paths)
    dirt = pq.read_table(desk.paths.truth / "dirt.parquet").to_pylist()
    assert len(dirt) > 500
    reasons_by_line = {
        (entry["source"], entry["line"]): entry["reasons"]
        for entry in pq.read_table(desk.paths.quarantine / "quarantine.parquet").to_pylist()
    }
    assert reasons_by_line.keys() == {(entry["file"], entry["line"]) for entry in dirt}
    for entry in dirt:
        reasons = reasons_by_line[entry["file"], entry["line"]]
        assert entry["kind"] in reasons or (entry["kind"], reasons) == ("wrong_columns", ["truncated"])
    truth = files.read_json(desk.paths.truth / "card.json")
    assert (card["read"], card["quarantined"]) == (truth["rows"], len(dirt))
    assert card["accepted"] == truth["rows"] - len(dirt)


def test_truth_has_the_pseudonyms_of_the_events(tmp_path: Path, raw_params: dict[str, object], params: Params) -> None:
    desk = Desk(tmp_path / "w", raw_params)
    ingest(params, desk.paths)
    events = [pq.read_table(path, partitioning=None) for path in sorted(desk.paths.events.glob("day=*/*.parquet"))]
    pairs = {
        pair
        for table in events
        for pair in zip(table["session_id"].to_pylist(), table["user_id"].to_pylist(), strict=True)
    }
    sessions = pq.read_table(desk.paths.truth / "sessions.parquet")
    true_pairs = set(zip(sessions["session_id"].to_pylist(), sessions["user_id"].to_pylist(), strict=True))
    assert pairs <= true_pairs
    users = set(pq.read_table(desk.paths.truth / "users.parquet")["user_id"].to_pylist())
    # the accounts of bots and fraudsters have sessions, but are no customers
    assert len(users & {user for _, user in pairs if user}) > 0.9 * len(users)
    assert all(len(user) == 12 for user in users)


def test_the_same_params_give_the_same_bytes(tmp_path: Path, raw_params: dict[str, object], params: Params) -> None:
    desk, other = Desk(tmp_path / "a", raw_params), Desk(tmp_path / "b", raw_params)
    ingest(params, desk.paths)
    ingest(params, other.paths)
    assert desk.bytes() == other.bytes()
    ingest(params, desk.paths)
    assert desk.bytes() == other.bytes()


def test_a_log_that_is_not_read_is_noticed(tmp_path: Path, raw_params: dict[str, object], params: Params) -> None:
    desk = Desk(tmp_path / "w", raw_params)
    raw = desk.paths.root / params.source.path
    raw.mkdir(parents=True)
    (raw / "README.md").write_text("put the log here", encoding="utf-8")
    assert _logs_beside(params.source, desk.paths) == 0
    (raw / "clicks.csv").write_text("event_time", encoding="utf-8")
    assert _logs_beside(params.source, desk.paths) == 1
