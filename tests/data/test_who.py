"""`clickflow who`: pseudonyms lead back to ids by the key and the source alone, and every question is recorded."""

import gzip
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from ingest_setup import HEADER, Desk, row

from clickflow.events.pseudonyms import load_key
from clickflow.serving import who
from clickflow.system.errors import DataError, UsageError


@pytest.fixture
def desk(tmp_path: Path, raw_params: dict[str, object]) -> Desk:
    return Desk(tmp_path / "w", raw_params)


def ask(desk: Desk, capsys: Any, *names: str, **raw: str | None) -> dict[Any, Any]:
    """What it says, by kind and raw id."""
    capsys.readouterr()
    changes = {name: raw.pop(name) for name in tuple(raw) if name.startswith("source__")}
    given = {"user": None, "session": None} | raw
    who.run(desk.params(**changes), desk.paths, names, **given, as_json=True)
    return {(one["kind"], one["id"]): one for one in json.loads(capsys.readouterr().out)["who"]}


def pseudonyms_of(desk: Desk, **changes: object) -> tuple[list[str], list[str]]:
    events = desk.ingest(**changes).events
    return tuple(sorted(set(events[f"{kind}_id"].drop_null().to_pylist())) for kind in who.KINDS)  # type: ignore[attr-defined, return-value]


def test_every_pseudonym_leads_to_its_id_and_every_id_to_its_pseudonym(desk: Desk, capsys: Any) -> None:
    desk.put("a.csv", HEADER + row() + row("2026-01-06 11:00:00", item="i2") + row(user="", session=" s2 "))
    desk.put("b.csv.gz", gzip.compress(HEADER + row("2026-01-07 09:30:00", user="17850", session="s3")))
    users, sessions = pseudonyms_of(desk)
    back = ask(desk, capsys, *users, *sessions)
    assert set(back) == {("user", "u1"), ("user", "17850"), ("session", "s1"), ("session", "s2"), ("session", "s3")}
    assert {one["pseudonym"] for one in back.values()} == {*users, *sessions}
    u1 = back["user", "u1"]
    assert u1["events"] == 2 and u1["sessions"] == 1 and u1["latest_sessions"] == [back["session", "s1"]["pseudonym"]]
    assert (u1["first_event"][:19], u1["last_event"][:19]) == ("2026-01-05T10:00:00", "2026-01-06T11:00:00")
    assert back["session", "s2"]["users"] == 0
    for kind, name in back:
        assert ask(desk, capsys, **{kind: name})[kind, name] == back[kind, name]
    assert ask(desk, capsys, session="never seen")["session", "never seen"]["events"] == 0


def test_a_visit_named_after_its_customer_leads_to_the_customer(desk: Desk, capsys: Any) -> None:
    desk.put("a.csv", HEADER + row(session=""))
    ((user,), _) = pseudonyms_of(desk)
    assert set(ask(desk, capsys, f"{user}@1767607200000000", f"{user}@1")) == {("user", "u1")}


@pytest.mark.parametrize("ids", ["123", "9007199254740993"])
def test_ids_that_are_numbers_lead_back_from_json(desk: Desk, capsys: Any, ids: str) -> None:
    desk.put(
        "a.jsonl", b'{"event_time":"2026-01-05 10:00:00","event_type":"view","item_id":7,"user_id":%s}\n' % ids.encode()
    )
    ((user,), _) = pseudonyms_of(desk)
    assert set(ask(desk, capsys, user)) == {("user", ids)}
    assert ask(desk, capsys, user=ids)["user", ids]["pseudonym"] == user


def test_an_id_is_asked_for_however_its_number_is_written(desk: Desk, capsys: Any) -> None:
    desk.put("a.csv", HEADER + row(user="17850.0"))
    ((user,), _) = pseudonyms_of(desk)
    assert ask(desk, capsys, user="17850")["user", "17850"]["pseudonym"] == user
    assert set(ask(desk, capsys, user)) == {("user", "17850.0")}, "as the source writes it"


def test_an_id_that_stands_in_a_folders_name_is_found_too(desk: Desk, capsys: Any) -> None:
    desk.put("user_id=u7/a.csv", b"event_time,event_type,item_id\n2026-01-05 10:00:00,view,i1\n")
    ((user,), _) = pseudonyms_of(desk)
    assert set(ask(desk, capsys, user)) == {("user", "u7")}


def test_the_layout_of_the_shop_counts(desk: Desk, capsys: Any) -> None:
    how = {"source__preset": "taobao"}
    desk.put("a.csv", b"100044,2336,2520771,pv,1511658000\n100045,2336,2520771,buy,1511658001\n")
    users, _ = pseudonyms_of(desk, **how)
    assert set(ask(desk, capsys, *users, **how)) == {("user", "100044"), ("user", "100045")}


def test_every_question_is_recorded_for_its_owner_alone_and_without_the_id(desk: Desk, capsys: Any) -> None:
    desk.put("a.csv", HEADER + row(user="alice@example.com"))
    ((user,), _) = pseudonyms_of(desk)
    ask(desk, capsys, user)
    ask(desk, capsys, user="alice@example.com")
    log = desk.paths.home / "who.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["asked"], line["kind"], line["pseudonym"]) for line in lines] == [
        ("id", "user", user),
        ("pseudonym", "user", user),
    ]
    assert all(line["actor"] and line["time"] and line["verb"] == "who" for line in lines)
    assert "alice" not in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert not [path.name for path in desk.paths.home.iterdir() if path.name.startswith(".who-")]


def test_a_question_that_cannot_be_recorded_is_not_answered(desk: Desk, capsys: Any) -> None:
    desk.put("a.csv", HEADER + row())
    ((user,), _) = pseudonyms_of(desk)
    (desk.paths.home / "who.jsonl").mkdir()
    with pytest.raises(Exception, match="cannot be written"):
        ask(desk, capsys, user)
    assert capsys.readouterr().out == ""


def test_what_the_source_no_longer_has_is_named_and_the_rest_is_said(desk: Desk, capsys: Any) -> None:
    desk.put("a.csv", HEADER + row())
    other = desk.put("b.csv", HEADER + row(user="u2", session="s2"))
    users, _ = pseudonyms_of(desk)
    other.unlink()
    capsys.readouterr()
    with pytest.raises(DataError, match="the source no longer has"):
        who.run(desk.params(), desk.paths, users, user=None, session=None, as_json=True)
    people = json.loads(capsys.readouterr().out)["who"]
    assert {one["id"] for one in people} == {"u1", None}


def test_only_the_key_of_the_events_answers(desk: Desk, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.put("a.csv", HEADER + row())
    ((user,), _) = pseudonyms_of(desk)
    monkeypatch.setenv("CLICKFLOW_PSEUDONYM_KEY", "another key, long enough")
    with pytest.raises(UsageError, match="not the one that the events were made with"):
        ask(desk, capsys, user)
    monkeypatch.delenv("CLICKFLOW_PSEUDONYM_KEY")
    key = desk.paths.home / "pseudonym.key"
    key.unlink()
    with pytest.raises(UsageError, match="there is no key for pseudonyms here"):
        ask(desk, capsys, user)
    assert not key.exists(), "asking makes no key"
    assert not (desk.paths.home / "who.jsonl").exists()


def test_faults_are_named_before_the_source_is_read(desk: Desk, capsys: Any) -> None:
    with pytest.raises(UsageError, match="no pseudonym and no id was given"):
        ask(desk, capsys)
    load_key(desk.paths.home)
    with pytest.raises(UsageError, match="there are no canonical events"):
        ask(desk, capsys, "abcdefghijkl")
    desk.put("a.csv", HEADER + row())
    desk.ingest()
    with pytest.raises(UsageError, match="there is no event of abcdefghijkl"):
        ask(desk, capsys, "abcdefghijkl")
    with pytest.raises(UsageError, match="is no user id: it is read as missing"):
        ask(desk, capsys, user=" ")
