"""A member of two parts: whether there is an amount at all, and the log of how much it is then.

A few large orders are most of what is spent, and chance: a mean of logs does not follow them, as that of money does.
With a deviation that all share (Wang, Liu and Miao 2019, "A Deep Probabilistic Model for Customer Lifetime Value
Prediction", have one each) it is the log of the expected amount less a constant, which the blend's bias adds.
"""

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from clickflow.models.estimators.graph import Graph
from clickflow.models.estimators.linear import Linear
from clickflow.models.estimators.problem import Folds, Problem
from clickflow.models.estimators.trees import Trees
from clickflow.sequences.features import Array

Part = Linear | Trees


class Fit(Protocol):
    """Fits a part to the rows that `learned` [N] says; scores [N, 1] of all rows by fits that did not see them."""

    def __call__(self, problem: Problem, *, learned: Array | None) -> tuple[Part, Array]:
        """The part, and the scores."""
        ...


@dataclass(frozen=True)
class Hurdle:
    """Scores [N, 1]: the log of the probability that there is an amount at all, plus the mean log of its size then."""

    whether: Part
    size: Part

    def scores(self, x: Array) -> Array:
        """float64 [N, 1]."""
        scores: Array = self.size.scores(x) - np.logaddexp(0.0, -self.whether.scores(x))
        return scores

    def emit(self, graph: Graph, x: str) -> str:
        """The same, as nodes."""
        unlikely = graph.add("Softplus", graph.add("Neg", self.whether.emit(graph, x)))
        return graph.add("Sub", self.size.emit(graph, x), unlikely)

    def state(self) -> dict[str, Any]:
        """What `restored` needs, as JSON has it."""
        return {"whether": self.whether.state(), "size": self.size.state()}

    @staticmethod
    def restored(state: dict[str, Any]) -> "Hurdle":
        """The reverse of `state`."""
        return Hurdle(_part(state["whether"]), _part(state["size"]))


def _part(state: dict[str, Any]) -> Part:
    return Trees.restored(state) if "texts" in state else Linear.restored(state)


def fit_hurdle(problem: Problem, whether: Fit, size: Fit) -> tuple[Hurdle, Array]:
    """Both parts of an amount, and scores [N, 1] by parts that did not see the row; `has_hurdle` says whether the rows
    allow it.
    """
    some = problem.target > 0
    either = replace(problem, target=some.astype(np.float64), answer="probability", classes=2)
    logs = replace(problem, target=np.log(np.where(some, problem.target, 1.0)), answer="log")
    likely, odds = whether(either, learned=None)
    large, sizes = size(logs, learned=some)
    return Hurdle(likely, large), sizes - np.logaddexp(0.0, -odds)


def has_hurdle(problem: Problem, folds: Folds) -> bool:
    """Whether each fold has amounts of 0 and above it, both to fit on and to ask."""
    some = problem.target > 0
    return all(some[rows].any() and not some[rows].all() for fold in folds for rows in fold)
