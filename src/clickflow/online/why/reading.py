"""Many histories asked at once: of each answer what is explained, and on which side it lies; a table by kind."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from clickflow.heads.head import Kind
from clickflow.heads.outputs import Output
from clickflow.online.cut import Alike
from clickflow.online.history import Question
from clickflow.online.served import Served
from clickflow.online.table import SMALL
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.serving.forms import AMOUNTS
from clickflow.system.errors import UsageError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
CELLS = 1 << 23
"""Numbers of answers that are held at a time."""
TOGETHER = 32
"""Histories that are asked of the best items at a time."""
THREADS, APART = 2, 12
"""Threads that ask of the best items, where there are so many cores, and histories that are worth one of their own."""
LOOKED_AT = 16
"""Of the best items so many, from which those are taken that are likely to come."""
LEAST, QUICK = 1e-9, 5e-4
"""Log-probabilities below which an effect is none: where all items are scored in float32, and where what all of them
weigh together is known to 1e-4 or so (`online.table`).
"""
HALF = 0.5
"""The threshold of a probability of which no costs say another: likelier than not."""
BELOW, ABOVE = 0, 1
SIDES = ("below", "above")


@dataclass(frozen=True)
class Form:
    """How the answers [N, A] of a kind are read."""

    unit: Literal["log_probability", "amount"]
    side: Callable[[npt.NDArray[Any], float], Ints]
    """What the answer is, [N]: the likeliest item or class, or `BELOW` or `ABOVE` a threshold."""
    target: int | None
    """What is explained where nothing is said; None: the side."""

    @property
    def sides(self) -> bool:
        """Whether there are two sides of a threshold, and not one of many answers."""
        return self.target is not None

    def shown(self, value: float) -> float:
        """A probability, or the amount."""
        return float(np.exp(value)) if self.unit == "log_probability" else float(value)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1), "explaining")


def _highest(answers: npt.NDArray[Any], first: int) -> Ints:
    return np.asarray(answers[:, first:].argmax(axis=1) + first, np.int64)


FORMS: Mapping[Kind, Form] = {
    "ranking": Form("log_probability", lambda answers, _: _highest(answers, FIRST_ITEM), None),
    "classes": Form("log_probability", lambda answers, _: _highest(answers, 0), None),
    "probability": Form("log_probability", lambda answers, at: (np.exp(answers[:, 1]) > at).astype(np.int64), 1),
    "amount": Form("amount", lambda answers, at: (answers[:, 0] > at).astype(np.int64), 0),
}
"""By kind of answer."""


@dataclass(frozen=True)
class Outcomes:
    """Of N histories: `value` [N] of the target, NaN where there is no answer; `other` [N]: whether the answer is
    another than that to the history as it is; `side` [N]: which.
    """

    value: Floats
    other: npt.NDArray[np.bool_]
    side: Ints

    def __getitem__(self, part: slice | Sequence[int]) -> "Outcomes":
        return Outcomes(self.value[part], self.other[part], self.side[part])


class Asker:
    """One output of a version, asked about variations of one history."""

    def __init__(
        self,
        served: Served,
        output: Output,
        question: Question,
        target: int | None,
        threshold: float | None,
        ahead: Sequence[Question] = (),
    ) -> None:
        """`target`: an item index or a class; None: the likeliest, or yes. `ahead`: variations that are asked about in
        any case, which costs less together with the history itself; `self.ahead` has their answers. Raises UsageError
        where there is no such target.
        """
        if output.kind not in FORMS:
            raise UsageError(
                f"{output.name} answers of kind {output.kind}, which is not explained; {', '.join(FORMS)} are",
                kept="nothing was run",
            )
        self.served, self.output, self.form, self.question = served, output, FORMS[output.kind], question
        self.threshold = np.nan if threshold is None else threshold
        self.tried = 1
        self.quick = output.kind == "ranking" and len(served.items) >= SMALL and served.quick([output.name])
        """Whether the answers are asked of the best items alone; then they are known to `QUICK`."""
        self.width = served.width(output)
        least = FIRST_ITEM if output.kind == "ranking" else 0
        if target is not None and not least <= target < self.width:
            raise UsageError(f"{output.name} has no answer {target}", kept="nothing was run")
        if self.quick:
            parts = self._parts([question, *ahead], [] if target is None else [target])
            self.side = int(parts[0].sides[0])
        else:
            answers = served.answers([question])[output.name]
            self.side = int(self.form.side(answers, self.threshold)[0])
        own = self.side if self.form.target is None else self.form.target
        self.target = own if target is None else target
        if self.quick:
            every = self._outcomes([self._of(part) for part in parts])
            self.value = float(every.value[0])
            self.ahead = every[1:]
        else:
            self.answers: npt.NDArray[Any] = answers[0]
            self.value = float(answers[0, self.target])
            self.ahead = self._outcomes(self._dense(ahead))
        """The answers to them."""

    @property
    def least(self) -> float:
        """An effect below is none."""
        return QUICK if self.quick else LEAST

    def __call__(self, questions: Sequence[Question]) -> Outcomes:
        """All of them, so many at a time that `CELLS` numbers are held."""
        self.tried += len(questions)
        if not self.quick:
            return self._outcomes(self._dense(questions))
        return self._outcomes([self._of(part) for part in self._parts(questions, [self.target])])

    def _outcomes(self, parts: Sequence[tuple[Floats, Ints]]) -> Outcomes:
        value = np.concatenate([np.zeros(0, np.float64), *(own for own, _ in parts)])
        side = np.concatenate([np.zeros(0, np.int64), *(own for _, own in parts)])
        return Outcomes(value, self._other(side) & ~np.isnan(value), side)

    def _dense(self, questions: Sequence[Question]) -> list[tuple[Floats, Ints]]:
        size = max(1, CELLS // self.width)
        blocks = [questions[at : at + size] for at in range(0, len(questions), size)]
        return [self.read(self.served.answers(block)[self.output.name]) for block in blocks]

    def _parts(self, questions: Sequence[Question], also: Sequence[int]) -> list["_Part"]:
        """Some of them each, in threads."""
        size = min(TOGETHER, max(APART, -(-len(questions) // THREADS)))
        blocks = [questions[at : at + size] for at in range(0, len(questions), size)]
        ask = partial(_Part.of, self.served, self.output.name, also)
        return list(_threads().map(ask, blocks)) if len(blocks) > 1 else [*map(ask, blocks)]

    def _of(self, part: "_Part") -> tuple[Floats, Ints]:
        """As `read`, NaN where nothing of a history is read."""
        if part.there and self.target not in part.alike.items:  # nobody named it
            part = _Part.of(self.served, self.output.name, [self.target], part.questions)
        value = np.full(len(part.questions), np.nan)
        if part.there:
            value[part.there] = part.alike.logs[:, np.searchsorted(part.alike.items, self.target)]
        return value, part.sides

    def read(self, answers: npt.NDArray[Any]) -> tuple[Floats, Ints]:
        """The value of the target and the side, of answers [N, A]."""
        return answers[:, self.target].astype(np.float64), self.form.side(answers, self.threshold)

    def _other(self, side: Ints) -> npt.NDArray[np.bool_]:
        """Whether the target comes first and did not, or the reverse; or the answer is on the other side."""
        return np.asarray((side == self._meant) != self.holds)

    @property
    def _meant(self) -> int:
        return ABOVE if self.form.sides else self.target

    @property
    def holds(self) -> bool:
        """Whether the answer is the target, or lies above the threshold."""
        return self.side == self._meant

    def says(self, side: int) -> str:
        """An answer in words: an item, a class, `above` or `below`."""
        if self.form.sides:
            return SIDES[side]
        return self.named(side)

    def named(self, place: int) -> str:
        """An item, or a class."""
        if self.output.kind == "ranking":
            return self.served.items.ids[place]
        if self.form.unit == "amount":
            return AMOUNTS[place]
        return self.served.artefact.heads[self.output.head.name].classes[place]

    def name(self, item: str | None) -> str | None:
        """What an item is called, where the vocabulary says it."""
        index = self.served.items.index_of.get(item or "")
        return None if index is None else self.served.items.about(index)["name"]

    def likeliest(self, k: int) -> list[int]:
        """Of a ranking, the first items that are not the target."""
        if self.quick:
            _, best = self.served.best([self.question], {self.output.name: [LOOKED_AT]}, [np.zeros(0, np.int64)])
            (ranked,) = best[self.output.name]
            return [item for item in ranked.items.tolist() if item != self.target][:k]
        logs = self.answers.copy()
        logs[[*range(FIRST_ITEM), self.target]] = -np.inf
        best_of_all = np.argpartition(-logs, min(k, len(logs) - 1))[:k]
        ordered: list[int] = best_of_all[np.argsort(-logs[best_of_all], kind="stable")].tolist()
        return ordered


@dataclass(frozen=True)
class _Part:
    """Some variations of one history, and the items that are likely after any of them."""

    questions: Sequence[Question]
    there: list[int]
    """Places of those of which the model reads something."""
    alike: Alike
    sides: Ints
    """The likeliest item of each, 0 where nothing is read."""

    @classmethod
    def of(cls, served: Served, output: str, also: Sequence[int], questions: Sequence[Question]) -> "_Part":
        """Those that `served` gives, and `also` these."""
        there = [place for place, question in enumerate(questions) if not served.empty(question)]
        sides = np.zeros(len(questions), np.int64)
        if not there:
            return cls(questions, there, Alike(sides[:0], np.zeros((0, 0), np.float32)), sides)
        alike = served.alike([questions[place] for place in there], output, also)
        sides[there] = alike.items[alike.logs.argmax(axis=1)]
        return cls(questions, there, alike, sides)
