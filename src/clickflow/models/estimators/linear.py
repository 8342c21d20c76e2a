"""Linear members: logistic regression of classes, log-linear Tweedie regression of amounts, ridge regression of their
logs, and a column as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clickflow.models.estimators.graph import Graph
from clickflow.models.estimators.problem import Folds, Problem
from clickflow.models.estimators.scaling import Scaling, fit_scaling
from clickflow.sequences.features import Array


@dataclass(frozen=True)
class Linear:
    """Scores [N, S] = scaled features @ coefficients + intercepts."""

    columns: tuple[int, ...]
    """Those of x that it reads."""
    scaling: Scaling
    coefficients: tuple[tuple[float, ...], ...]
    """[width of the scaling, S]."""
    intercepts: tuple[float, ...]

    def scores(self, x: Array) -> Array:
        """float64 [N, S]."""
        z = self.scaling.apply(x[:, list(self.columns)])
        scores: Array = z @ np.array(self.coefficients) + np.array(self.intercepts)
        return scores

    def emit(self, graph: Graph, x: str) -> str:
        """The same, as nodes."""
        z = self.scaling.emit(graph, graph.columns(x, list(self.columns)))
        return graph.add("Gemm", z, graph.constant(self.coefficients), graph.constant(self.intercepts))

    def state(self) -> dict[str, Any]:
        """What `restored` needs, as JSON has it."""
        return {
            "columns": self.columns,
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
        return Linear(tuple(state["columns"]), scaling, rows, tuple(state["intercepts"]))


def fit_linear(
    problem: Problem,
    l2: float,
    folds: Folds,
    columns: Sequence[int] | None = None,
    learned: Array | None = None,
) -> tuple[Linear, Array]:
    """Fitted on all rows, and the scores [N, S] of rows by fits that did not see them.

    `columns`: of x (none given: all). `l2`: the weight of the penalty, per row of training. `learned` [N] says which
    rows are fitted to; all have scores.
    """
    read = tuple(range(problem.x.shape[1]) if columns is None else columns)
    learned = np.ones(len(problem), bool) if learned is None else learned
    scores = np.full((len(problem), problem.width), np.nan)
    for fitted, held in folds:
        scores[held] = _fitted(problem.part(fitted[learned[fitted]]), read, l2).scores(problem.x[held])
    return _fitted(problem.part(np.flatnonzero(learned)), read, l2), scores


def _fitted(problem: Problem, columns: tuple[int, ...], l2: float) -> Linear:
    problem = problem.columns(columns)
    scaling = fit_scaling(problem.x, problem.weights, problem.plain)
    z = scaling.apply(problem.x)
    coefficients, intercepts = FITS.get(problem.answer, _classes)(z, problem, l2)
    return Linear(columns, scaling, tuple(map(tuple, coefficients.tolist())), tuple(intercepts.tolist()))


@dataclass(frozen=True)
class Column:
    """One column of x as the score, times a sign; 0 where it is missing."""

    column: int
    sign: float

    def scores(self, x: Array) -> Array:
        """float64 [N, 1]."""
        scores: Array = self.sign * np.nan_to_num(x[:, [self.column]].astype(np.float64))
        return scores

    def emit(self, graph: Graph, x: str) -> str:
        """The same, as nodes."""
        value = graph.columns(x, [self.column])
        there = graph.add("Where", graph.add("IsNaN", value), graph.constant(0.0), value)
        return graph.add("Mul", there, graph.constant(self.sign))

    def state(self) -> dict[str, Any]:
        """What `restored` needs, as JSON has it."""
        return {"column": self.column, "sign": self.sign}

    @staticmethod
    def restored(state: dict[str, Any]) -> "Column":
        """The reverse of `state`."""
        return Column(**state)


def fit_column(problem: Problem, column: int) -> tuple[Column, Array]:
    """The column, with the sign that its rank has towards that of the target, which one huge amount does not turn; a
    sign is no fit, so all rows are scored by it.
    """
    from scipy.stats import rankdata

    there = ~np.isnan(problem.x[:, column])
    value, target = rankdata(problem.x[there, column]), rankdata(problem.target[there])
    sign = -1.0 if float(np.mean((value - value.mean()) * (target - target.mean()))) < 0 else 1.0
    column_scorer = Column(column, sign)
    return column_scorer, column_scorer.scores(problem.x)


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


def _log(z: Array, problem: Problem, l2: float) -> tuple[Array, Array]:
    w = problem.weights / problem.weights.sum()
    middle, mean = w @ z, float(w @ problem.target)
    away = z - middle
    square = (away * w[:, None]).T @ away + l2 * np.eye(z.shape[1])
    coefficients: Array = np.linalg.solve(square, (away * w[:, None]).T @ (problem.target - mean))
    return coefficients[:, None], np.array([mean - middle @ coefficients])


FITS = {"amount": _amount, "log": _log}
"""By kind of answer, where it is no class: coefficients [width, 1] and an intercept."""
