"""The temperature that makes log-probabilities of the scores of a loss that is no likelihood (`bpr_max`, `bce`)."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from clickflow.heads.head import NOTHING
from clickflow.models.answers.ranking import SHARPEST, Ranking
from clickflow.models.network import Network
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.training.answers import objectives
from clickflow.training.batches import Windows, gather, plan, random
from clickflow.training.hand_made import reader
from clickflow.training.validation import sample

if TYPE_CHECKING:
    from clickflow.sequences.store import PackedSplit

SCORES, QUESTIONS = 1 << 24, (200, 4_000)
"""As many questions are asked as give so many scores, between these bounds."""
FLATTEST = -4.0
"""The least that the log of an inverse temperature may be."""
ROUNDS = 30
"""Each shortens the interval to 0.62 of it: the last one is a millionth of the first."""


def fit_temperature(network: Network, split: "PackedSplit", windows: Windows) -> None:
    """Set the inverse temperature of each head to the likeliest for the questions of `windows`, spread evenly.

    Does nothing where the loss is a likelihood, or no item is asked for. One number cannot fit much by chance, so the
    part that also decides when training stops will do.
    """
    low, high = QUESTIONS
    wanted = min(high, max(low, SCORES // network.sizes.known))
    for name, head in network.heads.items():
        if not isinstance(head, Ranking) or head.sharpness is None:
            continue
        questions = _questions(network, name, head, split, sample(windows, wanted), wanted)
        if questions is not None:
            with torch.inference_mode():
                best = _least(partial(_loss, *questions), FLATTEST, SHARPEST)
            head.sharpness.data.fill_(best)


def _questions(
    network: Network, name: str, head: Ranking, split: "PackedSplit", windows: Windows, wanted: int
) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
    """Raw scores of all items [n, items], of the targets [n], the softmax's share of the answer and what is added to it
    for the target, both [n]; None where nothing is asked.
    """
    known, device = network.sizes.known, network.items.device
    asking = {name: objectives(network.spec, network.sizes)[name]}
    parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    was_training, questions = network.training, 0
    network.eval()
    with torch.inference_mode():
        table = network.directions(network.items)
        for chosen in plan(windows.length, 4096, random(0, 0)):
            batch = gather(split, windows.take(chosen), network.inputs, asking, known, reader(network))
            inputs = {name: torch.from_numpy(values).to(device) for name, values in batch.inputs.items()}
            targets = torch.from_numpy(batch.targets[name][0]).to(device)
            row, column = (targets != NOTHING).nonzero()[: wanted - questions].unbind(1)
            if not len(row):
                continue
            reading = network.read(inputs, table)[name]
            (read,) = reading.steps
            scores = head.query(read.readouts[row, column]) @ head.own(reading.table).t()
            target = targets[row, column].unsqueeze(1)
            share, more = torch.ones(len(row), device=device), torch.zeros(len(row), device=device)
            if read.mixture is not None:
                share = read.mixture.softmax[row, column]
                items, shares = head.added(read.mixture, reading.items, row, column)
                more = (shares * (items == target)).sum(-1)
            parts.append((scores[:, FIRST_ITEM:], scores.gather(1, target).squeeze(1), share, more))
            questions += len(row)
    network.train(was_training)
    if not parts:
        return None
    scores, target, share, more = (torch.cat(each) for each in zip(*parts, strict=True))
    return scores, target, share, more


def _loss(scores: Tensor, target: Tensor, share: Tensor, more: Tensor, log: float) -> float:
    """The mean negative log-likelihood, as `Ranking.log_probabilities` answers; `log` of the inverse temperature."""
    sharp = torch.tensor(log).exp()
    generated = (sharp * target - torch.logsumexp(scores * sharp, -1)).exp()
    return float(-(share * generated + more).clamp(min=1e-30).log().mean())


def _least(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function of one number with one valley is least: golden-section search (Kiefer 1953)."""
    ratio = (5**0.5 - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = function(left), function(right)
    for _ in range(ROUNDS):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = function(right)
    return (low + high) / 2
