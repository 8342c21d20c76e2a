"""A head of kind ranking in training: its loss over the items that stand for all, and ranks among all items."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clickflow.heads.head import NOTHING, Head
from clickflow.models.answers.ranking import LIKELIHOODS, Ranking, counts_own
from clickflow.models.losses import Own, bce, bpr_max, generated, mixed, smoothed
from clickflow.models.sights import Sights
from clickflow.params.models import RankingHead
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.training.answers.objective import Ints, Lesson, Objective, Part, Seen, Targets, ToDevice, picked
from clickflow.training.answers.ranks import Ranks
from clickflow.training.negatives import Draw, everything, negatives_of

if TYPE_CHECKING:
    from clickflow.models.sizes import Sizes
    from clickflow.sequences.store import PackedSplit

AUXILIARY = 2.0
"""Weight of the generator's own likelihood beside the mixture's: without it, it learns little where copying is easy."""
REGULARISATION, CALIBRATION = 1.0, 0.75
"""Of bpr_max and bce, where the params leave them open: as in the code of their authors."""


@dataclass(frozen=True)
class ItemQuestions:
    """The questions about the items so many steps ahead, of P positions: `item` [B, T] as in the batch; `at` [P] flat
    positions; `without` pairs (question, negative) that are left out; `of` how many questions the whole batch has.
    """

    item: Tensor
    at: Tensor
    without: tuple[Tensor, Tensor]
    of: int


@dataclass(frozen=True)
class TeacherShares:
    """What a teacher says of the next item at P positions: `items` [P, k] and their `shares` [P, k], whose sum is what
    it says at all; see `objective.Lesson`.
    """

    items: Tensor
    shares: Tensor
    weight: float
    temperature: float


@dataclass(frozen=True)
class RankingQuestions:
    """What a batch asks of a head: `by_step` of the steps themselves, then of later ones; `bias`, `times` [K] of the
    negatives that stand for all items; `taught` what a teacher says of the first of `by_step`.
    """

    by_step: list[ItemQuestions]
    bias: Tensor
    times: Tensor
    taught: TeacherShares | None = None

    @property
    def of(self) -> int:
        """As `Questions.of`."""
        return self.by_step[0].of

    @property
    def any(self) -> bool:
        """As `Questions.any`."""
        return any(question.of for question in self.by_step)

    @property
    def sizes(self) -> list[int]:
        """The targets of each of `by_step`, the negatives, then a teacher's items."""
        lesson = [] if self.taught is None else [self.taught.items.numel()]
        return [*(len(question.at) for question in self.by_step), len(self.bias), *lesson]

    def part(
        self, places: Sequence[Tensor], rank: int, size: int, shape: torch.Size
    ) -> tuple["RankingQuestions", list[Tensor]]:
        """As `Questions.part`; the negatives are those of all."""
        targets, (negatives, *lesson) = places[: len(self.by_step)], places[len(self.by_step) :]
        length = shape[1]
        by_step, wanted, taught = [], [], self.taught
        for each, places_of in zip(self.by_step, targets, strict=True):
            row, column = each.at // length, each.at % length
            keep = row % size == rank
            question, negative = each.without
            left = keep[question]
            without = ((keep.cumsum(0) - 1)[question[left]], negative[left])
            at = (row // size * length + column)[keep]
            by_step.append(replace(each, item=each.item[rank::size].contiguous(), at=at, without=without))
            wanted.append(places_of[keep])
            if taught is not None and len(by_step) == 1:
                lesson = [lesson[0].view(taught.items.shape)[keep].ravel()]
                taught = replace(taught, items=taught.items[keep], shares=taught.shares[keep])
        return RankingQuestions(by_step, self.bias, self.times, taught), [*wanted, negatives, *lesson]


class RankingObjective(Objective):
    """One head of kind ranking in training; `draw`: who stands for all items."""

    params: RankingHead

    def __init__(self, head: Head, params: RankingHead, sizes: "Sizes", first_row: int = 0) -> None:
        super().__init__(head, params, sizes, first_row)
        self.draw: Draw = everything(sizes.known)

    def learn_from(self, training: "PackedSplit") -> None:
        """Draws are by how often the training part has an item."""
        self.draw = negatives_of(self.params, self.sizes.known, training.item)

    def targets(self, split: "PackedSplit", at: Ints, end: Ints, positions: NDArray[np.bool_]) -> tuple[Targets, int]:
        """As `Objective.targets`; of a horizon, what is asked at the steps after this one."""
        if self.head.all_targets is not None:
            return self._all_targets(split, at, end, positions)
        targets, unknown = [], 0
        for back in range(self.params.horizon):
            there = at + back < end
            item = self.head.targets(split, np.where(there, at + back, at), end, self.sizes)
            known = (item >= FIRST_ITEM) & (item < self.sizes.known)
            if not back:
                unknown = int(np.count_nonzero(positions & (item != NOTHING) & ~known))
            targets.append(np.where(positions & there & known, item, NOTHING))
        return tuple(targets), unknown

    def _all_targets(
        self, split: "PackedSplit", at: Ints, end: Ints, positions: NDArray[np.bool_]
    ) -> tuple[Targets, int]:
        """Of a question with several right answers, those that are known first."""
        assert self.head.all_targets is not None
        own = self.head.all_targets(split, at[positions], end[positions], self.sizes)
        known = (own >= FIRST_ITEM) & (own < self.sizes.known)
        unknown = int(np.count_nonzero((own != NOTHING).any(-1) & ~known.any(-1)))  # one answer of each is measured
        every = np.full((*at.shape, own.shape[-1]), NOTHING, np.int64)
        own = np.where(known, own, NOTHING)
        every[positions] = np.take_along_axis(own, np.argsort(own == NOTHING, axis=-1, kind="stable"), axis=-1)
        return tuple(np.moveaxis(every, -1, 0)), unknown

    def prepare(
        self,
        batch_items: Ints,
        targets: Targets,
        random: np.random.Generator,
        to: ToDevice,
        lesson: Lesson | None = None,
    ) -> tuple[RankingQuestions, list[Ints]]:
        """As `Objective.prepare`. Where the scores of the session's own items are counted apart, these are no
        negatives either.
        """
        if self.head.all_targets is not None:
            targets = (_one_of(targets, random),)
        negatives, bias, times = self.draw(random)
        if not any((each != NOTHING).any() for each in targets):
            negatives, bias, times = negatives[:0], bias[:0], times[:0]
        needed, questions = [], []
        for item in targets:
            at = np.flatnonzero(item != NOTHING)
            wanted = item.ravel()[at]
            # a negative that is the target itself would be counted twice
            place = np.searchsorted(negatives, wanted)
            hit = np.flatnonzero(np.append(negatives, -1)[place] == wanted)
            needed.append(wanted + self.first_row)
            pairs = np.stack([hit, place[hit]])
            if counts_own(self.params):
                pairs = np.concatenate([pairs, _own(batch_items, at, negatives)], axis=1)
            questions.append(ItemQuestions(to(item), to(at), (to(pairs[0]), to(pairs[1])), len(at)))
        taught: TeacherShares | None = None
        taught_by: list[Ints] = []
        if lesson is not None:
            at = np.flatnonzero(targets[0] != NOTHING)
            said = lesson.answers.reshape(-1, lesson.answers.shape[-1])[at]
            shares = lesson.shares.reshape(-1, lesson.shares.shape[-1])[at]
            taught = TeacherShares(to(said), to(shares), lesson.weight, lesson.temperature)
            taught_by = [said.ravel() + self.first_row]
        return RankingQuestions(questions, to(bias), to(times), taught), [
            *needed,
            negatives + self.first_row,
            *taught_by,
        ]

    def loss(self, module: Ranking, questions: RankingQuestions, vectors: Sequence[Tensor], seen: Seen) -> Part:
        """As `Objective.loss`; all the later steps together weigh as much as the next one."""
        targets, (negatives, *lesson) = vectors[: len(questions.by_step)], vectors[len(questions.by_step) :]
        sights = module.seen(seen.inputs["item"])
        flats = [seen.flat, *module.ahead(seen.flat)]
        reads = [seen.readouts, *(read.view(seen.readouts.shape) for read in flats[1:])]
        terms, first = [], None
        for back, (question, read, rows, wanted) in enumerate(
            zip(questions.by_step, reads, flats, targets, strict=True)
        ):
            if not len(question.at):
                continue
            share = len(question.at) / question.of
            minimised, mean = _item_loss(
                module,
                self.params,
                questions,
                question,
                seen,
                sights,
                read,
                picked(question.at, rows),
                wanted,
                negatives,
                lesson if back == 0 else [],
                later=back > 0,
            )
            if back == 0:
                first = mean * share
            else:
                share /= len(flats) - 1
            terms.append(self.params.weight * share * minimised)
        return Part(terms, first)

    def measure(self, answers: Tensor, target: Ints) -> dict[str, NDArray[Any]]:
        """As `Objective.measure`."""
        own = answers.gather(1, torch.from_numpy(target).to(answers.device).unsqueeze(1))
        return {
            "ranks": (answers >= own).sum(1).cpu().numpy(),
            "losses": -own.squeeze(1).double().cpu().numpy(),
        }

    def measured(self, answers: Mapping[str, NDArray[Any]], unknown: int) -> Ranks:
        """As `Objective.measured`."""
        return Ranks(answers["ranks"].astype(np.int64), answers["losses"], unknown)


def _one_of(targets: Targets, random: np.random.Generator) -> Ints:
    """Of each question one of its right answers, drawn evenly: over the batches each counts the same. [B, T]."""
    every = np.stack(targets, axis=-1)
    drawn = (random.random(every.shape[:-1]) * (every != NOTHING).sum(axis=-1)).astype(np.int64)
    return np.take_along_axis(every, drawn[..., None], axis=-1)[..., 0]


def _own(items: NDArray[np.int64], at: NDArray[np.int64], negatives: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pairs (question, negative), [2, n], where the negative is an item of the session up to that step.

    `items` [B, T], `at` [P] flat positions, `negatives` [K] ascending.
    """
    place = np.searchsorted(negatives, items)
    there = np.append(negatives, -1)[place] == items
    row, column = np.divmod(at, items.shape[1])
    question, step = np.nonzero(there[row] & (np.arange(items.shape[1]) <= column[:, None]))
    return np.stack([question, place[row[question], step]])


def _item_loss(
    head: Ranking,
    spec: RankingHead,
    questions: RankingQuestions,
    question: ItemQuestions,
    seen: Seen,
    sights: Sights | None,
    readouts: Tensor,
    asking: Tensor,
    targets: Tensor,
    negatives: Tensor,
    lesson: Sequence[Tensor],
    *,
    later: bool,
) -> tuple[Tensor, Tensor]:
    """What is minimised for the items so many steps ahead, and their mean negative log-likelihood.

    `readouts` [B, T, D] are of that many steps ahead, `asking` [P, D] those of the positions asked.
    """
    bias = head.returning(sights)
    own = _of_own(head, question, seen, sights, readouts, bias)
    objective, likelihood = _of_generator(
        head, spec, questions, question, head.query(asking), targets, negatives, own, seen.scores
    )
    if questions.taught is not None and lesson:
        heat = questions.taught.temperature
        cooler = own if heat == 1 else _of_own(head, question, seen, sights, readouts, bias, heat)
        said = _taught(
            questions,
            question,
            head.query(asking) / heat,
            targets,
            negatives,
            lesson[0],
            cooler,
            seen,
            bias,
            likelihood,
        )
        mass = questions.taught.shares.sum(-1)
        weight = questions.taught.weight
        objective = (1 - weight * mass) * objective + weight * heat * heat * said
    item_loss = -objective.mean()
    items, beside, support = seen.inputs["item"], None, None
    if seen.before is not None:
        beside, support = seen.before
    mixture_at = head.mixture(readouts, seen.states, items, sights, support=support, later=later)
    if mixture_at is None:
        return item_loss, -likelihood.mean()
    added = readouts.new_zeros(items.shape)
    if mixture_at.copied is not None:
        added = added + (mixture_at.copied * (items.unsqueeze(1) == question.item.unsqueeze(2))).sum(-1)
    if mixture_at.worth is not None and beside is not None:
        added = added + (mixture_at.worth * beside).sum(-1)
    mixture = -mixed(likelihood, mixture_at.softmax.ravel()[question.at], added.ravel()[question.at]).mean()
    return mixture + AUXILIARY * item_loss, mixture


def _taught(
    questions: RankingQuestions,
    question: ItemQuestions,
    queries: Tensor,
    targets: Tensor,
    negatives: Tensor,
    vectors: Tensor,
    own: Own | None,
    seen: Seen,
    bias: Tensor | None,
    likelihood: Tensor,
) -> Tensor:
    """sum_j q_j log p_j over the items j that a teacher names, [P]: q_j its shares, p the softmax of the scores.

    All log p share a normaliser, which the target's own `likelihood` has already where the temperature is 1; a sum of
    scores is the score of the sum of `vectors` [P * k, D].
    """
    taught = questions.taught
    assert taught is not None
    shares, heat = taught.shares, taught.temperature
    mean = torch.bmm(shares.unsqueeze(1), vectors.view(*shares.shape, -1)).squeeze(1)
    score = (queries * targets).sum(-1)
    if own is not None:
        score = score + own.bias
    if heat != 1:
        likelihood = generated(queries, targets, negatives, questions.bias, question.without, own, seen.scores)
    cross_entropy = (queries * mean).sum(-1) - shares.sum(-1) * (score - likelihood)
    if bias is None:
        return cross_entropy
    items = seen.inputs["item"]
    said = (taught.items.unsqueeze(2) == items[question.at // items.shape[1]].unsqueeze(1)) * shares.unsqueeze(2)
    return cross_entropy + (said.sum(1) * bias.flatten(0, 1)[question.at]).sum(-1) / heat


def _of_own(
    head: Ranking,
    question: ItemQuestions,
    seen: Seen,
    sights: Sights | None,
    readouts: Tensor,
    bias: Tensor | None,
    heat: float = 1.0,
) -> Own | None:
    """What the session's own items add to the normaliser, and to the score of a target that is one of them; `bias` is
    `head.returning`, and all scores are divided by `heat`.
    """
    items = seen.inputs["item"]
    if bias is None or sights is None:
        return None
    latest = sights.latest
    bias = bias if heat == 1 else bias / heat
    queries = head.query(readouts) if heat == 1 else head.query(readouts) / heat
    scores = queries @ seen.read_items.transpose(1, 2) + bias
    total = (scores.exp() * latest).sum(-1)
    same = latest & (items.unsqueeze(1) == question.item.unsqueeze(2))
    return Own(*(each.ravel()[question.at] for each in (total, (bias * same).sum(-1), same.any(-1))))


def _of_generator(
    head: Ranking,
    spec: RankingHead,
    questions: RankingQuestions,
    question: ItemQuestions,
    queries: Tensor,
    targets: Tensor,
    negatives: Tensor,
    own: Own | None,
    dtype: torch.dtype | None,
) -> tuple[Tensor, Tensor]:
    """What is maximised of the scores, and the log-likelihoods that they mean, both [P]."""
    if spec.loss in LIKELIHOODS:
        likelihood = generated(queries, targets, negatives, questions.bias, question.without, own, dtype)
        if not spec.label_smoothing:
            return likelihood, likelihood
        share = spec.label_smoothing
        return smoothed(likelihood, queries, targets, negatives, questions.bias, share, head.items), likelihood
    score, scores = (queries * targets).sum(-1), queries @ negatives.t()
    if spec.loss == "bpr_max":
        strength = REGULARISATION if spec.regularisation is None else spec.regularisation
        loss = bpr_max(score, scores, questions.times, question.without, strength)
    else:
        offset = score.new_zeros(()) if head.offset is None else head.offset
        score, scores = score + offset, scores + offset
        calibration = CALIBRATION if spec.calibration is None else spec.calibration
        loss = bce(score, scores, questions.times, question.without, calibration, head.items)
    # only the inverse temperature learns by likelihood: the scores are the loss's own
    still = head.scaled(queries.detach())
    likelihood = generated(still, targets.detach(), negatives.detach(), questions.bias, question.without)
    return likelihood - loss, likelihood
