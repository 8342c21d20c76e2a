"""The interface of a kind of answer in training: targets, loss, initial weights, metrics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from clickflow.heads.head import NOTHING, Head
from clickflow.params.models import HeadParams

if TYPE_CHECKING:
    from clickflow.models.sizes import Sizes
    from clickflow.sequences.store import PackedSplit

Ints = NDArray[np.int64]
Targets = tuple[Ints, ...]
"""Of a batch, see `Batch.targets`."""
ToDevice = Callable[[NDArray[np.generic]], Tensor]
"""An array as a tensor on the device."""


CHUNK = 1 << 22
"""Positions whose answers are looked up together."""


@dataclass(frozen=True)
class Lesson:
    """What a teacher answers at each step of a batch: shares [B, T, k], 0 where it is not asked, of its answers
    `answers` [B, T, k]; `weight` of it beside what the log says, `temperature` see `training.distillation`.
    """

    answers: Ints
    shares: NDArray[np.float32]
    weight: float
    temperature: float


class Questions(Protocol):
    """What a batch asks of a head, on the device."""

    @property
    def of(self) -> int:
        """How many questions the whole batch asks at the steps themselves."""

    @property
    def any(self) -> bool:
        """Whether the whole batch asks anything, of later steps too."""

    @property
    def sizes(self) -> list[int]:
        """How many item vectors each part of the loss needs."""

    def part(self, places: Sequence[Tensor], rank: int, size: int, shape: torch.Size) -> tuple[Any, list[Tensor]]:
        """Those of the sequences `rank`, `rank` + `size`, … of a batch of that shape, and their vectors' places."""


@dataclass(frozen=True)
class Seen:
    """What the loss of a head may read of a batch, B sequences of T steps: the raw `inputs`, the vectors of their items
    `read_items`, `states` and `readouts` [B, T, D], these also `flat` [B * T, D]; `before` what the sessions before say
    (`training.associations`); `scores` the type of large products.
    """

    inputs: Mapping[str, Tensor]
    read_items: Tensor
    states: Tensor
    readouts: Tensor
    flat: Tensor
    before: tuple[Tensor, Tensor] | None
    scores: torch.dtype | None


@dataclass(frozen=True)
class Part:
    """What a head adds to the loss: `terms` to be added up, and its mean negative log-likelihood (None: not asked)."""

    terms: list[Tensor]
    mean: Tensor | None


class Measured(Protocol):
    """How well questions were answered; `losses` [n] of each, in nats."""

    @property
    def losses(self) -> NDArray[np.float64]:
        """Of each question, [n]."""

    def figures(self) -> dict[str, float]:
        """What is said of them beside the mean loss."""


def picked(places: Tensor, flat: Tensor) -> Tensor:
    """Some rows of [n, D], or all of them as they are."""
    return flat if len(places) == len(flat) else functional.embedding(places, flat)


class Objective:
    """One head in training."""

    def __init__(self, head: Head, params: HeadParams, sizes: "Sizes", first_row: int = 0) -> None:
        """`first_row`: where in the embedding the vectors begin by which the head answers, if it does."""
        self.head, self.params, self.sizes, self.first_row = head, params, sizes, first_row

    def learn_from(self, training: "PackedSplit") -> None:
        """Take from the training part what the loss needs to know of it."""

    def begin(self, module: Any, training: "PackedSplit") -> None:
        """Set the first weights of the head."""

    def targets(self, split: "PackedSplit", at: Ints, end: Ints, positions: NDArray[np.bool_]) -> tuple[Targets, int]:
        """The targets of a batch, see `Batch`, and how many answers the model cannot give."""
        if split.asks == "every":
            return (np.where(positions, self.head.targets(split, at, end, self.sizes), NOTHING),), 0
        own = self.head.targets(split, at[positions], end[positions], self.sizes)
        targets = np.full(at.shape, NOTHING, own.dtype)  # at few steps of many
        targets[positions] = own
        return (targets,), 0

    def prepare(
        self,
        batch_items: Ints,
        targets: Targets,
        random: np.random.Generator,
        to: ToDevice,
        lesson: Lesson | None = None,
    ) -> tuple[Questions, list[Ints]]:
        """What a batch asks, and the rows of the embedding that each of `Questions.sizes` needs; `lesson`: what a
        teacher says of it.
        """
        raise NotImplementedError

    def loss(self, module: Any, questions: Any, vectors: Sequence[Tensor], seen: Seen) -> Part:
        """What is minimised; `vectors`: as `prepare` asked for."""
        raise NotImplementedError

    def measure(self, answers: Tensor, target: Ints) -> dict[str, NDArray[Any]]:
        """Of answers [n, answers] to the questions with those targets [n]: arrays [n] by name."""
        raise NotImplementedError

    def measured(self, answers: Mapping[str, NDArray[Any]], unknown: int) -> Measured:
        """All that was measured."""
        raise NotImplementedError
