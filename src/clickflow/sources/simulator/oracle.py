"""The true distributions of a simulated shopper's next step, given everything that is hidden.

Steps of left-out kinds (searches and impressions, say) are summed over exactly, so that the next step is the next one
of the kinds that a sequence keeps. No model that sees only the log can do better than these distributions; how close
one comes is what they are for.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clickflow.events.contract import EVENT_TYPES
from clickflow.sources.simulator import choice, shopper
from clickflow.sources.simulator.shop import PRICE_CLASSES, TIERS, Shop

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]

PER_CLASS = shopper.ROWS // PRICE_CLASSES
CELLS = len(shopper.INTENTS) * len(EVENT_TYPES)
"""(intent, action) of the next kept step; one more cell is the exit."""
ABOUT_CURRENT = [shopper.CART, shopper.FAVOURITE, shopper.SEARCH]
ABOUT_BASKET = [shopper.REMOVE, shopper.PURCHASE, shopper.CANCEL]


@dataclass(frozen=True)
class Situations:
    """What is hidden at Q moments, each right after an event."""

    state: Longs
    epoch: Longs
    tastes: NDArray[np.int16]
    """[Q, 3]"""
    focus: Longs
    current: Longs
    """item at hand"""
    earlier: Longs
    """[Q, RING] items at hand 0, 1, 2 ... changes ago; -1: none"""
    basket: Longs
    """item put into the cart last; -1: none"""
    impression: Longs
    """campaign, where the event is an impression; else -1"""


@dataclass
class Oracle:
    """True distributions in one shop, for sequences that keep the given event types."""

    shop: Shop
    kept: tuple[str, ...]
    _steps: dict[tuple[int, int], Floats] = field(default_factory=dict)
    _ways: shopper.Ways = field(default_factory=shopper.ways)

    def steps(self, s: Situations) -> Floats:
        """[Q, CELLS + 1] probability of each (intent, action) of the next kept step, and of the exit."""
        price_class, _, _, _ = shopper.parts(s.state)
        result = np.empty((len(s.state), CELLS + 1))
        for key in {(int(e), int(c)) for e, c in zip(s.epoch, price_class, strict=True)}:
            here = (s.epoch == key[0]) & (price_class == key[1])
            table = self._table(*key)
            result[here] = table[s.state[here] - key[1] * PER_CLASS]
            impressions = here & (s.impression >= 0)
            rate = self.shop.response[s.impression[impressions], key[1]][:, None]
            clicked = self._click(table, key[1])[s.state[impressions] - key[1] * PER_CLASS]
            result[impressions] = rate * clicked + (1 - rate) * result[impressions]
        return result

    def actions(self, s: Situations) -> Floats:
        """[Q, actions + 1] probability of each next kept action, the exit last."""
        steps = self.steps(s)
        by_action = steps[:, :CELLS].reshape(len(steps), len(shopper.INTENTS), len(EVENT_TYPES)).sum(axis=1)
        return np.concatenate((by_action, steps[:, CELLS:]), axis=1)

    def items(self, s: Situations) -> Floats:
        """[Q, I] probability that there is a next kept step and it is about this item; rows sum to 1 - P(exit).

        Q x I numbers: ask in blocks, best of one epoch. A next step that is a search or an impression (only where those
        are kept) counts for the current item.
        """
        shop, count = self.shop, len(s.state)
        price_class = shopper.parts(s.state)[0]
        steps = self.steps(s)[:, :CELLS].reshape(count, len(shopper.INTENTS), len(EVENT_TYPES))
        act, view = steps.sum(axis=1), steps[:, :, shopper.VIEW]
        share = choice.MIXTURE / 256
        everyone = np.arange(count)

        within = np.empty((count, shop.items))
        turn_to = np.empty((count, len(shop.categories)))
        for epoch in np.unique(s.epoch):
            here = s.epoch == epoch
            demand = np.bincount(shop.pick[epoch], minlength=len(shop.categories)) / len(shop.pick[epoch])
            turn_to[here] = demand / 2
            for c in np.unique(price_class[here]):
                within[here & (price_class == c)] = self._within_category(int(epoch), int(c))
        slots = np.bincount(choice.TASTE_SLOTS, minlength=3) / len(choice.TASTE_SLOTS) / 2
        for k in range(3):
            turn_to[everyone, s.tastes[:, k]] += slots[k]
        weight = turn_to * (view @ share[:, choice.SWITCH])[:, None]
        weight[everyone, s.focus] += view @ share[:, choice.CATEGORY]

        # what would fall on the current item follows an edge instead, by the edges of that view's intent
        of_current = shop.category[s.current]
        in_category = within[everyone, s.current] * (of_current == s.focus)
        in_switch = within[everyone, s.current] * turn_to[everyone, of_current]
        on_promo = shop.campaign_items[shop.active[s.epoch]].reshape(count, -1)
        in_promo = (on_promo == s.current[:, None]).mean(axis=1)
        ago = s.earlier[:, choice.BACK_STEPS]
        in_back = (ago < 0).mean(axis=1)
        alone = s.earlier[:, 1] < 0
        along = (
            share[:, choice.RELATED]
            + in_category[:, None] * share[:, choice.CATEGORY]
            + in_switch[:, None] * share[:, choice.SWITCH]
            + in_promo[:, None] * share[:, choice.PROMO]
            + in_back[:, None] * share[:, choice.BACK]
            + alone[:, None] * share[:, choice.SECOND]
        )

        p = within
        p *= weight[:, shop.category]
        flat, base = p.reshape(-1), everyone[:, None] * shop.items
        promo = np.broadcast_to((view @ share[:, choice.PROMO])[:, None] / on_promo.shape[1], on_promo.shape)
        np.add.at(flat, base + on_promo, promo)
        p[everyone, s.current] = 0.0

        edges = choice.EDGES / 256
        np.add.at(flat, base + shop.related[s.current], (view * along) @ edges)
        second = (view * share[:, choice.SECOND]) @ edges
        target = shop.related[np.maximum(s.earlier[:, 1], 0)]
        target = np.where(target == s.current[:, None], shop.related[s.current], target)
        np.add.at(flat, base + target, np.where(alone[:, None], 0.0, second))
        back = np.broadcast_to((view @ share[:, choice.BACK])[:, None] / ago.shape[1], ago.shape)
        np.add.at(flat, base + np.maximum(ago, 0), np.where(ago < 0, 0.0, back))

        kept_about_current = act[:, [*ABOUT_CURRENT, shopper.IMPRESSION]].sum(axis=1)
        p[everyone, s.current] += kept_about_current
        p[everyone, np.maximum(s.basket, 0)] += act[:, ABOUT_BASKET].sum(axis=1)
        clicks = act[:, shopper.CLICK][:, None, None] * self._clicked(s, price_class)
        np.add.at(flat, base + on_promo, clicks.reshape(count, -1))
        return p

    def _clicked(self, s: Situations, price_class: Longs) -> Floats:
        """[Q, slots, items of a campaign] which item a click is on: campaigns in proportion to their response."""
        rate = self.shop.response[self.shop.active[s.epoch], price_class[:, None]]
        rate = rate / rate.sum(axis=1, keepdims=True)
        items = self.shop.campaign_items.shape[1]
        return np.repeat(rate[:, :, None] / items, items, axis=2)

    def _within_category(self, epoch: int, price_class: int) -> Floats:
        """[I] probability of each item, given that its category was chosen."""
        shop = self.shop
        result = np.zeros(shop.items)
        ranks = {int(size): choice.rank_probabilities(int(size)) for size in np.unique(shop.group_size) if size}
        for group in range(len(shop.group_size)):
            start, size = int(shop.group_start[group]), int(shop.group_size[group])
            if size:
                tier = choice.TIER_CHOICE[price_class, group % TIERS] / 256
                result[shop.order[epoch, start : start + size]] += tier * ranks[size]
        return result

    def _table(self, epoch: int, price_class: int) -> Floats:
        """[PER_CLASS, CELLS + 1] next kept step from every state of a price class: V = direct + skipped V."""
        if (epoch, price_class) not in self._steps:
            rate = float(self.shop.response[self.shop.active[epoch], price_class].mean())
            self._steps[epoch, price_class] = self._solve(rate, price_class * PER_CLASS)
        return self._steps[epoch, price_class]

    def _solve(self, rate: float, first: int) -> Floats:
        from scipy.sparse import csr_array

        w, kept = self._ways, np.array([name in self.kept for name in (*EVENT_TYPES, "exit")])
        mine = (w.state >= first) & (w.state < first + PER_CLASS)
        row, after, p = w.state[mine] - first, w.next_state[mine], w.probability[mine]
        action, cell = w.action[mine], w.intent[mine] * len(EVENT_TYPES) + w.action[mine]
        direct = np.zeros((PER_CLASS, CELLS + 1))
        leaves, counts = action == shopper.EXIT, kept[action]
        np.add.at(direct, (row[leaves], CELLS), p[leaves])
        np.add.at(direct, (row[counts], cell[counts]), p[counts])
        shown = ~counts & (action == shopper.IMPRESSION)
        passed = ~counts & ~leaves
        skips = [(row[passed], after[passed] - first, (p * np.where(shown, 1 - rate, 1.0))[passed])]
        if kept[shopper.CLICK]:
            click = w.intent[mine] * len(EVENT_TYPES) + shopper.CLICK
            np.add.at(direct, (row[shown], click[shown]), rate * p[shown])
        else:
            skips.append((row[shown], shopper.after_click(after[shown]) - first, rate * p[shown]))
        come, go, weight = (np.concatenate(part) for part in zip(*skips, strict=True))
        skipped = csr_array((weight, (come, go)), shape=(PER_CLASS, PER_CLASS))
        value, term = direct, direct
        while term.max() > 1e-17:  # the more steps are skipped, the less probable: the series ends soon
            term = skipped @ term
            value = value + term
        return np.asarray(value)

    def _click(self, table: Floats, price_class: int) -> Floats:
        """[PER_CLASS, CELLS + 1] next kept step once an impression is answered by a click."""
        rows = price_class * PER_CLASS + np.arange(PER_CLASS)
        if "click" not in self.kept:
            return np.asarray(table[shopper.after_click(rows) - rows[0]])
        result = np.zeros_like(table)
        result[np.arange(PER_CLASS), shopper.parts(rows)[1] * len(EVENT_TYPES) + shopper.CLICK] = 1.0
        return result
