"""Which item a shopper views next, and when: the second half of the process, given actions and intents.

A view goes, with probabilities that depend on the intent alone, to
  category: an item of the category in focus, by the shopper's price tier, then by the popularity of the day;
  switch:   the same in another category, which comes into focus: a taste of the shopper's, or by demand of the season;
  promo:    an item of a running campaign;
  related:  a neighbour, in the graph of related items, of the current item;
  second:   a neighbour of the item before the current one;
  back:     an item seen earlier in this session, one to six changes of item ago.
Where that gives no item, or the current one, the shopper follows an edge of the current item instead: so a view never
repeats the item at hand. Carts and favourites take the current item; removals, purchases and cancellations the one put
into the cart last; a click takes the item that the impression showed. Searches and impressions change nothing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickflow.sources.simulator import shopper
from clickflow.sources.simulator.rhythm import LONGEST
from clickflow.sources.simulator.shop import COMPLEMENTS, PROMOTED, SIMILAR, TIERS, Shop
from clickflow.sources.simulator.walks import Walks, places

Ints = NDArray[np.int32]
Floats = NDArray[np.float64]

COMPONENTS = ("category", "switch", "promo", "related", "second", "back")
CATEGORY, SWITCH, PROMO, RELATED, SECOND, BACK = range(len(COMPONENTS))
STAY, BASKET, CLICKED = 6, 7, 8

#               category switch promo related second back, in 256ths
MIXTURE = np.array(
    [
        [92, 20, 20, 52, 44, 28],  # browse
        [126, 12, 6, 56, 34, 22],  # hunt
        [34, 2, 2, 50, 68, 100],  # compare
        [36, 4, 6, 84, 42, 84],  # buy
        [54, 20, 104, 34, 20, 24],  # deal
        [128, 64, 0, 64, 0, 0],  # crawl
        [200, 16, 0, 16, 8, 16],  # cash_out
        [216, 8, 0, 16, 0, 16],  # test_cards
        [200, 24, 0, 32, 0, 0],  # scrape
        [24, 8, 208, 8, 0, 8],  # farm
        [160, 24, 8, 32, 8, 24],  # plunder
    ]
)
"""[intent, component] of a view."""

EDGES = np.array(
    [
        [96, 48, 32, 24, 16, 8, 16, 8, 4, 4],
        [112, 56, 32, 24, 16, 16, 0, 0, 0, 0],
        [72, 64, 48, 32, 24, 16, 0, 0, 0, 0],
        [16, 8, 8, 0, 0, 0, 112, 56, 32, 24],
        [64, 40, 32, 24, 16, 8, 32, 16, 16, 8],
        [40, 40, 40, 40, 40, 40, 4, 4, 4, 4],
        [96, 48, 32, 24, 16, 8, 16, 8, 4, 4],
        [96, 48, 32, 24, 16, 8, 16, 8, 4, 4],
        [40, 40, 40, 40, 40, 40, 4, 4, 4, 4],
        [64, 40, 32, 24, 16, 8, 32, 16, 16, 8],
        [16, 8, 8, 0, 0, 0, 112, 56, 32, 24],
    ]
)
"""[intent, edge] in 256ths: those who compare look at alternatives, those who buy at what goes with the item."""

TIER_CHOICE = np.array([[8, 56, 192], [32, 160, 64], [96, 136, 24], [208, 40, 8]])
"""[price class, tier] in 256ths."""
BACK_STEPS = np.array([1, 1, 1, 2, 2, 3, 4, 6])
"""How many changes of item ago, each slot equally likely."""
TASTE_SLOTS = np.array([0, 0, 0, 0, 1, 1, 2, 2])
RING = 8
"""Items a shopper can go back to: more than the largest of BACK_STEPS."""

GAP_MEDIAN = np.array([32.0, 18.0, 40.0, 45.0, 25.0, 1.5, 12.0, 9.0, 16.0, 12.0, 22.0])
GAP_SPREAD = np.array([0.9, 0.8, 1.0, 0.9, 0.8, 0.15, 0.7, 0.5, 0.4, 0.6, 0.8])
EXTRA = np.array([0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 2], np.int8)
"""Pieces that a cart or purchase of an intent holds beside the usual ones."""
GAP_SLOTS = 1024


def _slots(counts: NDArray[np.int64]) -> NDArray[np.int8]:
    """[rows * 256] each column's number as often as its count."""
    return np.concatenate([np.repeat(np.arange(len(row), dtype=np.int8), row) for row in counts])


def _gap_table() -> Floats:
    """[intents * GAP_SLOTS] microseconds to the next step: quantiles of a lognormal, 1 s to 20 min."""
    from statistics import NormalDist

    normal = np.array([NormalDist().inv_cdf((k + 0.5) / GAP_SLOTS) for k in range(GAP_SLOTS)])
    seconds = np.exp(np.log(GAP_MEDIAN)[:, None] + GAP_SPREAD[:, None] * normal).clip(1, 1200)
    return np.asarray(seconds * 1e6).ravel()


_MIXTURE, _EDGES, _TIERS = _slots(MIXTURE), _slots(EDGES), _slots(TIER_CHOICE)
_GAPS = _gap_table().astype(np.int32)
_HOW = np.array([0, STAY, STAY, BASKET, BASKET, BASKET, STAY, STAY, CLICKED], np.int8)
_QUANTITY = np.repeat(np.array([1, 2, 3, 4], np.int8), [205, 36, 10, 5])


def rank_probabilities(size: int) -> Floats:
    """[size] of an item in its group by its place in the order of popularity: floor(size * u ** 2) for uniform u."""
    return np.diff((np.arange(size + 1) / size) ** 0.5)


@dataclass(frozen=True)
class Sessions:
    """What is fixed for a session; arrays of length S."""

    start: NDArray[np.int64]
    """microseconds since the beginning of the log"""
    epoch: Ints
    price_class: NDArray[np.int8]
    tastes: NDArray[np.int16]


@dataclass(frozen=True)
class Choices:
    """What each step is about; arrays in the order of the walks."""

    session: Ints
    """place of the session"""
    time: NDArray[np.int64]
    item: Ints
    """of the event; -1: a search"""
    current: Ints
    """the item at hand after the step; -1: none yet"""
    focus: NDArray[np.int16]
    """category in focus after the step"""
    quantity: NDArray[np.int8]
    """0: none"""


def choose(shop: Shop, walks: Walks, sessions: Sessions, random: np.random.Generator) -> Choices:
    """Items and times for walks; `sessions` in the walks' order."""
    offset, action, steps = walks.offset, walks.action, len(walks.offset) - 1
    total = int(offset[-1])
    place = places(walks)
    intent = walks.state // (shopper.ELAPSED * len(shopper.STATUSES)) % len(shopper.INTENTS)
    # for each step what kind of view, edge, tier and how far back; which rank and which promotion; and how long
    what, which, wait = (
        random.bit_generator.random_raw((3 * total + 1) // 2).view(np.uint32)[: 3 * total].reshape(3, -1)
    )
    row = intent * 256

    view = action == shopper.VIEW
    how = np.where(view, _MIXTURE[row + _field(what, 0, 8)], _HOW[action])
    first = how[: offset[1]]
    first[view[: offset[1]] & (first >= RELATED)] = CATEGORY
    edge = _EDGES[row + _field(what, 8, 8)]

    switches = (how == SWITCH).nonzero()[0]
    focus = _focus(shop, sessions, walks, place, switches, random)
    drawn = np.full(total, -1, np.int32)
    by_category = (how <= SWITCH).nonzero()[0]
    drawn[by_category] = _by_category(
        shop, sessions, place[by_category], focus[by_category], what[by_category], which[by_category]
    )
    promo = ((how == PROMO) | (action == shopper.IMPRESSION)).nonzero()[0]
    drawn[promo] = _promoted(shop, sessions, walks, place[promo], promo, which[promo])

    gap = _GAPS[intent * GAP_SLOTS + _field(wait, 0, 10)] + _field(wait, 10, 20)
    time = np.empty(total, np.int64)
    current, item = np.empty(total, np.int32), np.empty(total, np.int32)
    count = offset[1] if steps else 0
    cur, basket = np.full(count, -1, np.int32), np.full(count, -1, np.int32)
    ring, changes = np.full((count, RING), -1, np.int32), np.zeros(count, np.int32)
    for step in range(steps):
        a, b = offset[step], offset[step + 1]
        n = b - a
        now, h, e = cur[:n], how[a:b], edge[a:b]
        x = np.where(h <= PROMO, drawn[a:b], now)  # drawn, or (for now) the item at hand
        back = ((h == BACK) | (h == SECOND)).nonzero()[0]
        if len(back):
            second = h[back] == SECOND
            ago = np.where(second, 1, BACK_STEPS[_field(what[a + back], 24, 3)])
            at = changes[back] - 1 - ago
            earlier = np.where(at >= 0, ring[back, at % RING], now[back])
            x[back] = np.where(second & (earlier >= 0), shop.related[earlier, e[back]], earlier)
        turn = ((x == now) & (h <= BACK)).nonzero()[0]
        if len(turn):  # no item or the same: along an edge; without an item at hand: by category
            x[turn] = shop.related[now[turn], e[turn]]
            lost = turn[now[turn] < 0]
            x[lost] = _by_category(shop, sessions, lost, focus[a + lost], what[a + lost], which[a + lost])
        from_basket = (h == BASKET).nonzero()[0]
        x[from_basket] = basket[from_basket]
        clicks = (h == CLICKED).nonzero()[0]
        if len(clicks):
            x[clicks] = item[offset[step - 1] + clicks]
        act = action[a:b]
        put = (act == shopper.CART).nonzero()[0]
        basket[put] = x[put]
        new = (x != now).nonzero()[0]
        ring[new, changes[new] % RING] = x[new]
        changes[new] += 1
        cur = x
        current[a:b] = x
        item[a:b] = x
        shown = (act == shopper.IMPRESSION).nonzero()[0]
        item[a + shown] = drawn[a + shown]
        time[a:b] = sessions.start if step == 0 else time[offset[step - 1] : offset[step - 1] + n] + gap[a:b]
    item[action == shopper.SEARCH] = -1
    _shorten(time, sessions.start, walks, place)
    return Choices(place, time, item, current, focus, _quantities(action, intent, which))


def _field(bits: NDArray[np.uint32], at: int, width: int) -> Ints:
    return ((bits >> np.uint32(at)) & np.uint32((1 << width) - 1)).view(np.int32)


def _focus(
    shop: Shop,
    sessions: Sessions,
    walks: Walks,
    place: Ints,
    switches: NDArray[np.int64],
    random: np.random.Generator,
) -> NDArray[np.int16]:
    """The category in focus after every step: the session's first, then that of the last switch."""
    offset = walks.offset
    count = offset[1] if len(offset) > 1 else 0
    everyone = np.arange(count)
    focus = np.empty(offset[-1], np.int16)
    first = _pick_category(shop, sessions, everyone, random)
    turned = _pick_category(shop, sessions, place[switches], random)
    at = np.searchsorted(switches, offset)
    for step in range(len(offset) - 1):
        a, b = offset[step], offset[step + 1]
        focus[a:b] = first if step == 0 else focus[offset[step - 1] : offset[step - 1] + b - a]
        focus[switches[at[step] : at[step + 1]]] = turned[at[step] : at[step + 1]]
    return focus


def _pick_category(
    shop: Shop, sessions: Sessions, who: NDArray[np.int64] | Ints, random: np.random.Generator
) -> NDArray[np.int16]:
    bits = random.bit_generator.random_raw(len(who)).astype(np.uint32)
    taste = sessions.tastes[who, TASTE_SLOTS[_field(bits, 1, 3)]]
    demand = shop.pick[sessions.epoch[who], _field(bits, 8, 12)]
    return np.where(_field(bits, 0, 1) == 1, taste, demand)


def _by_category(
    shop: Shop,
    sessions: Sessions,
    who: NDArray[np.int64] | Ints,
    focus: NDArray[np.int16],
    what: NDArray[np.uint32],
    which: NDArray[np.uint32],
) -> Ints:
    tier = _TIERS[sessions.price_class[who].astype(np.int32) * 256 + _field(what, 16, 8)]
    group = focus.astype(np.int32) * TIERS + tier
    u = _field(which, 0, 24) * 2.0**-24
    rank = (shop.group_size[group] * (u * u)).astype(np.int32)
    at = sessions.epoch[who] * np.int32(shop.items) + shop.group_start[group] + rank
    return np.asarray(shop.order.ravel()[at])


def _promoted(
    shop: Shop,
    sessions: Sessions,
    walks: Walks,
    who: Ints,
    events: NDArray[np.int64],
    bits: NDArray[np.uint32],
) -> Ints:
    """An item of the impression's campaign, or of one of those that run."""
    campaign = shop.active[sessions.epoch[who], _field(bits, 24, 3)]
    campaign = np.where(walks.campaign[events] >= 0, walks.campaign[events], campaign)
    return np.asarray(shop.campaign_items[campaign, _field(bits, 27, 3)])


def _shorten(time: NDArray[np.int64], start: NDArray[np.int64], walks: Walks, place: Ints) -> None:
    """Sessions of more than LONGEST are compressed to it, in place."""
    last = start.copy()
    for a, b in zip(walks.offset[:-1], walks.offset[1:], strict=True):
        last[: b - a] = time[a:b]
    long = np.zeros(len(start), np.bool_)
    long[last - start > LONGEST] = True
    if long.any():
        events = long[place].nonzero()[0]
        begin = start[place[events]]
        scale = LONGEST / (last - start)[place[events]]
        time[events] = begin + ((time[events] - begin) * scale).astype(np.int64)


def _quantities(action: NDArray[np.int8], intent: Ints, bits: NDArray[np.uint32]) -> NDArray[np.int8]:
    """Of carts, removals, purchases and cancellations: mostly one; fraudsters take more."""
    quantity = np.zeros(len(action), np.int8)
    about = ((_HOW[action] == BASKET) | (action == shopper.CART)).nonzero()[0]
    quantity[about] = _QUANTITY[_field(bits[about], 0, 8)] + EXTRA[intent[about]]
    return quantity


assert MIXTURE.sum(1).tolist() == [256] * len(MIXTURE) == EDGES.sum(1).tolist()
assert TIER_CHOICE.sum(1).tolist() == [256] * len(TIER_CHOICE)
assert EDGES.shape[1] == SIMILAR + COMPLEMENTS and PROMOTED == 8 == len(BACK_STEPS)
