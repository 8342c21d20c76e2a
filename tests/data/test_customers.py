"""The unit `customer`: who is asked about, as of when, from what; held against pandas, and against other futures."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from hypothesis import given
from hypothesis import settings as run
from hypothesis import strategies as st
from pyarrow import parquet
from sequences_reference import EPOCH, MONDAY, as_its_card_says, event, settings, write_events

from clickflow import features
from clickflow.doctor import shop_log
from clickflow.events.contract import EVENT_TYPES
from clickflow.features import Spans
from clickflow.heads import churn
from clickflow.params.file import check
from clickflow.params.sequences import CustomerUnit, Sequences
from clickflow.sequences import prepare, split
from clickflow.sequences.card import NOW, SPLITS, Card
from clickflow.sequences.histories import Persons, histories
from clickflow.sequences.store import Bounds, PackedSplit, open_split, owners, read_card
from clickflow.sequences.units.unit import AsOf
from clickflow.system.errors import DataError, UsageError
from clickflow.system.files import sha256_folder, write_json
from clickflow.system.moments import DAY
from clickflow.system.paths import Paths

SMALL = CustomerUnit(horizon_days=5, every_days=3, active_days=20)
PURCHASE = EVENT_TYPES.index("purchase")


def chosen(customer: CustomerUnit = SMALL, **more: Any) -> Sequences:
    return replace(settings(**more), customer=customer)


def random_log(days: int = 60, users: int = 12, seed: int = 0) -> list[dict[str, Any]]:
    """Guests, people who only look, people who lapse; ties, pieces, lines without an item."""
    draw, rows = np.random.default_rng(seed), []
    for _ in range(users * days // 3):
        user = int(draw.integers(users + 2))
        time = MONDAY + timedelta(seconds=int(draw.integers(days * 86_400)))
        if user % 4 == 1 and time > MONDAY + timedelta(days=days / 3):
            continue
        kinds = ["view", "cart", "search"] if user % 5 == 0 else ["view", "purchase", "purchase", "cancel", "search"]
        for _ in range(int(draw.integers(1, 4))):
            kind = str(draw.choice(kinds))
            row = event(
                time,
                kind,
                None if kind == "search" else f"item-{draw.integers(9)}",
                None if user >= users else f"u{user}",
                None if user < users else f"s{draw.integers(1000)}",
                round(float(draw.random()) * 50, 2),
            )
            rows.append(row | {"quantity": None if draw.random() < 0.2 else int(draw.integers(1, 5))})
    return rows


def build(folder: Path, rows: list[dict[str, Any]], customer: CustomerUnit = SMALL, **more: Any) -> Card:
    """The store, in folder/customer."""
    log = write_events(folder / "events", rows)
    return prepare.build(log, chosen(customer, **more), "customer", folder / "customer", threads=1)


def packed(store: Path, part: str) -> pd.DataFrame:
    """Each sequence of a part: user, cut-off, how many steps it reads and holds for its answer, and what it sums."""
    table = parquet.read_table(store / part / "sequences.parquet").to_pandas()
    own, card = open_split(store, part), read_card(store)
    bounds = zip(own.begin, own.end, own.until, strict=True)
    money = np.nan_to_num(own.price) * np.nan_to_num(own.quantity, nan=1)
    of = [(end - begin, until - end, money[begin:end].sum(), own.time[begin], own.time[end - 1], begin, end, until)
          for begin, end, until in bounds]  # fmt: skip
    names = ["read", "answers", "money", "first", "last", "begin", "end", "until"]
    frame: pd.DataFrame = pd.concat([table[["user_id", "cut_off", "length"]], pd.DataFrame(of, columns=names)], axis=1)
    frame["churn"] = churn.targets(own, own.end - 1, own.until, card)
    assert bool((frame["length"] == frame["read"]).all())
    assert own.cut_off is not None
    assert frame["cut_off"].astype("int64").tolist() == own.cut_off.tolist()
    return frame


def by_pandas(rows: list[dict[str, Any]], customer: CustomerUnit, cut_offs: Sequence[int]) -> pd.DataFrame:
    """The same by the rule as it stands in the docs, a cut-off at a time."""
    log = pd.DataFrame(rows)
    log = log[log["user_id"].notna() & log["item_id"].notna() & log["event_type"].isin(customer.event_types)]
    log = log.assign(us=(log["event_time"] - EPOCH) // timedelta(microseconds=1))
    log["money"] = log["price"].fillna(0).astype("f4") * log["quantity"].fillna(1).astype("f4")
    tables = []
    for cut_off in cut_offs:
        before = log[log["us"] < cut_off]
        after = log[(log["us"] >= cut_off) & (log["us"] < cut_off + customer.horizon_days * DAY)]
        bought = before[before["event_type"] == "purchase"]
        active = bought[bought["us"] >= cut_off - customer.active_days * DAY]["user_id"].unique()
        own = before[before["user_id"].isin(active)].groupby("user_id")
        table = own.agg(read=("us", "size"), first=("us", "min"), last=("us", "max"), money=("money", "sum"))
        table["answers"] = after.groupby("user_id").size().reindex(table.index, fill_value=0)
        again = after[after["event_type"] == "purchase"]["user_id"].unique()
        table["churn"] = (~table.index.isin(again)).astype(int)
        tables.append(table.reset_index().assign(cut_off=cut_off))
    return pd.concat(tables, ignore_index=True)


def same(store: Path, part: str, rows: list[dict[str, Any]], customer: CustomerUnit, cut_offs: list[int]) -> int:
    frame, wanted = packed(store, part), by_pandas(rows, customer, cut_offs)
    frame = frame.assign(cut_off=frame["cut_off"].astype("int64"))
    if part == NOW:
        assert (frame["answers"] == 0).all()
        wanted, frame = wanted.drop(columns=["answers", "churn"]), frame.drop(columns=["answers", "churn"])
    key = ["cut_off", "user_id"]
    frame, wanted = (each.sort_values(key, ignore_index=True)[wanted.columns] for each in (frame, wanted))
    pd.testing.assert_frame_equal(frame, wanted, check_dtype=False, rtol=1e-4)
    return len(frame)


def test_what_people_are_called_changes_nothing_that_is_learned_from(tmp_path: Path) -> None:
    log = random_log()
    renamed = [
        row | {"user_id": row["user_id"] and f"{9 - int(row['user_id'][1:]) % 10}-{row['user_id']}"} for row in log
    ]
    one, two = build(tmp_path / "one", log), build(tmp_path / "two", renamed)
    differ = {name for name in one.files if one.files[name] != two.files[name]}
    assert differ == {f"{part}/sequences.parquet" for part in (*SPLITS, NOW)}
    here, there = (owners(tmp_path / each / "customer", ("train", "valid")) for each in ("one", "two"))
    for part in here:
        np.testing.assert_array_equal(here[part], there[part])


@pytest.mark.parametrize("seed", [0, 1])
def test_pandas_finds_the_same_customers_histories_and_answers(tmp_path: Path, seed: int) -> None:
    rows = random_log(seed=seed)
    card = build(tmp_path, rows)
    assert as_its_card_says(tmp_path / "customer") == card
    stop = max((row["event_time"] - EPOCH) // timedelta(microseconds=1) for row in rows) + 1
    first = min((row["event_time"] - EPOCH) // timedelta(microseconds=1) for row in rows)
    cut_offs = split.cut_offs(first, stop, AsOf(horizon_days=5, every_days=3, active_days=20), 0.1, 0.1)
    numbers = [same(tmp_path / "customer", part, rows, SMALL, cut_offs[part]) for part in (*SPLITS, NOW)]
    assert [card.splits[part].sequences for part in (*SPLITS, NOW)] == numbers
    assert min(numbers) > 1

    # every event is packed once, or left out for a reason
    card.add_up()
    kept = [row for row in rows if row["user_id"] and row["item_id"] and row["event_type"] != "search"]
    by_user = pd.DataFrame(kept).groupby("user_id").size()
    held = set(pd.concat([packed(tmp_path / "customer", part)["user_id"] for part in (*SPLITS, NOW)]))
    assert card.left_out["nobody"]["events"] == sum(not row["user_id"] and not row["session_id"] for row in rows) + sum(
        not row["user_id"] and bool(row["session_id"]) for row in rows
    )
    assert card.left_out["inactive"]["events"] == by_user[~by_user.index.isin(held)].sum()
    assert card.left_out["inactive"]["sequences"] == card.counts["persons"] - card.counts["customers"]

    # a part holds the steps of each of its customers once
    for part in (*SPLITS, NOW):
        frame = packed(tmp_path / "customer", part)
        assert (
            card.splits[part].events
            == frame.groupby("user_id")["until"].max().sub(frame.groupby("user_id")["begin"].min()).sum()
        )


def test_the_answers_of_a_part_end_before_the_next_begins(tmp_path: Path) -> None:
    card = build(tmp_path, random_log())
    store, horizon = tmp_path / "customer", SMALL.horizon_days * DAY
    train, valid, test, now = (open_split(store, part).cut_off for part in (*SPLITS, NOW))
    assert train.max() + horizon <= valid.min()  # type: ignore[union-attr]
    assert valid.max() + horizon <= test.min()  # type: ignore[union-attr]
    last = max(row["event_time"] for row in random_log())
    assert test.max() + horizon == (last - EPOCH) // timedelta(days=1) * DAY  # type: ignore[union-attr]
    assert set(now) == {test.max() + horizon + DAY}  # type: ignore[union-attr, arg-type]
    assert (card.boundaries["valid"], card.boundaries["test"]) == (valid.min() - 1, test.min() - 1)  # type: ignore[union-attr]
    for part in (*SPLITS, NOW):
        own = open_split(store, part)
        assert own.cut_off is not None
        assert (own.cut_off % DAY == 0).all()
        assert (np.diff(own.cut_off) >= 0).all()
        assert own.time.max() < own.cut_off.max() + horizon


def test_the_same_log_gives_the_same_bytes_in_any_order_of_its_rows_and_under_any_key(tmp_path: Path) -> None:
    rows = random_log()
    build(tmp_path / "one", rows)
    mixed = [rows[at] for at in np.random.default_rng(3).permutation(len(rows))]
    ties = pd.DataFrame(rows).duplicated(["user_id", "event_time"], keep=False)
    build(tmp_path / "other", sorted(mixed, key=lambda row: row["event_time"]) if not ties.any() else rows)
    assert sha256_folder(tmp_path / "one/customer") == sha256_folder(tmp_path / "other/customer")
    renamed = [row | {"user_id": row["user_id"] and f"x{row['user_id'][::-1]}"} for row in rows]
    build(tmp_path / "renamed", renamed)
    for part in (*SPLITS, NOW):
        for file in sorted((tmp_path / "one/customer" / part).glob("*.npy")):
            assert file.read_bytes() == (tmp_path / "renamed/customer" / part / file.name).read_bytes()


STEP = st.tuples(
    st.integers(0, 2),  # person
    st.integers(0, 40 * 24),  # hour
    st.sampled_from([PURCHASE, PURCHASE, 0, EVENT_TYPES.index("cancel")]),
    st.sampled_from([1.0, 2.5, np.nan]),
)
HOW = AsOf(horizon_days=4, every_days=3, active_days=15)
CUT_OFFS = [10 * DAY, 13 * DAY, 20 * DAY]


def features_and_answers(steps: list[tuple[int, int, int, float]]) -> dict[tuple[int, int], tuple[list[float], int]]:
    """By person and cut-off: the hand-made features, and the answer of churn."""
    steps = sorted(steps, key=lambda step: step[:2])
    person = np.array([step[0] for step in steps], np.int64)
    columns: dict[str, Any] = {
        "time": np.array([step[1] * 3_600_000_000 for step in steps], np.int64),
        "action": np.array([step[2] for step in steps], np.uint8),
    }
    there, length = np.unique(person, return_counts=True)
    persons = Persons(pa.array([str(each) for each in there]), np.cumsum(length) - length, length)
    cut = histories(persons, columns, PURCHASE, HOW, {"train": CUT_OFFS})["train"]
    if not len(cut.owner):
        return {}
    kept = np.concatenate([np.arange(s, s + n) for s, n in zip(persons.source, cut.held, strict=True)])
    price = np.array([step[3] for step in steps], np.float32)[kept]
    own = PackedSplit(
        Bounds(**cut.bounds),
        "last",
        HOW.horizon_days * DAY,
        **{name: values[kept] for name, values in columns.items()},
        price=price,
        quantity=np.full(len(kept), np.nan, np.float32),
        **{name: np.full(len(kept), 2, np.int32) for name in ("item", "category")},
    )

    class Names:
        actions, known, categories = EVENT_TYPES, 3, 3

    assert own.cut_off is not None
    table = features.compute("customer", own, Spans(own.begin, own.end, own.cut_off), Names())
    answers = churn.targets(own, own.end - 1, own.until, Names())
    keys = zip(there[cut.owner].tolist(), cut.cut_off.tolist(), strict=True)
    return {key: (row.tolist(), int(one)) for key, row, one in zip(keys, table, answers, strict=True)}


@run(max_examples=80, deadline=None)
@given(past=st.lists(STEP, max_size=25), now=st.lists(STEP, max_size=8), then=st.lists(STEP, max_size=8))
def test_no_future_changes_a_feature_or_an_earlier_answer(past: list[Any], now: list[Any], then: list[Any]) -> None:
    """Whatever comes at or after a moment may be moved, added or taken away: what was asked before stays as it was."""
    for moment in CUT_OFFS:
        hour = moment // 3_600_000_000
        before = [step for step in past if step[1] < hour]
        one, other = (
            features_and_answers(before + [step for step in future if step[1] >= hour]) for future in (now, then)
        )
        for (person, cut_off), (row, answer) in one.items():
            if cut_off <= moment:
                assert (person, cut_off) in other
                assert np.array_equal(row, other[person, cut_off][0], equal_nan=True)
            if cut_off + HOW.horizon_days * DAY <= moment:
                assert answer == other[person, cut_off][1]
        assert {key for key in one if key[1] <= moment} == {key for key in other if key[1] <= moment}


@run(max_examples=60, deadline=None)
@given(
    span=st.integers(1, 900),
    horizon=st.integers(1, 200),
    every=st.integers(1, 60),
    shares=st.tuples(st.sampled_from([0.0, 0.1, 0.3]), st.sampled_from([0.1, 0.3])),
)
def test_cut_offs_leave_a_horizon_between_parts_or_the_log_is_too_short(
    span: int, horizon: int, every: int, shares: tuple[float, float]
) -> None:
    how = AsOf(horizon_days=horizon, every_days=every, active_days=30)
    first, stop = 5 * DAY + 7, (5 + span) * DAY + 11
    needed = (3 if shares[0] else 2) * horizon
    if span - 1 < needed:
        with pytest.raises(DataError, match=f"a horizon of {horizon} days needs {needed + 2}"):
            split.cut_offs(first, stop, how, *shares)
        return
    days = split.cut_offs(first, stop, how, *shares)
    parts = [days[name] for name in SPLITS if days[name]]
    assert len(parts) == (3 if shares[0] else 2)
    for earlier, later in zip(parts, [*parts[1:], [(5 + span) * DAY]], strict=True):
        assert earlier[-1] + horizon * DAY == later[0]
    assert parts[0][0] > first
    assert days[NOW] == [(6 + span) * DAY]


def customers(days: int, **kinds: str) -> list[dict[str, Any]]:
    """A day's event of each of some people."""
    return [
        event(MONDAY + timedelta(days=day, hours=3), kind, "a", user)
        for day in range(days)
        for user, kind in kinds.items()
    ]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (customers(12, ann="purchase", bob="purchase"), "the log spans 11.0 days: a horizon of 5 days needs 17"),
        (customers(30, ann="view", bob="view"), "too few customers: none, of 2 persons; a customer has a purchase"),
        (customers(30, ann="purchase", bob="view"), "too few customers: 1 in the train part"),
        ([row | {"user_id": None, "session_id": "s"} for row in customers(30, ann="purchase")], "names a user"),
    ],
)
def test_a_log_that_gives_no_customers_is_an_error_that_says_why(
    tmp_path: Path, rows: list[dict[str, Any]], says: str
) -> None:
    with pytest.raises(DataError, match=says):
        build(tmp_path, rows)
    assert not (tmp_path / "customer").exists()


def test_params_that_can_give_no_customers_are_refused_before_anything_runs(raw_params: Any) -> None:
    model = raw_params["models"].pop("next_step") | {"unit": "customer", "heads": {"churn": {}}}
    raw_params |= {"models": {"churn": model}, "champion": {"churn": 0}, "units": ["customer"]}
    raw_params["simulator"]["days"] = 100
    assert check(raw_params).models["churn"].unit == "customer"
    with pytest.raises(UsageError, match=r"28 days of simulator\.days are too few .* 92"):
        check(raw_params | {"simulator": raw_params["simulator"] | {"days": 28}})
    with pytest.raises(UsageError, match="purchase is missing"):
        check(raw_params | {"sequences": raw_params["sequences"] | {"customer": {"event_types": ["view"]}}})
    with pytest.raises(UsageError, match="'customer' is not among units"):
        check(raw_params | {"units": ["session"]})
    session = raw_params["models"]["churn"] | {"unit": "session"}
    with pytest.raises(UsageError, match="asks about the unit 'customer'"):
        check(raw_params | {"models": {"churn": session}, "units": ["session"]})


def test_the_doctor_says_that_a_log_is_too_short(tmp_path: Path, raw_params: Any) -> None:
    paths = Paths(tmp_path)
    paths.params.write_text(yaml.safe_dump(raw_params | {"units": ["session"]}), encoding="utf-8")
    write_json(paths.ingest_card, {"first_event": "2026-01-05T02:46:33Z", "last_event": "2026-03-05T21:11:37Z"})
    assert shop_log.span(paths) == []
    raw_params["simulator"]["days"] = 100
    paths.params.write_text(yaml.safe_dump(raw_params | {"units": ["session", "customer"]}), encoding="utf-8")
    (finding,) = shop_log.span(paths)
    assert (finding.state, finding.about) == ("fault", "unit customer")
    assert "a horizon of 30 days needs 92" in finding.words


@pytest.fixture(scope="module")
def retail(shop_data: Path) -> list[dict[str, Any]]:
    """UCI Online Retail, purchases and cancellations of every twelfth customer with an id."""
    log = pd.read_csv(shop_data / "uci_online_retail/online_retail.csv.gz", encoding="utf-8", dtype=str)
    log = log[log["CustomerID"].notna() & (log["CustomerID"].str[:5].fillna("0").astype(int) % 12 == 0)]
    time = pd.to_datetime(log["InvoiceDate"])
    pieces = log["Quantity"].astype(int)
    return [
        event(when.to_pydatetime().replace(tzinfo=MONDAY.tzinfo), kind, item, user, None, float(price))
        | {"quantity": abs(number)}
        for when, kind, item, user, price, number in zip(
            time,
            np.where(pieces < 0, "cancel", "purchase"),
            log["StockCode"],
            log["CustomerID"],
            log["UnitPrice"],
            pieces,
            strict=True,
        )
    ]


def test_a_year_of_a_real_shop(retail: list[dict[str, Any]], tmp_path: Path) -> None:
    customer = CustomerUnit(horizon_days=30, every_days=28)
    card = build(tmp_path, retail, customer)
    test = open_split(tmp_path / "customer", "test").cut_off
    assert test is not None
    last = datetime.fromtimestamp(int(test.max()) / 1e6, MONDAY.tzinfo)
    assert (last.year, last.month, last.day) == (2011, 11, 9)
    for part in SPLITS:
        cut_offs = np.unique(open_split(tmp_path / "customer", part).cut_off).tolist()  # type: ignore[arg-type]
        assert same(tmp_path / "customer", part, retail, customer, cut_offs) == card.splits[part].sequences
