"""The unit `session`: sessions, splits, vocabulary, features and packing, held against a slow reference."""

import itertools
from dataclasses import replace
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
from pyarrow import parquet
from sequences_reference import (
    EPOCH,
    MINUTE,
    MONDAY,
    Sequence,
    as_its_card_says,
    by_name,
    event,
    expected,
    settings,
    unpacked,
    with_known_categories,
    write_events,
)

from clickflow.events.contract import EVENT_TYPES
from clickflow.params.file import check
from clickflow.params.schema import Params
from clickflow.params.sequences import Sequences, SessionUnit
from clickflow.sequences import prepare, vocabulary
from clickflow.sequences.cutting import Cutter, step_types
from clickflow.sequences.features import statistics
from clickflow.sequences.store import SPLITS, Card, open_split, read_card
from clickflow.sequences.units import session
from clickflow.system import integrity
from clickflow.system.errors import ClickflowError, DataError, UsageError
from clickflow.system.files import sha256_folder
from clickflow.system.paths import Paths

SECOND, MICROSECOND = timedelta(seconds=1), timedelta(microseconds=1)


def build(folder: Path, events: list[dict[str, Any]], chosen: Sequences, **more: Any) -> Card:
    """The store of some events, in folder/session."""
    log = write_events(folder / "events", events)
    return prepare.build(log, chosen, "session", folder / "session", **more)


def everything(folder: Path) -> list[Sequence]:
    return [sequence for name in SPLITS for sequence in unpacked(folder / "session", name)]


def adds_up(card: Card) -> None:
    packed = sum(part.events for part in card.splits.values())
    assert card.events_read == packed + sum(reason["events"] for reason in card.left_out.values())
    card.add_up()
    with pytest.raises(ClickflowError, match="do not add up"):
        replace(card, events_read=card.events_read + 1).add_up()


def visits(count: int, *, items: str = "abc", apart: timedelta = timedelta(hours=2)) -> list[dict[str, Any]]:
    """So many visits of two steps, one user, each visit `apart` from the one before."""
    return [
        event(MONDAY + number * apart + step * MINUTE, item=items[(number + step) % len(items)])
        for number in range(count)
        for step in range(2)
    ]


def random_log(events: int, seed: int) -> list[dict[str, Any]]:
    """Visits over three days: guests and users, given sessions and none, ties, repeats, prices, categories."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    while len(rows) < events:
        user = None if rng.random() < 0.2 else f"u{rng.integers(events // 20)}"
        session = f"s{len(rows)}" if user is None or rng.random() < 0.4 else None
        time = MONDAY + int(rng.integers(0, 3 * 24 * 3600)) * SECOND
        for _ in range(rng.geometric(0.15)):
            time += int(rng.exponential(200)) * SECOND
            kind = str(rng.choice(["view", "view", "view", "cart", "purchase", "search"]))
            number = int(30 * rng.random() ** 2)
            item = None if kind == "search" or rng.random() < 0.05 else f"item-{number}"
            price = None if rng.random() < 0.2 else round(float(rng.random()) * 100, 2)
            category = f"c.{number % 7}" if number % 5 else None
            brand = str(rng.choice(["acme", "éclair", "日"])) if number % 3 else None
            rows.append(event(time, kind, item, user, session, price, category, brand))
    return rows[:events]


def visit(who: tuple[str | None, str | None], start: int, steps: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """One visit; a step is minutes since the one before, type, item, price, category."""
    times = itertools.accumulate((step[0] for step in steps), initial=start)
    next(times)
    return [
        event(MONDAY + minute * MINUTE, kind, item, *who, price, category)
        for minute, (_, kind, item, price, category) in zip(times, steps, strict=True)
    ]


STEP = st.tuples(
    st.sampled_from([0, 5, 10, 20]),
    st.sampled_from(["view", "view", "view", "cart", "search", "purchase"]),
    st.sampled_from(["a", "b", "c", "é", "日", "a", None]),
    st.sampled_from([None, 0.0, -0.0, 19.99]),
    st.sampled_from([None, "x", "x.y"]),
)
WHO = st.tuples(st.sampled_from(["u", "v", "w", None]), st.sampled_from(["s", "t", None, None, None]))
LOGS = st.lists(
    st.builds(visit, WHO, st.integers(0, 600), st.lists(STEP, min_size=1, max_size=8)), min_size=4, max_size=14
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


@run(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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
        found = {part: unpacked(folder / "session", part) for part in SPLITS}
        wanted_splits = with_known_categories(wanted.splits)
        assert {part: by_name(found[part]) for part in SPLITS} == {
            part: by_name(wanted_splits[part]) for part in SPLITS
        }
        assert all(part == sorted(part, key=lambda s: (s.start, s.end)) for part in found.values())
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
    made = session.rules(
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
        cutter = Cutter(made, EVENT_TYPES)
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
    found = sorted((s.user_id or "", s.session_id, "".join(step[2] for step in s.steps)) for s in everything(tmp_path))
    assert found == [("", "s", "ef"), ("u", "s", "ab"), ("v", "s", "cd")]
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
    found = {one.user_id: [step[1:3] for step in one.steps] for one in everything(tmp_path / "1") if len(one.steps) > 2}
    wanted: dict[str, list[tuple[str, str]]] = {}
    for row in rows[:3000]:
        wanted.setdefault(row["user_id"], []).append((row["event_type"], row["item_id"]))
    assert found == wanted
    assert sha256_folder(tmp_path / "1/session") == sha256_folder(tmp_path / "4/session")


def test_shares_are_shares_of_sequences_in_the_order_of_their_ends(tmp_path: Path) -> None:
    card = build(tmp_path, visits(40), settings(valid_share=0.1, test_share=0.2))
    assert [card.splits[name].sequences for name in SPLITS] == [28, 4, 8]
    assert card.boundaries["valid"] == card.splits["train"].last
    assert card.boundaries["test"] == card.splits["valid"].last


def test_a_sequence_over_a_boundary_belongs_to_the_later_part_or_to_the_embargo(tmp_path: Path) -> None:
    long = [
        event(MONDAY + timedelta(hours=hours), item=item, user="v", session="long")
        for hours, item in ((1, "a"), (70, "b"))
    ]
    card = build(tmp_path / "kept", visits(40) + long, settings())
    straddling = next(s for s in unpacked(tmp_path / "kept" / "session", "valid") if s.session_id == "long")
    assert straddling.start < card.boundaries["valid"] < straddling.end
    card = build(tmp_path / "out", visits(40) + long, settings(embargo_minutes=1.0))
    assert card.left_out["embargo"] == {"events": 2, "sequences": 1}
    assert all(s.session_id != "long" for s in everything(tmp_path / "out"))
    card = build(tmp_path / "more", visits(40) + long, settings(embargo_minutes=3 * 60.0))
    assert card.left_out["embargo"]["sequences"] == 3  # the first visit of each later part as well
    for part, boundary in (("valid", card.boundaries["valid"]), ("test", card.boundaries["test"])):
        assert min(s.start for s in unpacked(tmp_path / "more" / "session", part)) >= boundary + 3 * 3600 * 1_000_000
    adds_up(card)


def test_no_event_is_in_two_splits_and_training_sees_no_future(tmp_path: Path) -> None:
    rows = random_log(4000, seed=1)
    # each event can be told from every other by its price
    rows = [row | {"price": float(n)} for n, row in enumerate(rows)]
    card = build(tmp_path, rows, settings(drop_repeats=False, event_types=("view", "cart", "purchase", "search")))
    prices = [step[3] for sequence in everything(tmp_path) for step in sequence.steps]
    assert len(set(prices)) == len(prices) == sum(part.events for part in card.splits.values()) > 2000
    train, valid, test = (open_split(tmp_path / "session", name) for name in SPLITS)
    assert train.time.max() == card.boundaries["valid"]
    assert card.boundaries["valid"] < valid.time[valid.offsets[1:] - 1].min()
    assert valid.time.max() == card.boundaries["test"]
    assert card.boundaries["test"] < test.time[test.offsets[1:] - 1].min()
    for split in (train, valid, test):
        assert (split.gap >= 0).all()
        assert (np.diff(split.time[split.offsets[:-1]]) >= 0).all()


def test_what_is_known_comes_from_the_training_part_alone(tmp_path: Path) -> None:
    rows = random_log(3000, seed=2)
    chosen = settings(min_item_count=50, drop_repeats=False)
    card = build(tmp_path / "as it is", rows, chosen)
    one, two = tmp_path / "as it is" / "session", tmp_path / "altered" / "session"
    trained_on = {
        (s.user_id, None if "@" in s.session_id else s.session_id, step[0])
        for s in unpacked(one, "train")
        for step in s.steps
    }
    altered = [
        row
        if (row["user_id"], row["session_id"], (row["event_time"] - EPOCH) // MICROSECOND) in trained_on
        else row | {"item_id": row["item_id"] and "new", "price": 5.0, "category": "new"}
        for row in rows
    ]
    other = build(tmp_path / "altered", altered, chosen)
    assert sha256_folder(one / "test") != sha256_folder(two / "test")
    assert sha256_folder(one / "train") == sha256_folder(two / "train")
    assert card.statistics == other.statistics
    assert (card.known, card.categories) == (other.known, other.categories)
    assert (one / "categories.parquet").read_bytes() == (two / "categories.parquet").read_bytes()
    known = slice(0, card.known - 2)
    tables = [parquet.read_table(folder / "vocabulary.parquet").to_pylist()[known] for folder in (one, two)]
    assert tables[0] == tables[1]
    assert 3 < card.known < card.items_total


def test_an_items_brand_is_what_most_of_its_events_in_the_training_part_say(tmp_path: Path) -> None:
    said = {"a": ["x", "y", "y", None], "b": ["z", "x"], "c": [None, None], "d": ["日", "é", "日", "é"]}
    events = [
        event(MONDAY + n * MINUTE, item=item, brand=brand)
        for n, (item, brand) in enumerate((item, brand) for item, brands in said.items() for brand in brands)  # type: ignore[attr-defined]
    ]
    later = [event(MONDAY + timedelta(days=1) + n * MINUTE, item=item, brand="x") for n, item in enumerate("acaceac")]
    build(tmp_path, events + later, settings(valid_share=0.0, drop_repeats=False))
    found = parquet.read_table(tmp_path / "session" / "vocabulary.parquet").to_pylist()
    brands = {row["item_id"]: row["brand"] for row in found}
    assert brands == {"a": "y", "b": "x", "c": None, "d": "é", "e": None}, "of equals the first by its text"


def test_an_items_name_is_its_most_frequent_by_the_training_part_else_of_later(tmp_path: Path) -> None:
    said = {"a": ["x", "y", "y", None], "b": ["z", "x"], "c": [None, None], "d": ["Tür, weiß", None]}
    events = [
        event(MONDAY + n * MINUTE, item=item, name=name)
        for n, (item, name) in enumerate((item, name) for item, names in said.items() for name in names)  # type: ignore[attr-defined]
    ]
    later = [event(MONDAY + timedelta(days=1) + n * MINUTE, item=item, name="new") for n, item in enumerate("aaaeb")]
    later += [event(MONDAY + timedelta(days=1), kind="search", item=None, name="of nothing")]
    build(tmp_path, events + later, settings(valid_share=0.0, drop_repeats=False))
    found = parquet.read_table(tmp_path / "session" / "vocabulary.parquet").to_pylist()
    names = {row["item_id"]: row["name"] for row in found}
    assert names == {"a": "y", "b": "x", "c": None, "d": "Tür, weiß", "e": "new"}, "of equals the first by its text"


def test_vocabulary_orders_by_support_and_keeps_rare_items_apart(tmp_path: Path) -> None:
    train = "bb" + "aa" + "ccc" + "d"  # support of the training part
    events = [
        event(MONDAY + n * MINUTE, item=item, price=float(n), category="k" if item == "b" else None)
        for n, item in enumerate(train)
    ]
    events += [event(MONDAY + timedelta(days=1) + n * MINUTE, item=item, category="z") for n, item in enumerate("ea")]
    card = build(tmp_path, events, settings(valid_share=0.0, drop_repeats=False, min_item_count=2))
    assert parquet.read_table(tmp_path / "session" / "vocabulary.parquet").to_pylist() == [
        {"item_id": "c", "index": 2, "count": 3, "category": 0, "price": 5.0, "brand": None, "name": None},
        {"item_id": "a", "index": 3, "count": 2, "category": 0, "price": 2.5, "brand": None, "name": None},
        {"item_id": "b", "index": 4, "count": 2, "category": 2, "price": 0.5, "brand": None, "name": None},
        {"item_id": "d", "index": 5, "count": 1, "category": 0, "price": 7.0, "brand": None, "name": None},
        {"item_id": "e", "index": 6, "count": 0, "category": 0, "price": None, "brand": None, "name": None},
    ]
    assert parquet.read_table(tmp_path / "session" / "categories.parquet").to_pylist() == [
        {"category": "k", "index": 2, "count": 2}
    ]
    assert (card.known, card.items_total, card.categories) == (5, 5, 3)
    test = open_split(tmp_path / "session", "test")
    assert (test.item.tolist(), test.category.tolist()) == ([6, 3], [1, 1])


@given(
    st.lists(st.tuples(st.integers(2, 6), st.sampled_from([np.nan, 0.0, -0.0, 1.5, 2.5, 1e6])), max_size=30),
    st.integers(1, 8),
)
def test_medians_and_modes_whatever_fits_at_once(steps: list[tuple[int, float]], at_once: int) -> None:
    item = np.array([step[0] for step in steps], np.int32)
    price = np.array([step[1] for step in steps], np.float32)
    category = np.nan_to_num(price).astype(np.int32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vocabulary, "MOST_KEYS", at_once)
        patch.setattr(vocabulary, "CHUNK", 3)
        medians, modes = vocabulary.medians(item, price, 5), vocabulary.modes(item, category, 5)
    for index in range(5):
        own = price[(item == index + 2) & ~np.isnan(price)]
        assert medians[index] == np.median(own.astype(np.float64)) if len(own) else np.isnan(medians[index])
        named = sorted(category[(item == index + 2) & (category > 0)].tolist())
        assert modes[index] == (max(named, key=lambda code: (named.count(code), -code)) if named else 0)


def test_features_and_statistics_are_those_of_the_clock(tmp_path: Path) -> None:
    build(tmp_path, random_log(2000, seed=3), settings())
    for name in SPLITS:
        split = open_split(tmp_path / "session", name)
        for first, last in itertools.pairwise(split.offsets.tolist()):
            times = [MONDAY.fromtimestamp(int(t) / 1_000_000, MONDAY.tzinfo) for t in split.time[first:last]]
            assert split.hour[first:last].tolist() == [time.hour for time in times]
            assert split.weekday[first:last].tolist() == [time.weekday() for time in times]
            since = [(time - times[0]).total_seconds() for time in times]
            assert split.since_start[first:last].tolist() == since
            assert split.gap[first:last].tolist() == [0.0, *np.diff(since)]
    train = open_split(tmp_path / "session", "train")
    measured = read_card(tmp_path / "session").statistics
    assert measured == statistics(train.columns)
    assert measured["gap"]["mean"] == pytest.approx(np.log1p(train.gap.astype(float)).mean(), abs=1e-6)
    assert measured["price"]["std"] == pytest.approx(np.nanstd(np.log1p(train.price.astype(float))), abs=1e-6)


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
