"""What a fix has made good is taken in, and the outcome is that of a new ingest."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ingest_setup import HEADER, Desk, row, rows
from typer.testing import CliRunner

from clickflow.cli import app
from clickflow.events.replay import replay
from clickflow.system.errors import UsageError


@pytest.fixture
def desk(tmp_path: Path, raw_params: dict[str, object]) -> Desk:
    return Desk(tmp_path / "w", raw_params)


LOG = (
    HEADER
    + rows(40)
    + row(kind="pdp", item="a")
    + row(brand="x" * 300)
    + row(kind="pdp", brand="y" * 300)
    + b'2026-01-05 10:00:00,pdp,u1,s1,"a\n""b""",,,,,\n'
    + row(time="2026-06-02 00:00:00")
    + row(user="", item="guest")
    + row(kind="other")
    + row(item="dear", price='"19,90"')
    + row(kind="other", item="dear", price='"1,5"')
    + row(kind="pdp", item="")
    + row(kind="pdp", item="a")
    + rows(1)
    + b"cut"
)
STRICT = {"ingest__require_user": True, "ingest__bad_optional": "quarantine"}
FIXES: dict[str, dict[str, Any]] = {
    "type": {**STRICT, "source__event_types": {"pdp": "view"}},
    "length": {**STRICT, "ingest__max_text_length": 300},
    "guests": {"ingest__bad_optional": "quarantine"},
    "later": {**STRICT, "source__as_of": "2026-06-03T00:00:00"},
    "tolerance": {**STRICT, "ingest__future_tolerance_minutes": 3000},
    "all others": {**STRICT, "source__event_types": {"*": "view"}},
    "several": {"source__event_types": {"pdp": "click"}, "ingest__max_text_length": 400},
    "ignore": {**STRICT, "source__event_types": {"pdp": "ignore"}},
    "ignore all others": {**STRICT, "source__event_types": {"*": "ignore"}},
    "optional": {**STRICT, "ingest__bad_optional": "empty"},
    "none": STRICT,
}
TAKEN = {"type": 2, "length": 1, "guests": 1, "later": 1, "tolerance": 1, "all others": 3, "several": 7, "optional": 1}


def check(desk: Desk, before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, Any]:
    """Replay; hold the outcome against a new ingest from nothing."""
    desk.ingest(**before)
    result = replay(desk.params(**after), desk.paths)
    replayed = desk.bytes()
    assert result["read"] == result["accepted"] + result["still_quarantined"] + result["ignored"]
    shutil.rmtree(desk.paths.root / "data")
    desk.ingest(**after)
    assert desk.bytes() == replayed
    return result


@pytest.mark.parametrize("fix", FIXES)
def test_replay_equals_a_new_ingest(desk: Desk, fix: str) -> None:
    desk.put("a.csv", LOG)
    desk.put("b.csv", HEADER + row(kind="pdp", item="b", session="s7"))
    result = check(desk, STRICT, FIXES[fix])
    more = 1 if fix in ("type", "several", "all others") else 0
    assert result["taken_in"] == TAKEN.get(fix, 0) + more
    left = result["taken_in"] + result["still_quarantined"] + result["ignored"]
    assert result["in_quarantine_before"] == left


@pytest.mark.parametrize(
    ("name", "data", "params"),
    [
        (
            "log.jsonl",
            b"".join(
                json.dumps(
                    {"s": 1, "e": [{"k": kind, "t": 1767607200 + n, "i": n} for kind in ("view", "pdp")]}
                ).encode()
                + b"\n"
                for n in range(5)
            ),
            {"source__preset": "otto"},
        ),
    ],
)
def test_replay_of_nested_events(desk: Desk, name: str, data: bytes, params: dict[str, object]) -> None:
    text = data.replace(b'"e"', b'"events"').replace(b'"s"', b'"session"')
    text = text.replace(b'"k"', b'"type"').replace(b'"t"', b'"ts"').replace(b'"i"', b'"aid"')
    desk.put(name, text)
    given = {**params, "source__time_format": "s"}
    result = check(desk, given, {**given, "source__event_types": {"pdp": "cart"}})
    assert (result["taken_in"], result["still_quarantined"]) == (5, 0)


def test_replay_of_a_table(desk: Desk) -> None:
    import datetime
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    times = [datetime.datetime.fromisoformat(f"2026-01-05T10:00:0{n}.123456") for n in range(4)]
    table = pa.table(
        {
            "event_time": pa.array(times, pa.timestamp("us")),
            "event_type": ["view", "pdp", "pdp", "pdp"],
            "user_id": [1, 2, 3, 4],
            "item_id": [1.0, 2.0, 3.5, 4.0],
            "price": [0.1, 0.1, float("inf"), float("nan")],
        }
    )
    out = io.BytesIO()
    pq.write_table(table, out)
    desk.put("a.parquet", out.getvalue())
    given = {"source__timezone": "Europe/Berlin", "ingest__bad_optional": "quarantine"}
    result = check(desk, given, {**given, "source__event_types": {"pdp": "cart"}})
    assert (result["taken_in"], result["still_quarantined"]) == (2, 1)


def test_a_row_that_comes_before_its_accepted_double(desk: Desk) -> None:
    desk.put("a.csv", HEADER + row(kind="pdp") + row() + row(item="i2"))
    result = check(desk, {}, {"source__event_types": {"pdp": "view"}})
    assert result["taken_in"] == 0
    assert result["reasons"] == {"duplicate": 1}
    assert desk.ingest(source__event_types={"pdp": "view"}).reasons() == {3: ["duplicate"]}


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"source__timezone": "Europe/Berlin"}, "timezone"),
        ({"source__event_types": {"view": "click"}}, "event_types"),
        ({"ingest__max_text_length": 5}, "max_text_length"),
        ({"source__as_of": "2026-05-01T00:00:00"}, "as_of"),
        ({"ingest__require_user": True}, "require_user"),
        ({"source__columns": {"brand": "category"}}, "columns"),
    ],
)
def test_changes_that_touch_accepted_rows_ask_for_an_ingest(desk: Desk, params: dict[str, object], named: str) -> None:
    desk.put("a.csv", LOG)
    desk.ingest()
    before = desk.bytes()
    with pytest.raises(UsageError, match=f"accepted rows too: {named}"):
        replay(desk.params(**params), desk.paths)
    assert desk.bytes() == before


def test_without_an_ingest_there_is_nothing_to_replay(desk: Desk) -> None:
    with pytest.raises(UsageError, match="nothing to replay"):
        replay(desk.params(), desk.paths)


def test_the_verb(desk: Desk, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = yaml.safe_load((root / "tests/assets/params_long.yaml").read_text())
    raw["source"] |= {"kind": "files", "path": "log", "as_of": "2026-06-01T00:00:00"}
    (desk.paths.root / "dvc.yaml").write_text("stages: {}\n")
    params = desk.paths.root / "params.yaml"
    params.write_text(yaml.safe_dump(raw))
    desk.put("a.csv", LOG)
    monkeypatch.chdir(desk.paths.root)
    runner = CliRunner()
    done = runner.invoke(app, ["ingest"])
    assert done.exit_code == 0, done.output
    assert "53 rows read = 42 accepted + 11 quarantined" in done.output
    raw["source"]["event_types"] = {"pdp": "view"}
    params.write_text(yaml.safe_dump(raw))
    done = runner.invoke(app, ["replay", "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["taken_in"] == 2
    assert "2 taken in" not in done.stdout
    assert "0 taken in" in runner.invoke(app, ["replay"]).output
