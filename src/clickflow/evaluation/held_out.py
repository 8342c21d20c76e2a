"""The held-out sequences, the questions of a head about them, and the true answers."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.artefact.windows import Questions, of_split
from clickflow.baselines import BASELINES, positions
from clickflow.baselines.history import ClassScores, History, history
from clickflow.baselines.positions import Positions
from clickflow.evaluation import customers, slices
from clickflow.evaluation.groups import Groups
from clickflow.evaluation.groups import of as of_items
from clickflow.forecasting import forecaster
from clickflow.heads.head import NOTHING, Head
from clickflow.sequences.store import Card, PackedSplit

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Question:
    """What one head asks about held-out sequences, n times, and the true answers."""

    head: Head
    at: Ints
    """[n] indexes of `HeldOut.questions`."""
    target: Ints
    """[n] in the store's items or in the classes; of a ranking [n, horizon], NOTHING where the sequence has ended, or
    [n, most] where a question has several right answers.
    """
    classes: tuple[str, ...] = ()
    """Of classes: their names, by code."""
    lead: Ints | None = None
    """[n] of a head with such: how many steps later yes comes."""
    step: Ints | None = None
    """[n] of a forecast, a row for each step ahead: which."""
    ahead: int = 1
    """Rows of one question, one after the other."""
    scale: npt.NDArray[np.float64] | None = None
    """[n] of a forecast: what MASE divides errors by."""
    groups: Groups | None = None
    """Of a question with several right answers, the same of the items' categories; None: there are none."""
    labels: Mapping[str, npt.NDArray[np.str_]] = field(default_factory=dict)
    """As in `answers.answering.Answers`."""

    @property
    def begins(self) -> Ints:
        """The first row of each question."""
        return np.arange(0, len(self), self.ahead)

    def __len__(self) -> int:
        return len(self.at)


@dataclass(frozen=True)
class HeldOut:
    """Sequences that no system was fitted on."""

    folder: Path
    card: Card
    split: PackedSplit
    questions: Questions
    """All positions, cut to the candidate's `max_length`."""
    customer: customers.Codes
    """Of each sequence of the split, who it came from."""
    group: npt.NDArray[np.str_] | None = None
    """Of each sequence of the split, what its customer is at it (`customers.GROUPS`); None: nobody asked."""

    apart: Mapping[str, npt.NDArray[np.str_]] = field(default_factory=dict)
    """By column, the same of what the log says of people (`customers.attributes`)."""

    def question(self, head: Head, horizon: int = 1) -> Question:
        """What `head` asks; of a ranking the answers of so many next steps."""
        questions, targets = self.questions, head.targets
        end = questions.until
        target = targets(self.split, questions.event, end, self.card)
        if head.kind == "forecast":
            return self._ahead(head, target)
        at = np.flatnonzero(target != NOTHING)
        if head.all_targets is not None:
            items = head.all_targets(self.split, questions.event[at], end[at], self.card)
            return Question(head, at, items, groups=of_items(self.folder, items))
        classes = head.names(self.card)
        if head.kind != "ranking":
            event = questions.event[at]
            lead = head.lead(self.split, event, end[at], self.card) if head.lead else None
            return Question(head, at, target[at], classes, lead)
        event, last = questions.event[at][:, None] + np.arange(horizon), end[at][:, None]
        there = event < last
        later = targets(self.split, np.where(there, event, last - 1), np.broadcast_to(last, event.shape), self.card)
        return Question(head, at, np.where(there, later, NOTHING))

    def _ahead(self, head: Head, target: npt.NDArray[Any]) -> Question:
        """A row for each step ahead of each question, of `target` [questions, steps]."""
        number, ahead = target.shape
        step = self.card.own_settings.get("step", "day")
        scale, group = forecaster.facts(self.split, self.questions.sequence, head.column, step)
        pace = np.array(slices.PACES)[np.repeat(group, ahead)]
        return Question(
            head,
            np.repeat(np.arange(number), ahead),
            target.ravel(),
            step=np.tile(np.arange(1, ahead + 1), number),
            ahead=max(ahead, 1),
            scale=np.repeat(scale, ahead),
            labels={"pace": pace},
        )

    def answer_time(self, at: Ints, step: Ints | int = 1) -> Ints:
        """[n] when the answer so many steps ahead was there, at most the end of the sequence; of what is asked as of a
        cut-off, the end of its horizon.
        """
        if self.split.cut_off is not None:
            return self.questions.now(self.split)[at] + self.split.horizon
        times: Ints = np.asarray(self.split.time)[np.minimum(self.questions.event[at] + step, self._last(at))]
        return times

    def tied(self, at: Ints, step: Ints | int = 1) -> npt.NDArray[np.bool_]:
        """[n] whether the answer so many steps ahead has the time of the step before it."""
        if self.split.cut_off is not None:
            return np.zeros(len(at), np.bool_)
        time, answer, last = np.asarray(self.split.time), self.questions.event[at] + step, self._last(at)
        ties: npt.NDArray[np.bool_] = (answer <= last) & (time[np.minimum(answer, last)] == time[answer - 1])
        return ties

    def _last(self, at: Ints) -> Ints:
        """[n] the last step of the sequence, as an index into the flat columns."""
        return self.questions.event[at] - self.questions.position[at] + self.questions.length[at] - 1


@dataclass(frozen=True)
class Training:
    """The training part of the store, as baselines learn from it."""

    split: Any
    card: Card
    max_length: int
    _positions: dict[str, Positions] = field(default_factory=dict)
    _fitted: dict[tuple[str, str], tuple[Any, bool]] = field(default_factory=dict)

    @cached_property
    def history(self) -> History:
        """For baselines that rank, in the candidate's vocabulary, which is the store's."""
        return history(self.split, known=self.card.known)

    def positions(self, head: Head) -> Positions:
        """For baselines of classes, with the answers of `head`."""
        if head.name not in self._positions:
            self._positions[head.name] = positions.training(self.split, head, self.card, self.max_length)
        return self._positions[head.name]

    def fitted(self, head: Head, name: str) -> tuple[ClassScores, bool]:
        """A baseline of classes, fitted to `positions` once, and whether its fit converged."""
        if (head.name, name) not in self._fitted:
            with warnings.catch_warnings(record=True) as raised:
                warnings.simplefilter("always")
                scores = BASELINES[head.kind][name](self.positions(head))
            converged = not any(each.category.__name__ == "ConvergenceWarning" for each in raised)
            self._fitted[head.name, name] = scores, converged
        return self._fitted[head.name, name]


def latest(
    folder: Path,
    card: Card,
    split: PackedSplit,
    max_sequences: int,
    max_length: int,
    customer: customers.Codes | None = None,
) -> HeldOut:
    """The latest `max_sequences` sequences of `split`."""
    chosen = np.arange(max(0, split.n_sequences - max_sequences), split.n_sequences)
    return about(folder, card, split, chosen, max_length, customer)


def about(
    folder: Path,
    card: Card,
    split: PackedSplit,
    chosen: Ints,
    max_length: int,
    customer: customers.Codes | None = None,
) -> HeldOut:
    """The `chosen` sequences of `split`. `customer`: of each sequence of the split; none given: each is its own."""
    if customer is None:
        customer = customers.themselves(split.n_sequences)
    return HeldOut(folder, card, split, of_split(split, chosen, max_length), customer)
