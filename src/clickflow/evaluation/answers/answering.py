"""What the module of a kind of answer provides.

`answers` are those of one system, one row a question, in the form of the kind: ranks [n], or log-probabilities
[n, classes]. In the gate they are what the rows of the evidence hold of them.
"""

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from clickflow.evaluation.bootstrap import Interval, Resampling
from clickflow.heads.outputs import Output
from clickflow.params.evaluation import Evaluation

Array = npt.NDArray[Any]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The answers of all systems to one output's questions, a row each [n]."""

    output: Output
    at: Array
    """[n] indexes of `HeldOut.questions`."""
    target: Array
    """[n] the true answers."""
    systems: dict[str, Any]
    """By system its answers [n, …], in the form of their kind."""
    known: npt.NDArray[np.bool_]
    """[n] whether the candidate can give the true answer: a ranking has only the items that it knows."""
    step: Array | None = None
    """[n] how many steps ahead, of a list for several."""
    classes: tuple[str, ...] = ()
    """Of classes: their names, by code."""
    seen: Array | None = None
    """[n] how many steps of the sequence were there when it was asked."""
    lead: Array | None = None
    """[n] of a head with such: how many steps later yes comes, NOTHING where it does not."""
    ranked: Mapping[str, int] = field(default_factory=dict)
    """Of a ranking with several right answers to a question: by system, how many it ranks."""
    labels: Mapping[str, Array] = field(default_factory=dict)
    """By dimension, the slice of each row [n], of dimensions that only its kind has."""


class Answering(Protocol):
    """A kind of answer."""

    @property
    def COUNTED(self) -> str:
        """What a row is called where rows are counted."""

    @property
    def SHOWN(self) -> tuple[str, ...]:
        """The metrics of slices and of a first look; a cutoff stands behind those that have one."""

    def next_step(self, answers: Array) -> Array:
        """Of answers, or true answers, about several next steps, those about the next one."""

    def summary(
        self, answered: Answers, customer: Array, settings: Evaluation, how: Resampling
    ) -> dict[str, dict[str, Interval]]:
        """{system: {metric: {value, low, high}}}."""

    def details(self, answered: Answers, system: str) -> Mapping[str, Any]:
        """What else is told of one system, by its key in metrics.json."""

    def shown(self, settings: Evaluation) -> list[str]:
        """`SHOWN` with the largest cutoff."""

    def values(self, metric: str, answers: Any, target: Array) -> Values:
        """What each row adds to a metric that is a mean over rows, [n]."""

    def known(self, target: Array, known: int) -> npt.NDArray[np.bool_]:
        """Whether a model that knows items below `known` can give each true answer."""

    def answered(self, answers: Any) -> npt.NDArray[np.bool_]:
        """The rows at which a system has an answer, as the evidence has it."""

    def written(self, system: str, answers: Array, target: Array) -> dict[str, Any]:
        """What the evidence holds of a system, by column."""

    def unanswered(self, system: str, rows: int) -> dict[str, Any]:
        """The same of a system that was not asked; nothing where the file then has no columns of it."""

    def columns(self, system: str) -> list[str]:
        """The columns that the evidence must hold of a system."""

    def read(self, table: Any) -> tuple[dict[str, Any], dict[str, int]]:
        """From the evidence: by system what it answers, and how many rows it left without an answer."""

    def measured(
        self, answers: Any, target: Array, known: Array, metrics: Sequence[str]
    ) -> tuple[dict[str, float], Mapping[str, float]]:
        """Metrics as the rows give them, and by metric how much more they may be off than by rounding."""


def known(target: Array, _: int) -> npt.NDArray[np.bool_]:
    """`Answering.known` of a kind whose every answer the candidate can give."""
    return np.ones(len(target), np.bool_)


def answered(answers: Sized) -> npt.NDArray[np.bool_]:
    """`Answering.answered` where every row has an answer."""
    return np.ones(len(answers), np.bool_)


def next_step(answers: Array) -> Array:
    """`Answering.next_step` of a kind that is asked about one step alone."""
    return answers


def unanswered(_: str, __: int) -> dict[str, Any]:
    """`Answering.unanswered` of a kind whose file has no columns of who was not asked."""
    return {}
