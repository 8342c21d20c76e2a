"""One batch through a network to its loss, touching only the rows of the item embedding that the batch needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from clickflow.models.network import Network
from clickflow.training.answers.objective import Lesson, Objective, Questions, Seen
from clickflow.training.batches import Batch


@dataclass(frozen=True)
class Step:
    """A batch on the device, with items as places in `rows`, the embedding's rows that it touches.

    `inputs` [B, T]: raw; `before`: what sessions before say of the steps, as `training.associations` gathers it;
    `places`: where in `rows` are the inputs [B * T], then what each head needs; `heads`: what the batch asks of each.
    """

    inputs: dict[str, Tensor]
    before: tuple[Tensor, Tensor] | None
    rows: Tensor
    places: Tensor
    heads: dict[str, Questions]

    @property
    def asks(self) -> bool:
        """Whether the whole batch asks anything."""
        return any(questions.any for questions in self.heads.values())

    @property
    def sizes(self) -> list[int]:
        """How many of `places` belong together."""
        needed = [size for questions in self.heads.values() for size in questions.sizes]
        return [self.inputs["item"].numel(), *needed]


def prepare(
    batch: Batch,
    objectives: Mapping[str, Objective],
    random: np.random.Generator,
    device: str,
    before: Sequence[NDArray[np.float32]] = (),
    lessons: Mapping[str, Lesson] | None = None,
) -> Step:
    """`batch` as tensors on `device`, with what each objective draws; `before`: see `Step`; `lessons`: what a teacher
    says, by head.
    """

    def to(array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=True)

    items, heads = batch.inputs["item"], {}
    needed = [items.ravel()]
    for name, objective in objectives.items():
        lesson = (lessons or {}).get(name)
        heads[name], rows = objective.prepare(items, batch.targets[name], random, to, lesson)
        needed += rows
    touched, places = np.unique(np.concatenate(needed), return_inverse=True)
    return Step(
        inputs={name: to(values) for name, values in batch.inputs.items()},
        before=(to(before[0]), to(before[1])) if before else None,
        rows=to(touched),
        places=to(places),
        heads=heads,
    )


def part(step: Step, rank: int, size: int) -> Step:
    """The sequences `rank`, `rank` + `size`, … of a step, with the rows and negatives of all."""

    def mine(of_all: Tensor) -> Tensor:
        return of_all[rank::size].contiguous()

    items = step.inputs["item"]
    read, *rest = torch.split(step.places, step.sizes)
    heads, needed = {}, [read.view(items.shape)[rank::size].ravel()]
    for name, questions in step.heads.items():
        own, rest = rest[: len(questions.sizes)], rest[len(questions.sizes) :]
        heads[name], kept = questions.part(own, rank, size, items.shape)
        needed += kept
    return replace(
        step,
        inputs={name: mine(values) for name, values in step.inputs.items()},
        before=(step.before[0][rank::size].contiguous(), step.before[1][rank::size].contiguous())
        if step.before
        else None,
        places=torch.cat(needed),
        heads=heads,
    )


@dataclass(frozen=True)
class Loss:
    """`total` is what is minimised; `heads` each head's mean negative log-likelihood, and over how many questions.

    Of a part of a batch, both are the part's share of the whole one's mean.
    """

    total: Tensor
    heads: dict[str, tuple[Tensor, int]]


def loss(
    network: Network,
    objectives: Mapping[str, Objective],
    step: Step,
    rows: Tensor,
    *,
    bfloat16: bool = False,
    scores: torch.dtype | None = None,
    log_variances: Tensor | None = None,
) -> Loss:
    """The weighted sum of the heads' losses; `rows` [R, D] are the embedding's rows `step.rows`.

    `bfloat16`: the encoder's products are; `scores`: the type of those with the items that stand for all;
    `log_variances` [heads]: s of each head, whose loss counts exp(-s) beside its weight (Kendall, Gal & Cipolla 2018,
    doi 10.1109/CVPR.2018.00781). Their s / 2, which is of the whole batch, is added where s is learned.
    """
    # one look-up for all of them, so that autograd makes one gradient of the rows
    vectors = functional.embedding(step.places, network.directions(rows, step.rows))
    read_items, *rest = torch.split(vectors, step.sizes)
    read_items = read_items.view(*step.inputs["item"].shape, -1)
    with torch.autocast(rows.device.type, torch.bfloat16, enabled=bfloat16):
        states, readouts = network.encode(read_items, step.inputs)
    states, readouts = states.float(), readouts.float()
    flat = readouts.reshape(-1, readouts.shape[-1])
    seen = Seen(step.inputs, read_items, states, readouts, flat, step.before, scores)
    total, heads = rows.new_zeros(()), {}
    for place, (name, module) in enumerate(network.heads.items()):
        questions = step.heads[name]
        own, rest = rest[: len(questions.sizes)], rest[len(questions.sizes) :]
        share = objectives[name].loss(module, questions, own, seen)
        for term in share.terms:
            total = total + (term if log_variances is None else term * (-log_variances[place]).exp())
        if share.mean is not None:
            heads[name] = (share.mean, questions.of)
    return Loss(total, heads)
