"""What customers will do in the days after a moment, given all that is hidden at it: tastes, rates, who has lapsed.

A customer's visits come as a Poisson process whose rate follows the clock and the customer, until an exponential lapse.
A visit holds a purchase with a probability q of the price class and the day (`purchases.py`), whatever came before; so
visits with a purchase come as a Poisson process too, and

    P(none) = sum over steps of P(lapse in the step) P(none until its middle) + P(no lapse) P(none at all)

in closed form. The rate of one customer is the share in the visits of all, of whom some lapse and others join: that
mass is expected from who is there at the moment. What goes on in a visit that has begun before it is left out.
Expected spend is expected visits times the value of one, which comes by simulating visits again (`visits.py`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickflow.sources.simulator import crowd, visits
from clickflow.sources.simulator.crowd import DAY
from clickflow.sources.simulator.purchases import Purchases
from clickflow.sources.simulator.rhythm import Clock
from clickflow.sources.simulator.shop import PRICE_CLASSES, Shop

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]
AT_ONCE = 200_000
STEPS_A_DAY = 4
TASTE_SHARE = np.bincount((0, 0, 0, 0, 1, 1, 2, 2)) / 8
"""Of the three tastes in a choice by taste, as `choice.TASTE_SLOTS`."""


@dataclass(frozen=True)
class Outlook:
    """The days in (at_day, at_day + horizon_days] of a log of so many sessions."""

    shop: Shop
    at_day: float
    horizon_days: float
    rate: Floats
    """[steps] expected visits of a customer of mean rate who stays, in each step of the horizon"""
    epoch: Longs
    """[steps]"""

    def no_visit(self, user: Longs) -> Floats:
        """[n] probability of no visit; 1 for those who have lapsed, NaN for those who have not joined yet."""
        return self._none(user, np.ones((PRICE_CLASSES, len(self.rate))) * _genuine(self.shop))

    def no_purchase(self, user: Longs) -> Floats:
        """[n] probability of no purchase; 1 and NaN as `no_visit`."""
        return self._none(user, self._buying())

    def visits(self, user: Longs) -> Floats:
        """[n] expected visits by the customer; 0 for those who have lapsed, NaN for those who have not joined."""
        return self._expected(user, np.ones((PRICE_CLASSES, len(self.rate))) * (1 - self.shop.settings.planted))

    def spend(self, user: Longs) -> Floats:
        """[n] expected value of the purchases in these days, price times quantity, cancellations not taken off; 0 and
        NaN as `visits`.
        """
        price_class, tastes = crowd.character(self.shop, user)
        value = self._values()
        worth = (value[price_class[:, None], tastes] * TASTE_SHARE).sum(axis=1)
        spend = self.visits(user) * worth
        if planted := self.shop.settings.planted:
            stolen = np.ones((PRICE_CLASSES, len(self.rate))) * planted / len(crowd.PLANTED)
            spend += self._expected(user, stolen) * self._plundered()
        return np.asarray(spend)

    def _none(self, user: Longs, weight: Floats) -> Floats:
        """P(no event), where events are `weight` [classes, steps] of the visits."""
        segment, joined, lapsed = crowd.life(self.shop, user)
        price_class, _ = crowd.character(self.shop, user)
        relative, steps = crowd.relative_rate(self.shop, user), len(self.rate)
        reached = np.concatenate((np.zeros((PRICE_CLASSES, 1)), np.cumsum(weight * self.rate, axis=1)), axis=1)
        stays = self._stays()
        result = stays[segment, -1] * np.exp(-relative * reached[price_class, -1])
        middle = (reached[:, 1:] + reached[:, :-1]) / 2
        for step in range(steps):
            lapses = (stays[:, step] - stays[:, step + 1])[segment]
            result += lapses * np.exp(-relative * middle[price_class, step])
        result[lapsed <= self.at_day * DAY] = 1.0
        result[joined > self.at_day * DAY] = np.nan
        return np.asarray(result)

    def _expected(self, user: Longs, weight: Floats) -> Floats:
        segment, joined, lapsed = crowd.life(self.shop, user)
        price_class, _ = crowd.character(self.shop, user)
        stays = self._stays()
        alive = (stays[:, 1:] + stays[:, :-1]) / 2
        result = ((weight * self.rate) @ alive.T)[price_class, segment] * crowd.relative_rate(self.shop, user)
        result[lapsed <= self.at_day * DAY] = 0.0
        result[joined > self.at_day * DAY] = np.nan
        return np.asarray(result)

    def _stays(self) -> Floats:
        """[segments, steps + 1] probability that a customer of now is still one."""
        days = self.horizon_days * np.arange(len(self.rate) + 1) / len(self.rate)
        return np.asarray(np.exp(-crowd.HAZARDS[:, None] * days))

    def _buying(self) -> Floats:
        """[classes, steps] visits with a purchase, as a share of the visits: the customer's own, and takeovers."""
        ask, planted = Purchases(self.shop), self.shop.settings.planted
        own = [[ask.of_visit(int(e), k) for e in self.epoch] for k in range(PRICE_CLASSES)]
        stolen = [ask.of_visit(int(e), 0, crowd.TAKEOVER) if planted else 0.0 for e in self.epoch]
        return np.array(own) * (1 - planted) + np.array(stolen) * planted / len(crowd.PLANTED)

    def _values(self) -> Floats:
        """[classes, categories] expected value of a visit by whether all its tastes are that category: what the three
        tastes make of it lies between, in proportion to how often each is chosen.
        """
        shop, count = self.shop, len(self.shop.categories)
        walked, chosen = 40_000, max(100, min(4_000, 160_000 // count))
        value = np.empty((PRICE_CLASSES, count))
        for k in range(PRICE_CLASSES):
            random = visits.generator(shop, 3, k)
            start, epoch = self._starts(random, walked)
            bought = visits.buying(shop, random, start, epoch, np.full(walked, k, np.int8)).take(chosen)
            for c in range(count):
                tastes = np.full((len(bought.start), 3), c, np.int16)
                value[k, c] = bought.sales(tastes, random).value.sum() / len(bought.start) * bought.share
        return value

    def _plundered(self) -> float:
        """Expected value of an account's takeover."""
        random = visits.generator(self.shop, 3, PRICE_CLASSES)
        start, epoch = self._starts(random, 4_000)
        kind = np.full(len(start), crowd.TAKEOVER, np.int8)
        bought = visits.buying(self.shop, random, start, epoch, np.zeros(len(start), np.int8), kind)
        _, tastes = crowd.character(self.shop, np.arange(len(bought.start)))
        return float(bought.sales(tastes, random).value.sum() / max(1, len(bought.start)) * bought.share)

    def _starts(self, random: np.random.Generator, count: int) -> tuple[Longs, NDArray[np.int32]]:
        clock = Clock(self.shop.settings.start, self.shop.days)
        low, high = clock.quantile(np.array([self.at_day, self.at_day + self.horizon_days]) * DAY)
        start = clock.time(low + (high - low) * random.random(count))
        return start, visits.epochs(self.shop, start)


def outlook(shop: Shop, sessions: int, at_day: float, horizon_days: float) -> Outlook:
    """The days after `at_day` of a log of so many sessions in all."""
    steps = max(8, round(horizon_days * STEPS_A_DAY))
    times = (at_day + horizon_days * np.arange(steps + 1) / steps) * DAY
    share = np.diff(Clock(shop.settings.start, shop.days).quantile(times))
    known = sessions * (1 - crowd.BOT_SHARE - crowd.FRAUD_SHARE) * (1 - crowd.GUEST_SHARE)
    middle = (times[1:] + times[:-1]) / 2
    return Outlook(
        shop,
        at_day,
        horizon_days,
        known * share / _mass(shop, at_day, middle / DAY),
        visits.epochs(shop, middle).astype(np.int64),
    )


def _genuine(shop: Shop) -> float:
    """Of the visits under a customer's id, those that are left once the rings have taken the place of some."""
    return 1 - shop.settings.planted * (1 - 1 / len(crowd.PLANTED))


def _mass(shop: Shop, at_day: float, days: Floats) -> Floats:
    """[steps] expected sum of the rates of the customers alive then, given who is alive at `at_day`.

    Of each segment those of now die away, and in their place others join: m(t) = m(0) exp(-h t) + mean (1 - exp(-h t)).
    """
    people = crowd.customers(shop)
    now = np.zeros(len(crowd.HAZARDS))
    for first in range(0, people, AT_ONCE):
        user = np.arange(first, min(first + AT_ONCE, people))
        segment, joined, lapsed = crowd.life(shop, user)
        alive = (joined <= at_day * DAY) & (at_day * DAY < lapsed)
        now += np.bincount(segment[alive], crowd.relative_rate(shop, user[alive]), len(now))
    mean = people * crowd.HAZARD_SHARE / (1 + crowd.HAZARDS * shop.days)
    left = np.exp(-crowd.HAZARDS[:, None] * (days - at_day))
    return np.asarray((now[:, None] * left + mean[:, None] * (1 - left)).sum(axis=0).clip(1e-9))
