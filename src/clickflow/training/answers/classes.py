"""A head of kind classes in training: cross-entropy, from a start at what followed the last action."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from clickflow.heads.head import NOTHING
from clickflow.models.answers.classes import QUICK, Classes
from clickflow.system.errors import DataError
from clickflow.training.answers.objective import CHUNK, Ints, Lesson, Objective, Part, Seen, Targets, ToDevice, picked

if TYPE_CHECKING:
    from clickflow.sequences.store import PackedSplit
    from clickflow.training.hand_made import Reader

REGRESSED, ROUNDS, PENALTY = 50_000, 60, 3e-3
"""Of the regression that a head with hand-made features begins as: rows, rounds, and weight of squares a row."""


@dataclass(frozen=True)
class TeacherShares:
    """What a teacher says: `shares` [B, T, C] of the classes; see `objective.Lesson`."""

    shares: Tensor
    weight: float
    temperature: float

    def loss(self, logits: Tensor, places: Tensor) -> Tensor:
        """Its cross-entropy with `logits` [n, C] of the steps `places`, times the square of the temperature, summed."""
        shares, heat = self.shares.flatten(0, 1)[places], self.temperature
        return -(shares * (logits / heat).log_softmax(-1)).sum() * heat * heat


@dataclass(frozen=True)
class Labels:
    """`target` [B * T]: as in the batch; `of`: how many the whole batch asks; `taught`: what a teacher says of it."""

    target: Tensor
    of: int
    taught: TeacherShares | None = None

    @property
    def any(self) -> bool:
        """As `Questions.any`."""
        return self.of > 0

    @property
    def sizes(self) -> list[int]:
        """No item vectors are needed."""
        return []

    def part(self, places: Sequence[Tensor], rank: int, size: int, shape: torch.Size) -> tuple["Labels", list[Tensor]]:  # noqa: ARG002
        """As `Questions.part`."""
        taught = self.taught and replace(self.taught, shares=self.taught.shares[rank::size])
        return Labels(self.target.view(shape)[rank::size].ravel(), self.of, taught), []


@dataclass(frozen=True)
class Classified:
    """The loss of every question, [n]."""

    losses: NDArray[np.float64]

    def figures(self) -> dict[str, float]:
        """None but the loss."""
        return {}


def regression(x: Tensor, target: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Logistic regression with a small penalty on squared weights: weights [C, F] and bias [C] of x [n, F].

    A column that is the same in all rows has the weight 0.
    """
    columns = x.shape[1]
    differs = torch.nonzero(x.amax(0) > x.amin(0)).squeeze(1)
    x = x[:, differs].contiguous()
    weight = torch.zeros(classes, x.shape[1], dtype=x.dtype, requires_grad=True)
    start = torch.bincount(target, minlength=classes).to(x.dtype) + 1
    bias = (start / start.sum()).log().requires_grad_()
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=ROUNDS, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimiser.zero_grad()
        # with the weights as rows, the product behind their gradient reads x as it lies: a fourth of the time
        loss = functional.cross_entropy(functional.linear(x, weight, bias), target)
        loss = loss + PENALTY / 2 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    whole = torch.zeros(classes, columns, dtype=x.dtype)
    whole[:, differs] = weight.detach()
    return whole, bias.detach()


class ClassesObjective(Objective):
    """One head of kind classes in training."""

    def begin(self, module: Classes, training: "PackedSplit") -> None:
        """Set the bias of `module` to the log shares of the answers in the training part, and its table of the last
        action to how these change with it, each count one more than it was. What is left to learn is what a Markov
        table does not know.
        """
        codes, classes = module.codes, module.score.out_features
        counts = np.zeros((codes, classes))
        for event, end in training.questions_in_chunks(CHUNK):
            then = self.head.targets(training, event, end, self.sizes)
            now = np.minimum(np.asarray(training.action[event]).astype(np.int64), codes - 1)
            answered = then != NOTHING
            pairs = (now * classes + np.minimum(then, classes - 1))[answered]
            counts += np.bincount(pairs, minlength=codes * classes).reshape(codes, classes)
        if self.head.kind == "probability" and not counts[:, 1].any():
            raise DataError(
                f"{self.head.name}: of {counts.sum():,.0f} questions of the training part none is answered by yes: "
                f"there is nothing to learn",
                kept="the last trained model",
                next_step="take the head out of the model's heads, or ingest a log that has such answers",
            )
        counts += 1
        overall = np.log(counts.sum(0) / counts.sum())
        after = np.log(counts / counts.sum(1, keepdims=True)) - overall
        with torch.no_grad():
            module.score.bias.copy_(torch.from_numpy(overall / QUICK))
            if module.recent is not None:
                module.recent.weight[:codes].copy_(torch.from_numpy(after / QUICK))

    def begin_hand_made(self, module: Classes, training: "PackedSplit", reader: "Reader") -> None:
        """Set the head to the logistic regression on hand-made features: what is left to learn is what they do not
        know. The table of actions, and the reading of the encoder, begin at 0.
        """
        assert module.hand_made is not None
        event, end = (np.concatenate(each) for each in zip(*training.questions_in_chunks(CHUNK), strict=True))
        then = self.head.targets(training, event, end, self.sizes)
        answered = np.flatnonzero(then != NOTHING)
        rows = answered[:: max(1, len(answered) // REGRESSED)]
        target = torch.from_numpy(then[rows])
        read = reader.read(training, event[rows]) if training.cut_off is None else reader.as_of(training, rows)
        values = torch.from_numpy(read)
        device = module.score.bias.device
        with torch.no_grad():
            module.hand_made.learn_scale(values.to(device))
            scaled = module.hand_made.scaled(values.to(device)).cpu()
        weight, bias = regression(scaled, target, module.score.out_features)
        with torch.no_grad():
            module.hand_made.score.weight.copy_(weight)
            module.score.bias.copy_(bias / QUICK)
            module.score.weight.zero_()
            if module.recent is not None:
                module.recent.weight.zero_()

    def prepare(
        self,
        batch_items: Ints,  # noqa: ARG002
        targets: Targets,
        random: np.random.Generator,  # noqa: ARG002
        to: ToDevice,
        lesson: Lesson | None = None,
    ) -> tuple[Labels, list[Ints]]:
        """As `Objective.prepare`."""
        (target,) = targets
        taught = None if lesson is None else TeacherShares(to(lesson.shares), lesson.weight, lesson.temperature)
        return Labels(to(target.ravel()), int(np.count_nonzero(target != NOTHING)), taught), []

    def loss(self, module: Classes, questions: Labels, vectors: Sequence[Tensor], seen: Seen) -> Part:  # noqa: ARG002
        """As `Objective.loss`."""
        places = torch.nonzero(questions.target != NOTHING).squeeze(1)
        logits = module(picked(places, seen.flat))
        if (beside := module.beside(seen.inputs)) is not None:
            logits = logits + picked(places, beside.flatten(0, 1))
        loss = functional.cross_entropy(logits, questions.target[places], reduction="sum") / max(1, questions.of)
        minimised = loss
        if questions.taught is not None:
            said = questions.taught.loss(logits, places) / max(1, questions.of)
            minimised = (1 - questions.taught.weight) * loss + questions.taught.weight * said
        return Part([self.params.weight * minimised], loss)

    def measure(self, answers: Tensor, target: Ints) -> dict[str, NDArray[Any]]:
        """As `Objective.measure`."""
        code = torch.from_numpy(target).to(answers.device)
        own = answers.gather(1, code.unsqueeze(1))
        return {"losses": -own.squeeze(1).double().cpu().numpy()}

    def measured(self, answers: Mapping[str, NDArray[Any]], unknown: int) -> Classified:  # noqa: ARG002
        """As `Objective.measured`."""
        return Classified(answers["losses"])
