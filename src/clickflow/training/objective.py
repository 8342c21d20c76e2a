"""One batch through a network to its loss, touching only the rows of the item embedding that the batch needs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from clickflow.models.heads import FIRST_ITEM, LIKELIHOODS
from clickflow.models.losses import bce, bpr_max, generated, mixed, smoothed
from clickflow.models.network import Network
from clickflow.params import NextItemHead
from clickflow.training.batches import NO_ACTION, Batch, Ints

AUXILIARY = 1.0
"""Weight of the generator's own likelihood beside the mixture's: without it, it learns little where copying is easy."""
POPULARITY = {"sampled": 0.5, "bpr_max": 0.5, "bce": 0.0}
"""Negatives are drawn by the power of an item's count; of bce evenly, as its calibration supposes."""
REGULARISATION, CALIBRATION = 1.0, 0.75
"""Of bpr_max and bce, where the params leave them open: as in the code of their authors."""


@dataclass(frozen=True)
class Sampler:
    """Draws the items that stand for all others in a loss that samples."""

    cumulative: NDArray[np.float64]
    probability: NDArray[np.float64]
    negatives: int

    @classmethod
    def of_counts(cls, counts: NDArray[np.int64], negatives: int, power: float) -> "Sampler":
        """`counts` [known]: how often the training part holds each index; 0 and 1 are never drawn."""
        weight = np.maximum(counts, 1).astype(np.float64) ** power
        weight[:FIRST_ITEM] = 0.0
        probability = weight / weight.sum()
        return cls(np.cumsum(probability), probability, negatives)

    def draw(self, random: np.random.Generator) -> "Candidates":
        """So many draws, each item that was drawn once."""
        drawn = np.searchsorted(self.cumulative, random.random(self.negatives) * self.cumulative[-1], side="right")
        items, times = np.unique(drawn, return_counts=True)
        expected = self.probability[items] * self.negatives
        bias = (np.log(times) - np.log(expected)).astype(np.float32)
        return Candidates(items.astype(np.int64), bias, np.log(times).astype(np.float32))


class Candidates(NamedTuple):
    """The items that stand for all others in a batch, [K]: index; log of times drawn over times expected; log of times
    drawn.
    """

    items: Ints
    bias: NDArray[np.float32]
    times: NDArray[np.float32]


Draw = Callable[[np.random.Generator], Candidates]


def everything(known: int) -> Draw:
    """All items stand for themselves: the full softmax."""
    none = np.zeros(known - FIRST_ITEM, np.float32)
    found = Candidates(np.arange(FIRST_ITEM, known), none, none)
    return lambda _: found


def candidates(head: NextItemHead | None, known: int, items: NDArray[np.integer]) -> Draw:
    """Who stands for all items in the loss of `head`; `items` are the steps of the training part."""
    # as many draws as there are items: then all of them cost less, and are exact
    if head is None or head.loss == "full" or head.negatives >= known - FIRST_ITEM:
        return everything(known if head else FIRST_ITEM)
    counts = np.bincount(items, minlength=known)[:known]
    return Sampler.of_counts(counts, head.negatives, POPULARITY[head.loss]).draw


@dataclass(frozen=True)
class Step:
    """A batch on the device, with items as places in `rows`, the embedding's rows that it touches.

    `inputs` [B, T]: raw; `places`: where in `rows` are the inputs [B * T], the targets [P] and the candidates that
    stand for all items [K], one after the other; `bias`, `times` [K]: of the candidates; `asked` [P]: flat positions
    with a next item; `without`: pairs (question, candidate) that are left out; `next_item` [B, T] and
    `next_action` [B * T]: as in the batch.
    """

    inputs: dict[str, Tensor]
    rows: Tensor
    places: Tensor
    bias: Tensor
    times: Tensor
    asked: Tensor
    without: tuple[Tensor, Tensor]
    next_item: Tensor
    next_action: Tensor


def prepare(batch: Batch, draw: Draw, random: np.random.Generator, device: str, *, outputs: int = 0) -> Step:
    """`batch` as tensors on `device`, with the candidates that `draw` chooses.

    `outputs`: where in the embedding the rows begin that answers are compared with, see `Network.outputs`.
    """
    asked = np.flatnonzero(batch.next_item)
    targets = batch.next_item.ravel()[asked]
    candidates, bias, times = draw(random)
    if not len(asked):
        candidates, bias, times = candidates[:0], bias[:0], times[:0]
    read = batch.inputs["item"].ravel()
    needed = np.concatenate([read, targets + outputs, candidates + outputs])
    rows, places = np.unique(needed, return_inverse=True)
    # a candidate that is the target itself would be counted twice
    at = np.searchsorted(candidates, targets)
    hit = np.flatnonzero(np.append(candidates, -1)[at] == targets)

    def to(array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=True)

    return Step(
        inputs={name: to(values) for name, values in batch.inputs.items()},
        rows=to(rows),
        places=to(places),
        bias=to(bias),
        times=to(times),
        asked=to(asked),
        without=(to(hit), to(at[hit])),
        next_item=to(batch.next_item),
        next_action=to(batch.next_action.ravel()),
    )


@dataclass(frozen=True)
class Loss:
    """`total` is what is minimised; `heads` each head's mean negative log-likelihood, and over how many questions."""

    total: Tensor
    heads: dict[str, tuple[Tensor, int]]


def loss(network: Network, step: Step, rows: Tensor, *, bfloat16: bool = False) -> Loss:
    """The weighted sum of the heads' losses; `rows` [R, D] are the embedding's rows `step.rows`."""
    spec, items = network.spec.heads, step.inputs["item"]
    sizes = [items.numel(), len(step.asked), len(step.bias)]
    # one look-up for all three, so that autograd makes one gradient of the rows
    vectors = functional.embedding(step.places, network.directions(rows, step.rows))
    read, targets, candidates = torch.split(vectors, sizes)
    with torch.autocast(rows.device.type, torch.bfloat16, enabled=bfloat16):
        states, readouts = network.encode(read.view(*items.shape, -1), step.inputs)
    states, readouts = states.float(), readouts.float()
    flat = readouts.reshape(-1, readouts.shape[-1])
    total, heads = rows.new_zeros(()), {}
    if network.next_item is not None and spec.next_item is not None and len(step.asked):
        head, questions = network.next_item, len(step.asked)
        queries = head.query(flat if questions == len(flat) else functional.embedding(step.asked, flat))
        objective, likelihood = _of_generator(network, spec.next_item, step, queries, targets, candidates)
        item_loss = -objective.mean()
        heads["next_item"] = (-likelihood.mean(), questions)
        if head.pointer is not None:
            share, weights = head.copied(readouts, states, items)
            copied = (weights * (items.unsqueeze(1) == step.next_item.unsqueeze(2))).sum(-1)
            mixture = -mixed(likelihood, share.ravel()[step.asked], copied.ravel()[step.asked]).mean()
            heads["next_item"] = (mixture, questions)
            item_loss = mixture + AUXILIARY * item_loss
        total = total + spec.next_item.weight * item_loss
    if network.next_action is not None and spec.next_action is not None:
        asked = torch.nonzero(step.next_action != NO_ACTION).squeeze(1)
        logits = network.next_action(flat if len(asked) == len(flat) else functional.embedding(asked, flat))
        action_loss = functional.cross_entropy(logits, step.next_action[asked])
        heads["next_action"] = (action_loss, len(asked))
        total = total + spec.next_action.weight * action_loss
    return Loss(total, heads)


def _of_generator(
    network: Network, spec: NextItemHead, step: Step, queries: Tensor, targets: Tensor, candidates: Tensor
) -> tuple[Tensor, Tensor]:
    """What is maximised of the scores, and the log-likelihoods that they mean, both [P]."""
    head, items = network.next_item, network.sizes.known - FIRST_ITEM
    if head is None or spec.loss in LIKELIHOODS:
        likelihood = generated(queries, targets, candidates, step.bias, step.without)
        if not spec.label_smoothing:
            return likelihood, likelihood
        share = spec.label_smoothing
        return smoothed(likelihood, queries, targets, candidates, step.bias, share, items), likelihood
    score, scores = (queries * targets).sum(-1), queries @ candidates.t()
    if spec.loss == "bpr_max":
        strength = REGULARISATION if spec.regularisation is None else spec.regularisation
        found = bpr_max(score, scores, step.times, step.without, strength)
    else:
        offset = score.new_zeros(()) if head.offset is None else head.offset
        score, scores = score + offset, scores + offset
        calibration = CALIBRATION if spec.calibration is None else spec.calibration
        found = bce(score, scores, step.times, step.without, calibration, items)
    # only the sharpness learns by likelihood: the scores are the loss's own
    still = head.sharpened(queries.detach())
    likelihood = generated(still, targets.detach(), candidates.detach(), step.bias, step.without)
    return likelihood - found, likelihood
