"""The linear member: logistic regression of classes, a log-linear Tweedie regression of amounts."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from clickflow.models.estimators.graph import Graph
from clickflow.models.estimators.problem import Problem
from clickflow.models.estimators.scaling import Scaling, fit_scaling
from clickflow.sequences.features import Array


@dataclass(frozen=True)
class Linear:
    """Scores [N, S] = scaled features @ coefficients + intercepts."""

    scaling: Scaling
    coefficients: tuple[tuple[float, ...], ...]
    """[width of the scaling, S]."""
    intercepts: tuple[float, ...]

    def scores(self, x: Array) -> Array:
        """float64 [N, S]."""
        found: Array = self.scaling.apply(x) @ np.array(self.coefficients) + np.array(self.intercepts)
        return found

    def emit(self, graph: Graph, x: str) -> str:
        """The same, as nodes."""
        z = self.scaling.emit(graph, x)
        return graph.add("Gemm", z, graph.constant(self.coefficients), graph.constant(self.intercepts))

    def state(self) -> dict[str, Any]:
        """What `restored` needs, as JSON has it."""
        return {
            "plain": self.scaling.plain,
            "mean": self.scaling.mean,
            "std": self.scaling.std,
            "flagged": self.scaling.flagged,
            "coefficients": self.coefficients,
            "intercepts": self.intercepts,
        }

    @staticmethod
    def restored(state: dict[str, Any]) -> "Linear":
        """The reverse of `state`."""
        scaling = Scaling(*(tuple(state[name]) for name in ("plain", "mean", "std", "flagged")))
        rows = tuple(tuple(row) for row in state["coefficients"])
        return Linear(scaling, rows, tuple(state["intercepts"]))


def fit_linear(problem: Problem, params: dict[str, Any], seed: int) -> Linear:
    """Fitted on all rows of the problem; `l2` is the weight of the penalty, per row of training."""
    del seed  # the solution is unique
    scaling = fit_scaling(problem.x, problem.weights, problem.plain)
    z = scaling.apply(problem.x)
    fit = _amount if problem.answer == "amount" else _classes
    coefficients, intercepts = fit(z, problem, float(params["l2"]))
    return Linear(scaling, tuple(map(tuple, coefficients.tolist())), tuple(intercepts.tolist()))


def _classes(z: Array, problem: Problem, l2: float) -> tuple[Array, Array]:
    from sklearn.linear_model import LogisticRegression

    weights = problem.weights / problem.weights.mean()
    model = LogisticRegression(C=1 / (l2 * len(z)), max_iter=500, tol=1e-5)
    model.fit(z, problem.target.astype(np.int64), sample_weight=weights)
    if problem.classes == 2:
        return model.coef_.T, model.intercept_
    # a class that training does not have is as unlikely as one row in all of them
    coefficients = np.zeros((z.shape[1], problem.classes))
    intercepts = np.full(problem.classes, -np.log(len(z) + 1.0))
    present = np.asarray(model.classes_)
    if len(present) == 2:
        coefficients[:, present[1]], intercepts[present] = model.coef_[0], [0.0, model.intercept_[0]]
    else:
        coefficients[:, present], intercepts[present] = model.coef_.T, model.intercept_
    return coefficients, intercepts


def _amount(z: Array, problem: Problem, l2: float) -> tuple[Array, Array]:
    from sklearn.linear_model import TweedieRegressor

    scale = float(np.average(problem.target, weights=problem.weights)) or 1.0
    model = TweedieRegressor(power=1.5, link="log", alpha=l2, max_iter=500, tol=1e-5)
    model.fit(z, problem.target / scale, sample_weight=problem.weights)
    return model.coef_[:, None], np.array([model.intercept_ + np.log(scale)])
