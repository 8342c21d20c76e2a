"""How surprising each step of a sequence is to a sequence model, and how surprising the model expected it to be.

A head that answers what the next step is gives it a probability before it is seen; minus its logarithm is the
*surprise* of the step, in nats. The same distribution says how large the surprise is on average, and how much it
varies. What is rare by nature, such as a purchase, was expected to be so: only what goes beyond it is odd. When a step
comes is no question of a head: the time since the step before is held against those of the training part, for the same
two actions.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.artefact import asking
from clickflow.artefact.artefact import Artefact
from clickflow.artefact.windows import Questions, Translation, blocks, questions
from clickflow.heads import HEADS
from clickflow.heads.head import NOTHING, Head
from clickflow.sequences.indexes import UNKNOWN
from clickflow.system.console import Advance

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
BLOCK_BYTES = 1 << 24
"""Bytes of one block of scores (questions x items)."""
BLOCK = 1024
LEAST = float(np.log(1e-12))
PACE = "pace"
"""What the times between steps are called."""
PACE_LEAST, PACE_SPREAD = 50, 0.25
"""Pairs of actions with fewer gaps are held against all gaps; and the least standard deviation of a log gap."""


@dataclass(frozen=True)
class Channel:
    """One question about every step; arrays over the questions, which are those of `Surprise`."""

    surprise: Floats
    """[Q] -ln p of what came, NaN where nothing was asked or the model does not know what came"""
    mean: Floats
    """[Q] of the surprise, as the model expects it"""
    variance: Floats
    """[Q]"""
    classes: tuple[str, ...] = ()
    probability: npt.NDArray[np.float32] | None = None
    """[Q, classes] of a head of classes"""
    came: Ints | None = None
    """[Q] the class that came"""


@dataclass(frozen=True)
class Surprise:
    """Of some sequences of a split: after each step what was thought of the next, the end of the sequence included."""

    questions: Questions
    channels: Mapping[str, Channel]
    """By the name of the head."""


def heads(artefact: Artefact) -> list[Head]:
    """Those of an artefact that say what the next step is."""
    return [
        head
        for name in artefact.heads
        if (head := HEADS[name]).kind == "classes" or (head.kind == "ranking" and head.next_step)
    ]


def of(artefact: Artefact, split: Any, store: Any, translation: Translation, chosen: Ints, tick: Advance) -> Surprise:
    """The surprise of the sequences `chosen` (indexes) of a split; `store` is the card of its store.

    Memory: a block of scores, and a few numbers a step.
    """
    chosen_questions = questions(split.offsets, chosen, artefact.max_length)
    own = heads(artefact)
    collected = {head.name: _Answers.of(head, artefact, split, store, translation, chosen_questions) for head in own}
    for rows in blocks(chosen_questions, max(1, min(BLOCK, BLOCK_BYTES // (4 * artefact.known)))):
        answers = asking.answers(artefact, split, chosen_questions, rows, translation)
        for head in own:
            collected[head.name].take(rows, answers[head.name])
        tick(len(rows))
    return Surprise(chosen_questions, {name: answers.channel() for name, answers in collected.items()})


@dataclass(frozen=True)
class _Answers:
    """Where the answers of a head go."""

    came: Ints
    """[Q] the code that came, in the artefact's own; -1: nothing is judged"""
    sums: Floats
    """[3, Q] surprise, mean, variance"""
    classes: tuple[str, ...]
    probability: npt.NDArray[np.float32] | None

    @staticmethod
    def of(
        head: Head, artefact: Artefact, split: Any, store: Any, translation: Translation, questions: Questions
    ) -> "_Answers":
        target, classes = (
            head.targets(split, questions.event, questions.until, store),
            artefact.heads[head.name].classes,
        )
        if head.kind == "ranking":
            came = np.where(target == NOTHING, -1, translation.item[np.maximum(target, 0)])
            came = np.where(came > UNKNOWN, came, -1)
        else:
            place = {name: code for code, name in enumerate(classes)}
            codes = np.array([place.get(name, -1) for name in head.names(store)], np.int64)
            came = np.where(target == NOTHING, -1, codes[np.maximum(target, 0)])
        table = np.zeros((len(questions), len(classes)), np.float32) if classes else None
        return _Answers(came.astype(np.int64), np.full((3, len(questions)), np.nan), classes, table)

    def take(self, rows: Ints, logs: npt.NDArray[np.float32]) -> None:
        """Answers [N, A] to some questions."""
        logs = np.maximum(logs, LEAST)
        p = np.exp(logs)
        first = np.einsum("na,na->n", p, logs, dtype=np.float64)
        second = np.einsum("na,na,na->n", p, logs, logs, dtype=np.float64)
        own = -logs[np.arange(len(rows)), np.maximum(self.came[rows], 0)]
        self.sums[:, rows] = np.where(self.came[rows] >= 0, np.stack([own, -first, second - first**2]), np.nan)
        if self.probability is not None:
            self.probability[rows] = p

    def channel(self) -> Channel:
        """What was collected."""
        came = self.came if self.classes else None
        return Channel(self.sums[0], self.sums[1], self.sums[2], self.classes, self.probability, came)


@dataclass(frozen=True)
class Pace:
    """How long it takes from one action to the next, as log1p of the seconds: mean and deviation by the two actions."""

    mean: Floats
    """[actions, actions]"""
    deviation: Floats

    def gaps(self, split: Any, questions: Questions) -> tuple[Floats, Floats, Floats]:
        """[Q] the log gap after each step (NaN after the last), its usual value and deviation."""
        after = np.minimum(questions.event + 1, len(split.item) - 1)
        pair = np.asarray(split.action[questions.event]), np.asarray(split.action[after])
        log = np.log1p(np.asarray(split.gap[after], np.float64))
        return np.where(questions.has_next, log, np.nan), self.mean[pair], self.deviation[pair]


def pace(split: Any, actions: int) -> Pace:
    """From the training part: median and 1.4826 times the median distance from it, which few odd visits do not move."""
    offsets = np.asarray(split.offsets)
    inner = np.ones(len(split.item), bool)
    inner[offsets[:-1][offsets[:-1] < len(inner)]] = False
    at = np.flatnonzero(inner)
    pair = np.asarray(split.action[at - 1], np.int64) * actions + np.asarray(split.action[at], np.int64)
    log = np.log1p(np.asarray(split.gap[at], np.float64))
    overall = _robust(log)
    table = np.array([overall] * actions**2)
    for code, own in _groups(pair, log):
        if len(own) >= PACE_LEAST:
            table[code] = _robust(own)
    return Pace(table[:, 0].reshape(actions, actions), table[:, 1].reshape(actions, actions))


def _groups(key: Ints, values: Floats) -> Iterator[tuple[int, Floats]]:
    order = np.argsort(key, kind="stable")
    codes, begin = np.unique(key[order], return_index=True)
    yield from zip(codes.tolist(), np.split(values[order], begin[1:]), strict=True)


def _robust(values: Floats) -> tuple[float, float]:
    if not len(values):
        return 0.0, 1.0
    middle = float(np.median(values))
    return middle, max(PACE_SPREAD, 1.4826 * float(np.median(np.abs(values - middle))))
