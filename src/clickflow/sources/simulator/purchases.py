"""How probable a purchase in the rest of a visit is, under the true process and given all that is hidden. Exact.

From a hidden state the probability h that a purchase is still to come obeys h = d + M h: d is the probability that the
next action is a purchase, M the probabilities of all other ways on; an impression is clicked, or not, as the running
campaigns are answered. The series d + M d + M M d + ... ends soon, as visits do.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clickflow.sources.simulator import oracle, shopper
from clickflow.sources.simulator.crowd import SHOPPER
from clickflow.sources.simulator.oracle import PER_CLASS
from clickflow.sources.simulator.shop import PRICE_CLASSES, Shop

Floats = NDArray[np.float64]


@dataclass
class Purchases:
    """Of one shop."""

    shop: Shop
    _tables: dict[tuple[float, int], Floats] = field(default_factory=dict)
    _ways: shopper.Ways = field(default_factory=shopper.ways)

    def to_come(self, s: oracle.Situations) -> Floats:
        """[Q] probability that a purchase follows these moments in the same visit."""
        price_class = shopper.parts(s.state)[0]
        result = np.empty(len(s.state))
        for epoch, k in {(int(e), int(c)) for e, c in zip(s.epoch, price_class, strict=True)}:
            here = (s.epoch == epoch) & (price_class == k)
            table = self._table(epoch, k)
            result[here] = table[s.state[here] - k * PER_CLASS]
            shown = here & (s.impression >= 0)
            rate = self.shop.response[s.impression[shown], k]
            clicked = table[shopper.after_click(s.state[shown]) - k * PER_CLASS]
            result[shown] = rate * clicked + (1 - rate) * result[shown]
        return result

    def of_visit(self, epoch: int, price_class: int, kind: int = SHOPPER) -> float:
        """Probability that a visit of this kind of visitor holds a purchase."""
        w, table, rate = self._ways, self._table(epoch, price_class), self._rate(epoch, price_class)
        starts = w.state == shopper.ROWS + kind * PRICE_CLASSES + price_class
        after, shown = w.next_state[starts], w.action[starts] == shopper.IMPRESSION
        first = table[after - price_class * PER_CLASS]
        clicked = table[shopper.after_click(after) - price_class * PER_CLASS]
        return float((w.probability[starts] * np.where(shown, rate * clicked + (1 - rate) * first, first)).sum())

    def _rate(self, epoch: int, price_class: int) -> float:
        return float(self.shop.response[self.shop.active[epoch], price_class].mean())

    def _table(self, epoch: int, price_class: int) -> Floats:
        """[PER_CLASS] a purchase still to come, from every state of a price class."""
        key = (self._rate(epoch, price_class), price_class)
        if key not in self._tables:
            self._tables[key] = self._solve(*key)
        return self._tables[key]

    def _solve(self, rate: float, price_class: int) -> Floats:
        from scipy.sparse import csr_array

        w, first = self._ways, price_class * PER_CLASS
        mine = (w.state >= first) & (w.state < first + PER_CLASS)
        row, after, p, action = w.state[mine] - first, w.next_state[mine], w.probability[mine], w.action[mine]
        bought, shown = action == shopper.PURCHASE, action == shopper.IMPRESSION
        goes_on = ~bought & (action != shopper.EXIT)
        come = np.concatenate((row[goes_on], row[shown]))
        go = np.concatenate((after[goes_on], shopper.after_click(after[shown]))) - first
        weight = np.concatenate(((p * np.where(shown, 1 - rate, 1.0))[goes_on], rate * p[shown]))
        on = csr_array((weight, (come, go)), shape=(PER_CLASS, PER_CLASS))
        value = term = np.bincount(row[bought], p[bought], PER_CLASS)
        while term.max() > 1e-17:
            term = on @ term
            value = value + term
        return np.asarray(value)
