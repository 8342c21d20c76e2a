"""The customers: price class, tastes, how often they come, when they join and when they lapse.

A customer is a number; all traits are a hash of it, so a hundred million events need no memory for their customers.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickflow.sources.simulator.rhythm import HOUR
from clickflow.sources.simulator.shop import PICKS, Shop

Longs = NDArray[np.int64]
Floats = NDArray[np.float64]

KINDS = ("shopper", "bot", "fraud", "card_testing", "scraper", "promo_abuse", "takeover")
SHOPPER, BOT, FRAUD, CARD_TESTING, SCRAPER, PROMO_ABUSE, TAKEOVER = range(len(KINDS))
BOT_SHARE, FRAUD_SHARE = 0.004, 0.001
"""Of the sessions."""
PLANTED = (CARD_TESTING, SCRAPER, PROMO_ABUSE, TAKEOVER)
"""Kinds that are there as far as `simulator.planted` says, each as often as the others."""
RINGS = (CARD_TESTING, SCRAPER, PROMO_ABUSE)
"""Those with accounts of their own; a takeover happens in the account of a customer."""
BURST = 0.05
"""The share of the log's time in which an account of a ring is used; then another takes its place."""
GUEST_SHARE = 0.15
"""Of the shoppers' sessions: no user id is given."""
EVENTS_PER_USER = 40
"""Where the number of customers is not given."""
SKEW = 8.0
"""How unequally often customers come: the most frequent 1 + SKEW times the mean, the rarest about half of it."""
HAZARDS = np.array([1 / 300, 1 / 60, 1 / 12])
"""Of lapsing, a day: loyal, regular, fleeting customers."""
HAZARD_SHARE = np.array([77, 115, 64]) / 256
CLASS_SHARE = np.array([48, 80, 80, 48]) / 256
NEVER = np.iinfo(np.int64).max
DAY = 24 * HOUR

_HAZARD_TABLE = np.repeat(np.arange(3, dtype=np.int8), (HAZARD_SHARE * 256).astype(int))
_CLASS_TABLE = np.repeat(np.arange(4, dtype=np.int8), (CLASS_SHARE * 256).astype(int))


@dataclass(frozen=True)
class Traits:
    """What a customer is like; arrays of one length."""

    price_class: NDArray[np.int8]
    tastes: NDArray[np.int16]
    """[n, 3] favourite categories, the dearest first"""
    segment: NDArray[np.int8]
    """index in HAZARDS"""
    joined: Longs
    """microseconds since the beginning of the log; 0: a customer before it"""
    lapsed: Longs
    """after this time the customer never comes again; NEVER: not within the log"""


def mix(number: Longs, key: int) -> NDArray[np.uint64]:
    """A 64-bit hash of whole numbers under a key (splitmix64, Steele et al. 2014)."""
    x = number.astype(np.uint64) + np.uint64((key * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) & (2**64 - 1))
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _unit(hashed: NDArray[np.uint64]) -> Floats:
    return ((hashed >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def customers(shop: Shop) -> int:
    """How many customers there are, bots and fraudsters not counted."""
    return shop.settings.users or max(20, shop.settings.events // EVENTS_PER_USER)


def rogues(shop: Shop) -> int:
    """How many accounts of each rogue kind; their numbers follow those of the customers."""
    return max(1, customers(shop) // 2000)


def ring(shop: Shop) -> int:
    """How many throwaway accounts each of RINGS has: some four sessions each. Their numbers follow those of rogues."""
    return max(2, round(0.4 * shop.settings.planted * customers(shop))) if shop.settings.planted else 0


def accounts(shop: Shop) -> int:
    """How many numbers of users there are: customers, rogues, rings."""
    return customers(shop) + 2 * rogues(shop) + len(RINGS) * ring(shop)


def who(shop: Shop, random: np.random.Generator, start: Longs) -> tuple[Longs, NDArray[np.int8]]:
    """The visitor of each session that begins at `start` (-1: a guest), and its kind."""
    user = visitors(shop, random, start)
    kind = np.zeros(len(start), np.int8)
    draw = random.random(len(start))
    for code, low, share in ((BOT, 0.0, BOT_SHARE), (FRAUD, BOT_SHARE, FRAUD_SHARE)):
        rogue = np.flatnonzero((low <= draw) & (draw < low + share))
        kind[rogue] = code
        user[rogue] = customers(shop) + (code - 1) * rogues(shop) + random.integers(0, rogues(shop), len(rogue))
    if shop.settings.planted:
        _plant(shop, random, start, user, kind)
    return user, kind


def _plant(shop: Shop, random: np.random.Generator, start: Longs, user: Longs, kind: NDArray[np.int8]) -> None:
    """Put the planted kinds in the place of shoppers, in `user` and `kind`; a guest's account cannot be taken over."""
    draw = random.random(len(start)) / shop.settings.planted * len(PLANTED)
    late = random.random(len(start))
    for place, code in enumerate(PLANTED):
        chosen = (kind == SHOPPER) & (place <= draw) & (draw < place + 1)
        if code == TAKEOVER:
            chosen &= user >= 0
        kind[chosen] = code
        if code in RINGS:
            turn = start[chosen] / (shop.days * DAY) * (1 - BURST) + BURST * late[chosen]
            first = customers(shop) + 2 * rogues(shop) + RINGS.index(code) * ring(shop)
            user[chosen] = first + np.minimum((turn * ring(shop)).astype(np.int64), ring(shop) - 1)


def appearance(
    shop: Shop, user: Longs, kind: NDArray[np.int8], stranger: Longs
) -> tuple[NDArray[np.int8], NDArray[np.int16]]:
    """Price class and tastes of sessions: those of `user`; of guests, and of who took an account over, those of the
    number `stranger`. Cards are tested on what is cheap, and accounts plundered for what is dear.
    """
    price_class, tastes = character(shop, np.where((user < 0) | (kind == TAKEOVER), stranger, user))
    price_class[kind == CARD_TESTING] = 3
    price_class[kind == TAKEOVER] = 0
    return price_class, tastes


def life(shop: Shop, user: Longs) -> tuple[NDArray[np.int8], Longs, Longs]:
    """Segment, joined and lapsed of customers. The crowd is stationary: as many join as lapse."""
    key = shop.seed * 4
    first = mix(user, key)
    segment = _HAZARD_TABLE[(first & np.uint64(255)).astype(np.intp)]
    hazard, window = HAZARDS[segment], float(shop.days)
    coming = _unit(first) * (1 + hazard * window) - 1  # below 0: a customer already
    joined = np.where(coming < 0, 0.0, coming / hazard)
    lapsed = joined - np.log(_unit(mix(user, key + 1))) / hazard
    return (
        segment,
        (joined * DAY).astype(np.int64),
        np.where(lapsed < window, (np.minimum(lapsed, window) * DAY).astype(np.int64), NEVER),
    )


def character(shop: Shop, user: Longs) -> tuple[NDArray[np.int8], NDArray[np.int16]]:
    """Price class and tastes of customers."""
    hashed = mix(user, shop.seed * 4 + 2)
    price_class = _CLASS_TABLE[(hashed & np.uint64(255)).astype(np.intp)]
    tastes = np.stack(
        [shop.taste_pick[((hashed >> np.uint64(8 + 12 * k)) % np.uint64(PICKS)).astype(np.intp)] for k in range(3)],
        axis=1,
    )
    return price_class, tastes


def traits(shop: Shop, user: Longs) -> Traits:
    """All that is hidden about these customers."""
    price_class, tastes = character(shop, user)
    segment, joined, lapsed = life(shop, user)
    return Traits(price_class, tastes, segment, joined, lapsed)


def relative_rate(shop: Shop, user: Longs) -> Floats:
    """How often a customer comes, as a multiple of the mean."""
    x = (user + 0.5) / customers(shop)
    return np.asarray((1 + SKEW) / np.sqrt(1 + 4 * SKEW * (1 + SKEW) * x))


def visitors(shop: Shop, random: np.random.Generator, time: Longs) -> Longs:
    """A customer for each session that begins at `time`, from those alive then, by their rates; -1: guest.

    Rejection: draw from all, keep the living, draw again for the rest.
    """
    count = customers(shop)
    chosen = np.full(len(time), -1, np.int64)
    todo = np.flatnonzero(random.random(len(time)) >= GUEST_SHARE)
    for _ in range(60):
        v = random.random(len(todo))
        user = np.minimum((count * v * (1 + SKEW * v) / (1 + SKEW)).astype(np.int64), count - 1)
        _, joined, lapsed = life(shop, user)
        alive = (joined <= time[todo]) & (time[todo] < lapsed)
        chosen[todo[alive]] = user[alive]
        todo = todo[~alive]
        if not len(todo):
            break
    return chosen
