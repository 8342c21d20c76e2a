"""What the simulator says is expected is what happens: in visits, of customers, of sales; and the planted are marked.

Seeds are fixed, bounds are four to five standard errors: see test_simulator.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from clickflow.params.simulator import Simulator
from clickflow.sources.simulator import crowd, shopper, simulate, truth
from clickflow.system import files
from clickflow.system.errors import DataError, UsageError

YEAR = replace(simulate.DEFAULTS, events=300_000, days=365, users=3_000, planted=0.02)
AT, HORIZON = 270.0, 30.0
START = "epoch_us(TIMESTAMPTZ '2026-01-05 00:00:00Z')"
GOLDEN = {
    (3_000, 28, 0.0, 0): "6e5e846f516314fe",
    (160_000, 28, 0.002, 0): "dbbd104feb7721b6",
    (30_000, 365, 0.0, 7): "62f155d0ccb181d8",
}


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("year")
    simulate.simulate(YEAR, folder, seed=3, fmt="parquet")
    return folder


def ask(folder: Path, query: str) -> dict[str, Any]:
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        for name in ("events", "sessions", "users"):
            db.execute(f"CREATE VIEW {name} AS FROM '{folder}/truth/{name}.parquet'")
        db.execute(
            f"CREATE VIEW log AS SELECT *, (epoch_us(event_time) - {START}) / 86400e6 AS day "
            f"FROM '{folder}/events-*.parquet'"
        )
        return {name: np.asarray(column) for name, column in db.execute(query).fetchnumpy().items()}


@pytest.mark.parametrize("settings", GOLDEN)
def test_the_events_of_a_seed_are_those_of_earlier_versions(
    tmp_path: Path, settings: tuple[int, int, float, int]
) -> None:
    events, days, dirt, seed = settings
    simulate.simulate(Simulator(events=events, days=days, dirt=dirt), tmp_path, seed=seed, truth=True)
    assert files.sha256(tmp_path / "events-00000.csv").startswith(GOLDEN[settings])


def test_a_purchase_follows_in_the_visit_as_often_as_the_truth_says(year: Path) -> None:
    column = ask(
        year,
        f"""SELECT session_id, epoch_us(time) AS time, kind, action, current,
              coalesce(bool_or(action = {shopper.PURCHASE}) OVER (PARTITION BY session ORDER BY time
                ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING), false) AS bought
            FROM events JOIN sessions USING (session) WHERE epoch % 5 = 0""",
    )
    p = truth.purchase_probabilities(year / "truth", truth.Moments(column["session_id"].tolist(), column["time"]))
    known = ~np.isnan(p)
    assert known.all() and (column["current"] < 0).any()
    # steps of one visit depend on each other: errors are those of visits, about six times as few
    for part in (column["kind"] == 0, column["kind"] == crowd.TAKEOVER, column["action"] == shopper.IMPRESSION):
        for low, high in ((0, 0.05), (0.05, 0.15), (0.15, 0.5), (0.5, 0.99), (0, 1)):
            here = known & part & (low <= p) & (p <= high)
            error = np.sqrt((p[here] * (1 - p[here])).sum() * 6) + 1
            assert abs(column["bought"][here].sum() - p[here].sum()) < 4 * error
    assert 0.05 < p[known].mean() < 0.5 and p[known].max() > 0.8


def test_customers_buy_and_spend_in_the_days_ahead_as_the_truth_says(year: Path) -> None:
    ahead = truth.customers(year / "truth", AT, HORIZON)
    column = ask(
        year,
        f"""SELECT user_id, sum(price * quantity) AS spent FROM log
            WHERE event_type = 'purchase' AND {AT} < day AND day <= {AT + HORIZON} AND user_id IS NOT NULL
            GROUP BY 1""",
    )
    spent = dict(zip(column["user_id"].tolist(), column["spent"].tolist(), strict=True))
    own = np.array([spent.get(user, 0.0) for user in ahead.user_id])
    bought = np.array([user in spent for user in ahead.user_id])
    gone = ahead.no_purchase == 1
    assert gone.sum() > 300 and not bought[gone].any() and (ahead.spend[gone] == 0).all()
    alive = np.flatnonzero(~gone)
    for group in (alive, *np.array_split(alive[np.argsort(ahead.no_purchase[alive])], 5)):
        p = 1 - ahead.no_purchase[group]
        assert abs(bought[group].sum() - p.sum()) < 4 * np.sqrt((p * (1 - p)).sum())
        # spends of customers: a compound Poisson process of baskets with heavy tails
        assert abs(own[group].sum() - ahead.spend[group].sum()) < 4 * np.sqrt((own[group] ** 2).sum())
    assert (ahead.no_purchase >= ahead.no_visit - 1e-12).all() and np.ptp(ahead.no_purchase[alive]) > 0.5
    with pytest.raises(DataError, match="not within"):
        truth.customers(year / "truth", 350.0, 30.0)


def test_shops_of_a_year_have_customers_who_lapse_and_who_come_back_after_a_long_silence(year: Path) -> None:
    column = ask(
        year,
        """SELECT user_id, day, lead(day) OVER (PARTITION BY user_id ORDER BY day) AS next FROM log
            WHERE event_type = 'purchase' AND user_id IS NOT NULL""",
    )
    silence = np.asarray(np.ma.filled(column["next"], np.nan)) - column["day"]
    assert (silence > 60).sum() > 50
    buyers = len(np.unique(column["user_id"]))
    lapsed = ask(year, "SELECT count(*) FILTER (lapsed_day IS NOT NULL AND lapsed_day < 300) AS n FROM users")["n"][0]
    assert buyers > 500 and lapsed > 500


def test_as_much_is_sold_as_is_expected(year: Path) -> None:
    first, last = 20, 100
    expected = truth.expected_units(year / "truth", first, last, visits_a_day=2_000)
    column = ask(
        year,
        f"""SELECT item_id, category, sum(quantity) AS units FROM log
            WHERE event_type = 'purchase' AND {first} <= day AND day < {last} GROUP BY ALL""",
    )
    categories = {name: place for place, name in enumerate(expected.category_id)}
    sold = np.bincount([categories[c] for c in column["category"].tolist()], column["units"], len(categories))
    own = expected.category.sum(axis=0)
    assert expected.item.sum() == pytest.approx(own.sum())
    # some buy for many at once: a fraudster a dozen pieces
    assert abs(sold.sum() - own.sum()) < 4 * np.sqrt(6 * own.sum())
    z = (sold - own) / np.sqrt(6 * own + 1)
    assert np.abs(z).max() < 4.5 and np.corrcoef(sold, own)[0, 1] > 0.85
    items = {name: place for place, name in enumerate(expected.item_id)}
    by_item = np.bincount([items[i] for i in column["item_id"].tolist()], column["units"], len(items))
    top = np.argsort(-expected.item.sum(axis=0))[:200]
    assert abs(by_item[top].sum() - expected.item[:, top].sum()) < 0.25 * by_item[top].sum()


def test_impressions_are_clicked_as_often_as_the_truth_says(year: Path) -> None:
    column = ask(
        year,
        f"""SELECT session_id, epoch_us(time) AS time, action, campaign,
              coalesce(lead(action) OVER (PARTITION BY session ORDER BY time) = {shopper.CLICK}, false) AS clicked
            FROM events JOIN sessions USING (session) QUALIFY action IN ({shopper.IMPRESSION}, {shopper.VIEW})
            AND session % 2 = 0""",
    )
    p = truth.click_probabilities(year / "truth", truth.Moments(column["session_id"].tolist(), column["time"]))
    assert (np.isnan(p) == (column["action"] == shopper.VIEW)).all()
    shown = ~np.isnan(p)
    for group in np.array_split(np.flatnonzero(shown)[np.argsort(p[shown])], 3):
        own = p[group]
        assert abs(column["clicked"][group].sum() - own.sum()) < 4.5 * np.sqrt((own * (1 - own)).sum())


def test_planted_visits_are_marked_and_behave_as_their_kind(year: Path) -> None:
    planted = truth.planted(year / "truth")
    assert set(planted.kind) == set(crowd.KINDS[1:])
    sessions = ask(
        year,
        """SELECT kind, s.user_id, count(DISTINCT session) AS n, count(*) FILTER (action = 0) / count(*) AS views,
              count(*) FILTER (action = 4) / count(DISTINCT session) AS purchases
           FROM sessions s JOIN events USING (session) GROUP BY ALL""",
    )
    kinds = {name: sessions["kind"] == code for code, name in enumerate(crowd.KINDS)}
    total = sessions["n"].sum()
    for code in crowd.PLANTED:
        share = sessions["n"][sessions["kind"] == code].sum() / total
        expected = YEAR.planted / len(crowd.PLANTED) * (1 - crowd.GUEST_SHARE if code == crowd.TAKEOVER else 1)
        assert share == pytest.approx(expected, rel=0.15)
    assert sessions["views"][kinds["scraper"]].mean() > 0.95 and sessions["purchases"][kinds["card_testing"]].mean() > 3
    genuine = set(sessions["user_id"][kinds["shopper"]].tolist())
    stolen = sessions["user_id"][kinds["takeover"]].tolist()
    assert np.mean([user in genuine for user in stolen]) > 0.5
    for name in ("card_testing", "scraper", "promo_abuse"):
        assert not genuine & set(sessions["user_id"][kinds[name]].tolist())
    with pytest.raises(UsageError, match="planted"):
        simulate.simulate(replace(YEAR, planted=0.9), year)


def test_customers_are_found_though_some_were_forgotten_and_an_older_process_is_refused(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    simulate.simulate(replace(simulate.DEFAULTS, events=3_000), tmp_path)
    whole = truth.customers(tmp_path / "truth", 14.0, 7.0, spend=False)
    table = pq.read_table(tmp_path / "truth/users.parquet")
    pq.write_table(table.slice(5), tmp_path / "truth/users.parquet")
    left = truth.customers(tmp_path / "truth", 14.0, 7.0, spend=False)
    own = dict(zip(whole.user_id, whole.no_purchase.tolist(), strict=True))
    assert left.no_purchase.tolist() == [own[user] for user in left.user_id] and len(left.user_id) < len(own)
    card = files.read_json(tmp_path / "truth/card.json")
    files.write_json(tmp_path / "truth/card.json", {**card, "intents": card["intents"][:7]})
    with pytest.raises(DataError, match="another version"):
        truth.customers(tmp_path / "truth", 14.0, 7.0)
