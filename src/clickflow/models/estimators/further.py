"""Answers about a longer horizon than those that were learned from: moved there as BG/NBD's own answers move.

Where a log is hardly longer than twice the horizon, the answers of whole horizons are those of its first days. Answers
of shorter ones are there of many more cut-offs, and of later ones.
"""

from dataclasses import astuple, dataclass, replace

import numpy as np

from clickflow.models.estimators.graph import Graph
from clickflow.models.estimators.lifetime import COLUMNS, Lifetime
from clickflow.models.estimators.linear import fit_column
from clickflow.models.estimators.problem import Problem
from clickflow.sequences.features import Array

BUYS = COLUMNS.index("bgnbd_buys")


@dataclass(frozen=True)
class Further:
    """From the log-odds of a yes within the horizon of `lifetime` to those within `days`."""

    days: float
    sign: float
    """1 where a yes is a purchase, -1 where it is none."""

    def scores(self, lifetime: Lifetime, history: Array) -> Array:
        """What is added to the score of histories [N, 4]: float64 [N, 1]; 0 where there was no purchase."""
        later, now = (each.columns(*history.T)[:, [BUYS]] for each in (self._later(lifetime), lifetime))
        added: Array = self.sign * np.nan_to_num(later - now)
        return added

    def emit(self, graph: Graph, x: str, lifetime: Lifetime, reads: tuple[int, ...]) -> str:
        """The same, as nodes."""
        later, now = (graph.columns(each.emit(graph, x, reads), [BUYS]) for each in (self._later(lifetime), lifetime))
        added = graph.add("Mul", graph.add("Sub", later, now), graph.constant(self.sign))
        return graph.add("Where", graph.add("IsNaN", added), graph.constant(0.0), added)

    def _later(self, lifetime: Lifetime) -> Lifetime:
        return replace(lifetime, horizon=self.days)


def fit_further(problem: Problem, column: int, days: float) -> Further:
    """Its sign as that of the column of log-odds of a purchase in a problem of yes and no."""
    return Further(days, fit_column(problem, column)[0].sign)


@dataclass(frozen=True)
class Growth:
    """What amounts of N rows become within a longer horizon."""

    more: float
    """Times what is to be expected of all."""
    comes: Array
    """[N]: the share of those who spent nothing within the shorter horizon that buy within the longer one."""

    def later(self, rows: Array, problem: Problem) -> tuple[Array, Array]:
        """Amounts and weights of some rows of like expected amount: of those who spent nothing so many come to spend
        what others do, and the mean is `more` times as large.
        """
        target, weights = problem.target[rows], problem.weights[rows]
        nothing = target == 0
        some, joining = float(weights[~nothing].sum()), float((weights * self.comes[rows])[nothing].sum())
        if not some:
            return target, weights
        share = (some + joining) / some
        return target * self.more / share, weights * np.where(nothing, 1 - self.comes[rows], share)


def fit_growth(lifetime: Lifetime, history: Array, weights: Array, days: float) -> Growth:
    """By BG/NBD, over histories [N, 4] with weights [N]; those without a purchase stay as they are."""
    there = ~np.isnan(history[:, 2])
    horizons = replace(lifetime, horizon=days), lifetime
    counts = [float(weights[there] @ each.purchases(*history[there, :3].T)) for each in horizons]
    later, now = (1 / (1 + np.exp(-each.columns(*history.T)[:, BUYS])) for each in horizons)
    return Growth(counts[0] / max(counts[1], 1e-12), np.nan_to_num((later - now) / (1 - now)))


def state(further: Further | None) -> list[float] | None:
    """As JSON has it."""
    return None if further is None else list(astuple(further))
