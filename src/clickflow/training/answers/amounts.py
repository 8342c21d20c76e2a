"""A head of kind amount in training: the likelihood of a zero-inflated log-normal (Wang, Liu & Miao 2019).

The metric of training and validation is the deviance of the expected value, which the exported answer gives too:
Tweedie's with power 1.5, of sums of which many are 0. Its unit is the root of the amount's.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from clickflow.heads.head import NOTHING
from clickflow.models.answers.amounts import NARROWEST, WIDEST, Amounts, summed_up
from clickflow.system.errors import DataError
from clickflow.training.answers.classes import Classified, Labels
from clickflow.training.answers.objective import CHUNK, Ints, Lesson, Objective, Part, Seen, Targets, ToDevice, picked

if TYPE_CHECKING:
    from clickflow.sequences.store import PackedSplit

LEAST = 1e-6
"""Of an expected value, where its deviance is taken."""


def deviance(amount: Tensor, expected: Tensor) -> Tensor:
    """Tweedie's with power 1.5: 4 (x / sqrt(y) + sqrt(y) - 2 sqrt(x)), x the amount and y what was expected; 0 where
    they are equal.
    """
    root = expected.clamp(min=LEAST).sqrt()
    return 4 * (amount / root + root - 2 * amount.clamp(min=0).sqrt())


class AmountsObjective(Objective):
    """One head of kind amount in training."""

    def begin(self, module: Amounts, training: "PackedSplit") -> None:
        """Set the bias of `module` to what the training part has: the share that is above 0, and the mean and deviation
        of the logs of these. DataError where none is.
        """
        positive, logs, squares, count = 0, 0.0, 0.0, 0
        for event, end in training.questions_in_chunks(CHUNK):
            amount = self.head.targets(training, event, end, self.sizes)
            count += int((amount != NOTHING).sum())
            own = np.log(amount[amount > 0])
            positive, logs, squares = positive + len(own), logs + own.sum(), squares + (own * own).sum()
        if not positive:
            raise DataError(
                f"{self.head.name}: of {count:,} answers of the training part none is above 0: nothing can be learned",
                kept="the last trained model",
                next_step="take the head out of the model's heads, or ingest a log that has such answers",
            )
        mean = logs / positive
        wide = min(max(math.sqrt(max(squares / positive - mean * mean, 0.0)), 2 * NARROWEST), WIDEST)
        share = (positive + 0.5) / (count + 1)
        with torch.no_grad():
            module.score.bias.copy_(torch.tensor([math.log(share / (1 - share)), mean, math.log(math.expm1(wide))]))

    def prepare(
        self,
        batch_items: Ints,  # noqa: ARG002
        targets: Targets,
        random: np.random.Generator,  # noqa: ARG002
        to: ToDevice,
        lesson: Lesson | None = None,  # noqa: ARG002
    ) -> tuple[Labels, list[Ints]]:
        """As `Objective.prepare`."""
        (target,) = targets
        return Labels(to(target.ravel().astype(np.float32)), int(np.count_nonzero(target != NOTHING))), []

    def loss(self, module: Amounts, questions: Labels, vectors: Sequence[Tensor], seen: Seen) -> Part:  # noqa: ARG002
        """As `Objective.loss`."""
        places = torch.nonzero(questions.target != NOTHING).squeeze(1)
        odds, mean, wide = module(picked(places, seen.flat))
        amount, of = questions.target[places], max(1, questions.of)
        some = amount > 0
        loss = functional.binary_cross_entropy_with_logits(odds, some.float(), reduction="sum")
        away = (amount[some].log() - mean[some]) / wide[some]
        loss = (loss + (away.square() / 2 + wide[some].log()).sum()) / of
        with torch.no_grad():
            deviation = deviance(amount, summed_up(odds, mean, wide)[:, 0]).sum() / of
        return Part([self.params.weight * loss], deviation)

    def measure(self, answers: Tensor, target: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """As `Objective.measure`."""
        amount = torch.from_numpy(np.asarray(target, np.float32)).to(answers.device)
        return {"losses": deviance(amount, answers[:, 0]).double().cpu().numpy()}

    def measured(self, answers: Mapping[str, NDArray[Any]], unknown: int) -> Classified:  # noqa: ARG002
        """As `Objective.measured`."""
        return Classified(answers["losses"])
