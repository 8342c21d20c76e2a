"""The ledger shows when it was changed, survives a torn line, and says who is champion."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickflow.registry import ledger, origin, try_log
from clickflow.system.errors import DataError
from clickflow.system.paths import Paths


def write(file: Path, moves: list[tuple[str, int, int, int]], model: str = "m") -> list[ledger.Entry]:
    """One line for each (action, version, champion, previous)."""
    entries = ledger.read(file)
    for action, version, champion, previous in moves:
        ledger.append(
            file,
            entries,
            action=action,  # type: ignore[arg-type]
            model=model,
            version=version,
            champion=champion,
            previous=previous,
            reason="because «ä»\nof this",
            facts={"metrics": {"mrr@20": 0.1 + 0.2}},
        )
    return entries


MOVES = [("promote", 1, 1, 0), ("hold", 2, 1, 0), ("promote", 3, 3, 1), ("rollback", 1, 1, 3)]


def test_what_was_appended_is_read(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "ledger.jsonl"
    assert ledger.read(file) == []
    written = write(file, MOVES[:2]) and write(file, MOVES[2:])
    assert ledger.read(file) == written
    assert len(file.read_text(encoding="utf-8").splitlines()) == 4, "one line each"
    assert [entry.number for entry in written] == [1, 2, 3, 4]
    assert [later.before for later in written] == [ledger.FIRST, *(entry.hash for entry in written[:-1])]


def test_the_last_move_rules(tmp_path: Path) -> None:
    entries = write(tmp_path / "l", MOVES)
    assert (ledger.standing(entries, "m").champion, ledger.standing(entries, "m").previous) == (1, 3)
    assert ledger.standing(entries[:3], "m").champion == 3
    assert ledger.standing(entries[:2], "m").entry == entries[0], "a hold moves nothing"
    assert ledger.standing(entries, "other").champion == 0


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_change_of_a_byte_shows(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    file = tmp_path_factory.mktemp("ledger") / "l"
    write(file, MOVES)
    raw = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(raw) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda byte: byte != raw[place]))
    raw[place] = value
    file.write_bytes(bytes(raw))
    with pytest.raises(DataError, match="was changed"):
        ledger.read(file)


def test_a_last_line_break_that_has_changed_takes_no_champion_down(tmp_path: Path) -> None:
    """It looked like a line that was being written when the power went, which is left out."""
    file = tmp_path / "l"
    write(file, MOVES)
    file.write_bytes(file.read_bytes()[:-1] + b"\x0b")
    with pytest.raises(DataError, match=r"line 4 of .* ends with what is no line break"):
        ledger.read(file)


def test_a_last_line_break_that_has_changed_loses_no_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKFLOW_HOME", str(tmp_path / "home"))
    mine = {"model_sha256": "a", "window": "b", "data_sha256": "c"}
    assert try_log.record(Paths(tmp_path), "m", mine) == 1
    file = tmp_path / "home/tries.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"\x1a")
    with pytest.raises(DataError, match=r"record of tries was changed: line 1 of .* ends with what is no line break"):
        try_log.record(Paths(tmp_path), "m", {**mine, "model_sha256": "d"})
    file.write_bytes(whole[:-5])  # the power went while it was written
    assert try_log.record(Paths(tmp_path), "m", {**mine, "model_sha256": "d"}) == 1


@pytest.mark.parametrize("change", ["drop first", "drop middle", "swap", "repeat", "forge"])
def test_lines_taken_out_moved_or_forged_show(tmp_path: Path, change: str) -> None:
    file = tmp_path / "l"
    write(file, MOVES)
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    forged = json.loads(lines[1]) | {"champion": 2}
    changed = {
        "drop first": lines[1:],
        "drop middle": [lines[0], *lines[2:]],
        "swap": [lines[1], lines[0], *lines[2:]],
        "repeat": [*lines, lines[-1]],
        "forge": [lines[0], json.dumps(forged) + "\n", *lines[2:]],
    }[change]
    file.write_text("".join(changed), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        ledger.read(file)
    wrong = {"drop first": 1, "drop middle": 2, "swap": 1, "repeat": 5, "forge": 2}[change]
    assert f"line {wrong} " in str(caught.value)


@pytest.mark.parametrize("left", [1, 40, -1])
def test_a_line_cut_off_by_a_crash_is_no_line(tmp_path: Path, left: int) -> None:
    file = tmp_path / "l"
    entries = write(file, MOVES[:3])
    whole = file.read_bytes()
    write(file, MOVES[3:])
    last = file.read_bytes()[len(whole) :]
    file.write_bytes(whole + last[:left])
    assert ledger.read(file) == entries
    assert ledger.standing(ledger.read(file), "m").champion == 3
    after = write(file, [("rollback", 1, 1, 3)])
    assert ledger.read(file) == after
    assert len(after) == 4


def test_who_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKFLOW_ACTOR", "grace")
    assert ledger.actor() == "grace"
    monkeypatch.setenv("CLICKFLOW_PERSON", "ada")
    assert ledger.actor() == "ada"
    monkeypatch.setenv("CLICKFLOW_PERSON", " ")
    assert ledger.actor() == "grace"
    monkeypatch.delenv("CLICKFLOW_ACTOR")
    monkeypatch.setenv("LOGNAME", "hopper")
    assert ledger.actor() == "hopper"


def test_what_started_a_run_is_not_called_by_twice() -> None:
    assert origin.words({"asked_by": "by hand"}) == "started by hand"
    assert origin.words({"asked_by": "bob"}) == "asked for by bob"
