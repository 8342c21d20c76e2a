"""What a teacher answers to the questions of the training part, for a smaller network to learn (Hinton et al. 2015).

A teacher is an ensemble that was trained first. The student's loss is a weighted mean of its loss on the log and of
-sum_j q_j log p_j times the squared temperature, q being the teacher's probabilities and p the student's, both at that
temperature. Of a ranking q is the teacher's softmax alone, without its copies of the session's items and without the
associations, which have counted the very session that is asked about; and q is kept of the likeliest items only: what
they lack to 1 is taught by the log.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clickflow.models.answers.ranking import Ranking
from clickflow.models.ensemble import Ensemble
from clickflow.models.network import Network
from clickflow.params.models import TAUGHT, Distillation, Model
from clickflow.training.answers import objectives
from clickflow.training.answers.objective import Ints, Lesson
from clickflow.training.batches import Windows, gather, of_split, plan, random
from clickflow.training.hand_made import reader
from clickflow.training.validation import SCORES

if TYPE_CHECKING:
    from clickflow.sequences.store import PackedSplit


@dataclass(frozen=True)
class TeacherAnswers:
    """Of a head: the shares [E, k] that a teacher gives to the answers [E, k], at each step of a split; 0 where nothing
    is asked.
    """

    answers: NDArray[np.int32]
    shares: NDArray[np.float32]

    def at(self, windows: Windows, spec: Distillation) -> Lesson:
        """Those of the steps of some windows."""
        step = np.arange(int(windows.length.max()))
        real = step < windows.length[:, None]
        at = windows.start[:, None] + np.where(real, step, 0)
        shares = np.where(real[..., None], self.shares[at], np.float32(0))
        return Lesson(self.answers[at].astype(np.int64), shares, spec.weight, spec.temperature)


def taught(network: Network | Ensemble, spec: Model, split: "PackedSplit") -> dict[str, TeacherAnswers]:
    """What the teacher `network` says of every question of a split that the heads of `spec` ask, by head."""
    networks = network.networks if isinstance(network, Ensemble) else [network]
    known, device = network.sizes.known, next(network.parameters()).device
    asking = {name: each for name, each in objectives(spec, network.sizes).items() if each.head.kind in TAUGHT}
    windows = of_split(split, spec.budget.max_length, at_end=any(each.head.at_end for each in asking.values()))
    width = {
        name: min(spec.distillation.top, known) if each.head.kind == "ranking" else len(each.head.names(network.sizes))
        for name, each in asking.items()
    }
    answers_of = {
        name: TeacherAnswers(np.zeros((split.n_events, k), np.int32), np.zeros((split.n_events, k), np.float32))
        for name, k in width.items()
    }
    at_once = max(1, SCORES // known)
    with torch.inference_mode():
        tables = [each.ready() for each in networks]
        for chosen in plan(windows.length, 4096, random(0, 0)):
            window = windows.take(chosen)
            batch = gather(split, window, network.inputs, asking, known, reader(networks[0]))
            inputs = {name: torch.from_numpy(values).to(device) for name, values in batch.inputs.items()}
            rows, columns = np.nonzero(batch.question_mask)
            readings = [each.read(inputs, table) for each, table in zip(networks, tables, strict=True)]
            for start in range(0, len(rows), at_once):
                row, column = rows[start : start + at_once], columns[start : start + at_once]
                event = window.start[row] + column
                for name in asking:
                    answers, shares = _said(networks, readings, name, row, column, spec.distillation)
                    answers_of[name].answers[event], answers_of[name].shares[event] = answers, shares
    return answers_of


def _said(
    networks: list[Network], readings: list[dict[str, Any]], name: str, row: Ints, column: Ints, how: Distillation
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Of N questions the likeliest answers of the mean of `networks`, [N, k], and their shares."""
    parts = []
    for network, reading in zip(networks, readings, strict=True):
        head, read = network.heads[name], reading[name]
        if isinstance(head, Ranking):
            read = replace(read, steps=[replace(read.steps[0], mixture=None)])
        place = [torch.from_numpy(each).to(network.items.device) for each in (row, column)]
        parts.append(head.ask(name, read, *place)[name])
    mean: Tensor = torch.stack(parts).logsumexp(0) - np.log(len(parts))
    shares = (mean / how.temperature).softmax(-1)
    ranked = isinstance(networks[0].heads[name], Ranking)
    top = shares.topk(min(how.top, shares.shape[1])) if ranked else None
    if top is None:
        answers = np.broadcast_to(np.arange(shares.shape[1], dtype=np.int32), shares.shape)
        return answers, shares.cpu().numpy()
    return top.indices.cpu().numpy().astype(np.int32), top.values.cpu().numpy()
