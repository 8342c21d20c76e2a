"""The simulated log: what is asked for is made, and the truth beside it is true.

Comparisons of frequencies with probabilities use fixed seeds, so they do not flicker; bounds of four to five standard
errors leave no room for a wrong probability of any size that matters.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from clickflow.events import contract
from clickflow.params.simulator import Simulator
from clickflow.sources.simulator import dirt, raw_log, shopper, simulate, stream, truth
from clickflow.system import files
from clickflow.system.errors import ClickflowError, DataError, UsageError

SMALL = replace(simulate.DEFAULTS, events=3_000)
KEPT = ("view", "cart", "favourite", "remove", "purchase", "click")


def simulated(folder: Path, settings: Simulator = SMALL, **how: Any) -> dict[str, Any]:
    folder.mkdir(parents=True)
    return simulate.simulate(settings, folder, **how)


@dataclass(frozen=True)
class Log:
    """One simulated log, its kept steps by session and time, and what followed each."""

    folder: Path
    card: dict[str, Any]
    session: np.ndarray
    time: np.ndarray
    action: np.ndarray
    item: np.ndarray
    next_action: np.ndarray
    next_item: np.ndarray
    last: np.ndarray

    @property
    def known(self) -> Path:
        return self.folder / "truth"

    def moments(self, rows: np.ndarray) -> truth.Moments:
        return truth.Moments(self.session[rows].tolist(), self.time[rows])


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    folder = tmp_path_factory.mktemp("shop") / "log"
    card = simulated(folder, replace(simulate.DEFAULTS, events=300_000), fmt="parquet", seed=7)
    column = duckdb.sql(
        f"""SELECT session_id, epoch_us(event_time) AS time, event_type, item_id
            FROM read_parquet('{folder}/events-*.parquet') WHERE event_type IN {KEPT} ORDER BY session_id, event_time"""
    ).fetchnumpy()
    session, time, action, item = (np.asarray(column[k]) for k in ("session_id", "time", "event_type", "item_id"))
    last = np.append(session[1:] != session[:-1], True)
    codes = np.array([shopper.ACTIONS.index(name) for name in action.tolist()])
    next_action = np.where(last, shopper.EXIT, np.roll(codes, -1))
    return Log(folder, card, session, time, codes, item, next_action, np.roll(item, -1), last)


def digest(folder: Path) -> str:
    return files.sha256_folder(folder)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the events in a block, for logs of several."""
    monkeypatch.setattr(stream, "BLOCK_EVENTS", 20_000)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("fmt", simulate.FORMATS)
def test_same_seed_same_bytes_other_seed_other_bytes(tmp_path: Path, fmt: str) -> None:
    share = 0.05 if fmt == "csv" else 0.0
    settings = replace(SMALL, events=45_000 if fmt == "csv" else 3_000, dirt=share)
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        simulated(tmp_path / name, settings, fmt=fmt, seed=seed)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert files.sha256(tmp_path / "a" / f"events-00000.{fmt}") != files.sha256(tmp_path / "c" / f"events-00000.{fmt}")


@pytest.mark.parametrize("events", [1, 2, 99, 3_000, 200_001])
def test_as_many_events_as_asked_and_no_more_than_a_session_above(tmp_path: Path, events: int) -> None:
    card = simulated(tmp_path / "log", replace(SMALL, events=events))
    rows = sum(1 for _ in (tmp_path / "log/events-00000.csv").open()) - 1
    assert rows == card["rows"] == card["events"] == sum(card["events_by_type"].values())
    assert events <= rows < events + 120


@pytest.mark.parametrize(
    "odd",
    [
        {"items": 1, "categories": 1},
        {"items": 2, "categories": 9},
        {"users": 1},
        {"days": 1},
        {"days": 1500, "start": date(2023, 12, 31)},
        {"items": 20_000, "categories": 300, "days": 400},
    ],
)
def test_odd_shops_are_simulated_too(tmp_path: Path, odd: dict[str, Any]) -> None:
    settings = replace(SMALL, **odd)
    simulated(tmp_path / "log", settings)
    table = pq.read_table(tmp_path / "log/truth/events.parquet", columns=["session", "time"])
    assert table.num_rows >= SMALL.events
    sessions = pq.read_table(tmp_path / "log/truth/sessions.parquet")["session_id"]
    time = np.asarray(table["time"])
    moments = truth.Moments(sessions.take(table["session"]).to_pylist()[:50], time[:50].astype(np.int64))
    p = truth.item_probabilities(tmp_path / "log/truth", moments, KEPT)
    leave = truth.action_probabilities(tmp_path / "log/truth", moments, KEPT)[:, -1]
    known = ~np.isnan(leave)
    assert known.any()
    np.testing.assert_allclose(p[known].sum(axis=1), 1 - leave[known], atol=1e-12)
    assert p[known].min() >= 0


def test_the_log_is_the_contracts_and_both_formats_say_the_same(tmp_path: Path) -> None:
    for fmt in simulate.FORMATS:
        simulated(tmp_path / fmt, fmt=fmt)
    assert pq.read_schema(tmp_path / "parquet/events-00000.parquet").equals(raw_log.SCHEMA)
    columns = ", ".join(f"CAST({name} AS VARCHAR) AS {name}" for name in raw_log.SCHEMA.names if name != "event_time")
    rows = {
        fmt: duckdb.sql(f"SELECT {time} AS time, {columns} FROM '{tmp_path}/{fmt}/events-00000.{fmt}'").fetchall()
        for fmt, time in (("csv", "epoch_us(event_time)"), ("parquet", "epoch_us(event_time)"))
    }
    assert (tmp_path / "csv/events-00000.csv").read_text().splitlines()[0] == ",".join(raw_log.SCHEMA.names)
    assert rows["csv"] == rows["parquet"]


@pytest.mark.usefixtures("small_blocks")
def test_events_stand_in_time_order_within_the_days_and_sessions_stay_together(tmp_path: Path) -> None:
    card = simulated(tmp_path / "log", replace(SMALL, events=50_000, days=3), fmt="parquet")  # three blocks
    column = duckdb.sql(
        f"SELECT epoch_us(event_time) AS time, session_id FROM '{tmp_path}/log/events-*.parquet'"
    ).fetchnumpy()
    time = np.asarray(column["time"])
    assert (np.diff(time) >= 0).all()
    assert card["first_event"] >= "2026-01-05" and card["last_event"] < "2026-01-08"
    assert len(np.unique(np.asarray(column["session_id"]))) == card["sessions"]
    gaps = duckdb.sql(
        f"""SELECT max(time - before), min(time - before) FROM (
              SELECT epoch_us(event_time) AS time,
                     lag(epoch_us(event_time)) OVER (PARTITION BY session_id ORDER BY event_time) AS before
              FROM '{tmp_path}/log/events-*.parquet')"""
    ).fetchall()[0]
    assert gaps[0] < 30 * 60e6 and gaps[1] > 0


def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    peaks = {}
    for events in (400_000, 1_200_000):
        program = f"""
from dataclasses import replace
from pathlib import Path
from clickflow.sources.simulator import simulate
out = Path({str(tmp_path / str(events))!r}); out.mkdir()
simulate.simulate(replace(simulate.DEFAULTS, events={events}), out)
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])  # of this program alone
"""
        peaks[events] = int(subprocess.check_output([sys.executable, "-c", program], text=True))
    assert peaks[1_200_000] < 1.15 * peaks[400_000]


def test_the_verb_reports_refuses_and_leaves_no_half_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "deep" / "log"
    simulate.run(events=500, seed=1, out=out, fmt="csv", dirt=0.1, as_json=True)
    card = json.loads(capsys.readouterr().out)
    assert card["events"] >= 500 and card["rows"] == card["events"] + card["dirt"]["duplicate"]
    before = digest(out)
    with pytest.raises(UsageError, match="not an empty folder"):
        simulate.run(events=500, seed=1, out=out, fmt="csv", dirt=0.0, as_json=True)
    assert digest(out) == before
    for faulty in ({"fmt": "xml", "dirt": 0.0}, {"fmt": "parquet", "dirt": 0.1}):
        with pytest.raises(UsageError):
            simulate.run(events=500, seed=1, out=tmp_path / "never", as_json=True, **faulty)
    with pytest.raises(UsageError, match="seed"):
        simulate.run(events=500, seed=-1, out=tmp_path / "never", fmt="csv", dirt=0.0, as_json=True)
    with pytest.raises(ClickflowError, match="cannot write"):
        simulate.run(events=500, seed=1, out=Path("/proc/never"), fmt="csv", dirt=0.0, as_json=True)

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(simulate.truth_log, "write_tables", stopped)
    with pytest.raises(KeyboardInterrupt):
        simulate.run(events=500, seed=1, out=tmp_path / "never", fmt="csv", dirt=0.0, as_json=True)
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]


@pytest.mark.parametrize("share", [0.002, 0.3])
def test_dirt_has_the_share_asked_for_and_lies_where_the_truth_says(tmp_path: Path, share: float) -> None:
    settings = replace(SMALL, events=250_000 if share < 0.01 else 3_000, dirt=share)
    card = simulated(tmp_path / "log", settings)
    clean = simulated(tmp_path / "clean", replace(settings, dirt=0.0))
    record = pq.read_table(tmp_path / "log/truth/dirt.parquet")
    kinds = Counter(record["kind"].to_pylist())
    assert kinds == card["dirt"] and set(kinds) == set(dirt.KINDS) <= set(contract.REASONS)
    assert record.num_rows == int(share * card["events"])
    assert card["rows"] == clean["rows"] + kinds["duplicate"]
    lines = (tmp_path / "log/events-00000.csv").read_bytes().split(b"\n")
    spoilt = dict(zip(record["line"].to_pylist(), record["kind"].to_pylist(), strict=True))
    good = [line for number, line in enumerate(lines, 1) if spoilt.get(number, "duplicate") == "duplicate"]
    once = [line for number, line in enumerate(lines, 1) if number not in spoilt]
    whole = set((tmp_path / "clean/events-00000.csv").read_bytes().split(b"\n"))
    assert set(good) <= whole and len(once) == len(set(once))
    assert all(lines[n - 1] not in whole for n, kind in spoilt.items() if kind != "duplicate")
    assert all(lines[n - 1] == lines[n - 2] for n, kind in spoilt.items() if kind == "duplicate")


DIRTY: dict[str, Callable[[list[bytes]], bool]] = {
    "future_time": lambda f: f[0][:4] == b"2086",
    "unparseable_time": lambda f: f[0][:10] != b"2026-01-05",
    "unknown_type": lambda f: f[1].decode() not in contract.EVENT_TYPES,
    "null_item": lambda f: f[1].decode() in contract.NEEDS_ITEM and not f[4],
    "null_user_and_session": lambda f: not f[2] and not f[3],
    "bad_number": lambda f: any(word in f[7] + f[8] for word in (b"abc", b"12.5", b"nan", b"1e999")),
    "negative_price": lambda f: float(f[7]) < 0,
    "negative_quantity": lambda f: int(f[8]) < 0,
    "zero_quantity": lambda f: int(f[8]) == 0,
    "too_long": lambda f: len(f[6]) >= 2000,
    "wrong_columns": lambda f: len(f) < len(raw_log.SCHEMA.names),
}


@pytest.mark.parametrize("variant", [0, 1, 2, 3, 77, 255])
@pytest.mark.parametrize("kind", [kind for kind in dirt.KINDS if kind != "duplicate"])
def test_a_spoilt_row_is_what_its_kind_says(kind: str, variant: int) -> None:
    row = b"2026-01-05 10:00:00.000001,view,u1,s1,i1,kids.toys,solten,10.66,1,"
    spoilt = dirt.spoil(row, kind, variant)
    if kind == "broken_encoding":
        with pytest.raises(UnicodeDecodeError):
            spoilt.decode()
    else:
        assert DIRTY[kind](spoilt.split(b","))


def test_funnel_rhythm_and_rogues(log: Log) -> None:
    share = {name: count / log.card["events"] for name, count in log.card["events_by_type"].items()}
    assert 0.65 < share["view"] < 0.85 and 0.05 < share["cart"] < 0.08 and 0.02 < share["purchase"] < 0.03
    steps = len(log.session) / log.last.sum()
    assert 4 < steps < 8
    count = dict(
        duckdb.sql(
            f"""SELECT isodow(event_time) AS weekday, count(*) FROM read_parquet('{log.folder}/events-*.parquet')
                WHERE event_time < TIMESTAMPTZ '2026-02-02 00:00:00Z' GROUP BY 1"""
        ).fetchall()
    )
    assert min(count[6], count[7]) > 1.15 * max(count[day] for day in (1, 2, 3, 4))
    hours = np.bincount(log.time // 3_600_000_000 % 24, minlength=24)
    assert hours[20] > 10 * hours[4]
    kinds = np.bincount(pq.read_table(log.known / "sessions.parquet")["kind"].to_numpy(), minlength=3)
    assert all(kinds > 0) and kinds[1:].sum() < 0.01 * kinds.sum()


def test_a_purchase_is_of_what_was_put_into_the_cart_before(log: Log) -> None:
    carts: dict[str, set[str]] = {}
    bought = 0
    for session, action, item in zip(log.session.tolist(), log.action.tolist(), log.item.tolist(), strict=True):
        if action == shopper.CART:
            carts.setdefault(session, set()).add(item)
        elif action == shopper.PURCHASE:
            bought += 1
            assert item in carts[session]
    assert bought > 1000


def test_views_never_repeat_the_item_at_hand(log: Log) -> None:
    same = ~log.last & (log.item == log.next_item) & (log.action == log.next_action)
    assert not (same & (log.action != shopper.CLICK)).any()
    assert same.mean() < 1e-4


def test_popularity_drifts(log: Log) -> None:
    cuts = np.quantile(log.time, [0.15, 0.85])
    early, late = Counter(log.item[log.time < cuts[0]].tolist()), Counter(log.item[log.time > cuts[1]].tolist())
    half = Counter(log.item[(log.time < cuts[0]) & (log.time % 2 == 0)].tolist())

    def top(counts: Counter[str]) -> set[str]:
        return {item for item, _ in counts.most_common(200)}

    assert len(top(early) & top(late)) < 0.75 * len(top(early) & top(half))


def test_the_next_action_is_as_probable_as_the_truth_says(log: Log) -> None:
    rows = np.arange(0, len(log.session), 3)
    p = truth.action_probabilities(log.known, log.moments(rows), KEPT)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert (p[:, [shopper.SEARCH, shopper.IMPRESSION]] == 0).all()
    # in all, and where the truth thinks it likely, unlikely or in between
    for action in [shopper.ACTIONS.index(name) for name in (*KEPT, "exit")]:
        own, happened = p[:, action], log.next_action[rows] == action
        for low, high in ((0, 1.1), *pairwise(np.quantile(own, [0, 0.5, 0.9, 1]).tolist())):
            here = (low <= own) & (own <= high)
            error = np.sqrt((own[here] * (1 - own[here])).sum()) + 1
            assert abs(happened[here].sum() - own[here].sum()) < 4.5 * error


def test_every_step_of_the_raw_process_follows_the_state_table(log: Log) -> None:
    table = pq.read_table(log.known / "states.parquet")
    states = np.stack([table[name].to_numpy() for name in shopper.ACTIONS], axis=1)
    column = duckdb.sql(
        f"""SELECT state, coalesce(lead(action) OVER (PARTITION BY session ORDER BY time), {shopper.EXIT}) AS next
            FROM '{log.known}/events.parquet' QUALIFY action <> {shopper.IMPRESSION}"""
    ).fetchnumpy()
    state, after = np.asarray(column["state"]).astype(int), np.asarray(column["next"]).astype(int)
    counts = np.zeros_like(states)
    np.add.at(counts, (state, after), 1)
    seen = counts.sum(axis=1, keepdims=True)
    expected = states * seen
    enough = expected > 20
    z = (counts - expected)[enough] / np.sqrt((expected * (1 - states))[enough].clip(1))
    assert enough.sum() > 300
    assert np.abs(z).max() < 5 and 0.85 < z.std() < 1.15
    assert counts[states == 0].sum() == 0


def test_the_next_item_is_as_probable_as_the_truth_says(log: Log) -> None:
    rows = np.flatnonzero(~log.last)[::80][:2_500]
    p = truth.item_probabilities(log.known, log.moments(rows), KEPT)
    exit_too = truth.action_probabilities(log.known, log.moments(rows), KEPT)[:, -1]
    np.testing.assert_allclose(p.sum(axis=1), 1 - exit_too, atol=1e-12)
    p /= p.sum(axis=1, keepdims=True)
    items = {item: k for k, item in enumerate(pq.read_table(log.known / "items.parquet")["item_id"].to_pylist())}
    hit = p[np.arange(len(rows)), [items[item] for item in log.next_item[rows].tolist()]]
    edges = [0, 1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.2, 0.4, 1.1]
    for low, high in pairwise(edges):
        here = p[(low <= p) & (p < high)]
        error = np.sqrt((here * (1 - here)).sum())
        assert abs(((low <= hit) & (hit < high)).sum() - here.sum()) < 4.5 * error + 1
    # the logarithm of the probability of what happened is what the distribution itself expects
    entropy = -(p * np.log(p, where=p > 0, out=np.zeros_like(p))).sum(axis=1)
    surprise = -np.log(hit) - entropy
    assert abs(surprise.mean()) < 4.5 * surprise.std() / np.sqrt(len(rows))


def test_the_oracle_is_far_above_popularity_and_markov_yet_not_perfect(log: Log) -> None:
    train, rows = (
        log.time < np.quantile(log.time, 0.8),
        np.flatnonzero((log.time >= np.quantile(log.time, 0.8)) & ~log.last),
    )
    rows = rows[:: max(1, len(rows) // 4_000)]
    ranks = truth.oracle_ranks(log.known, log.moments(rows), log.next_item[rows].tolist(), KEPT)
    assert (ranks > 0).all()
    popular = [item for item, _ in Counter(log.item[train].tolist()).most_common(20)]
    follows: dict[str, Counter[str]] = {}
    for row in np.flatnonzero(train & ~log.last).tolist():
        follows.setdefault(log.item[row], Counter())[log.next_item[row]] += 1
    lists = {item: [name for name, _ in counts.most_common(20)] for item, counts in follows.items()}
    recall = {
        "oracle": float((ranks <= 20).mean()),
        "markov": float(np.mean([log.next_item[r] in lists.get(log.item[r], []) for r in rows.tolist()])),
        "popularity": float(np.isin(log.next_item[rows], popular).mean()),
    }
    assert 0.7 < recall["oracle"] < 0.9
    assert recall["markov"] < recall["oracle"] - 0.15
    assert recall["popularity"] < 0.2
    few = truth.oracle_ranks(log.known, log.moments(rows[:500]), log.next_item[rows[:500]].tolist(), KEPT, popular)
    inside = np.isin(log.next_item[rows[:500]], popular)
    assert (few[~inside] == 0).all() and (few[inside] <= np.minimum(ranks[:500][inside], 20)).all()


def test_questions_the_truth_cannot_answer_have_no_rank(log: Log) -> None:
    rows = np.flatnonzero(~log.last)[:3]
    moments = truth.Moments(
        [*log.session[rows].tolist(), "nobody"], np.append(log.time[rows], 1) + np.array([0, 1, 0, 0])
    )
    targets = [log.next_item[rows[0]], log.next_item[rows[1]], "no item", "no item"]
    assert (truth.oracle_ranks(log.known, moments, targets, KEPT) > 0).tolist() == [True, False, False, False]
    p = truth.action_probabilities(log.known, moments)
    assert np.isnan(p).all(axis=1).tolist() == [False, True, False, True]


def test_churn_is_calibrated_and_customers_lapse(log: Log) -> None:
    at, horizon = 14.0, 7.0
    p = truth.churn_probabilities(log.known, at, horizon)
    start = "epoch_us(TIMESTAMPTZ '2026-01-05 00:00:00Z')"
    came = {
        user
        for (user,) in duckdb.sql(
            f"""SELECT user_id FROM '{log.known}/sessions.parquet' JOIN (
                  SELECT session, (min(epoch_us(time)) - {start}) / 86400e6 AS day
                  FROM '{log.known}/events.parquet' GROUP BY session) USING (session)
                WHERE day > {at} AND day <= {at + horizon}"""
        ).fetchall()
    }
    probability = np.array(list(p.values()))
    stayed_away = np.array([user not in came for user in p])
    assert stayed_away[probability == 1].all() and (probability == 1).sum() > 100
    alive = probability < 1
    for group in np.array_split(np.argsort(probability[alive]), 5):
        own = probability[alive][group]
        error = np.sqrt((own * (1 - own)).sum())
        assert abs(stayed_away[alive][group].sum() - own.sum()) < 4 * error
    assert np.ptp(probability[alive]) > 0.5


def test_impressions_are_answered_as_the_truth_says(log: Log) -> None:
    response = truth.response_probabilities(log.known)
    column = duckdb.sql(
        f"""SELECT campaign, price_class, coalesce(next = {shopper.CLICK}, false) AS clicked FROM (
              SELECT *, lead(action) OVER (PARTITION BY session ORDER BY time) AS next
              FROM '{log.known}/events.parquet')
            JOIN '{log.known}/sessions.parquet' USING (session) WHERE action = {shopper.IMPRESSION}"""
    ).fetchnumpy()
    campaign, price_class = (np.asarray(column[k]).astype(int) for k in ("campaign", "price_class"))
    p, clicked = response[campaign, price_class], np.asarray(column["clicked"])
    for part in (np.ones(len(p), bool), *(price_class == c for c in range(4)), p > np.median(p)):
        assert abs(clicked[part].sum() - p[part].sum()) < 4.5 * np.sqrt((p * (1 - p))[part].sum())
    assert len(p) > 5_000


def test_a_folder_without_truth_or_of_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no truth"):
        truth.read_shop(tmp_path)
    simulated(tmp_path / "log")
    card = files.read_json(tmp_path / "log/truth/card.json")
    files.write_json(tmp_path / "log/truth/card.json", {**card, "fingerprint": "00000000"})
    with pytest.raises(DataError, match="another version"):
        truth.oracle_ranks(tmp_path / "log/truth", truth.Moments([], np.empty(0, np.int64)), [], KEPT)
    simulated(tmp_path / "bare", truth=False)
    assert sorted(path.name for path in (tmp_path / "bare").iterdir()) == ["events-00000.csv"]
