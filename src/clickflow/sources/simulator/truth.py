"""What the simulator knows: how to ask it. The files are described in truth_log.

    moments = truth.Moments(session_ids, times)             # an event each: session id and microseconds since 1970
    truth.action_probabilities(folder, moments, kept)       # [Q, 10] next action among the kept types, the exit last
    truth.oracle_ranks(folder, moments, targets, kept)      # [Q] rank of the next item under the true distribution
    truth.purchase_probabilities(folder, moments)           # [Q] a purchase follows in the same visit
    truth.click_probabilities(folder, moments)              # [Q] the impression is answered by a click
    truth.customers(folder, at_day, horizon_days)           # no visit, no purchase, expected spend of each customer
    truth.expected_units(folder)                            # pieces of each item and category by day
    truth.planted(folder)                                   # visits of bots and fraudsters, with their kind

`folder` is data/truth of a simulated source (with the pseudonyms of the events in the place of user
and session ids) or the truth/ of `clickflow simulate` (raw ids). `kept` are the event types that sequences keep.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clickflow.params.simulator import Simulator
from clickflow.sources.simulator import choice, crowd, oracle, outlook, shopper, visits
from clickflow.sources.simulator import shop as shops
from clickflow.sources.simulator.purchases import Purchases
from clickflow.system import files
from clickflow.system.errors import DataError

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]

CELLS_AT_ONCE = 4_000_000
"""Questions x items that are held at once: 32 MB, and as much again a few times while they are worked out."""


@dataclass(frozen=True)
class Moments:
    """Right after these events: the ids of their sessions, and their times in microseconds since 1970."""

    session_id: Sequence[str]
    time: Longs


def read_card(folder: Path) -> dict[str, Any]:
    """truth/card.json; {"available": False} where there is none."""
    path = folder / "card.json"
    card: dict[str, Any] = files.read_json(path) if path.is_file() else {"available": False}
    return card


def read_shop(folder: Path) -> shops.Shop:
    """The shop that the log was made by, built again from its settings.

    Raises DataError where the folder holds no truth, or was written by a program that built another shop.
    """
    card = read_card(folder)
    if not card.get("available"):
        raise DataError(f"{folder} holds no truth: the log is not simulated", next_step="set source.kind: simulator")
    settings = Simulator(**{**card["settings"], "start": date.fromisoformat(card["settings"]["start"])})
    shop = shops.build(settings, card["seed"])
    if shop.fingerprint() != card["fingerprint"] or card["intents"] != list(shopper.INTENTS):
        raise DataError(
            f"{folder} was written by another version of the simulator", next_step="simulate, or ingest, again"
        )
    return shop


def action_probabilities(folder: Path, moments: Moments, kept: Sequence[str] | None = None) -> Floats:
    """[Q, actions + 1] true probability of the next action, in the order of `shopper.ACTIONS` (the exit last).

    With `kept`, of the next action of those types; the others have probability 0. NaN where the truth knows no such
    event.
    """
    shop = read_shop(folder)
    situations, matched = _situations(folder, moments)
    result = np.full((len(matched), len(shopper.ACTIONS)), np.nan)
    result[matched] = oracle.Oracle(shop, _kept(kept)).actions(situations)
    return result


def oracle_ranks(
    folder: Path,
    moments: Moments,
    targets: Sequence[str],
    kept: Sequence[str],
    known: Sequence[str] | None = None,
) -> Longs:
    """[Q] rank of the item that followed, among all items by their true probability; ties count against it.

    `targets` [Q] item ids of the next kept step; `known`: only these items compete, and a target outside them has none.
    0: no rank, as the truth knows no such event or item. The true distribution is conditioned on all that is hidden
    (intent and its age, focus, tastes, campaigns): the best that any model could do is not better than this.
    Time and memory: Q x I numbers, in blocks; 100,000 questions about 2,000 items take a few seconds.
    """
    shop = read_shop(folder)
    items = pq.read_table(folder / "items.parquet", columns=["item_id"])["item_id"].combine_chunks()
    compete = np.ones(shop.items, np.bool_)
    if known is not None:
        compete = np.asarray(pc.is_in(items, value_set=pa.array(list(known), pa.string())))
    target = np.asarray(pc.index_in(pa.array(list(targets), pa.string()), value_set=items).fill_null(-1))
    situations, matched = _situations(folder, moments)
    rows = np.flatnonzero(matched & (target >= 0) & compete[target])
    ranks = np.zeros(len(matched), np.int64)
    place = np.cumsum(matched) - 1
    for these, p in _item_blocks(shop, _take(situations, place[rows]), _kept(kept)):
        hit = target[rows[these]]
        own = p[np.arange(len(hit)), hit]
        p[:, ~compete] = -1.0
        ranks[rows[these]] = (p >= own[:, None]).sum(axis=1)
    return ranks


def item_probabilities(folder: Path, moments: Moments, kept: Sequence[str]) -> Floats:
    """[Q, I] true probability that the next kept step is about each item (in the order of items.parquet).

    Rows sum to 1 - P(exit); NaN where the truth knows no such event. For few questions: all is held at once.
    """
    shop = read_shop(folder)
    situations, matched = _situations(folder, moments)
    result = np.full((len(matched), shop.items), np.nan)
    rows = np.flatnonzero(matched)
    for these, p in _item_blocks(shop, situations, _kept(kept)):
        result[rows[these]] = p
    return result


def churn_probabilities(folder: Path, at_day: float, horizon_days: float) -> dict[str, float]:
    """The true probability of each customer to start no session in the days after `at_day`, by user id.

    1 for those who have lapsed by then; customers who join later are left out. users.parquet holds it for the end of
    the log.
    """
    ahead, user, ids = _outlook(folder, at_day, horizon_days)
    churn = ahead.no_visit(user)
    return {name: p for name, p in zip(ids, churn.tolist(), strict=True) if not np.isnan(p)}


@dataclass(frozen=True)
class Customers:
    """What is expected of customers in the days after a moment; arrays of one length."""

    user_id: list[str]
    no_visit: Floats
    """probability"""
    no_purchase: Floats
    """probability: the true churn of a shop that sees purchases alone"""
    spend: Floats
    """expected value of the purchases, price times quantity"""


def customers(folder: Path, at_day: float, horizon_days: float, *, spend: bool = True) -> Customers:
    """Each customer who has joined by `at_day`, days since the beginning of the log; a few seconds with `spend`.

    The two probabilities are closed forms of the true process, given all that is hidden at the moment (rate, price
    class, whether the customer has lapsed): no model that sees the log alone can know more. Spend is the closed form of
    the expected visits times the value of a visit, which is the mean over some 4,000 visits with a purchase for each
    price class and category, simulated again: its own error is about 3%. Without `spend` it is NaN. Raises DataError
    where the days do not lie within the log.
    """
    ahead, user, ids = _outlook(folder, at_day, horizon_days)
    no_visit = ahead.no_visit(user)
    joined = ~np.isnan(no_visit)
    return Customers(
        user_id=[name for name, there in zip(ids, joined.tolist(), strict=True) if there],
        no_visit=no_visit[joined],
        no_purchase=ahead.no_purchase(user)[joined],
        spend=ahead.spend(user[joined]) if spend else np.full(int(joined.sum()), np.nan),
    )


def purchase_probabilities(folder: Path, moments: Moments) -> Floats:
    """[Q] true probability that a purchase follows these events in the same visit; NaN where the truth knows none."""
    shop = read_shop(folder)
    situations, matched = _situations(folder, moments, before_any_item=True)
    result = np.full(len(matched), np.nan)
    result[matched] = Purchases(shop).to_come(situations)
    return result


def click_probabilities(folder: Path, moments: Moments) -> Floats:
    """[Q] true probability that these impressions are answered by a click, which then is the very next event of the
    visit; NaN where the event is no impression, or the truth knows none.
    """
    shop = read_shop(folder)
    situations, matched = _situations(folder, moments, before_any_item=True)
    price_class = shopper.parts(situations.state)[0]
    shown = situations.impression >= 0
    p = np.full(len(shown), np.nan)
    p[shown] = shop.response[situations.impression[shown], price_class[shown]]
    result = np.full(len(matched), np.nan)
    result[matched] = p
    return result


@dataclass(frozen=True)
class Units:
    """Expected pieces sold, by day of the log."""

    item_id: list[str]
    item: Floats
    """[days, I]"""
    category_id: list[str]
    category: Floats
    """[days, C]"""


def expected_units(
    folder: Path, first_day: int = 0, last_day: int | None = None, *, visits_a_day: int = 20_000
) -> Units:
    """Pieces of each item and category that are expected to be sold on the days in [first_day, last_day) of the log.

    By simulating `visits_a_day` visits of each day again, from the same crowd and shop with other random numbers:
    seasons, drift, promotions and who is a customer are as they were, chance is averaged out. The standard error of an
    expectation of u pieces is about sqrt(2 u s / visits_a_day), where s is the number of sessions of the day.
    """
    shop, card = read_shop(folder), read_card(folder)
    last_day = shop.days if last_day is None else last_day
    if not 0 <= first_day < last_day <= shop.days:
        raise DataError(f"days {first_day} to {last_day} are not within the {shop.days} days of {folder}")
    items = visits.units(shop, card["sessions"], first_day, last_day, visits_a_day)
    category = np.zeros((len(items), len(shop.categories)))
    np.add.at(category.T, shop.category, items.T)
    names = pq.read_table(folder / "items.parquet", columns=["item_id"])["item_id"].to_pylist()
    return Units(names, items, list(shop.categories), category)


@dataclass(frozen=True)
class Planted:
    """Visits that no shopper made, with what each is (`crowd.KINDS`); lists of one length."""

    session_id: list[str]
    user_id: list[str | None]
    kind: list[str]


def planted(folder: Path) -> Planted:
    """All of them: bots and fraud, which are always there, and what `simulator.planted` adds.

    The user of a takeover is a customer whose other visits are genuine; the other kinds have accounts of their own.
    """
    kinds = read_card(folder)["kinds"]
    table = pq.read_table(folder / "sessions.parquet", columns=["session_id", "user_id", "kind"])
    table = table.filter(pc.not_equal(table["kind"], crowd.SHOPPER))
    kind = [kinds[code] for code in table["kind"].to_pylist()]
    return Planted(table["session_id"].to_pylist(), table["user_id"].to_pylist(), kind)


def response_probabilities(folder: Path) -> Floats:
    """[K, price classes] true probability that a customer of that class answers an impression of a campaign by a click.

    users.parquet has each customer's price class, campaigns.parquet the campaigns' names.
    """
    return read_shop(folder).response


def _outlook(folder: Path, at_day: float, horizon_days: float) -> tuple[outlook.Outlook, Longs, list[str]]:
    """The days after a moment, and the customers' numbers and ids."""
    shop, card = read_shop(folder), read_card(folder)
    if not (at_day >= 0 and horizon_days > 0 and at_day + horizon_days <= shop.days):
        raise DataError(
            f"{horizon_days:g} days after day {at_day:g} are not within the {shop.days} days of {folder}",
            next_step="ask for days of the log, or simulate a longer one: simulator.days",
        )
    table = pq.read_table(folder / "users.parquet", columns=["user", "user_id"])
    ahead = outlook.outlook(shop, card["sessions"], at_day, horizon_days)
    return ahead, table["user"].to_numpy(), table["user_id"].to_pylist()


def _kept(kept: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(kept) if kept is not None else shopper.ACTIONS[:-1]


def _take(s: oracle.Situations, which: Longs) -> oracle.Situations:
    return replace(s, **{name: getattr(s, name)[which] for name in s.__dataclass_fields__})


def _item_blocks(shop: shops.Shop, s: oracle.Situations, kept: tuple[str, ...]) -> Iterator[tuple[Longs, Floats]]:
    """Blocks of situations (of one epoch, as far as possible) and their distributions over items."""
    ask = oracle.Oracle(shop, kept)
    order = np.argsort(s.epoch, kind="stable")
    size = max(1, CELLS_AT_ONCE // shop.items)
    for first in range(0, len(order), size):
        these = order[first : first + size]
        yield these, ask.items(_take(s, these))


def _situations(
    folder: Path, moments: Moments, *, before_any_item: bool = False
) -> tuple[oracle.Situations, NDArray[np.bool_]]:
    """What is hidden at the moments that the truth knows, and which of them it does know; `before_any_item`: also those
    at which no item is at hand yet, as after a search or an impression that opens a visit.
    """
    with duckdb.connect() as db:
        wanted = pa.table(
            {
                "session_id": pa.array(list(moments.session_id), pa.string()),
                "time": pa.array(np.asarray(moments.time), pa.int64()),
                "place": np.arange(len(moments.time)),
            }
        )
        db.register("asked", wanted)
        db.execute("SET TimeZone = 'UTC'")
        steps = db.execute(
            f"""
            CREATE TEMP TABLE steps AS
            SELECT row_number() OVER (ORDER BY e.session, e.time) - 1 AS row, s.*, epoch_us(e.time) AS time,
                   e.action, e.state, e.focus, e.current, e.campaign
            FROM read_parquet('{_quoted(folder / "events.parquet")}') e
            JOIN (SELECT * FROM read_parquet('{_quoted(folder / "sessions.parquet")}')
                  WHERE session_id IN (SELECT session_id FROM asked)) s USING (session);
            SELECT * FROM steps ORDER BY row
            """
        ).fetchnumpy()
        joined = db.execute(
            "SELECT asked.place, steps.row FROM asked JOIN steps USING (session_id, time) ORDER BY place"
        ).fetchnumpy()
    known = np.zeros(len(moments.time), np.bool_)
    place, row = np.asarray(joined["place"]), np.asarray(joined["row"]).astype(np.int64)
    keep = np.ones(len(place), np.bool_)
    keep[1:] = place[1:] != place[:-1]
    place, row = place[keep], row[keep]
    known[place] = True
    column = {name: np.asarray(steps[name]).astype(np.int64) for name in steps if name not in ("session_id", "user_id")}
    if not before_any_item:
        known[place[column["current"][row] < 0]] = False
        row = row[column["current"][row] >= 0]
    return _history(column, row), known


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def _history(step: dict[str, Longs], row: Longs) -> oracle.Situations:
    """Situations at rows of the steps of whole sessions, in order of session and time."""
    session, current = step["session"], step["current"]
    begins = np.concatenate(([True], session[1:] != session[:-1])) if len(session) else np.zeros(0, np.bool_)
    before = np.where(begins, -1, np.roll(current, 1))
    change = (current >= 0) & (current != before)
    run = np.cumsum(change) - 1
    held = current[change]
    opening = np.maximum.accumulate(np.where(begins, np.arange(len(begins)), 0)) if len(begins) else run
    first_run = run[opening] + ~change[opening]
    at = run[row][:, None] - np.arange(choice.RING)
    earlier = np.where(at >= first_run[row][:, None], held[np.maximum(at, 0)] if len(held) else -1, -1)
    puts = np.where(step["action"] == shopper.CART, np.arange(len(session)), -1)
    last_put = np.maximum.accumulate(puts) if len(puts) else puts
    own = (last_put >= 0) & (session[last_put] == session)
    basket = np.where(own, current[last_put], -1)
    impression = np.where(step["action"] == shopper.IMPRESSION, step["campaign"], -1)
    return oracle.Situations(
        state=step["state"][row],
        epoch=step["epoch"][row],
        tastes=np.stack([step[f"taste_{k}"][row] for k in (1, 2, 3)], axis=1).astype(np.int16),
        focus=step["focus"][row],
        current=current[row],
        earlier=earlier,
        basket=basket[row],
        impression=impression[row],
    )
