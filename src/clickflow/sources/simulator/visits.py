"""Visits simulated again from the same shop and crowd, to know what is expected of many: only those with a purchase.

What a visitor does does not depend on the items: so actions are drawn first, visits without a purchase are dropped, and
items are chosen for the rest. The random numbers are others than those of the log.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clickflow.sources.simulator import choice, crowd, shopper, walks
from clickflow.sources.simulator.shop import Shop

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]
GUEST_NUMBERS = 1 << 41
"""Above the numbers of the guests of any log."""


@dataclass(frozen=True)
class Sales:
    """Purchases; arrays of one length."""

    visit: Longs
    item: NDArray[np.int32]
    quantity: NDArray[np.int64]
    value: Floats
    """price times quantity, at the discount of a running promotion"""


@dataclass(frozen=True)
class Buying:
    """Visits that hold a purchase; the arrays have their length."""

    shop: Shop
    steps: walks.Walks
    start: Longs
    epoch: NDArray[np.int32]
    price_class: NDArray[np.int8]
    of: Longs
    """which of the visits that were asked for"""
    share: float
    """how many of those are among these, before any was taken out by `take`"""

    def take(self, count: int) -> "Buying":
        """The first so many of them, by their order among those asked for."""
        if count >= len(self.of):
            return self
        kept = np.zeros(len(self.of), np.bool_)
        kept[np.argsort(self.of)[:count]] = True
        return self._only(kept)

    def _only(self, kept: NDArray[np.bool_]) -> "Buying":
        fixed = {name: getattr(self, name)[kept] for name in ("start", "epoch", "price_class", "of")}
        return replace(self, steps=_only(self.steps, kept), **fixed)

    def sales(self, tastes: NDArray[np.int16], random: np.random.Generator) -> Sales:
        """What they buy; `tastes` [visits, 3]."""
        shop, steps = self.shop, self.steps
        if not len(self.of):
            none = np.zeros(0, np.int64)
            return Sales(none, none.astype(np.int32), none, np.zeros(0))
        about = choice.choose(shop, steps, choice.Sessions(self.start, self.epoch, self.price_class, tastes), random)
        bought = np.flatnonzero(steps.action == shopper.PURCHASE)
        visit, item = about.session[bought].astype(np.int64), about.item[bought]
        promoted = shop.promoted[self.epoch[visit], item]
        price = np.where(promoted, np.round(shop.price * (1 - shop.discount), 2)[item], shop.price[item])
        quantity = about.quantity[bought].astype(np.int64)
        return Sales(visit, item, quantity, price * quantity)


def generator(shop: Shop, *purpose: int) -> np.random.Generator:
    """Random numbers of a purpose: the same for the same shop."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((shop.seed, *purpose))))


def epochs(shop: Shop, start: Longs | Floats) -> NDArray[np.int32]:
    """[n] epoch of times since the beginning of the log."""
    return np.asarray(np.minimum(start * shop.epochs // (shop.days * crowd.DAY), shop.epochs - 1)).astype(np.int32)


def buying(
    shop: Shop,
    random: np.random.Generator,
    start: Longs,
    epoch: NDArray[np.int32],
    price_class: NDArray[np.int8],
    kind: NDArray[np.int8] | None = None,
    tables: shopper.Process | None = None,
) -> Buying:
    """Visits that begin at these times, by visitors of these kinds (none given: shoppers), as far as they buy."""
    kind = np.zeros(len(start), np.int8) if kind is None else kind
    first = shopper.start_state(kind, price_class)
    tables = shopper.process() if tables is None else tables
    steps = walks.walk(tables, random, first, price_class, shop.active[epoch], shop.response, 1 << 60)
    of = steps.chosen
    everyone = Buying(shop, steps, start[of], epoch[of], price_class[of], of, 0.0)
    kept = np.zeros(len(of), np.bool_)
    kept[walks.places(steps)[steps.action == shopper.PURCHASE]] = True
    return replace(everyone._only(kept), share=float(kept.sum() / max(1, len(start))))


def units(shop: Shop, sessions: int, first_day: int, last_day: int, visits_a_day: int) -> Floats:
    """[days, I] expected pieces sold of each item on the days in [first_day, last_day), by all who come.

    Each day some visits are drawn from the crowd as it is on that day, and what they buy is scaled to the sessions
    expected of the day. The standard error of an expectation of u pieces is about sqrt(2 u sessions / visits), with
    the sessions of the day and `visits_a_day`.
    """
    from clickflow.sources.simulator.rhythm import Clock

    clock, tables = Clock(shop.settings.start, shop.days), shopper.process()
    result = np.zeros((last_day - first_day, shop.items))
    for day in range(first_day, last_day):
        random = generator(shop, 4, day)
        low, high = clock.quantile(np.array([day, day + 1.0]) * crowd.DAY)
        start = clock.time(low + (high - low) * random.random(visits_a_day))
        user, kind = crowd.who(shop, random, start)
        price_class, tastes = crowd.appearance(shop, user, kind, GUEST_NUMBERS + np.arange(len(start)))
        bought = buying(shop, random, start, epochs(shop, start), price_class, kind, tables)
        sold = bought.sales(tastes[bought.of], random)
        scale = sessions * (high - low) / visits_a_day
        result[day - first_day] = np.bincount(sold.item, sold.quantity, shop.items) * scale
    return result


def _only(steps: walks.Walks, kept: NDArray[np.bool_]) -> walks.Walks:
    """The walks at these places, in the same order."""
    inside = kept[walks.places(steps)]
    ends = np.concatenate(([0], np.cumsum(inside)))[steps.offset]
    lengths = np.diff(ends)
    longest = int((lengths > 0).sum())
    return walks.Walks(
        ends[: longest + 1],
        steps.chosen[kept],
        steps.action[inside],
        steps.state[inside],
        steps.campaign[inside],
    )
