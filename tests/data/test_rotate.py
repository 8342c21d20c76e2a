"""A new key gives everybody a new pseudonym, and changes nothing else; who was forgotten stays so."""

import shutil
import stat
from pathlib import Path

import pytest
from ingest_setup import HEADER, Desk, row
from test_forget import LOG, forget, named, pseudonym

from clickflow.events import quarantine
from clickflow.events.pseudonyms import RETIRED, VARIABLE, key_name, load_key
from clickflow.online.live import log
from clickflow.online.live.log import Log
from clickflow.privacy import rotate as verb
from clickflow.system.errors import ClickflowError, DataError, UsageError


@pytest.fixture
def desk(tmp_path: Path, raw_params: dict[str, object]) -> Desk:
    desk = Desk(tmp_path / "w", raw_params)
    desk.put("a.csv", LOG)
    return desk


def test_everybody_has_another_pseudonym_and_all_else_stays(desk: Desk) -> None:
    sealed = {"ingest__encrypt": ["quarantine"]}
    before = desk.ingest()
    events, was = before.events, load_key(desk.paths.home)
    report = verb.rotate(desk.params(**sealed), desk.paths)
    now = load_key(desk.paths.home)
    assert (report["before"], report["key"]) == (key_name(was), key_name(now)) and was != now
    assert report["accepted"] == before.card["accepted"]
    after = desk.ingest()
    assert not set(events["user_id"].to_pylist()) & set(after.events["user_id"].to_pylist()) - {None}
    plain = [name for name in events.column_names if name not in ("user_id", "session_id")]
    assert sorted(map(str, events.select(plain).to_pylist())) == sorted(
        map(str, after.events.select(plain).to_pylist())
    )
    assert list(quarantine.read(desk.paths.quarantine, now))
    assert stat.S_IMODE((desk.paths.home / RETIRED).stat().st_mode) == 0o600
    assert stat.S_IMODE((desk.paths.home / "pseudonym.key").stat().st_mode) == 0o600


def test_who_was_forgotten_under_the_old_key_stays_so(desk: Desk, tmp_path: Path) -> None:
    elsewhere = {"source__path": str(tmp_path / "log")}
    shutil.move(desk.log, tmp_path / "log")
    desk.ingest(**elsewhere)
    forget(desk, "customer-3", **elsewhere)
    forgotten = desk.ingest(**elsewhere).card["forgotten"]
    verb.rotate(desk.params(**elsewhere), desk.paths)
    (tmp_path / "log/late.csv").write_bytes(HEADER + row("2026-02-01 10:00:00", user="customer-3") + row(user="u1"))
    card = desk.ingest(**elsewhere).card
    assert card["forgotten"] == forgotten + 1
    assert named(desk, "customer-3", pseudonym(desk, "user", "customer-3")) == []
    assert forget(desk, "customer-3", outside=True, **elsewhere)["unreached"] == []
    assert desk.ingest(**elsewhere).card["forgotten"] == 0
    (desk.paths.home / RETIRED).unlink()
    with pytest.raises(DataError, match="forgotten under keys that are not here"):
        desk.ingest(**elsewhere)


def test_where_the_source_cannot_be_read_again_the_old_key_stays(desk: Desk) -> None:
    desk.ingest()
    before, was = desk.bytes(), load_key(desk.paths.home)
    (desk.log / "a.csv").unlink()
    with pytest.raises(ClickflowError) as fault:
        verb.rotate(desk.params(), desk.paths)
    assert "the old key" in fault.value.kept
    assert load_key(desk.paths.home) == was and desk.bytes() == before


def test_killed_in_the_middle_it_is_completed_without_another_key(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.ingest()
    text = (desk.paths.home / "pseudonym.key").read_text()
    (desk.paths.home / RETIRED).write_text(text)
    (desk.paths.home / "pseudonym.key").write_text("a new key of sixteen letters and more\n")
    new = load_key(desk.paths.home)
    verb.rotate(desk.params(), desk.paths)
    assert load_key(desk.paths.home) == new
    assert (desk.paths.home / RETIRED).read_text() == text


def test_killed_before_the_new_key_was_there_it_is_made_after_all(desk: Desk) -> None:
    """The old key is retired, and is the key still: it was taken for a rotation that had only to be completed."""
    desk.ingest()
    old, text = load_key(desk.paths.home), (desk.paths.home / "pseudonym.key").read_text()
    (desk.paths.home / RETIRED).write_text(text)
    report = verb.rotate(desk.params(), desk.paths)
    assert report["before"] == key_name(old) != report["key"] == key_name(load_key(desk.paths.home))
    assert (desk.paths.home / RETIRED).read_text() == text


def test_a_key_in_a_variable_is_not_this_program_s_to_change(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "a key of sixteen letters and more")
    desk.ingest()
    with pytest.raises(UsageError, match="is not this program's to change"):
        verb.rotate(desk.params(), desk.paths)


def test_a_store_names_the_keys_before_its_own(desk: Desk) -> None:
    from clickflow.sequences.prepare import _source

    desk.ingest()
    old = key_name(load_key(desk.paths.home))
    verb.rotate(desk.params(), desk.paths)
    assert _source(desk.paths.events)["former_keys"] == [old]


def test_who_was_answered_under_the_old_key_is_found_in_the_log_of_answers(desk: Desk) -> None:
    """The log of a server that ran before, and on, under the old key."""
    desk.ingest()
    own, who = Log(log.place(desk.paths.home)), [f"customer-{number}" for number in (3, 4)]
    was = [pseudonym(desk, "user", name) for name in who]

    def logged() -> list[str]:
        for name in was:
            own.put("answers", request=f"{name} {own.written}", user_id=name, session_id=f"visit {name}")
            own.put("answers", request=f"{name} {own.written} unnamed", session_id=f"visit {name}")
        own.flush()
        return list(log.read(own.folder, "answers")["session_id"].to_pylist())

    assert len(logged()) == 4
    verb.rotate(desk.params(), desk.paths)
    assert forget(desk, who[0])["unreached"] == []
    assert named(desk, who[0], was[0]) == []
    assert logged() == [f"visit {was[1]}"] * 4, "and what the server goes on to write is kept of others alone"
    assert forget(desk, was[1])["unreached"] == [], "by the old pseudonym"
    assert logged() == []
