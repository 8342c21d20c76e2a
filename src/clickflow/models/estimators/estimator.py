"""A fitted estimator: members, how their scores are blended, and the answer that is made of it.

An estimator asks numpy and LightGBM; `onnx` writes the same as one ONNX model. It is kept as one JSON file.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from clickflow.models.estimators import further as furthers
from clickflow.models.estimators import lifetime as lifetimes
from clickflow.models.estimators.further import Further
from clickflow.models.estimators.graph import INPUT, Graph
from clickflow.models.estimators.hurdle import Hurdle
from clickflow.models.estimators.lifetime import Lifetime
from clickflow.models.estimators.linear import Column, Linear
from clickflow.models.estimators.trees import Trees
from clickflow.sequences.features import Array
from clickflow.system.errors import DataError, UsageError

FILE = "estimator.json"
LEVELS = (0.1, 0.5, 0.9)
"""Quantiles of an amount that are answered."""
CURVES = (0.1, 0.5, 0.8, 0.9)
"""Quantiles of which an estimator keeps curves; of these `ANSWERED` are its answer."""
ANSWERED = [CURVES.index(level) for level in LEVELS]


class Member(Protocol):
    """One model of a blend."""

    def scores(self, x: Array) -> Array:
        """float64 [N, S]: see `Problem.width`."""
        ...

    def emit(self, graph: Graph, x: str) -> str:
        """The same, as nodes."""
        ...

    def state(self) -> dict[str, Any]:
        """As JSON has it; `restored` is the reverse."""
        ...


RESTORED: Mapping[str, Any] = {
    "linear": Linear.restored,
    "column": Column.restored,
    "trees": Trees.restored,
    "hurdle": Hurdle.restored,
}
"""By name, how a member comes back from its state."""


@dataclass(frozen=True)
class Curves:
    """Quantiles of an amount by the log of its expected value: straight lines between knots, level at both ends."""

    knots: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]
    """[CURVES, knots], rising from level to level."""

    def at(self, log_mean: Array) -> Array:
        """[N] to [N, CURVES]."""
        return np.stack([np.interp(log_mean, self.knots, values) for values in self.values], axis=1)

    def emit(self, graph: Graph, log_mean: str) -> str:
        """[N, 1] to [N, LEVELS], as nodes: a sum of hinges."""
        knots, values = np.array(self.knots), np.array(self.values)[ANSWERED]
        share = [
            graph.add(
                "Clip",
                graph.add("Div", graph.add("Sub", log_mean, graph.constant(left)), graph.constant(right - left)),
                graph.constant(0.0),
                graph.constant(1.0),
            )
            for left, right in pairwise(knots.tolist())
        ]
        rises = graph.constant(np.diff(values, axis=1).T)
        return graph.add("Gemm", graph.side_by_side(share), rises, graph.constant(values[:, 0]))


@dataclass(frozen=True)
class Estimator:
    """Reads `features` columns; answers as `answer` says (docs/decisions/0012-kinds-of-answer.md)."""

    kind: str
    """`logistic`, `boosting` or `blend`."""
    answer: str
    features: int
    classes: int
    members: Mapping[str, Member]
    weights: tuple[float, ...]
    """Of the members, in their order."""
    bias: float
    curves: Curves | None = None
    lifetime: Lifetime | None = None
    reads: tuple[int, ...] = ()
    """Where `lifetime.READS` stand among the features."""
    further: Further | None = None
    """Of probabilities that were learned within a shorter horizon than is asked about."""
    nearer: "Estimator | None" = None
    """Of the same question, from answers of a shorter horizon: what is answered is the mean of both, of their scores
    and of their quantiles.
    """
    rows: int = 0
    """Questions that it was fitted to."""
    other_days: bool | None = None
    """Whether its members were weighed on other days than they were fitted to; None where they are not weighed, or
    nothing says when each question was asked.
    """

    @property
    def answers(self) -> int:
        """Columns of the answer."""
        return 1 + len(LEVELS) if self.answer == "amount" else self.classes

    def extended(self, x: Array) -> Array:
        """The features and the columns that are added to them, float32."""
        x = np.ascontiguousarray(x, np.float32)
        if x.ndim != 2 or x.shape[1] != self.features:
            raise DataError(f"the estimator reads [N, {self.features}] features, and was given {list(x.shape)}")
        return x if self.lifetime is None else extended(x, self.lifetime, self.reads)

    def score(self, x: Array) -> Array:
        """The blended scores, float64 [N, S]."""
        total: Array = np.mean([each._own_score(x) for each in self._both], axis=0)
        return total

    @property
    def _both(self) -> "tuple[Estimator, ...]":
        """The estimators whose mean is answered: this one, and one of a shorter horizon where there is one."""
        return (self,) if self.nearer is None else (self, self.nearer)

    def _own_score(self, x: Array) -> Array:
        x = self.extended(x)
        parts = [w * member.scores(x) for w, member in zip(self.weights, self.members.values(), strict=True)]
        if self.further and self.lifetime:
            parts.append(self.further.scores(self.lifetime, x[:, self.reads].astype(np.float64)))
        total: Array = np.sum(parts, axis=0) + self.bias
        return total

    def _amounts(self, x: Array) -> tuple[Array, Array]:
        """Expected amounts [N, 1] and their quantiles [N, CURVES]."""
        scores = [each._own_score(x) for each in self._both]
        curves = [each.curves.at(score[:, 0]) for each, score in zip(self._both, scores, strict=True) if each.curves]
        return np.exp(np.mean(scores, axis=0)), np.mean(curves, axis=0)

    def predict(self, x: Array) -> Array:
        """float32 [N, F] to float32 [N, answers]: log-probabilities of the classes, of two (no, yes); or an expected
        amount and its quantiles `LEVELS`.
        """
        answers: Array = self._answers(x).astype(np.float32)
        return answers

    def _answers(self, x: Array) -> Array:
        if self.answer == "amount":
            expected, quantiles = self._amounts(x)
            return np.hstack([expected, quantiles[:, ANSWERED]])
        score = self.score(x)
        if self.classes == 2:
            both: Array = -np.logaddexp(0.0, np.hstack([score, -score]))
            return both
        top = score - score.max(axis=1, keepdims=True)
        log_p: Array = top - np.log(np.exp(top).sum(axis=1, keepdims=True))
        return log_p

    def interval(self, x: Array) -> Array:
        """Bounds [N, 2] that hold four of five amounts: quantiles .1 and .9; where the lower of them is 0, as of those
        who likely spend nothing, 0 and quantile .8, as nothing lies below. UsageError where the answer is no amount.
        """
        if self.curves is None:
            raise UsageError(f"an estimator of {self.answer} has no interval; one of amounts has")
        low, _, inner, high = self._amounts(x)[1].T
        return np.stack([low, np.where(low > 0, high, inner)], axis=1)

    def onnx(self) -> bytes:
        """The same as an ONNX model: `features` [N, F] float32, NaN allowed, to `answers` [N, answers] float32."""
        graph = Graph()
        scores = [each._emitted_score(graph) for each in self._both]
        return graph.model(self._emitted(graph, scores), features=self.features, answers=self.answers)

    def _emitted_score(self, graph: Graph) -> str:
        x = INPUT
        if self.lifetime is not None:
            x = graph.side_by_side([x, self.lifetime.emit(graph, x, self.reads)])
        parts = [
            graph.add("Mul", member.emit(graph, x), graph.constant(weight))
            for weight, member in zip(self.weights, self.members.values(), strict=True)
        ]
        if self.further and self.lifetime:
            parts.append(self.further.emit(graph, INPUT, self.lifetime, self.reads))
        return graph.add("Add", graph.total(parts), graph.constant(self.bias))

    def _emitted(self, graph: Graph, scores: list[str]) -> str:
        score = graph.mean(scores)
        if self.answer == "amount":
            curves = [each.curves.emit(graph, own) for each, own in zip(self._both, scores, strict=True) if each.curves]
            return graph.side_by_side([graph.add("Exp", score), graph.mean(curves)])
        if self.classes == 2:
            both = graph.side_by_side([score, graph.add("Neg", score)])
            return graph.add("Neg", graph.add("Softplus", both))
        return graph.add("LogSoftmax", score, axis=1)

    def save(self, folder: Path) -> None:
        """Write estimator.json."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text(json.dumps(self._state(), indent=1, sort_keys=True) + "\n", encoding="utf-8")

    def _state(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "answer": self.answer,
            "features": self.features,
            "classes": self.classes,
            "members": [[name, _name(member), member.state()] for name, member in self.members.items()],
            "weights": self.weights,
            "bias": self.bias,
            "curves": None if self.curves is None else [self.curves.knots, self.curves.values],
            "lifetime": lifetimes.state(self.lifetime),
            "reads": self.reads,
            "further": furthers.state(self.further),
            "nearer": self.nearer._state() if self.nearer else None,
            "rows": self.rows,
            "other_days": self.other_days,
        }


def _name(member: Member) -> str:
    return type(member).__name__.lower()


def extended(x: Array, lifetime: Lifetime, reads: tuple[int, ...]) -> Array:
    """The columns of `lifetime` beside x."""
    added = lifetime.columns(*(x[:, index].astype(np.float64) for index in reads))
    return np.hstack([x, added.astype(np.float32)])


def load(folder: Path) -> Estimator:
    """The estimator that `save` wrote into a folder. Raises DataError where there is none."""
    path = folder / FILE
    try:
        return _restored(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not an estimator: {error!r}", next_step="train the model again") from error


def _restored(raw: Mapping[str, Any]) -> Estimator:
    curves = raw["curves"]
    return Estimator(
        kind=raw["kind"],
        answer=raw["answer"],
        features=raw["features"],
        classes=raw["classes"],
        members={name: RESTORED[kind](state) for name, kind, state in raw["members"]},
        weights=tuple(raw["weights"]),
        bias=raw["bias"],
        curves=None if curves is None else Curves(tuple(curves[0]), tuple(map(tuple, curves[1]))),
        lifetime=None if raw["lifetime"] is None else Lifetime(*raw["lifetime"]),
        reads=tuple(raw["reads"]),
        further=None if raw.get("further") is None else Further(*raw["further"]),
        nearer=None if raw.get("nearer") is None else _restored(raw["nearer"]),
        rows=raw.get("rows", 0),
        other_days=raw.get("other_days"),
    )
