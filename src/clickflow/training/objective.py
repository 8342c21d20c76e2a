"""One batch through a network to its loss, touching only the rows of the item embedding that the batch needs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from clickflow.models.heads import LIKELIHOODS, NextItem
from clickflow.models.losses import Own, bce, bpr_max, generated, mixed, smoothed
from clickflow.models.network import Network
from clickflow.models.sights import Sights
from clickflow.params.models import RankingHead
from clickflow.training.batches import NO_ACTION, Batch
from clickflow.training.negatives import Draw

AUXILIARY = 2.0
"""Weight of the generator's own likelihood beside the mixture's: without it, it learns little where copying is easy."""
REGULARISATION, CALIBRATION = 1.0, 0.75
"""Of bpr_max and bce, where the params leave them open: as in the code of their authors."""


@dataclass(frozen=True)
class Asked:
    """The questions about the items so many steps ahead, of P positions: `item` [B, T] as in the batch; `at` [P] flat
    positions; `without` pairs (question, candidate) that are left out; `of` how many questions the whole batch has.
    """

    item: Tensor
    at: Tensor
    without: tuple[Tensor, Tensor]
    of: int


@dataclass(frozen=True)
class Step:
    """A batch on the device, with items as places in `rows`, the embedding's rows that it touches.

    `inputs` [B, T]: raw; `before`: what sessions before say of the steps, as `training.associations` gathers it;
    `places`: where in `rows` are the inputs [B * T], the targets [P] of each of `asked` and the candidates that stand
    for all items [K], one after the other; `bias`, `times` [K]: of the candidates; `asked`: of the next item, then of
    those after it; `next_action` [B * T]: as in the batch; `actions`: how many of these the whole batch asks.
    """

    inputs: dict[str, Tensor]
    before: tuple[Tensor, Tensor] | None
    rows: Tensor
    places: Tensor
    bias: Tensor
    times: Tensor
    asked: list[Asked]
    next_action: Tensor
    actions: int

    @property
    def asks(self) -> bool:
        """Whether the whole batch asks anything."""
        return any(asked.of for asked in self.asked) or self.actions > 0


def prepare(
    batch: Batch,
    draw: Draw,
    random: np.random.Generator,
    device: str,
    *,
    outputs: int = 0,
    own: bool = False,
    before: Sequence[NDArray[np.float32]] = (),
) -> Step:
    """`batch` as tensors on `device`, with the candidates that `draw` chooses.

    `outputs`: where in the embedding the rows begin that answers are compared with, see `Network.outputs`; `own`: the
    session's items are no candidates either, since their scores are counted apart; `before`: see `Step`.
    """
    candidates, bias, times = draw(random)
    if not batch.next_item.any():
        candidates, bias, times = candidates[:0], bias[:0], times[:0]

    def to(array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=True)

    needed, asked = [batch.inputs["item"].ravel()], []
    for item in (batch.next_item, *batch.later):
        at = np.flatnonzero(item)
        targets = item.ravel()[at]
        # a candidate that is the target itself would be counted twice
        place = np.searchsorted(candidates, targets)
        hit = np.flatnonzero(np.append(candidates, -1)[place] == targets)
        needed.append(targets + outputs)
        pairs = np.stack([hit, place[hit]])
        if own:
            pairs = np.concatenate([pairs, _own(batch.inputs["item"], at, candidates)], axis=1)
        asked.append(Asked(to(item), to(at), (to(pairs[0]), to(pairs[1])), len(at)))
    rows, places = np.unique(np.concatenate([*needed, candidates + outputs]), return_inverse=True)
    return Step(
        inputs={name: to(values) for name, values in batch.inputs.items()},
        before=(to(before[0]), to(before[1])) if before else None,
        rows=to(rows),
        places=to(places),
        bias=to(bias),
        times=to(times),
        asked=asked,
        next_action=to(batch.next_action.ravel()),
        actions=int(np.count_nonzero(batch.next_action != NO_ACTION)),
    )


def part(step: Step, rank: int, size: int) -> Step:
    """The sequences `rank`, `rank` + `size`, … of a step, with the rows and candidates of all."""
    items = step.inputs["item"]
    rows, length = items.shape
    mine = torch.arange(rows, device=items.device)[rank::size]
    sizes = [items.numel(), *(len(asked.at) for asked in step.asked), len(step.bias)]
    read, *targets, candidates = torch.split(step.places, sizes)
    asked, wanted = [], []
    for each, places in zip(step.asked, targets, strict=True):
        row, column = each.at // length, each.at % length
        keep = row % size == rank
        question, candidate = each.without
        left = keep[question]
        without = ((keep.cumsum(0) - 1)[question[left]], candidate[left])
        asked.append(Asked(each.item[mine], (row // size * length + column)[keep], without, each.of))
        wanted.append(places[keep])
    return replace(
        step,
        inputs={name: values[mine] for name, values in step.inputs.items()},
        before=(step.before[0][mine], step.before[1][mine]) if step.before else None,
        places=torch.cat([read.view(rows, length)[mine].ravel(), *wanted, candidates]),
        asked=asked,
        next_action=step.next_action.view(rows, length)[mine].ravel(),
    )


def _own(items: NDArray[np.int64], at: NDArray[np.int64], candidates: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pairs (question, candidate), [2, n], where the candidate is an item of the session up to that step.

    `items` [B, T], `at` [P] flat positions, `candidates` [K] ascending.
    """
    place = np.searchsorted(candidates, items)
    there = np.append(candidates, -1)[place] == items
    row, column = np.divmod(at, items.shape[1])
    question, step = np.nonzero(there[row] & (np.arange(items.shape[1]) <= column[:, None]))
    return np.stack([question, place[row[question], step]])


@dataclass(frozen=True)
class Loss:
    """`total` is what is minimised; `heads` each head's mean negative log-likelihood, and over how many questions.

    Of a part of a batch, both are the part's share of the whole one's mean.
    """

    total: Tensor
    heads: dict[str, tuple[Tensor, int]]


def loss(
    network: Network, step: Step, rows: Tensor, *, bfloat16: bool = False, scores: torch.dtype | None = None
) -> Loss:
    """The weighted sum of the heads' losses; `rows` [R, D] are the embedding's rows `step.rows`.

    `bfloat16`: the encoder's products are; `scores`: the type of those with the items that stand for all.
    """
    items = step.inputs["item"]
    item = cast("RankingHead | None", network.spec.heads.get("next_item"))
    action = network.spec.heads.get("next_action")
    sizes = [items.numel(), *(len(asked.at) for asked in step.asked), len(step.bias)]
    # one look-up for all of them, so that autograd makes one gradient of the rows
    vectors = functional.embedding(step.places, network.directions(rows, step.rows))
    read_items, *targets, candidates = torch.split(vectors, sizes)
    read_items = read_items.view(*items.shape, -1)
    with torch.autocast(rows.device.type, torch.bfloat16, enabled=bfloat16):
        states, readouts = network.encode(read_items, step.inputs)
    states, readouts = states.float(), readouts.float()
    flat = readouts.reshape(-1, readouts.shape[-1])
    total, heads = rows.new_zeros(()), {}
    if network.next_item is not None and item is not None:
        seen = network.next_item.seen(items)
        flats = [flat, *network.next_item.ahead(flat)]
        reads = [readouts, *(read.view(readouts.shape) for read in flats[1:])]
        for ahead, (asked, read, rows, wanted) in enumerate(zip(step.asked, reads, flats, targets, strict=True)):
            if not len(asked.at):
                continue
            share = len(asked.at) / asked.of
            item_loss, mean = _item_loss(
                network.next_item,
                item,
                step,
                asked,
                states,
                seen,
                read,
                _at(asked.at, rows),
                wanted,
                candidates,
                read_items,
                scores,
            )
            if ahead == 0:
                heads["next_item"] = (mean * share, asked.of)
            else:
                share /= len(flats) - 1  # all the later steps together weigh as much as the next one
            total = total + item.weight * share * item_loss
    if network.next_action is not None and action is not None:
        at = torch.nonzero(step.next_action != NO_ACTION).squeeze(1)
        logits = network.next_action(_at(at, flat))
        if "action" in step.inputs and (beside := network.next_action.beside(step.inputs["action"])) is not None:
            logits = logits + _at(at, beside.flatten(0, 1))
        action_loss = functional.cross_entropy(logits, step.next_action[at], reduction="sum") / max(1, step.actions)
        heads["next_action"] = (action_loss, step.actions)
        total = total + action.weight * action_loss
    return Loss(total, heads)


def _at(places: Tensor, flat: Tensor) -> Tensor:
    """Some rows of [n, D], or all of them as they are."""
    return flat if len(places) == len(flat) else functional.embedding(places, flat)


def _item_loss(
    head: NextItem,
    spec: RankingHead,
    step: Step,
    asked: Asked,
    states: Tensor,
    seen: Sights | None,
    readouts: Tensor,
    picked: Tensor,
    targets: Tensor,
    candidates: Tensor,
    read_items: Tensor,
    dtype: torch.dtype | None,
) -> tuple[Tensor, Tensor]:
    """What is minimised for the items so many steps ahead, and their mean negative log-likelihood.

    `readouts` [B, T, D] are of that many steps ahead, `picked` [P, D] those of the positions asked; `read_items`
    [B, T, D] the vectors of the session's items.
    """
    own = _of_own(head, step, asked, seen, readouts, read_items)
    objective, likelihood = _of_generator(head, spec, step, asked, head.query(picked), targets, candidates, own, dtype)
    item_loss = -objective.mean()
    items, beside, support = step.inputs["item"], None, None
    if step.before is not None:
        beside, support = step.before
    found = head.mixture(readouts, states, items, seen, support=support, later=asked is not step.asked[0])
    if found is None:
        return item_loss, -likelihood.mean()
    added = readouts.new_zeros(items.shape)
    if found.copied is not None:
        added = added + (found.copied * (items.unsqueeze(1) == asked.item.unsqueeze(2))).sum(-1)
    if found.worth is not None and beside is not None:
        added = added + (found.worth * beside).sum(-1)
    mixture = -mixed(likelihood, found.softmax.ravel()[asked.at], added.ravel()[asked.at]).mean()
    return mixture + AUXILIARY * item_loss, mixture


def _of_own(
    head: NextItem, step: Step, asked: Asked, seen: Sights | None, readouts: Tensor, read_items: Tensor
) -> Own | None:
    """What the session's own items add to the normaliser, and to the score of a target that is one of them."""
    items = step.inputs["item"]
    bias = head.returning(seen)
    if bias is None or seen is None:
        return None
    latest = seen.latest
    scores = head.query(readouts) @ read_items.transpose(1, 2) + bias
    total = (scores.exp() * latest).sum(-1)
    same = latest & (items.unsqueeze(1) == asked.item.unsqueeze(2))
    return Own(*(each.ravel()[asked.at] for each in (total, (bias * same).sum(-1), same.any(-1))))


def _of_generator(
    head: NextItem,
    spec: RankingHead,
    step: Step,
    asked: Asked,
    queries: Tensor,
    targets: Tensor,
    candidates: Tensor,
    own: Own | None,
    dtype: torch.dtype | None,
) -> tuple[Tensor, Tensor]:
    """What is maximised of the scores, and the log-likelihoods that they mean, both [P]."""
    if spec.loss in LIKELIHOODS:
        likelihood = generated(queries, targets, candidates, step.bias, asked.without, own, dtype)
        if not spec.label_smoothing:
            return likelihood, likelihood
        share = spec.label_smoothing
        return smoothed(likelihood, queries, targets, candidates, step.bias, share, head.items), likelihood
    score, scores = (queries * targets).sum(-1), queries @ candidates.t()
    if spec.loss == "bpr_max":
        strength = REGULARISATION if spec.regularisation is None else spec.regularisation
        found = bpr_max(score, scores, step.times, asked.without, strength)
    else:
        offset = score.new_zeros(()) if head.offset is None else head.offset
        score, scores = score + offset, scores + offset
        calibration = CALIBRATION if spec.calibration is None else spec.calibration
        found = bce(score, scores, step.times, asked.without, calibration, head.items)
    # only the sharpness learns by likelihood: the scores are the loss's own
    still = head.sharpened(queries.detach())
    likelihood = generated(still, targets.detach(), candidates.detach(), step.bias, asked.without)
    return likelihood - found, likelihood
