"""One batch through a network to its loss, touching only the rows of the item embedding that the batch needs."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from clickflow.models.heads import FIRST_ITEM
from clickflow.models.losses import generated, mixed
from clickflow.models.network import Network
from clickflow.training.batches import NO_ACTION, Batch, Ints

AUXILIARY = 1.0
"""Weight of the generator's own likelihood beside the mixture's: without it, it learns little where copying is easy."""
POPULARITY = 0.5
"""Negatives are drawn by the power of an item's count."""


@dataclass(frozen=True)
class Sampler:
    """Draws the items that stand for all others in the sampled softmax."""

    cumulative: NDArray[np.float64]
    probability: NDArray[np.float64]
    negatives: int

    @classmethod
    def of_counts(cls, counts: NDArray[np.int64], negatives: int) -> "Sampler":
        """`counts` [known]: how often the training part holds each index; 0 and 1 are never drawn."""
        weight = np.maximum(counts, 1).astype(np.float64) ** POPULARITY
        weight[:FIRST_ITEM] = 0.0
        probability = weight / weight.sum()
        return cls(np.cumsum(probability), probability, negatives)

    def draw(self, random: np.random.Generator) -> tuple[Ints, NDArray[np.float32]]:
        """Item indexes [K], each once, and minus the log of how often each should stand among the draws, less the log
        of how often it did, [K].
        """
        drawn = np.searchsorted(self.cumulative, random.random(self.negatives) * self.cumulative[-1], side="right")
        items, times = np.unique(drawn, return_counts=True)
        expected = self.probability[items] * self.negatives
        return items.astype(np.int64), (np.log(times) - np.log(expected)).astype(np.float32)


@dataclass(frozen=True)
class Step:
    """A batch on the device, with items as places in `rows`, the embedding's rows that it touches.

    `inputs` [B, T]: raw; `items` [B, T] places of the inputs; `asked` [P]: flat positions with a next item; `targets`
    [P]: their items, `target_places` [P]; `candidates` [K] places of the items that stand for all, `bias` [K] their
    logQ correction; `without` pairs (question, candidate) that are left out; `actions` [B * T].
    """

    inputs: dict[str, Tensor]
    rows: Tensor
    items: Tensor
    asked: Tensor
    target_places: Tensor
    candidates: Tensor
    bias: Tensor
    without: tuple[Tensor, Tensor]
    next_item: Tensor
    actions: Tensor


def prepare(batch: Batch, known: int, sampler: Sampler | None, random: np.random.Generator, device: str) -> Step:
    """`batch` as tensors on `device`; without a sampler all items stand for themselves."""
    asked = np.flatnonzero(batch.next_item)
    targets = batch.next_item.ravel()[asked]
    items = batch.inputs["item"]
    if sampler is None:
        rows = np.arange(known)
        candidates, bias = rows[FIRST_ITEM:], np.zeros(known - FIRST_ITEM, np.float32)
        places, target_places, candidate_places = items, targets, candidates
    else:
        candidates, bias = sampler.draw(random) if len(asked) else (np.zeros(0, np.int64), np.zeros(0, np.float32))
        rows, inverse = np.unique(np.concatenate([items.ravel(), targets, candidates]), return_inverse=True)
        places, target_places, candidate_places = np.split(inverse, [items.size, items.size + len(targets)])
    # a candidate that is the target itself would be counted twice
    at = np.searchsorted(candidates, targets)
    hit = np.flatnonzero(np.append(candidates, -1)[at] == targets)

    def to(array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=True)

    return Step(
        inputs={name: to(values) for name, values in batch.inputs.items()},
        rows=to(rows),
        items=to(places.reshape(items.shape)),
        asked=to(asked),
        target_places=to(target_places),
        candidates=to(candidate_places),
        bias=to(bias),
        without=(to(hit), to(at[hit])),
        next_item=to(batch.next_item),
        actions=to(batch.next_action.ravel()),
    )


@dataclass(frozen=True)
class Loss:
    """`total` is what is minimised; `heads` each head's mean negative log-likelihood, and over how many questions."""

    total: Tensor
    heads: dict[str, tuple[Tensor, int]]


def loss(network: Network, step: Step, rows: Tensor, *, bfloat16: bool = False) -> Loss:
    """The weighted sum of the heads' losses; `rows` [R, D] are the embedding's rows `step.rows`."""
    spec = network.spec.heads
    vectors = network.directions(rows)
    with torch.autocast(rows.device.type, torch.bfloat16, enabled=bfloat16):
        states, readouts = network.encode(functional.embedding(step.items, vectors), step.inputs)
    states, readouts = states.float(), readouts.float()
    total, heads = rows.new_zeros(()), {}
    flat = readouts.reshape(-1, readouts.shape[-1])
    if network.next_item is not None and spec.next_item is not None and len(step.asked):
        head = network.next_item
        queries = head.query(functional.embedding(step.asked, flat))
        targets = functional.embedding(step.target_places, vectors)
        candidates = functional.embedding(step.candidates, vectors)
        likelihood = generated(queries, targets, candidates, step.bias, step.without)
        item_loss = -likelihood.mean()
        heads["next_item"] = (item_loss, len(step.asked))
        if head.pointer is not None:
            share, weights = head.copied(readouts, states, step.inputs["item"])
            copied = (weights * (step.inputs["item"].unsqueeze(1) == step.next_item.unsqueeze(2))).sum(-1)
            mixture = -mixed(likelihood, share.ravel()[step.asked], copied.ravel()[step.asked]).mean()
            heads["next_item"] = (mixture, len(step.asked))
            item_loss = mixture + AUXILIARY * item_loss
        total = total + spec.next_item.weight * item_loss
    if network.next_action is not None and spec.next_action is not None:
        asked = torch.nonzero(step.actions != NO_ACTION).squeeze(1)
        action_loss = functional.cross_entropy(network.next_action(flat[asked]), step.actions[asked])
        heads["next_action"] = (action_loss, len(asked))
        total = total + spec.next_action.weight * action_loss
    return Loss(total, heads)
