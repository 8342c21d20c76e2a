"""What acting on answers is worth under the cost table of params: a threshold that follows from it, and the money.

Acting on a row is worth `fixed + slope * answer`, the answer being 1 for yes and 0 for no, or an amount. So one acts
where `fixed + slope * expected` is above 0, the expected answer being the probability of yes, or the expected amount:
the decision of least expected cost (Elkan 2001). Of a sequence that is asked more than once the first such row counts:
one acts on a visit, or a customer, once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.evaluation import bootstrap
from clickflow.evaluation.answers import amount, probability
from clickflow.evaluation.answers.answering import Answers
from clickflow.evaluation.bootstrap import Resampling, Values
from clickflow.evaluation.systems import BEST, CANDIDATE, CHAMPION, EVERYBODY, ORACLE
from clickflow.heads.head import Kind
from clickflow.params.evaluation import Costs

PER = 1000
"""Sequences that money is reported for."""
Ints = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Payoff:
    """What acting on a row is worth beside not acting, in money: `fixed + slope * answer`."""

    fixed: float
    slope: float

    def acts(self, expected: Values) -> npt.NDArray[np.bool_]:
        """Whether acting is expected to pay, [n]."""
        return self.fixed + self.slope * expected > 0

    @property
    def threshold(self) -> float | None:
        """The expected answer at which acting is worth nothing; None where the answer does not matter."""
        return -self.fixed / self.slope if self.slope else None


def payoff(costs: Costs, kind: Kind) -> Payoff:
    """Of kind probability: one acts on those who say `act_on`, and wins `value` less the coupon where it works; the
    others take the coupon for nothing, `redeemed` of them. Of kind amount, `value` is the gain a unit of money.
    """
    contact, coupon = costs.contact, costs.coupon
    if kind == "amount":
        return Payoff(-contact - costs.response * coupon, costs.response * costs.value)
    meant, others = costs.response * (costs.value - coupon) - contact, -costs.redeemed * coupon - contact
    yes, no = (meant, others) if costs.act_on == "yes" else (others, meant)
    return Payoff(no, yes - no)


def _probability(answers: Any, target: Values) -> Values:
    return probability.recorded(answers, target.astype(np.int64)).probability


def _amount(answers: Any, _: Values) -> Values:
    return amount.recorded(answers)[:, 0]


EXPECTED: Mapping[Kind, Any] = {"probability": _probability, "amount": _amount}
"""By kind of answer, the expected one of each row [n]."""


def best_baseline(answers: Answers, sequence: Ints, costs: Costs) -> str | None:
    """Which baseline brings the most; None where there is none. `sequence` [n]: of rows."""
    pays, target = payoff(costs, answers.output.kind), answers.target.astype(np.float64)
    worth, money = pays.fixed + pays.slope * target, {}
    for system, own in answers.systems.items():
        if system not in (CANDIDATE, CHAMPION, BEST, ORACLE):
            money[system] = worth[_first(pays.acts(EXPECTED[answers.output.kind](own, target)), sequence)].sum()
    return max(money, key=lambda system: (money[system], system), default=None)


def of(
    answers: Answers, sequence: Ints, customer: Ints, costs: Costs, how: Resampling, best: str | None = None
) -> dict[str, Any]:
    """The money of every system for `PER` sequences, with intervals by customer; `sequence`, `customer` [n]: of rows.

    Beside them `everybody`, whom one acts on at their first row; nobody is worth 0. `best` is the baseline that did
    best before these rows were looked at; none given: the best of them on these rows.
    """
    chosen = "test" if best is None else "valid"
    best = best or best_baseline(answers, sequence, costs)
    pays, target = payoff(costs, answers.output.kind), answers.target.astype(np.float64)
    worth = pays.fixed + pays.slope * target
    acting = {
        system: pays.acts(EXPECTED[answers.output.kind](own, target)) for system, own in answers.systems.items()
    } | {EVERYBODY: np.ones(len(target), np.bool_)}
    firsts = {system: _first(acts, sequence) for system, acts in acting.items()}
    owner = np.unique(customer, return_inverse=True)[1]
    questions = _summed(owner, firsts[EVERYBODY], np.ones(len(target)))
    money = {system: _summed(owner, rows, worth) for system, rows in firsts.items()}
    acted = {system: len(rows) for system, rows in firsts.items()}
    named = {"threshold": pays.threshold, "fixed": pays.fixed, "slope": pays.slope}
    columns = dict(money)
    if best is not None:
        columns["gain"] = money[CANDIDATE] - money[best]
    summaries = bootstrap.summaries(
        list(columns),
        np.column_stack([*columns.values(), questions]),
        lambda totals: PER * totals[:, :-1] / np.maximum(totals[:, -1:], 1),
        resamples=how.resamples,
        confidence=how.confidence,
        seed=how.seed,
    )
    gain = summaries.pop("gain", None)
    sequences = acted[EVERYBODY]
    systems = {name: {**each, "acted": round(acted[name] / max(sequences, 1), 6)} for name, each in summaries.items()}
    return {
        **{name: None if number is None else round(number, 6) for name, number in named.items()},
        "act_on": _where(pays),
        "per": PER,
        "sequences": sequences,
        "systems": systems,
        "best_baseline": best,
        "best_baseline_on": chosen if best else None,
        "over_best_baseline": gain,
    }


def _where(pays: Payoff) -> str:
    """Which answers one acts on, those above or below the threshold."""
    if pays.slope:
        return "above" if pays.slope > 0 else "below"
    return "all" if pays.fixed > 0 else "none"


def _first(acts: npt.NDArray[np.bool_], sequence: Ints) -> npt.NDArray[np.int64]:
    """The first row of each sequence at which one acts; rows stand in the order of time."""
    rows = np.flatnonzero(acts)
    first: npt.NDArray[np.int64] = rows[np.unique(sequence[rows], return_index=True)[1]]
    return first


def _summed(owner: Ints, rows: npt.NDArray[np.int64], worth: Values) -> Values:
    """The worth of some rows by customer, [customers]."""
    return np.bincount(owner[rows], worth[rows], int(owner.max(initial=-1)) + 1).astype(np.float64)
