"""The engine's figures against the same figures counted plainly, row by row."""

import tempfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from quality_log import write

from clickflow.events.contract import COLUMNS, NEEDS_ITEM, SCHEMA
from clickflow.quality.figures import row_figures
from clickflow.quality.log import open_log
from clickflow.quality.profile import SAMPLE_ROWS, Profile, measure, sample
from clickflow.quality.visits import ties, times

START = datetime(2026, 3, 28, tzinfo=UTC)
LATEST = START + timedelta(days=3)
CARD = {"read": 100, "accepted": 90, "quarantined": 7}

events = st.lists(
    st.fixed_dictionaries(
        {
            "event_time": st.integers(0, 4 * 24 * 6).map(lambda tens: START + timedelta(minutes=10 * tens)),
            "event_type": st.sampled_from(["view", "purchase", "search", "wink"]),
            "user_id": st.sampled_from([None, "u1", "u2"]),
            "session_id": st.sampled_from([None, "s1", "s2", "s3"]),
            "item_id": st.sampled_from([None, "i1", "i2"]),
            "price": st.sampled_from([None, 0.0, 9.5, -1.0, float("nan"), float("inf")]),
            "quantity": st.sampled_from([None, 0, 1, 7]),
        }
    ),
    min_size=1,
    max_size=60,
)


def profiled(rows: list[dict[str, Any]], folder: Path) -> Profile:
    paths = write(folder, rows)
    log = open_log(tuple(sorted(paths.events.glob("*/*.parquet"))), 0.5, folder / "spill")
    return measure(log, row_figures(LATEST), CARD, LATEST, lambda: None)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events)
def test_figures_are_those_of_a_plain_count(rows: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        profile = profiled(rows, Path(folder))
    figures, times = profile.log, [row["event_time"] for row in rows]
    assert figures["events"] == len(rows)
    assert figures["no_user"] == sum(row["user_id"] is None for row in rows)
    assert figures["nobody"] == sum(row["user_id"] is None and row["session_id"] is None for row in rows)
    assert figures["unknown_type"] == sum(row["event_type"] == "wink" for row in rows)
    assert figures["no_item"] == sum(row["item_id"] is None and row["event_type"] in NEEDS_ITEM for row in rows)
    assert figures["bad_price"] == sum(row["price"] not in (None, 0.0, 9.5) for row in rows)
    assert figures["bad_quantity"] == sum(row["quantity"] == 0 for row in rows)
    assert figures["after_as_of"] == sum(time > LATEST for time in times)
    assert figures["duplicates"] == len(rows) - len({tuple(str(row.get(name)) for name in COLUMNS) for row in rows})
    by_day: dict[Any, list[datetime]] = {}
    for time in times:
        by_day.setdefault(time.date(), []).append(time)
    assert figures["unsorted"] == sum(later < earlier for some in by_day.values() for earlier, later in pairwise(some))
    users: dict[Any, set[Any]] = {}
    for row in rows:
        users.setdefault(row["session_id"], set()).add(row["user_id"])
    visits = Counter(
        (row["session_id"], row["user_id"] if len(users[row["session_id"]] - {None}) > 1 else None)
        if row["session_id"]
        else (row["user_id"], row["event_time"].date())
        for row in rows
        if row["session_id"] or row["user_id"]
    )
    assert figures["sessions"] == len(visits)
    assert figures["single_event_sessions"] == sum(n == 1 for n in visits.values())
    assert figures["longest_session"] == (max(visits.values()) if visits else None)
    assert figures["unaccounted_rows"] == 3 and figures["card_difference"] == 90 - len(rows)
    assert figures["quarantine_share"] == 0.07
    assert figures["age_days"] == pytest.approx((LATEST - max(times)) / timedelta(days=1), abs=1e-3)

    assert sum(day["events"] for day in profile.days) == len(rows)
    assert len(profile.days) == (max(times).date() - min(times).date()).days + 1
    full = sorted(by_day)[: None if max(times).hour == 23 else -1]
    if len(full) < 2:
        assert profile.drift["volume_ratio"] is None and profile.newest_full_day is None
    else:
        usual = median(len(by_day[day]) for day in full[:-1])
        assert profile.drift["volume_ratio"] == pytest.approx(len(by_day[full[-1]]) / usual, abs=1e-6)

    cut = max(times) - (max(times) - min(times)) / 10
    newest = Counter(row["event_type"] for row in rows if row["event_time"] >= cut)
    before = Counter(row["event_type"] for row in rows if row["event_time"] < cut)
    if not before:
        assert profile.drift["type_mix_distance"] is None
    else:
        kinds = set(newest) | set(before)
        distance = sum(abs(newest[k] / newest.total() - before[k] / before.total()) for k in kinds) / 2
        assert profile.drift["type_mix_distance"] == pytest.approx(distance, abs=1e-6)


def test_the_sample_is_spread_over_the_log_and_always_the_same(tmp_path: Path) -> None:
    rows = [
        {"event_time": START + timedelta(seconds=5 * i), "event_type": "view", "session_id": "s", "item_id": f"i{i}"}
        for i in range(25_000)
    ]
    paths = write(tmp_path, rows)
    log = open_log(tuple(sorted(paths.events.glob("*/*.parquet"))), 0.5, tmp_path / "spill")
    table = sample(log, len(rows))
    assert table.column_names == list(COLUMNS)
    assert SAMPLE_ROWS / 2 < len(table) <= SAMPLE_ROWS + len(log.files)
    times = table["event_time"].to_pylist()
    assert times == sorted(times) and times[0] == START and times[-1] > rows[-3]["event_time"] - timedelta(seconds=20)  # type: ignore[operator]
    assert table.equals(sample(log, len(rows)))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from([None, "s1", "s2"]),
            st.sampled_from([None, "u1", "u1", "u2"]),
            st.sampled_from([None, None, 1, 2]),
            st.sampled_from(["view", "view", "cart", "search", "impression"]),
            st.sampled_from(["i1", "i2", "i2", None]),
        ),
        max_size=30,
    ),
    st.integers(1, 12),
)
def test_ties_are_those_of_a_plain_count(rows: list[tuple[Any, ...]], group: int) -> None:
    """Whatever the row groups; the rows in the order in which ingest writes them."""
    names = ("event_time", "session_id", "user_id", "order", "event_type", "item_id")
    rows = [row for row in rows if row[1] or row[2]]
    rows.sort(key=lambda r: (r[0], r[1] is not None, r[1] or r[2], r[3] is not None, r[3] or 0))
    wanted = []
    before: dict[Any, tuple[int, Any, Any]] = {}
    for place, (time, session, user, order, kind, item) in enumerate(rows):
        if item is None or kind in ("search", "impression"):
            continue
        actor = session or ("lone", user)
        last = before.get(actor)
        if last and last[:2] == (time, order) and (last[2] == user or None in (last[2], user)):
            wanted.append(place)
        before[actor] = (time, order, user)
    with tempfile.TemporaryDirectory() as folder:
        table = pa.Table.from_pylist(
            [dict(zip(names, (START + timedelta(seconds=row[0]), *row[1:]), strict=True)) for row in rows],
            schema=SCHEMA,
        )
        pq.write_table(table, Path(folder) / "events.parquet", row_group_size=group)
        path = Path(folder) / "events.parquet"
        moments = times(path)
        assert moments is not None and ties(path, moments).tolist() == wanted
