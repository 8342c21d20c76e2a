"""Visits that are not what they seem: users known in part, baskets, robots, and logs too short to judge a model on."""

import dataclasses
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from sequences_reference import MINUTE, MONDAY, Sequence, event, settings, unpacked, write_events

from clickflow.events.contract import SCHEMA
from clickflow.events.ingest import ingest
from clickflow.params.file import check
from clickflow.params.sequences import Robots, Sequences
from clickflow.sequences import prepare
from clickflow.sequences.card import SPLITS, Card, read_card
from clickflow.sequences.exclusions import ROBOTS
from clickflow.sources.simulator.crowd import KINDS
from clickflow.system.errors import DataError
from clickflow.system.paths import Paths

SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
Rows = list[dict[str, Any]]


def build(folder: Path, rows: Rows, chosen: Sequences) -> Card:
    log = write_events(folder / "events", rows)
    card = prepare.build(log, chosen, "session", folder / "session")
    assert read_card(folder / "session") == card
    return card


def everything(folder: Path) -> list[Sequence]:
    return [sequence for split in SPLITS for sequence in unpacked(folder / "session", split)]


def people(count: int, *, steps: int = 4, apart: timedelta = timedelta(minutes=7)) -> Rows:
    """Visits of so many different users, a step a minute, over a few days."""
    return [
        event(MONDAY + n * apart + step * MINUTE, item=f"i{(n + step) % 12}", user=f"u{n}", session=f"s{n}")
        for n in range(count)
        for step in range(steps)
    ]


# users known in part


def test_a_login_in_mid_visit_leaves_one_session_of_that_user(tmp_path: Path) -> None:
    rows = people(20)
    rows += [
        event(MONDAY + DAY, item="a", user=None, session="in"),
        event(MONDAY + DAY + 5 * MINUTE, item="b", user=None, session="in"),
        event(MONDAY + DAY + 6 * MINUTE, kind="cart", item="b", user="u7", session="in"),
        event(MONDAY + DAY + 6 * MINUTE, item="c", user=None, session="in"),
    ]
    card = build(tmp_path, rows, settings())
    sequences = [one for one in everything(tmp_path) if one.session_id == "in"]
    assert [(one.user_id, [step[2] for step in one.steps]) for one in sequences] == [("u7", ["a", "b", "b", "c"])]
    assert (card.counts["sessions_user_known_in_part"], card.counts["sessions_of_several_users"]) == (1, 0)
    assert card.counts["sequences_of_guests"] == 0
    assert "1 sessions name their user on some rows only: all their rows are that user's" in card.notes


def test_the_customer_on_the_first_line_of_an_order_only_loses_no_step(tmp_path: Path) -> None:
    rows = [
        event(MONDAY + n * MINUTE + line * SECOND, "purchase", f"i{line}", None if line else f"u{n}", f"order-{n}")
        for n in range(30)
        for line in range(3)
    ]
    card = build(tmp_path, rows, settings())
    assert card.left_out["too_short"]["events"] == 0
    assert card.packed == 90
    assert {one.user_id for one in everything(tmp_path)} == {f"u{n}" for n in range(30)}


def test_two_users_in_one_session_stay_two_and_are_counted(tmp_path: Path) -> None:
    who = ["u1", "u2", None] * 3
    rows = people(20)
    rows += [event(MONDAY + DAY + n * MINUTE, item=f"x{n}", user=user, session="shared") for n, user in enumerate(who)]
    card = build(tmp_path, rows, settings())
    items = {one.user_id: [step[2] for step in one.steps] for one in everything(tmp_path) if one.session_id == "shared"}
    assert items == {"u1": ["x0", "x3", "x6"], "u2": ["x1", "x4", "x7"], None: ["x2", "x5", "x8"]}
    assert (card.counts["sessions_user_known_in_part"], card.counts["sessions_of_several_users"]) == (0, 1)
    assert any("1 sessions have several users" in note for note in card.notes)


def test_session_ids_that_are_given_anew_are_noticed(tmp_path: Path) -> None:
    rows = people(20)
    for day in range(9):  # a counter that starts again every day
        rows += [
            event(MONDAY + day * DAY + n * MINUTE, item=f"i{n}", user=f"u{n % 3}", session=f"{n % 3}")
            for n in range(12)
        ]
    assert any(
        "3 sessions span more than a day, the longest 8.0 days" in each
        for each in build(tmp_path, rows, settings()).notes
    )
    assert not any("more than a day" in each for each in build(tmp_path / "b", people(20), settings()).notes)


# baskets


def orders(count: int, lines: int = 4) -> Rows:
    return [
        event(MONDAY + n * MINUTE, "purchase", f"i{(3 * n + 5 * line) % 17}", f"u{n}", f"order-{n}")
        for n in range(count)
        for line in range(lines)
    ]


def test_baskets_are_left_out_unless_they_are_asked_for(tmp_path: Path) -> None:
    rows = people(20) + orders(10)
    card = build(tmp_path / "out", rows, settings())
    assert card.left_out["basket"] == {"events": 40, "sequences": 10}
    assert card.packed == 80 and card.coverage["tie_share"] == 0
    assert any("10 sessions are baskets, all their steps at one instant: left out" in note for note in card.notes)
    card = build(tmp_path / "in", rows, settings(baskets=True))
    assert card.left_out["basket"]["events"] == 0 and card.counts["baskets"] == 10
    assert card.packed == 120 and card.coverage["tie_share"] == pytest.approx(30 / 90, abs=1e-6)
    assert any("10 sessions are baskets, all their steps at one instant: read" in note for note in card.notes)
    assert any("33.3% of the steps have the time of the step before" in note for note in card.notes)
    wanted = [row["item_id"] for row in rows if row["session_id"] == "order-3"]
    (basket,) = (one for one in everything(tmp_path / "in") if one.session_id == "order-3")
    assert [step[2] for step in basket.steps] == wanted


def test_a_basket_is_judged_by_the_whole_session_not_by_its_pieces(tmp_path: Path) -> None:
    """Two pieces, in each of which all steps tie: together they do not; and a basket in two pieces is one still."""
    rows = people(20)
    rows += [event(MONDAY + DAY + (n // 3) * MINUTE, item=f"x{n}", user="a", session="moves") for n in range(6)]
    rows += [event(MONDAY + DAY, item=f"x{n}", user="b", session="stands") for n in range(6)]
    card = build(tmp_path, rows, settings(max_length=3, min_length=2))
    assert card.left_out["basket"] == {"events": 6, "sequences": 2}
    assert [len(one.steps) for one in everything(tmp_path) if one.session_id == "moves"] == [3, 3]


def test_an_order_makes_a_visit_of_a_basket(tmp_path: Path) -> None:
    rows = people(20) + [row | {"order": n} for n, row in enumerate(orders(10))]
    card = build(tmp_path, rows, settings())
    assert card.left_out["basket"]["events"] == 0 and card.coverage["tie_share"] == 0
    rows = people(20) + [row | {"order": 7} for row in orders(10)]
    assert build(tmp_path / "one", rows, settings()).left_out["basket"]["events"] == 40


@pytest.mark.parametrize("others", [0, 1])
def test_a_log_of_baskets_is_refused_with_what_to_do(tmp_path: Path, others: int) -> None:
    with pytest.raises(DataError, match="the log holds baskets: in 40 of") as caught:
        build(tmp_path, people(others) + orders(40), settings())
    assert "source.columns: {order" in caught.value.next_step and "baskets: true" in caught.value.next_step
    assert not (tmp_path / "session").exists()


# robots


def off(**changes: Any) -> Robots:
    return Robots(**{"max_steps_per_minute": None, "max_session_steps": None, "max_log_share": None} | changes)


def crawl(steps: int, apart: timedelta, user: str | None, session: str, start: timedelta = DAY) -> Rows:
    return [event(MONDAY + start + n * apart, item=f"i{n % 12}", user=user, session=session) for n in range(steps)]


def test_a_rate_that_no_person_keeps_up_leaves_the_visitor_out(tmp_path: Path) -> None:
    rows = people(40)
    rows += crawl(60, SECOND, "bot", "b1") + crawl(3, MINUTE, "bot", "b2", 2 * DAY)
    rows += crawl(60, 3 * SECOND, "quick", "q1") + crawl(29, SECOND, "short", "q2")
    card = build(tmp_path, rows, settings(robots=off(max_steps_per_minute=30.0)))
    assert card.left_out["robot_rate"] == {"events": 63, "sequences": 2, "visitors": 1}
    assert "bot" not in {one.user_id for one in everything(tmp_path)}
    assert any(note.startswith("1 visitor left out as robots (faster than max_steps") for note in card.notes)
    assert build(tmp_path / "off", rows, settings(robots=off())).left_out["robot_rate"]["events"] == 0


def test_order_lines_of_one_instant_are_not_a_rate(tmp_path: Path) -> None:
    rows = people(40) + crawl(60, timedelta(0), "buyer", "order") + crawl(1, SECOND, "buyer", "order", DAY + SECOND)
    card = build(tmp_path, rows, settings(robots=off(max_steps_per_minute=70.0), drop_repeats=False))
    assert card.left_out["robot_rate"]["events"] == 0


def test_a_session_is_long_by_all_its_pieces(tmp_path: Path) -> None:
    rows = people(40) + crawl(31, MINUTE, None, "long") + crawl(30, MINUTE, None, "fine")
    card = build(tmp_path, rows, settings(robots=off(max_session_steps=30), max_length=10))
    assert card.left_out["robot_length"] == {"events": 31, "sequences": 4, "visitors": 1}
    assert "fine" in {one.session_id for one in everything(tmp_path)}


def test_one_robot_that_is_485_of_870_sequences(tmp_path: Path) -> None:
    rows = people(385)
    for n in range(485):
        rows += crawl(2, 9 * SECOND, "bot", f"b{n}", n * 5 * MINUTE)
    card = build(tmp_path, rows, settings(robots=off(max_log_share=0.05)))
    assert card.left_out["robot_share"] == {"events": 970, "sequences": 485, "visitors": 1}
    assert sum(part.sequences for part in card.splits.values()) == 385
    few = people(90) + rows[4 * 385 :]
    assert build(tmp_path / "few", few, settings(robots=off(max_log_share=0.05))).left_out["robot_share"]["events"] == 0


# too short, too thin


def test_what_is_known_is_said_with_what_would_do(tmp_path: Path) -> None:
    """One step in three is on an item of its own, which nobody can know."""
    rows = people(60, steps=3, apart=timedelta(hours=13))
    rows = [row | {"item_id": f"new{n}"} if n % 3 == 0 else row for n, row in enumerate(rows)]
    chosen = settings(min_item_count=2, min_known_share=0.9, min_part_sequences=200)
    card = build(tmp_path, rows, chosen)
    known = card.coverage["known_share"]
    for part in ("valid", "test"):
        steps = [step[2] for one in unpacked(tmp_path / "session", part) for step in one.steps]
        items = parquet.read_table(tmp_path / "session/vocabulary.parquet")["item_id"].to_pylist()[: card.known - 2]
        assert known[part] == pytest.approx(sum(item in items for item in steps) / len(steps), abs=1e-6)
        assert known[part] == pytest.approx(2 / 3, abs=1e-6)
    assert card.coverage["span_days"] == pytest.approx((rows[-1]["event_time"] - MONDAY) / DAY, abs=1e-4)
    notes = "\n".join(card.notes)
    assert "12 of 72 items are known (have 2 steps in training)" in notes
    # an item that was never seen counts as half a step: four times the log
    assert "66.7% of the valid steps and 66.7% of the test steps are on one: too few to judge a model" in notes
    assert "About 130 days or 240 sequences of this kind are wanted to know the items of 90% of the steps" in notes
    assert "the test part has 6 sequences: a share measured on 6 is known to ±0.40 at best" in notes
    assert "hours: nothing is learned" not in notes
    assert build(tmp_path / "off", rows, settings(min_item_count=2)).notes == ()


def test_a_log_of_hours_is_said_and_one_where_nothing_is_known_refused(tmp_path: Path) -> None:
    rows = people(60, apart=MINUTE)
    card = build(tmp_path, rows, settings(min_known_share=0.5))
    assert any(note.startswith("the log spans 1.0 hours: nothing is learned of days") for note in card.notes)
    rows = people(60) + [
        event(MONDAY + 5 * DAY + n * MINUTE, item=f"new{n}", user=f"v{n // 2}", session=f"v{n // 2}") for n in range(14)
    ]
    with pytest.raises(DataError, match="no step of the test part is on one of the 12 items"):
        build(tmp_path / "new", rows, settings(min_known_share=0.5, valid_share=0.0))


def test_events_without_the_column_order_are_said_to_be_old(tmp_path: Path) -> None:
    target = tmp_path / "events/day=2026-01-05"
    target.mkdir(parents=True)
    schema = SCHEMA.remove(SCHEMA.get_field_index("order"))
    parquet.write_table(pa.Table.from_pylist(people(5), schema=schema), target / "events.parquet")
    with pytest.raises(DataError, match="order"):
        prepare.build(tmp_path / "events", settings(), "session", tmp_path / "session")


def test_the_simulators_bots_are_left_out_and_no_person(tmp_path: Path, raw_params: dict[str, Any]) -> None:
    """By the default rules; the simulator knows who is one."""
    raw_params["simulator"] |= {"events": 120_000, "dirt": 0.0}
    params, paths = check(raw_params), Paths(tmp_path)
    ingest(params, paths)
    truth = parquet.read_table(paths.truth / "sessions.parquet", columns=["session_id", "user_id", "kind"]).to_pylist()
    bots = {row["user_id"] for row in truth if row["kind"] == KINDS.index("bot")}
    folders = {"on": params.sequences.robots, "off": off()}
    users = {}
    for name, robots in folders.items():
        chosen = dataclasses.replace(params.sequences, robots=robots)
        card = prepare.build(paths.events, chosen, "session", tmp_path / name / "session")
        users[name] = {(one.user_id, one.user_id or one.session_id) for one in everything(tmp_path / name)}
        if name == "on":
            assert sum(card.left_out[rule]["visitors"] for rule in ROBOTS) == len(bots)
            assert card.left_out["robot_rate"]["events"] > 1000
    assert {user for user, _ in users["off"] - users["on"]} == bots != set()
