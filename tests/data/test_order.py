"""Equal times: they keep the order of the source, and every way to the events gives the same."""

import gzip
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ingest_setup import Desk
from typer.testing import CliRunner

from clickflow.cli import app
from clickflow.events.replay import replay

NAMES = ("event_time", "event_type", "user_id", "session_id", "item_id", "brand", "nr")
HEADER = ",".join(NAMES).encode() + b"\n"
SECOND = "2026-01-05 10:00:0{}"


@pytest.fixture
def desk(tmp_path: Path, raw_params: dict[str, object]) -> Desk:
    return Desk(tmp_path / "w", raw_params)


def line(
    item: str, second: int = 0, user: str = "u1", session: str = "s1", nr: str = "", kind: str = "view", brand: str = ""
) -> bytes:
    return ",".join([SECOND.format(second), kind, user, session, item, brand, nr]).encode() + b"\n"


def items(desk: Desk, **changes: object) -> list[str]:
    item_ids: list[str] = desk.ingest(**changes).events["item_id"].to_pylist()
    return item_ids


def test_ties_keep_the_order_of_lines_and_files(desk: Desk) -> None:
    desk.put("a.csv", HEADER + line("z") + line("b", 1) + line("a") + line("m"))
    desk.put("b.csv", HEADER + line("c") + line("b"))
    assert items(desk) == ["z", "a", "m", "c", "b", "b"]


def test_two_users_of_a_session_stand_in_the_order_of_the_file(desk: Desk) -> None:
    desk.put("a.csv", HEADER + line("z", user="u2") + line("a", user="u1") + line("m", user="") + line("b", user="u2"))
    assert items(desk) == ["z", "a", "m", "b"]


def test_actors_at_one_instant_do_not_depend_on_the_order_of_the_file(desk: Desk) -> None:
    """Lone users go before sessions, each by their ids; only rows of one actor keep their order."""
    who = [("u1", ""), ("u2", ""), ("u1", "s1"), ("", "s2")]
    per_actor = [
        [line(f"{n}-{k}", user=user, session=session) for k in (2, 0, 1)] for n, (user, session) in enumerate(who)
    ]
    desk.put("a.csv", HEADER + b"".join(b"".join(rows) for rows in per_actor))
    desk.ingest()
    path = desk.paths.events / "day=2026-01-05/events.parquet"
    first = path.read_bytes()
    for seed in range(3):
        waiting = [list(rows) for rows in per_actor]
        mixed = []
        rng = random.Random(seed)
        while any(waiting):
            mixed.append(rng.choice([rows for rows in waiting if rows]).pop(0))
        desk.put("a.csv", HEADER + b"".join(mixed))
        desk.ingest()
        assert path.read_bytes() == first
    table = pq.read_table(path, partitioning=None)
    assert [value is None for value in table["session_id"].to_pylist()] == [True] * 6 + [False] * 6
    for n in range(4):
        assert [i for i in table["item_id"].to_pylist() if i[0] == str(n)] == [f"{n}-2", f"{n}-0", f"{n}-1"]


def test_a_mapped_order_goes_before_the_file_and_rows_without_one_first(desk: Desk) -> None:
    numbers = ["3", "10", "-1", "", "2.0", "+9007199254740993", "9007199254740992"]
    desk.put("a.csv", HEADER + b"".join(line(f"i{nr}", nr=nr) for nr in numbers))
    events = desk.ingest(source__columns={"order": "nr"}).events
    assert events["item_id"].to_pylist() == [
        "i", "i-1", "i2.0", "i3", "i10", "i9007199254740992", "i+9007199254740993",
    ]  # fmt: skip
    assert events["order"].to_pylist() == [None, -1, 2, 3, 10, 9007199254740992, 9007199254740993]


def test_an_order_that_is_no_whole_number_is_quarantined(desk: Desk) -> None:
    bad = ["1.5", "first", "1e3", "9223372036854775808", "--1", "0x10"]
    desk.put("a.csv", HEADER + line("good", nr="1") + b"".join(line("bad", nr=nr) for nr in bad))
    outcome = desk.ingest(source__columns={"order": "nr"})
    assert outcome.reasons() == {3 + n: ["bad_order"] for n in range(len(bad))}


def test_the_order_of_other_formats(desk: Desk) -> None:
    rows = [{"event_time": SECOND.format(0), "event_type": "view", "user_id": "u", "item_id": i, "nr": n} for i, n in
            (("x", 2), ("y", 1), ("z", 9007199254740993))]  # fmt: skip
    desk.put("a.jsonl", b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    events = desk.ingest(source__columns={"order": "nr"}).events
    assert events.select(["item_id", "order"]).to_pylist() == [
        {"item_id": "y", "order": 1}, {"item_id": "x", "order": 2}, {"item_id": "z", "order": 9007199254740993},
    ]  # fmt: skip


def test_a_column_that_is_called_order_is_not_taken_for_one(desk: Desk) -> None:
    """It is more often the number of a purchase."""
    desk.put("a.csv", HEADER.replace(b"nr", b"order") + line("z", nr="R-77") + line("a", nr="R-12"))
    events = desk.ingest().events
    assert events["item_id"].to_pylist() == ["z", "a"]
    assert events["order"].to_pylist() == [None, None]


def test_rows_that_differ_in_their_order_are_no_duplicates(desk: Desk) -> None:
    desk.put("a.csv", HEADER + line("a", nr="1") + line("b") + line("a", nr="2") + line("a", nr="1") + line("b"))
    assert desk.ingest(source__columns={"order": "nr"}).reasons() == {5: ["duplicate"], 6: ["duplicate"]}
    assert desk.ingest().reasons() == {4: ["duplicate"], 5: ["duplicate"], 6: ["duplicate"]}


ROWS = st.lists(
    st.builds(
        line,
        item=st.sampled_from("zyxab"),
        second=st.integers(0, 2),
        user=st.sampled_from(["u1", "u2", ""]),
        session=st.sampled_from(["s1", "s1", "s2", ""]),
        nr=st.sampled_from(["", "", "1", "2", "x"]),
        kind=st.sampled_from(["view", "view", "cart", "pdp"]),
        brand=st.sampled_from(["", "m"]),
    ),
    max_size=25,
)
MAPPED = {"source__columns": {"order": "nr"}}


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS, ROWS, ROWS)
def test_append_replay_and_ingest_give_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory,
    raw_params: dict[str, object],
    one: list[bytes],
    two: list[bytes],
    three: list[bytes],
) -> None:
    """Three files, taken in at once; one after the other; and with a type let in by a replay."""
    desk = Desk(tmp_path_factory.mktemp("w"), raw_params)
    desk.put("a.csv", HEADER + line("first", user="u9", session="") + b"".join(one))
    desk.ingest(**MAPPED)
    desk.put("b.csv", HEADER + b"".join(two))
    desk.ingest(**MAPPED)
    desk.put("c.csv.gz", gzip.compress(HEADER + b"".join(three)))
    desk.ingest(**MAPPED)
    appended = desk.bytes()
    wider: dict[str, object] = {**MAPPED, "source__event_types": {"pdp": "view"}}
    replay(desk.params(**wider), desk.paths)
    replayed = desk.bytes()
    shutil.rmtree(desk.paths.root / "data")
    desk.ingest(**MAPPED)
    assert desk.bytes() == appended
    desk.ingest(**wider)
    rechecked = desk.bytes()
    shutil.rmtree(desk.paths.root / "data")
    outcome = desk.ingest(**wider)
    assert desk.bytes() == replayed == rechecked
    _hold(outcome.events.to_pylist(), [[line("first", user="u9", session=""), *one], two, three])


def _hold(events: list[dict[str, Any]], files: list[list[bytes]]) -> None:
    """The rows of every actor and instant stand in the order of the files; nothing else is asked."""
    wanted: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for file, rows in enumerate(files):
        for place, text in enumerate(rows):
            time, kind, user, session, item, brand, nr = text.decode().rstrip("\n").split(",")
            if (user or session) and nr != "x":
                kind = "view" if kind == "pdp" else kind
                row = (time, session, user, nr, kind, item, brand)
                wanted.setdefault(row, (time, session, "" if session else user, nr, file, place))
    orders: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for row, at in sorted(wanted.items(), key=lambda each: each[1]):
        orders.setdefault(at[:3], []).append(row[3:])
    by_actor: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for event in events:
        actor = (event["event_time"], event["session_id"], None if event["session_id"] else event["user_id"])
        nr = "" if event["order"] is None else str(event["order"])
        by_actor.setdefault(actor, []).append((nr, event["event_type"], event["item_id"], event["brand"] or ""))
    assert sorted(by_actor.values()) == sorted(orders.values())


def clicks(count: int = 90, day: int = 5) -> list[str]:
    """Rows of visits with three clicks a minute, oldest first."""
    return [f"2026-01-{day:02} 10:{n // 3:02}:00,view,u{n // 6},s{n // 6},{day}-{n},,\n" for n in range(count)]


def test_a_file_that_begins_with_its_newest_events_is_said_and_turned_round(desk: Desk, capsys: Any) -> None:
    rows = clicks()
    desk.put("a.csv", HEADER + "".join(rows).encode())
    straight = desk.ingest().events
    (desk.log / "a.csv").unlink()
    desk.put("a.csv", HEADER + "".join(reversed(rows)).encode())
    capsys.readouterr()
    assert items(desk)[:3] == ["5-2", "5-1", "5-0"]
    stderr = " ".join(capsys.readouterr().err.split())
    assert "a.csv stands newest first, and 60 of its rows have the instant of the row before" in stderr
    assert desk.ingest(source__newest_first=True).events.equals(straight)
    stderr = " ".join(capsys.readouterr().err.split())
    assert "newest first" not in stderr
    # what is appended is what a new ingest makes of all
    desk.put("b.csv", HEADER + "".join(reversed([*clicks(day=6), rows[-1].replace("5-89", "new")])).encode())
    outcome = desk.ingest(source__newest_first=True)
    appended = desk.bytes()
    shutil.rmtree(desk.paths.root / "data")
    assert desk.ingest(source__newest_first=True).events.equals(outcome.events)
    assert desk.bytes() == appended
    assert outcome.events["item_id"].to_pylist()[87:91] == ["5-87", "5-88", "5-89", "new"]
    # a file that stands the other way round is said too
    desk.put("c.csv", HEADER + "".join(clicks(day=7)).encode())
    capsys.readouterr()
    desk.ingest(source__newest_first=True)
    assert "c.csv stands oldest first" in " ".join(capsys.readouterr().err.split())


def test_the_events_of_one_line_keep_their_order_where_files_stand_newest_first(desk: Desk) -> None:
    lines = [
        {
            "event_time": "2026-01-05 10:00:00",
            "event_type": "view",
            "session_id": "s",
            "items": [{"item_id": i} for i in t],
        }
        for t in ("cd", "ab")
    ]
    desk.put("a.jsonl", "".join(json.dumps(each) + "\n" for each in lines).encode())
    assert items(desk, source__newest_first=True, source__explode="items") == ["a", "b", "c", "d"]


def test_inspect_proposes_to_turn_it_round(desk: Desk, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.put("a.csv", HEADER + "".join(reversed(clicks())).encode())
    desk.paths.params.write_text((root / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.chdir(desk.paths.root)
    result = CliRunner().invoke(app, ["inspect", str(desk.log)])
    assert "newest_first: true" in result.stdout
    assert "their order is then the reverse of the file, which begins with the newest" in result.stdout
