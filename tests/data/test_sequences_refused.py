"""Windows of a log, and what gives no store."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sequences_log import adds_up, build, everything, random_log, visits
from sequences_reference import (
    MONDAY,
    as_its_card_says,
    settings,
    write_events,
)

from clickflow.params.file import check
from clickflow.params.schema import Params
from clickflow.sequences import prepare
from clickflow.system import integrity
from clickflow.system.errors import ClickflowError, DataError, UsageError
from clickflow.system.files import sha256_folder
from clickflow.system.paths import Paths


@pytest.mark.parametrize(
    ("events", "changes", "message"),
    [
        (visits(1), {}, "1 sequence of sufficient length"),
        (visits(20), {"min_length": 3}, "no sequence has 3 steps"),
        (visits(20), {"event_types": ("cart",)}, "no sequence has 2 steps"),
        (visits(20), {"min_item_count": 50}, "no item has 50 steps in the training part"),
        (visits(20), {"embargo_minutes": 1e5}, "no sequence is left for valid and test: .* the embargo is too long"),
        (visits(20, apart=timedelta(0)), {"drop_repeats": False}, "1 sequence of"),
    ],
    ids=["one session", "none long enough", "no type", "all rare", "embargo", "one instant"],
)
def test_a_log_that_gives_no_store_is_refused_and_the_old_one_kept(
    tmp_path: Path, events: list[dict[str, Any]], changes: dict[str, Any], message: str
) -> None:
    build(tmp_path, visits(30), settings())
    before = sha256_folder(tmp_path / "session")
    log = write_events(tmp_path / "bad", events)
    with pytest.raises(DataError, match=message) as raised:
        prepare.build(log, settings(**changes), "session", tmp_path / "session")
    assert raised.value.kept
    assert raised.value.next_step
    assert sha256_folder(tmp_path / "session") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad", "events", "session"]


def test_a_window_gives_what_a_log_of_that_window_alone_gives(tmp_path: Path) -> None:
    log = random_log(4000, seed=4)
    since, until = MONDAY + timedelta(hours=9), MONDAY + timedelta(hours=60, minutes=7)
    inside = [row for row in log if since <= row["event_time"] < until]
    card = build(tmp_path / "whole", log, settings(since=since, until=until.replace(tzinfo=None)))
    cut = build(tmp_path / "cut", inside, settings())
    assert card.left_out["outside_window"] == {"events": len(log) - len(inside)}
    assert 0 < len(inside) < len(log)
    adds_up(card)
    # Every byte but the card's: times, vocabulary, statistics and splits know nothing of what lies outside.
    assert card.files == cut.files
    assert card.statistics == cut.statistics
    assert card.boundaries == cut.boundaries
    assert card.settings["until"] == until.isoformat()


def test_an_event_at_the_end_of_a_window_is_of_the_next_one(tmp_path: Path) -> None:
    log = visits(20)
    middle = log[20]["event_time"]
    before = build(tmp_path / "before", log, settings(until=middle))
    after = build(tmp_path / "after", log, settings(since=middle))
    assert before.packed + after.packed == len(log)
    assert max(s.end for s in everything(tmp_path / "before")) < min(s.start for s in everything(tmp_path / "after"))


def test_a_window_without_events_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of 40 events lies in the window") as refusal:
        build(tmp_path, visits(20), settings(until=MONDAY))
    assert "sequences.until" in refusal.value.next_step


def test_no_events_and_broken_files_are_said(tmp_path: Path) -> None:
    def of(name: str) -> None:
        prepare.build(tmp_path / name, settings(), "session", tmp_path / "session")

    with pytest.raises(UsageError, match="there are no canonical events"):
        of("nowhere")
    write_events(tmp_path / "broken", visits(2))
    file = next((tmp_path / "broken").glob("*/*.parquet"))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DataError, match="canonical events cannot be read") as raised:
        of("broken")
    assert "Parquet" in str(raised.value) or "parquet" in str(raised.value)


def test_too_little_memory_is_said(tmp_path: Path) -> None:
    with pytest.raises(ClickflowError, match="memory") as raised:
        build(tmp_path, random_log(2000, seed=5), settings(memory_gb=0.001))
    assert "sequences.memory_gb" in raised.value.next_step


def test_an_unknown_type_or_unit_is_a_usage_error(tmp_path: Path, raw_params: Any) -> None:
    with pytest.raises(UsageError, match="event_types: viw; there is view, cart"):
        build(tmp_path, visits(3), settings(event_types=("viw", "view")))
    with pytest.raises(UsageError, match="no unit 'custmer'; there is: session, customer"):
        prepare.run(check(raw_params), Paths(tmp_path), "custmer")


def test_the_stage_writes_into_the_workspace(tmp_path: Path, raw_params: Any) -> None:
    params: Params = check(raw_params)
    integrity.seal(write_events(tmp_path / "data" / "events", visits(60)))
    prepare.run(params, Paths(tmp_path), "session")
    card = as_its_card_says(Paths(tmp_path).sequences("session"))
    assert card.settings["session"]["gap_minutes"] == params.sequences.session.gap_minutes
    assert sum(part.events for part in card.splits.values()) == 120


@pytest.mark.parametrize(
    ("place", "key", "value", "message"),
    [
        ("sequences", "min_item_count", 0, "sequences.min_item_count: 0 is not at least 1"),
        ("sequences", "embargo_minutes", -1, "sequences.embargo_minutes: -1.0 is not between 0 and"),
        ("session", "max_length", 1, "sequences.session.max_length: is less than min_length"),
    ],
)
def test_params_without_a_sense_are_refused(raw_params: Any, place: str, key: str, value: int, message: str) -> None:
    (raw_params["sequences"] if place == "sequences" else raw_params["sequences"]["session"])[key] = value
    with pytest.raises(UsageError, match=message):
        check(raw_params)
