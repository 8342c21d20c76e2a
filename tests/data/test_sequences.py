"""The unit `session`: sessions, splits, vocabulary, features and packing, held against a slow reference."""

import itertools
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as run
from hypothesis import strategies as st
from sequences_log import adds_up, build, everything, random_log, visit, visits
from sequences_reference import (
    MINUTE,
    MONDAY,
    as_its_card_says,
    by_name,
    event,
    expected,
    settings,
    unpacked,
    with_known_categories,
)

from clickflow.events.contract import EVENT_TYPES
from clickflow.params.sequences import Sequences, SessionUnit
from clickflow.sequences.cutting import Cutter, step_types
from clickflow.sequences.store import SPLITS, open_split
from clickflow.sequences.units import session
from clickflow.system.errors import DataError
from clickflow.system.files import sha256_folder

STEP = st.tuples(
    st.sampled_from([0, 5, 10, 20]),
    st.sampled_from(["view", "view", "view", "cart", "search", "purchase"]),
    st.sampled_from(["a", "b", "c", "é", "日", "a", None]),
    st.sampled_from([None, 0.0, -0.0, 19.99]),
    st.sampled_from([None, "x", "x.y"]),
)


WHO = st.tuples(st.sampled_from(["u", "v", "w", None]), st.sampled_from(["s", "t", None, None, None]))


LOGS = st.lists(
    st.builds(visit, WHO, st.integers(0, 600), st.lists(STEP, min_size=1, max_size=8)), min_size=4, max_size=24
).map(lambda several: [row for one in several for row in one])


SETTINGS = st.builds(
    settings,
    since=st.sampled_from([None, None, MONDAY + 100 * MINUTE]),
    until=st.sampled_from([None, None, MONDAY + 500 * MINUTE]),
    gap_minutes=st.sampled_from([10.0, 19.5, 20.0, 60.0]),
    drop_repeats=st.booleans(),
    baskets=st.booleans(),
    min_length=st.sampled_from([2, 2, 3]),
    max_length=st.integers(3, 6),
    valid_share=st.sampled_from([0.0, 0.1, 0.3]),
    test_share=st.sampled_from([0.0, 0.2]),
    embargo_minutes=st.sampled_from([0.0, 0.0, 45.0]),
)


@run(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a store takes half a second
@given(LOGS, SETTINGS)
def test_the_store_is_what_the_slow_reference_says(events: list[dict[str, Any]], chosen: Sequences) -> None:
    wanted = expected(events, chosen)
    with TemporaryDirectory() as name:
        folder = Path(name)
        if wanted is None:
            with pytest.raises(DataError):
                build(folder, events, chosen)
            assert not (folder / "session").exists()
            return
        card = build(folder, events, chosen, threads=1)
        packed = {part: unpacked(folder / "session", part) for part in SPLITS}
        wanted_splits = with_known_categories(wanted.splits)
        assert {part: by_name(packed[part]) for part in SPLITS} == {
            part: by_name(wanted_splits[part]) for part in SPLITS
        }
        assert all(part == sorted(part, key=lambda s: (s.start, s.end)) for part in packed.values())
        assert {reason: what["events"] for reason, what in card.left_out.items()} == wanted.left_out
        adds_up(card)
        assert as_its_card_says(folder / "session") == card
        assert {path.name for path in folder.iterdir()} == {"events", "session"}


def test_what_people_are_called_changes_no_step(tmp_path: Path) -> None:
    """Another key gives everybody another pseudonym, and the model must be the same."""
    log = [row | {"event_time": row["event_time"].replace(second=0, minute=0)} for row in random_log(3000, seed=5)]
    rng = np.random.default_rng(1)
    names = {row[column] for row in log for column in ("user_id", "session_id")} - {None}
    other = dict(zip(sorted(names), (f"n{number}" for number in rng.permutation(len(names))), strict=True)) | {
        None: None
    }
    renamed = [row | {column: other[row[column]] for column in ("user_id", "session_id")} for row in log]
    chosen = settings(max_length=5)
    one, two = build(tmp_path / "one", log, chosen), build(tmp_path / "two", renamed, chosen)
    differ = {name for name in one.files if one.files[name] != two.files[name]}
    assert differ == {f"{part}/sequences.parquet" for part in SPLITS}
    starts = pa.array([s.start for s in unpacked(tmp_path / "one" / "session", "train")])
    assert starts.value_counts().field("counts").to_numpy().max() > 3, "a log without ties shows nothing"


@run(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 40), st.integers(-1, 2), st.integers(0, 2)), min_size=1, max_size=40
    ),
    st.lists(st.integers(0, 40), max_size=5),
    st.integers(1, 4),
    st.booleans(),
)
def test_where_batches_end_does_not_matter(
    rows: list[tuple[int, int, int, int]], ends: list[int], max_length: int, drop_repeats: bool
) -> None:
    """Actor 0 has given sessions; action 2 is not used."""
    table = np.array(sorted(rows), np.int64).T
    columns = {
        "actor": table[0],
        "time": table[1],
        "item": table[2].astype(np.int32),
        "action": table[3].astype(np.uint8),
        "price": table[1].astype(np.float32),
        "category": table[2].astype(np.int32),
        "brand": table[3].astype(np.int32),
        "open": table[0] > 0,
    }
    rules = session.rules(
        SessionUnit(
            gap_minutes=5 / 60e6,
            event_types=("view", "cart"),
            drop_repeats=drop_repeats,
            min_length=2,
            max_length=max_length,
            baskets=False,
        )
    )

    def cut(edges: list[int]) -> tuple[dict[str, list[float]], dict[str, list[int]], tuple[int, int, int]]:
        cutter = Cutter(rules, EVENT_TYPES)
        steps: dict[str, list[float]] = {name: [] for name in step_types()}
        sequences: dict[str, list[int]] = {}
        parts = [
            cutter.push({name: values[first:last] for name, values in columns.items()})
            for first, last in itertools.pairwise(edges)
        ]
        for done, ended in [*parts, ({}, cutter.finish())]:
            for name, values in done.items():
                steps[name] += values.tolist()
            for name, values in ended.items():
                sequences.setdefault(name, []).extend(values.tolist())
        return steps, sequences, (cutter.type_not_used, cutter.no_item, cutter.repeats)

    whole = cut([0, len(rows)])
    assert cut([0, *sorted(min(end, len(rows)) for end in ends), len(rows)]) == whole
    assert sum(whole[1]["length"]) == len(whole[0]["time"]) == len(rows) - sum(whole[2])


def test_a_silence_longer_than_the_gap_cuts_and_an_equal_one_does_not(tmp_path: Path) -> None:
    at = [0, 30, 60, 90.001, 100]
    events = [event(MONDAY + minutes * MINUTE, item=str(n)) for n, minutes in enumerate(at)]
    build(tmp_path, events, settings(valid_share=0.0, test_share=0.5))
    assert [[step[2] for step in sequence.steps] for sequence in everything(tmp_path)] == [["0", "1", "2"], ["3", "4"]]


def test_an_event_that_is_not_packed_still_breaks_a_silence(tmp_path: Path) -> None:
    events = [
        event(MONDAY, item="a"),
        event(MONDAY + 20 * MINUTE, "search", None),
        event(MONDAY + 40 * MINUTE, item="b"),
        *visits(1, apart=timedelta(0)),
    ]
    later = [row | {"event_time": row["event_time"] + timedelta(days=1)} for row in visits(1)]
    build(tmp_path, events[:3] + later, settings(valid_share=0.0))
    assert [len(sequence.steps) for sequence in everything(tmp_path)] == [2, 2]
    assert open_split(tmp_path / "session", "train").gap.tolist() == [0, 2400]


def test_given_sessions_are_kept_over_a_silence_and_belong_to_their_user(tmp_path: Path) -> None:
    events = [
        event(MONDAY, item="a", user="u", session="s"),
        event(MONDAY + 300 * MINUTE, item="b", user="u", session="s"),
        event(MONDAY + 1 * MINUTE, item="c", user="v", session="s"),
        event(MONDAY + 2 * MINUTE, item="d", user="v", session="s"),
        event(MONDAY + 3 * MINUTE, item="e", user=None, session="s"),
        event(MONDAY + 4 * MINUTE, item="f", user=None, session="s"),
    ]
    card = build(tmp_path, events, settings())
    sequences = sorted(
        (s.user_id or "", s.session_id, "".join(step[2] for step in s.steps)) for s in everything(tmp_path)
    )
    assert sequences == [("", "s", "ef"), ("u", "s", "ab"), ("v", "s", "cd")]
    assert card.counts["sequences_of_guests"] == 1


def test_repeats_become_their_first_event_only_when_asked(tmp_path: Path) -> None:
    kinds = ["view", "view", "cart", "view", "view"]
    events = [event(MONDAY + n * MINUTE, kind, "a", price=float(n)) for n, kind in enumerate(kinds)]
    events += [row | {"event_time": row["event_time"] + timedelta(days=1)} for row in visits(1)]
    card = build(tmp_path / "on", events, settings(valid_share=0.0))
    first = everything(tmp_path / "on")[0]
    assert [(step[1], step[3]) for step in first.steps] == [("view", 0.0), ("cart", 2.0), ("view", 3.0)]
    assert card.left_out["repeat"]["events"] == 2
    card = build(tmp_path / "off", events, settings(valid_share=0.0, drop_repeats=False))
    assert [step[1] for step in everything(tmp_path / "off")[0].steps] == kinds
    assert card.left_out["repeat"]["events"] == 0


def test_long_sessions_become_pieces(tmp_path: Path) -> None:
    events = [event(MONDAY + n * MINUTE, item=f"i{n:02}") for n in range(11)]
    events += [row | {"event_time": row["event_time"] + timedelta(days=1)} for row in visits(1)]
    card = build(tmp_path, events, settings(valid_share=0.0, max_length=5))
    pieces = everything(tmp_path)[:-1]
    assert [(s.piece, [step[2] for step in s.steps]) for s in pieces] == [
        (1, [f"i{n:02}" for n in range(5)]),
        (2, [f"i{n:02}" for n in range(5, 10)]),
    ]
    assert len({s.session_id for s in pieces}) == 1
    assert card.left_out["too_short"] == {"events": 1, "sequences": 1}
    assert (card.counts["sessions"], card.counts["sessions_in_pieces"]) == (2, 1)
    # a piece is a sequence of its own: it starts anew
    assert open_split(tmp_path / "session", "train").since_start[[0, 5]].tolist() == [0, 0]


def test_equal_times_keep_the_order_of_the_file(tmp_path: Path) -> None:
    """Whatever else is in the rows, whatever stands between them, and with any number of threads."""
    rng = np.random.default_rng(0)
    rows = [
        event(MONDAY, str(rng.choice(["purchase", "view"])), f"i{rng.integers(30)}", user=f"u{rng.integers(40)}")
        for _ in range(3000)
    ]
    rows += [row | {"event_time": row["event_time"] + timedelta(days=1)} for row in visits(1)]
    chosen = settings(valid_share=0.0, drop_repeats=False, max_length=5000, baskets=True)
    for threads in (1, 4):
        build(tmp_path / str(threads), rows, chosen, threads=threads)
    steps = {one.user_id: [step[1:3] for step in one.steps] for one in everything(tmp_path / "1") if len(one.steps) > 2}
    wanted: dict[str, list[tuple[str, str]]] = {}
    for row in rows[:3000]:
        wanted.setdefault(row["user_id"], []).append((row["event_type"], row["item_id"]))
    assert steps == wanted
    assert sha256_folder(tmp_path / "1/session") == sha256_folder(tmp_path / "4/session")


def test_the_bytes_depend_on_neither_memory_nor_threads(tmp_path: Path) -> None:
    rows = random_log(20_000, seed=4)
    build(tmp_path / "one", rows, settings(memory_gb=2.0), threads=2)
    build(tmp_path / "two", rows, settings(memory_gb=0.06), threads=1)
    build(tmp_path / "three", rows, settings(memory_gb=2.0), threads=4)
    hashes = {sha256_folder(tmp_path / name / "session") for name in ("one", "two", "three")}
    assert len(hashes) == 1


def test_a_log_of_one_day_is_split_by_the_clock(tmp_path: Path) -> None:
    card = build(tmp_path, visits(20, apart=timedelta(hours=1)), settings())
    assert [card.splits[name].sequences for name in SPLITS] == [16, 2, 2]


def test_guests_alone_make_a_store(tmp_path: Path) -> None:
    rows = [row | {"user_id": None, "session_id": str(n // 2)} for n, row in enumerate(visits(20))]
    card = build(tmp_path, rows, settings())
    assert card.counts["sequences_of_guests"] == 20
    assert all(sequence.user_id is None for sequence in everything(tmp_path))
