"""What lies in which part of a store, and what is known of it: by the training part alone."""

import itertools
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from sequences_log import MICROSECOND, adds_up, build, everything, random_log, visits
from sequences_reference import (
    EPOCH,
    MINUTE,
    MONDAY,
    event,
    settings,
    unpacked,
)

from clickflow.sequences import vocabulary
from clickflow.sequences.features import statistics
from clickflow.sequences.store import SPLITS, open_split, read_card
from clickflow.system.files import sha256_folder


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
    brands_seen = {"a": ["x", "y", "y", None], "b": ["z", "x"], "c": [None, None], "d": ["日", "é", "日", "é"]}
    events = [
        event(MONDAY + n * MINUTE, item=item, brand=brand)
        for n, (item, brand) in enumerate((item, brand) for item, brands in brands_seen.items() for brand in brands)  # type: ignore[attr-defined]
    ]
    later = [event(MONDAY + timedelta(days=1) + n * MINUTE, item=item, brand="x") for n, item in enumerate("acaceac")]
    build(tmp_path, events + later, settings(valid_share=0.0, drop_repeats=False))
    rows = parquet.read_table(tmp_path / "session" / "vocabulary.parquet").to_pylist()
    brands = {row["item_id"]: row["brand"] for row in rows}
    assert brands == {"a": "y", "b": "x", "c": None, "d": "é", "e": None}, "of equals the first by its text"


def test_an_items_name_is_its_most_frequent_by_the_training_part_else_of_later(tmp_path: Path) -> None:
    names_seen = {"a": ["x", "y", "y", None], "b": ["z", "x"], "c": [None, None], "d": ["Tür, weiß", None]}
    events = [
        event(MONDAY + n * MINUTE, item=item, name=name)
        for n, (item, name) in enumerate((item, name) for item, names in names_seen.items() for name in names)  # type: ignore[attr-defined]
    ]
    later = [event(MONDAY + timedelta(days=1) + n * MINUTE, item=item, name="new") for n, item in enumerate("aaaeb")]
    later += [event(MONDAY + timedelta(days=1), kind="search", item=None, name="of nothing")]
    build(tmp_path, events + later, settings(valid_share=0.0, drop_repeats=False))
    rows = parquet.read_table(tmp_path / "session" / "vocabulary.parquet").to_pylist()
    names = {row["item_id"]: row["name"] for row in rows}
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
