"""A head of kind classes in training: cross-entropy, from a start at what followed the last action."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from clickflow.heads.head import NOTHING
from clickflow.models.answers.classes import QUICK, Classes
from clickflow.system.errors import DataError
from clickflow.training.answers.objective import CHUNK, Ints, Objective, Part, Seen, Targets, ToDevice, picked

if TYPE_CHECKING:
    from clickflow.sequences.store import PackedSplit


@dataclass(frozen=True)
class Asked:
    """`target` [B * T]: as in the batch; `of`: how many the whole batch asks."""

    target: Tensor
    of: int

    @property
    def any(self) -> bool:
        """As `Questions.any`."""
        return self.of > 0

    @property
    def sizes(self) -> list[int]:
        """No item vectors are needed."""
        return []

    def part(self, places: Sequence[Tensor], rank: int, size: int, shape: torch.Size) -> tuple["Asked", list[Tensor]]:  # noqa: ARG002
        """As `Questions.part`."""
        return Asked(self.target.view(shape)[rank::size].ravel(), self.of), []


@dataclass(frozen=True)
class Classified:
    """The loss of every question, [n]."""

    losses: NDArray[np.float64]

    def figures(self) -> dict[str, float]:
        """None but the loss."""
        return {}


class ClassesObjective(Objective):
    """One head of kind classes in training."""

    def begin(self, module: Classes, training: "PackedSplit") -> None:
        """Set the bias of `module` to the log shares of the answers in the training part, and its table of the last
        action to how these change with it, each count one more than it was. What is left to learn is what a Markov
        table does not know.
        """
        codes, classes = module.codes, module.score.out_features
        counts = np.zeros((codes, classes))
        for event, end in training.asked_in_chunks(CHUNK):
            then = self.head.targets(training, event, end, self.sizes)
            now = np.minimum(np.asarray(training.action[event]).astype(np.int64), codes - 1)
            asked = then != NOTHING
            pairs = (now * classes + np.minimum(then, classes - 1))[asked]
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

    def prepare(
        self,
        batch_items: Ints,  # noqa: ARG002
        targets: Targets,
        random: np.random.Generator,  # noqa: ARG002
        to: ToDevice,
    ) -> tuple[Asked, list[Ints]]:
        """As `Objective.prepare`."""
        (target,) = targets
        return Asked(to(target.ravel()), int(np.count_nonzero(target != NOTHING))), []

    def loss(self, module: Classes, questions: Asked, vectors: Sequence[Tensor], seen: Seen) -> Part:  # noqa: ARG002
        """As `Objective.loss`."""
        places = torch.nonzero(questions.target != NOTHING).squeeze(1)
        logits = module(picked(places, seen.flat))
        if "action" in seen.inputs and (beside := module.beside(seen.inputs["action"])) is not None:
            logits = logits + picked(places, beside.flatten(0, 1))
        loss = functional.cross_entropy(logits, questions.target[places], reduction="sum") / max(1, questions.of)
        return Part([self.params.weight * loss], loss)

    def measure(self, answers: Tensor, target: Ints) -> dict[str, NDArray[Any]]:
        """As `Objective.measure`."""
        code = torch.from_numpy(target).to(answers.device)
        own = answers.gather(1, code.unsqueeze(1))
        return {"losses": -own.squeeze(1).double().cpu().numpy()}

    def measured(self, found: Mapping[str, NDArray[Any]], unknown: int) -> Classified:  # noqa: ARG002
        """As `Objective.measured`."""
        return Classified(found["losses"])
