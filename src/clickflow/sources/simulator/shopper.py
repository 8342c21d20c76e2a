"""The hidden semi-Markov shopper: intents that last, actions they lead to, and their exact probabilities.

A hidden state is (price class, intent, steps since the intent began, status of cart and current item). From each state
one draw decides together whether the intent goes on, which one follows, and which action comes next, or the exit.
An impression is answered by a click with the campaign's response probability; otherwise the state decides as always.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.events.contract import EVENT_TYPES
from clickflow.sources.simulator import crowd
from clickflow.sources.simulator.crowd import KINDS
from clickflow.sources.simulator.shop import PRICE_CLASSES

Floats = NDArray[np.float64]

VIEW, CART, FAVOURITE, REMOVE, PURCHASE, CANCEL, SEARCH, IMPRESSION, CLICK = range(len(EVENT_TYPES))
EXIT = len(EVENT_TYPES)
ACTIONS = (*EVENT_TYPES, "exit")

INTENTS = (
    *("browse", "hunt", "compare", "buy", "deal", "crawl", "cash_out"),
    *("test_cards", "scrape", "farm", "plunder"),
)
BROWSE, HUNT, COMPARE, BUY, DEAL, CRAWL, CASH_OUT, TEST_CARDS, SCRAPE, FARM, PLUNDER = range(len(INTENTS))
SHOPPERS = CRAWL
"""Intents below are shoppers'; a rogue has one from then on, and leaves with it."""
ELAPSED = 8
"""Steps since the intent began are counted up to here; beyond, the hazard stays."""

STATUSES = ("nothing", "looking", "looking_cart", "carted", "favoured", "favoured_cart", "dropped", "bought")
NOTHING, LOOKING, LOOKING_CART, CARTED, FAVOURED, FAVOURED_CART, DROPPED, BOUGHT = range(len(STATUSES))
HAS_CART = (LOOKING_CART, CARTED, FAVOURED_CART)

HAZARD = np.array(
    [
        [0.22, 0.20, 0.24, 0.30, 0.34, 0.36, 0.36, 0.36],  # browse
        [0.10, 0.30, 0.40, 0.45, 0.45, 0.45, 0.45, 0.45],  # hunt: two or three steps
        [0.02, 0.04, 0.10, 0.22, 0.36, 0.46, 0.50, 0.50],  # compare: four to six
        [0.03, 0.12, 0.30, 0.42, 0.50, 0.50, 0.50, 0.50],  # buy
        [0.05, 0.25, 0.35, 0.40, 0.40, 0.40, 0.40, 0.40],  # deal
        [0.08] * 8,  # crawl: a bot
        [0.10] * 8,  # cash_out: a fraudster
        [0.07] * 8,  # test_cards
        [0.06] * 8,  # scrape
        [0.10] * 8,  # farm
        [0.09] * 8,  # plunder
    ]
)
"""[intent, elapsed] probability that the intent ends before the next step: its distribution of durations."""

#                  browse hunt  comp  buy   deal  leave
_SHOPPERS_FOLLOW = np.array(
    [
        [0.00, 0.08, 0.26, 0.05, 0.07, 0.54],
        [0.14, 0.00, 0.38, 0.08, 0.02, 0.38],
        [0.16, 0.04, 0.00, 0.26, 0.04, 0.50],
        [0.14, 0.02, 0.06, 0.00, 0.02, 0.76],
        [0.30, 0.04, 0.22, 0.10, 0.00, 0.34],
    ]
)
FOLLOWS = np.zeros((len(INTENTS), len(INTENTS) + 1))
FOLLOWS[:SHOPPERS, [*range(SHOPPERS), -1]] = _SHOPPERS_FOLLOW
FOLLOWS[SHOPPERS:, -1] = 1.0
"""[intent, next intent or leave] once an intent has ended."""

#               view   cart  fav    remove purch  cancel search impr  click
EMITS = np.array(
    [
        [0.845, 0.012, 0.018, 0.003, 0.000, 0.000, 0.060, 0.062, 0.0],
        [0.660, 0.022, 0.012, 0.002, 0.004, 0.000, 0.290, 0.010, 0.0],
        [0.850, 0.055, 0.050, 0.010, 0.006, 0.000, 0.020, 0.009, 0.0],
        [0.300, 0.300, 0.020, 0.050, 0.310, 0.008, 0.010, 0.002, 0.0],
        [0.560, 0.050, 0.030, 0.010, 0.010, 0.000, 0.040, 0.300, 0.0],
        [0.990, 0.000, 0.000, 0.000, 0.000, 0.000, 0.010, 0.000, 0.0],
        [0.240, 0.360, 0.000, 0.020, 0.300, 0.080, 0.000, 0.000, 0.0],
        [0.140, 0.460, 0.000, 0.000, 0.360, 0.040, 0.000, 0.000, 0.0],
        [0.970, 0.000, 0.000, 0.000, 0.000, 0.000, 0.030, 0.000, 0.0],
        [0.100, 0.300, 0.000, 0.020, 0.260, 0.000, 0.000, 0.320, 0.0],
        [0.420, 0.300, 0.000, 0.020, 0.240, 0.020, 0.000, 0.000, 0.0],
    ]
)
"""[intent, action] before what the status forbids is left out."""

OPENS = np.zeros((len(KINDS), len(INTENTS)))
OPENS[crowd.SHOPPER, :SHOPPERS] = 0.46, 0.27, 0.11, 0.08, 0.08
for _kind, _intent in (
    (crowd.BOT, CRAWL),
    (crowd.FRAUD, CASH_OUT),
    (crowd.CARD_TESTING, TEST_CARDS),
    (crowd.SCRAPER, SCRAPE),
    (crowd.PROMO_ABUSE, FARM),
    (crowd.TAKEOVER, PLUNDER),
):
    OPENS[_kind, _intent] = 1.0
"""[kind of visitor, first intent]"""

ROWS = PRICE_CLASSES * len(INTENTS) * ELAPSED * len(STATUSES)
OUTCOMES = 64
"""Slots of the alias table; a state has at most 6 intents x 9 actions and the exit, far fewer in fact."""


def state(price_class: Any, intent: Any, elapsed: Any, status: Any) -> Any:
    """The number of a hidden state; whole numbers, or arrays of them."""
    return ((price_class * len(INTENTS) + intent) * ELAPSED + elapsed) * len(STATUSES) + status


def parts(states: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    """Price class, intent, elapsed and status of hidden states below ROWS."""
    rest, status = np.divmod(states, len(STATUSES))
    rest, elapsed = np.divmod(rest, ELAPSED)
    price_class, intent = np.divmod(rest, len(INTENTS))
    return price_class, intent, elapsed, status


def start_state(kind: NDArray[np.int8], price_class: NDArray[np.int8]) -> NDArray[np.int32]:
    """The state before the first step, by kind of visitor (crowd.KINDS) and price class."""
    return (ROWS + kind.astype(np.int32) * PRICE_CLASSES + price_class).astype(np.int32)


def status_after(status: int, action: int) -> int:
    """What an action makes of the status."""
    cart = status in HAS_CART
    if action in (VIEW, CLICK):
        return LOOKING_CART if cart else LOOKING
    if action == FAVOURITE:
        return FAVOURED_CART if cart else FAVOURED
    return {CART: CARTED, REMOVE: DROPPED, CANCEL: DROPPED, PURCHASE: BOUGHT}.get(action, status)


def allowed(status: int) -> NDArray[np.bool_]:
    """[actions] which can follow: nothing twice on the same item, nothing out of an empty cart."""
    ok = np.zeros(len(EVENT_TYPES), np.bool_)
    ok[[VIEW, SEARCH, IMPRESSION]] = True
    if status != NOTHING:
        ok[CART] = status != CARTED
        ok[FAVOURITE] = status not in (FAVOURED, FAVOURED_CART)
        ok[[REMOVE, PURCHASE]] = status in HAS_CART
        ok[CANCEL] = status == BOUGHT
    return ok


def emissions() -> Floats:
    """[class, intent, status, action] probabilities of the next action, given the intent it belongs to."""
    keen = np.array([1.25, 1.1, 0.95, 0.7])
    weight = np.broadcast_to(EMITS, (PRICE_CLASSES, *EMITS.shape)).copy()
    weight[:, :SHOPPERS, PURCHASE] *= keen[:, None]
    weight[:, :SHOPPERS, CART] *= (keen[:, None] + 1) / 2
    weight[:, :SHOPPERS, IMPRESSION] *= np.array([0.7, 0.9, 1.1, 1.3])[:, None]
    possible = np.stack([allowed(status) for status in range(len(STATUSES))])
    by_status = weight[:, :, None, :] * possible
    return np.asarray(by_status / by_status.sum(axis=-1, keepdims=True))


@dataclass(frozen=True)
class Ways:
    """Every way on from every hidden state, in the order of the states; the probabilities of a state sum to 1."""

    state: NDArray[np.int64]
    probability: Floats
    intent: NDArray[np.int64]
    """that the next action belongs to"""
    action: NDArray[np.int64]
    next_state: NDArray[np.int64]


def ways() -> Ways:
    """The process as a list of transitions: from ROWS states and, after them, the starts (by kind and class)."""
    emits = emissions()
    after = np.array([[status_after(s, a) for a in range(len(EVENT_TYPES))] for s in range(len(STATUSES))])
    price_class, intent, elapsed, status = parts(np.arange(ROWS))
    ends = HAZARD[intent, elapsed]
    blocks = []
    for z in range(len(INTENTS)):
        goes_on = intent == z
        into = np.where(goes_on, 1 - ends, ends * FOLLOWS[intent, z])
        age = np.where(goes_on, np.minimum(elapsed + 1, ELAPSED - 1), 0)
        for a in range(len(EVENT_TYPES)):
            p = into * emits[price_class, z, status, a]
            blocks.append((np.arange(ROWS), p, z, a, state(price_class, z, age, after[status, a])))
    leaves = ends * FOLLOWS[intent, -1]
    blocks.append((np.arange(ROWS), leaves, 0, EXIT, np.arange(ROWS)))
    starts = np.arange(ROWS, ROWS + len(KINDS) * PRICE_CLASSES)
    kind, price_class = np.divmod(starts - ROWS, PRICE_CLASSES)
    for z in range(len(INTENTS)):
        for a in range(len(EVENT_TYPES)):
            p = OPENS[kind, z] * emits[price_class, z, NOTHING, a]
            blocks.append((starts, p, z, a, state(price_class, z, 0, int(after[NOTHING, a]))))
    whole = [np.concatenate([np.broadcast_to(part[k], part[0].shape) for part in blocks]) for k in range(5)]
    order = np.argsort(whole[0], kind="stable")
    order = order[whole[1][order] > 0]
    return Ways(*(column[order] for column in whole))


def after_click(states: NDArray[np.int64]) -> NDArray[np.int64]:
    """The hidden state once an impression is clicked: the intent goes on, a new item is looked at."""
    price_class, intent, elapsed, status = parts(states)
    after = np.array([status_after(s, CLICK) for s in range(len(STATUSES))])
    return np.asarray(state(price_class, intent, elapsed, after[status]))


@dataclass(frozen=True)
class Process:
    """The shopper's tables. R = ROWS + kinds * price classes."""

    action: Floats
    """[R, actions + exit] probability of the next action; after an impression: if it is not clicked"""
    threshold: NDArray[np.uint32]
    """[R * OUTCOMES] alias method (Walker 1977): below it the slot's first outcome, else the second"""
    outcome: NDArray[np.int32]
    """[R * OUTCOMES * 2] first and second of each slot: next state * 16 + action"""
    clicked: NDArray[np.int32]
    """[R] the packed outcome of a click"""


def process() -> Process:
    """Build the tables (a fraction of a second)."""
    rows = ROWS + len(KINDS) * PRICE_CLASSES
    w = ways()
    action = np.zeros((rows, len(ACTIONS)))
    np.add.at(action, (w.state, w.action), w.probability)
    slot = np.arange(len(w.state)) - np.searchsorted(w.state, np.arange(rows))[w.state]
    weight, first = np.zeros((rows, OUTCOMES)), np.zeros((rows, OUTCOMES), np.int32)
    weight[w.state, slot] = w.probability
    first[w.state, slot] = w.next_state * 16 + w.action
    threshold, second = _alias(weight, first)
    clicked = np.zeros(rows, np.int32)
    clicked[:ROWS] = after_click(np.arange(ROWS)) * 16 + CLICK
    return Process(action, threshold.ravel(), np.stack((first, second), axis=-1).ravel(), clicked)


def _alias(weight: Floats, value: NDArray[np.int32]) -> tuple[NDArray[np.uint32], NDArray[np.int32]]:
    """Alias tables of all rows at once: again and again the largest weight of a row fills up the smallest to one."""
    rows = np.arange(len(weight))
    left = weight / weight.sum(axis=1, keepdims=True) * OUTCOMES
    threshold, second = np.full(weight.shape, 2**32 - 1, np.uint32), value.copy()
    for _ in range(OUTCOMES - 1):
        small, large = left.argmin(axis=1), left.argmax(axis=1)
        share = np.minimum(left[rows, small], 1.0)
        threshold[rows, small] = np.minimum(share * 2**32, 2**32 - 1).astype(np.uint32)
        second[rows, small] = value[rows, large]
        left[rows, large] -= 1 - share
        left[rows, small] = 1.0
    return threshold, second
