"""Many histories asked at once: of each answer what is explained, and on which side it lies; a table by kind."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from clickflow.heads.head import Kind
from clickflow.heads.outputs import Output
from clickflow.online.cut import Ranked
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
"""Items that are among the best, at least."""
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
class Asked:
    """Of N histories: `value` [N] of the target, NaN where there is no answer; `other` [N]: whether the answer is
    another than that to the history as it is; `side` [N]: which.
    """

    value: Floats
    other: npt.NDArray[np.bool_]
    side: Ints


class Asker:
    """One output of a version, asked about variations of one history."""

    def __init__(
        self, served: Served, output: Output, question: Question, target: int | None, threshold: float | None
    ) -> None:
        """`target`: an item index or a class; None: the likeliest, or yes. Raises UsageError where there is no such."""
        if output.kind not in FORMS:
            raise UsageError(
                f"{output.name} answers of kind {output.kind}, which is not explained; {', '.join(FORMS)} are",
                kept="nothing was run",
            )
        self.served, self.output, self.form, self.question = served, output, FORMS[output.kind], question
        self.threshold = np.nan if threshold is None else threshold
        self.asked = 1
        self.quick = output.kind == "ranking" and len(served.items) >= SMALL and served.quick([output.name])
        """Whether the answers are asked of the best items alone; then they are known to `QUICK`."""
        if self.quick:
            (ranked,) = self._best([question], [] if target is None else [target], LOOKED_AT)
            answers = np.full((1, served.width(output)), -np.inf, np.float32)
            answers[0, ranked.items] = ranked.logs
        else:
            answers = served.answers([question])[output.name]
        self.side = int(self.form.side(answers, self.threshold)[0])
        own = self.side if self.form.target is None else self.form.target
        self.target = own if target is None else target
        least = FIRST_ITEM if output.kind == "ranking" else 0
        if not least <= self.target < answers.shape[1]:
            raise UsageError(f"{output.name} has no answer {self.target}", kept="nothing was run")
        self.answers: npt.NDArray[Any] = answers[0]
        self.value = float(answers[0, self.target])

    @property
    def least(self) -> float:
        """An effect below is none."""
        return QUICK if self.quick else LEAST

    def __call__(self, questions: Sequence[Question]) -> Asked:
        """All of them, so many at a time that `CELLS` numbers are held."""
        self.asked += len(questions)
        size = max(1, CELLS // len(self.answers))
        if self.quick:
            size = min(TOGETHER, max(APART, -(-len(questions) // THREADS)))
        blocks = [questions[at : at + size] for at in range(0, len(questions), size)]
        if self.quick:
            found = list(_threads().map(self._quick, blocks)) if len(blocks) > 1 else [*map(self._quick, blocks)]
        else:
            found = [self.read(self.served.answers(block)[self.output.name]) for block in blocks]
        value, side = (
            np.concatenate([np.zeros(0, kind), *parts])
            for kind, parts in zip((np.float64, np.int64), zip(*found, strict=True) if found else ((), ()), strict=True)
        )
        return Asked(value, self._other(side) & ~np.isnan(value), side)

    def _quick(self, questions: Sequence[Question]) -> tuple[Floats, Ints]:
        """As `read`, NaN where nothing of a history is read."""
        value, side = np.full(len(questions), np.nan), np.zeros(len(questions), np.int64)
        there = [place for place, question in enumerate(questions) if not self.served.empty(question)]
        for place, ranked in zip(
            there, self._best([questions[place] for place in there], [self.target], 1), strict=True
        ):
            side[place] = ranked.items[0]
            value[place] = ranked.logs[ranked.items == self.target][0]
        return value, side

    def _best(self, questions: Sequence[Question], also: Sequence[int], most: int) -> list[Ranked]:
        if not questions:
            return []
        name, count = self.output.name, len(questions)
        _, best = self.served.best(questions, {name: [most] * count}, [np.array(also, np.int64)] * count)
        return best[name]

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
        logs = self.answers.copy()
        logs[[*range(FIRST_ITEM), self.target]] = -np.inf
        best = np.argpartition(-logs, min(k, len(logs) - 1))[:k]
        ordered: list[int] = best[np.argsort(-logs[best], kind="stable")].tolist()
        return ordered
