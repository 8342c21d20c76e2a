"""Batches of equal length from a packed store, without a Python step per event.

A sequence longer than the model reads is cut into windows; each of its questions is asked in exactly one of them, and
a later window sees up to half its length of what came before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clickflow.heads.head import NOTHING
from clickflow.models.hand_made import NAME
from clickflow.sequences.features import FEATURES

if TYPE_CHECKING:
    from clickflow.sequences.store import PackedSplit
    from clickflow.training.answers.objective import Objective
    from clickflow.training.hand_made import Reader

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Windows:
    """Stretches of a split that are read as one sequence each, [W].

    `start`: index of the first event; `length`: steps read; `first`: the first step whose question is asked here;
    `end`: index after the last event of the sequence that the window is part of, or after those that hold its answer.
    """

    start: Ints
    length: Ints
    first: Ints
    end: Ints
    sequence: Ints | None = None
    """Of what is asked once a sequence, as of its cut-off: which sequence of the split each is."""

    def __len__(self) -> int:
        return len(self.start)

    def take(self, chosen: Any) -> "Windows":
        """Those of the windows."""
        sequence = None if self.sequence is None else self.sequence[chosen]
        return Windows(self.start[chosen], self.length[chosen], self.first[chosen], self.end[chosen], sequence)


@dataclass(frozen=True)
class Batch:
    """Inputs [B, T], right-padded with 0, and by head the targets at each step, NOTHING where nothing is asked: those
    of the step itself, and of a head with a horizon those of the steps 1, 2 … later.

    `unknown`: by head, how many answers the model cannot give; nothing is asked there.
    """

    inputs: dict[str, NDArray[Any]]
    targets: dict[str, tuple[Ints, ...]]
    unknown: dict[str, int]

    @property
    def question_mask(self) -> NDArray[np.bool_]:
        """Whether a head asks something at a step, [B, T]."""
        positions = np.zeros(self.inputs["item"].shape, bool)
        for targets, *_ in self.targets.values():
            positions |= targets != NOTHING
        return positions

    @property
    def tokens(self) -> int:
        """Steps with a question."""
        return int(np.count_nonzero(self.question_mask))


def windows(offsets: Ints, max_length: int, *, to_the_end: bool, overlap: int | None = None) -> Windows:
    """Cut the sequences between `offsets` into windows of at most `max_length` steps.

    `to_the_end`: the last event is read too (what follows is an exit); otherwise it is only a target, and a sequence
    of one event gives no window. `overlap`: how many steps a later window reads again, half of `max_length` if not
    given; with `max_length - 1` every question sees as many steps as the model can read.
    """
    begin, end = np.asarray(offsets[:-1], np.int64), np.asarray(offsets[1:], np.int64)
    steps = end - begin - (0 if to_the_end else 1)
    begin, end, steps = begin[steps > 0], end[steps > 0], steps[steps > 0]
    stride = max_length - (max_length // 2 if overlap is None else overlap)
    more = -(-np.maximum(steps - max_length, 0) // stride)
    of = np.repeat(np.arange(len(steps)), more + 1)
    nth = np.arange(len(of)) - np.repeat(np.cumsum(more + 1) - (more + 1), more + 1)
    skipped = nth * stride
    length = np.minimum(max_length, steps[of] - skipped)
    first = np.where(nth == 0, 0, max_length - stride)
    return Windows(begin[of] + skipped, length, first, end[of])


def of_split(split: "PackedSplit", max_length: int, *, at_end: bool) -> Windows:
    """The windows of a split: of every step, also the last where a head asks `at_end`; or, as its unit asks, one a
    sequence, of its last steps, asked at the last alone.
    """
    if split.asks == "every":
        return windows(split.offsets, max_length, to_the_end=at_end)
    event, begin, until = split.questions()
    length = np.minimum(event + 1 - begin, max_length)
    sequence = None if split.cut_off is None else np.arange(len(event))
    return Windows(event + 1 - length, length, length - 1, until, sequence)


def plan(lengths: Ints, batch_tokens: int, draw: np.random.Generator) -> list[Ints]:
    """Indexes of windows, batch by batch, in random order: equal lengths together, at most `batch_tokens` steps with
    padding (or one window).
    """
    order = draw.permutation(len(lengths))
    order = order[np.argsort(lengths[order], kind="stable")]
    ascending = lengths[order]
    cuts = [0]
    while cuts[-1] < len(order):
        at = cuts[-1]
        # the longest window decides: look at where the shortest would let the batch end, then at what stands there
        stop = min(len(order), at + max(1, batch_tokens // int(ascending[at])))
        while stop - at > 1 and (stop - at) * int(ascending[stop - 1]) > batch_tokens:
            stop = at + max(1, batch_tokens // int(ascending[stop - 1]))
        cuts.append(stop)
    batches = [order[a:b] for a, b in pairwise(cuts)]
    return [batches[i] for i in draw.permutation(len(batches))]


def gather(
    split: "PackedSplit",
    window: Windows,
    inputs: tuple[str, ...],
    objectives: "Mapping[str, Objective]",
    known: int,
    hand_made: "Reader | None" = None,
) -> Batch:
    """The batch of those windows.

    `inputs`: the columns to read; item indexes from `known` on become 1; a number that is missing becomes 0.
    `hand_made`: who reads the hand-made features, where these are an input.
    """
    longest = int(window.length.max())
    step = np.arange(longest)
    real = step < window.length[:, None]
    at = window.start[:, None] + np.where(real, step, 0)
    read: dict[str, NDArray[Any]] = {}
    for name in inputs:
        column: NDArray[Any] = np.asarray(getattr(split, name)[at]).astype(FEATURES[name].tensor)
        if name == "item":
            column[column >= known] = 1
        if FEATURES[name].optional:
            column = np.nan_to_num(column, nan=0.0)
        column[~real] = 0
        read[name] = column
    if hand_made is not None and window.sequence is not None:
        values = hand_made.as_of(split, window.sequence)
        read[NAME] = np.zeros((*at.shape, values.shape[1]), np.float32)
        read[NAME][np.arange(len(at)), window.length - 1] = values
    elif hand_made is not None:
        values = hand_made.read(split, at[real])
        read[NAME] = np.zeros((*at.shape, values.shape[1]), np.float32)
        read[NAME][real] = values
    positions = real & (step >= window.first[:, None])
    end = np.broadcast_to(window.end[:, None], at.shape)
    targets = {name: objective.targets(split, at, end, positions) for name, objective in objectives.items()}
    return Batch(
        read, {name: each for name, (each, _) in targets.items()}, {name: n for name, (_, n) in targets.items()}
    )


def random(seed: int, *place: int) -> np.random.Generator:
    """The random state of a place in training (an epoch, a step): a function of it alone, so that nothing needs to be
    kept to go on from there.
    """
    return np.random.default_rng([seed, *place])
