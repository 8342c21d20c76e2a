"""The unit `series`: which periods a series has, what is sold in them, as of when it is asked about, and that no later
event changes what lies before it.
"""

from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as run
from hypothesis import strategies as st
from pyarrow import parquet
from sequences_reference import EPOCH, MONDAY, as_its_card_says, event, settings, write_events

from clickflow.params.sequences import SeriesUnit
from clickflow.sequences import prepare
from clickflow.sequences.card import NOW, SPLITS, Card
from clickflow.sequences.store import open_split
from clickflow.system.errors import DataError
from clickflow.system.files import sha256_folder
from clickflow.system.moments import DAY

SMALL = SeriesUnit(horizon=4, every=3, least_sales=2, active_days=20)
Line = dict[int, tuple[float, float | None]]
"""By the first day of a period: units, and the price in force."""


def random_log(days: int = 50, items: int = 6, seed: int = 0) -> list[dict[str, Any]]:
    """Fast and slow items, one sold no more, one that begins late; returns, lines without a price or an item."""
    draw, rows = np.random.default_rng(seed), []
    for day in range(days):
        for item in range(items):
            if (item == 1 and day > days / 2) or (item == 2 and day < days * 0.6):
                continue
            for _ in range(int(draw.poisson(3 / (1 + item)))):
                time = MONDAY + timedelta(days=day, seconds=int(draw.integers(86_400)))
                kind = str(draw.choice(["view", "purchase", "purchase", "purchase", "cancel"]))
                price = None if draw.random() < 0.2 else round(float(draw.random()) * 50, 2)
                name = None if draw.random() < 0.05 else f"item-{item}"
                row = event(time, kind, name, "u", None, price, f"c{item % 2}" if item < 5 else None)
                rows.append(row | {"quantity": None if draw.random() < 0.2 else int(draw.integers(1, 5))})
    return rows


def build(folder: Path, rows: list[dict[str, Any]], unit: SeriesUnit = SMALL, threads: int = 1) -> Card:
    """The store, in folder/series."""
    log = write_events(folder / "events", rows)
    return prepare.build(log, replace(settings(), series=unit), "series", folder / "series", threads=threads)


Lines = dict[tuple[str, int], tuple[Line, list[float]]]
"""By series and origin (a day): what is read, and the answers."""


def packed(store: Path, part: str) -> Lines:
    split, lines = open_split(store, part), {}
    ids = parquet.read_table(store / part / "sequences.parquet", columns=["series"])["series"].to_pylist()
    assert split.cut_off is not None
    for i, name in enumerate(ids):
        steps = range(int(split.begin[i]), int(split.end[i]))
        line: Line = {
            int(split.time[k]) // DAY: (
                round(float(split.quantity[k]), 3),
                None if np.isnan(split.price[k]) else round(float(split.price[k]), 3),
            )
            for k in steps
        }
        answers = np.asarray(split.quantity[split.end[i] : split.until[i]], np.float64).round(3).tolist()
        lines[name, int(split.cut_off[i]) // DAY] = line, answers
    return lines


def by_hand(rows: list[dict[str, Any]], unit: SeriesUnit, origins: list[int]) -> Lines:
    """The same by the rule as it stands in the docs, an origin at a time."""
    days, first = (7 if unit.step == "week" else 1), (MONDAY - EPOCH).days
    keys = {"item": "item_id", "category": "category"}
    bought: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(lambda: [0.0, 0.0, 0.0, 0.0]))
    for row in rows:
        key = "shop" if unit.level == "shop" else row[keys[unit.level]]
        if key is None or row["event_type"] not in ("purchase", "cancel"):
            continue
        period = first + ((row["event_time"] - MONDAY).days // days) * days
        of_period, pieces = bought[key][period], row["quantity"] or 1
        if row["event_type"] == "cancel":
            of_period[1] += pieces if unit.returns == "subtract" else 0
            continue
        of_period[0] += pieces
        if row["price"] is not None:
            of_period[2] += row["price"] * pieces
            of_period[3] += pieces
    lines: Lines = {}
    for key, sums in bought.items():
        units = {period: max(each[0] - each[1], 0.0) for period, each in sums.items()}
        sales = sorted(period for period, each in units.items() if each > 0)
        for origin in origins:
            before = [period for period in sales if period < origin]
            if len(before) < unit.least_sales or before[-1] < origin - unit.active_days:
                continue
            line, price = {}, None
            for period in range(before[0], origin, days):
                each = sums.get(period, [0.0, 0.0, 0.0, 0.0])
                price = each[2] / each[3] if each[3] else price
                line[period] = (round(units.get(period, 0.0), 3), None if price is None else round(price, 3))
            after = range(origin, origin + unit.horizon * days, days)
            lines[key, origin] = line, [round(units.get(period, 0.0), 3) for period in after]
    return lines


@pytest.mark.parametrize(
    "unit",
    [
        SMALL,
        replace(SMALL, returns="ignore"),
        replace(SMALL, level="category"),
        replace(SMALL, level="shop", step="week", horizon=1, every=1),
    ],
)
def test_a_plain_count_finds_the_same_series_and_answers(tmp_path: Path, unit: SeriesUnit) -> None:
    rows = random_log()
    card = build(tmp_path, rows, unit)
    assert as_its_card_says(tmp_path / "series") == card
    assert card.actions == ("no_sale", "sale")
    for part in (*SPLITS, NOW):
        lines = packed(tmp_path / "series", part)
        wanted = by_hand(rows, unit, sorted({origin for _, origin in lines}))
        if part == NOW:
            wanted = {key: (line, []) for key, (line, _) in wanted.items()}
        assert lines.keys() == wanted.keys()
        assert lines
        for key, (line, answers) in lines.items():
            assert answers == wanted[key][1], key
            assert line.keys() == wanted[key][0].keys()
            for period, (sold, price) in line.items():
                assert sold == wanted[key][0][period][0]
                assert price == pytest.approx(wanted[key][0][period][1], abs=2e-3)
    # the answers of a part end where the first origin of the next part is
    firsts = [min(origin for _, origin in packed(tmp_path / "series", part)) for part in SPLITS]
    lasts = [max(origin for _, origin in packed(tmp_path / "series", part)) for part in SPLITS]
    days = unit.horizon * (7 if unit.step == "week" else 1)
    assert [last + days for last in lasts[:-1]] == firsts[1:]
    # every event is in a step, or left out for a reason
    card.add_up()
    assert card.events_read == len(rows)


def test_the_same_bytes_whatever_the_threads_and_the_order_of_rows(tmp_path: Path) -> None:
    rows = random_log()
    build(tmp_path / "one", rows)
    build(tmp_path / "other", [rows[i] for i in np.random.default_rng(1).permutation(len(rows))], threads=3)
    assert sha256_folder(tmp_path / "one/series") == sha256_folder(tmp_path / "other/series")


@run(max_examples=6, deadline=None)
@given(seed=st.integers(0, 3), origin=st.integers(20, 45), how=st.sampled_from(["remove", "add", "move"]))
def test_no_later_event_changes_what_was_read_or_answered_before(
    tmp_path_factory: pytest.TempPathFactory, seed: int, origin: int, how: str
) -> None:
    """The end of the log stays, so that origins do; what lies between an origin and it is removed, added to, moved."""
    folder, rows, draw = tmp_path_factory.mktemp("future"), random_log(seed=seed), np.random.default_rng(seed)
    moment = MONDAY + timedelta(days=origin)
    ends = [event(MONDAY), event(MONDAY + timedelta(days=50))]
    later = [row for row in rows if row["event_time"] >= moment]
    changed = [row for row in rows if row["event_time"] < moment]
    if how == "add":
        changed += later + [row | {"quantity": 99, "price": 1000.0, "event_type": "purchase"} for row in later]
        changed += [row | {"quantity": 99, "event_type": "cancel"} for row in later[::2]]
    elif how == "move":
        span = timedelta(days=50) - timedelta(days=origin)
        changed += [row | {"event_time": moment + span * float(draw.random())} for row in later]
    unit = replace(SMALL, active_days=60)
    build(folder / "as_it_was", rows + ends, unit)
    build(folder / "changed", changed + ends, unit)
    day, compared = (moment - EPOCH).days, 0
    for part in SPLITS:
        before, after = (packed(folder / name / "series", part) for name in ("as_it_was", "changed"))
        for key in {key for key in before if key[1] <= day} | {key for key in after if key[1] <= day}:
            assert before[key][0] == after[key][0], "what is read lies before the origin"
            sooner = max(0, min(SMALL.horizon, day - key[1]))
            assert before[key][1][:sooner] == after[key][1][:sooner], "an answer that was there stays"
            compared += 1
    assert compared


def test_what_gives_no_series_is_one_clear_error(tmp_path: Path) -> None:
    views = [event(MONDAY + timedelta(days=day)) for day in range(30)]
    with pytest.raises(DataError, match="none of 30 events is a purchase"):
        build(tmp_path / "views", views)
    with pytest.raises(DataError, match="no item has 2 periods with a sale"):
        build(tmp_path / "one", [*views, event(MONDAY, "purchase")])
    short = [event(MONDAY + timedelta(days=day), "purchase") for day in range(6)]
    with pytest.raises(DataError, match="the log spans") as raised:
        build(tmp_path / "short", short)
    assert "sequences.series.horizon" in str(raised.value.next_step)
