"""Training of the kind of model that ranks items by counts (`models.counts`): tables are counted, weights fitted.

Weights are fitted to the validation part, by tables of the training part, which ends before it: as old as they are when
the model is used. What ships has tables of the validation part, which holds what the training part does of whoever
still buys, and more. Where the validation part asks nothing, the latest fifth of the training part's cut-offs stands
for it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clickflow import features
from clickflow.features import Spans
from clickflow.heads import named
from clickflow.heads.head import NOTHING, Head
from clickflow.models import counts
from clickflow.models.counts import BOUGHT, EVER, MAX_LENGTH, POPULAR, SILENCE, Counts, Tables
from clickflow.params.models import Model, own
from clickflow.params.schema import Params
from clickflow.sequences.features import Array
from clickflow.sequences.indexes import FIRST_ITEM, UNKNOWN
from clickflow.sequences.store import Card, PackedSplit, open_split, read_card
from clickflow.system import console
from clickflow.system.errors import DataError
from clickflow.system.moments import DAY
from clickflow.system.paths import Paths
from clickflow.training.tracker import Tracker, in_one_go

CELLS, BLOCK = 4_000_000, 400_000
"""Scores (questions x items) that weights are fitted to, and that are held at once."""
ROUNDS, ENOUGH = 20, 1e-5
"""Of Newton's method at most, and the gain of a round, in nats an answer, that is none."""
PRIOR, LONGEST_STEP = 4.0, 2.0
"""Each weight is thought to be normal with this precision; and moves by no more than so much a round."""
LEAST_SHARE = 0.001
"""Of the steps: an event type below is not read."""
NEIGHBOURS, DAMPING, OF_PERSON = 50, 20.0, 200
"""What goes with an item: so many; buyers who are thought away of each; items of a person that count."""
DOUBT = 10.0
"""People as doubtful as the mean, who are added to those of an item."""
COUNTED = 0.5
"""Added to a count before its logarithm."""
LATEST = 0.2


def train_counts(params: Params, paths: Paths, name: str, track: Callable[..., Tracker] | None) -> None:
    """Train the model of that name; write its folder. Raises DataError where the store has nothing to learn from."""
    spec = params.model(name)

    def write(trained: TrainedCounts, fresh: Path, card: Card) -> None:
        extra = {"spec": own(spec), "seed": params.seed, "data_sha256": card.sha256, "questions": trained.questions}
        counts.save(trained.model, fresh, extra)

    trained, seconds = in_one_go(params, paths, name, track, lambda folder, _: train(spec, folder, params.seed), write)
    losses = ", ".join(f"{head} {loss:.4f}" for head, loss in trained.record["train"].items() if head != "loss")
    console.say(
        f"{name}: {trained.model.weights.shape[1]} weights by {trained.questions:,} of {trained.of:,} questions, "
        f"trained in {seconds:,.0f} s; loss of what was learned: {losses}"
    )


@dataclass(frozen=True)
class TrainedCounts:
    """A fitted model, its line of the history, how many questions its weights are fitted to, and of how many."""

    model: Counts
    record: dict[str, Any]
    questions: int
    of: int


def train(spec: Model, folder: Path, seed: int) -> TrainedCounts:
    """Fit `spec` to the store in `folder`; see the module. Raises DataError where nothing is asked."""
    card, category = read_card(folder), _categories(folder)
    train_part, valid = open_split(folder, "train"), open_split(folder, "valid")
    split, since = (valid, 0) if len(_readable(valid)) else (train_part, _latest(train_part))
    if not len(_readable(split, since)) or card.known <= FIRST_ITEM:
        raise DataError(
            f"the training part of {folder} holds no question to learn from",
            next_step=f"run `clickflow sequences {spec.unit}`, or ingest more",
        )
    assert split.cut_off is not None
    until = int(np.asarray(split.cut_off)[_readable(split, since)].min())
    action = np.asarray(train_part.action)
    read = [each for code, each in enumerate(card.actions) if (action == code).mean() >= LEAST_SHARE or each == BOUGHT]
    model = Counts(spec.unit, list(spec.heads), card.actions, read, tables(train_part, card, category, until))
    losses, questions, of = {}, 0, 0
    for place, name in enumerate(model.answers):
        sequences, target = questions_of(named(name), split, card, since)
        of += len(sequences)
        if not len(sequences):
            raise DataError(f"{name}: no answer is an item that the model knows", next_step="ingest more days")
        most = max(1, min(spec.max_questions, CELLS // card.known))
        if len(sequences) > most:
            some = np.sort(np.random.default_rng(seed).choice(len(sequences), most, replace=False))
            sequences, target = sequences[some], target[some]
        questions += len(sequences)
        with console.progress(f"fit {name}", ROUNDS) as advance:
            losses[name] = _fit(model, place, split, card, sequences, target, advance)
    if split is valid:
        model.know(tables(valid, card, category, int(np.asarray(valid.time).max(initial=until)) + 1))
    record = {"epoch": 1, "train": {"loss": sum(losses.values()), **losses}}
    return TrainedCounts(model.eval(), record, questions, of)


def _readable(split: PackedSplit, since: int = 0) -> Array:
    """The sequences of which something is read, as of a cut-off from `since` on."""
    if split.cut_off is None:  # a part that is empty may have none
        return np.zeros(0, np.int64)
    there = np.asarray(split.end) > np.asarray(split.begin)
    return np.flatnonzero(there & (np.asarray(split.cut_off) >= since))


def _latest(split: PackedSplit) -> int:
    """The first of the latest cut-offs."""
    every = np.unique(np.asarray(split.cut_off))
    return int(every[-max(1, round(LATEST * len(every)))]) if len(every) else 0


def questions_of(head: Head, split: PackedSplit, card: Card, since: int = 0) -> tuple[Array, Array]:
    """The sequences with a right answer that is known, and all of these [n, most]; NOTHING in between and behind."""
    sequences = _readable(split, since)
    event, end = (np.asarray(each, np.int64)[sequences] for each in (split.end, split.until))
    if head.all_targets is not None:
        target = head.all_targets(split, event - 1, end, card)
    else:
        target = head.targets(split, event - 1, end, card)[:, None]
    target = np.where((target >= FIRST_ITEM) & (target < card.known), target, NOTHING)
    some = (target != NOTHING).any(1)
    return sequences[some], target[some]


def _categories(folder: Path) -> Array:
    """[items of the store + FIRST_ITEM] the code of each item's category."""
    from pyarrow import parquet

    own = parquet.read_table(folder / "vocabulary.parquet", columns=["category"])["category"].to_numpy()
    return np.concatenate([np.zeros(FIRST_ITEM, np.int64), own.astype(np.int64)])


def tables(split: PackedSplit, card: Card, category: Array, until: int) -> Tables:
    """What the steps of a part before `until` say of the items."""
    known, code = card.known, card.actions.index(BOUGHT)
    begin = np.unique(np.asarray(split.begin, np.int64))
    time_, item = np.asarray(split.time), np.asarray(split.item).astype(np.int64)
    there = np.flatnonzero((time_ < until) & (item >= FIRST_ITEM) & (item < known))
    person = np.searchsorted(begin, there, side="right")
    item, age, bought = item[there], (until - time_[there]) / DAY, np.asarray(split.action)[there] == code
    popular = np.zeros((len(POPULAR), known))
    for place, (of_purchases, half_life) in enumerate(POPULAR):
        own = bought == of_purchases
        weight = np.ones(int(own.sum())) if half_life == EVER else 0.5 ** (age[own] / half_life)
        popular[place] = np.log(np.bincount(item[own], weight, known) + COUNTED)
    person, item, day = person[bought], item[bought], (time_[there][bought] // DAY).astype(np.int64)
    pair, times = np.unique(np.unique(np.stack([person * known + item, day], 1), axis=0)[:, 0], return_counts=True)
    people, again = np.bincount(pair % known, minlength=known), np.bincount(pair % known, times > 1, known)
    share = max(again.sum(), 1.0) / max(people.sum(), 1)
    rate = np.log((again + DOUBT * share) / (people + DOUBT) / share)
    beside, likeness = _neighbours(pair // known, pair % known, known)
    return Tables(
        popular.astype(np.float32), rate.astype(np.float32), beside, likeness, category[:known].astype(np.int64)
    )


def _neighbours(person: Array, item: Array, known: int) -> tuple[Array, Array]:
    """What the same people bought, [known, NEIGHBOURS] each: items, the likest first, 0 for none; how like they are:
    the cosine of those who bought them, damped as in `baselines.itemknn`. `person` ascends.
    """
    from scipy.sparse import csr_array

    place = np.arange(len(person)) - np.searchsorted(person, person)
    kept = place < OF_PERSON
    whose = np.unique(person[kept], return_inverse=True)[1]
    shape = (int(whose.max(initial=-1)) + 1, known)
    inside = csr_array((np.ones(int(kept.sum()), np.float32), (whose, item[kept])), shape=shape)
    together = csr_array(inside.T @ inside)
    count = np.asarray(inside.sum(axis=0)).reshape(-1)
    row = np.repeat(np.arange(known), np.diff(together.indptr))
    other, like = (
        together.indices,
        together.data / np.sqrt((count[row] + DAMPING) * (count[together.indices] + DAMPING)),
    )
    different = row != other
    row, other, like = row[different], other[different], like[different]
    order = np.lexsort((other, -like, row))
    row, other, like = row[order], other[order], like[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    first = rank < NEIGHBOURS
    items, likeness = np.zeros((known, NEIGHBOURS), np.int64), np.zeros((known, NEIGHBOURS), np.float32)
    items[row[first], rank[first]], likeness[row[first], rank[first]] = other[first], like[first]
    return items, likeness


def _blocks(
    model: Counts, split: PackedSplit, card: Card, sequences: Array, target: Array
) -> Iterator[tuple[Tensor, Tensor]]:
    """Of some questions together: the numbers of all items [n, K - 2, W], and the right ones [n, most], from 0 on."""
    size = max(1, BLOCK // card.known)
    for first in range(0, len(sequences), size):
        rows = sequences[first : first + size]
        begin, end = (np.asarray(each, np.int64)[rows] for each in (split.begin, split.end))
        silence = features.compute(
            model.spec.unit, split, Spans(begin, end, np.asarray(split.cut_off)[rows]), card, [SILENCE]
        )
        length = np.minimum(end - begin, MAX_LENGTH)
        step = np.arange(int(length.max()))
        inside = step < length[:, None]
        at = np.where(inside, (end - length)[:, None] + step, (end - 1)[:, None])
        inputs = {name: np.where(inside, getattr(split, name)[at], 0) for name in model.inputs}
        inputs["item"] = np.where(inputs["item"] < card.known, inputs["item"], UNKNOWN)
        read = {
            name: torch.from_numpy(values.astype(np.float32 if name == "gap" else np.int64))
            for name, values in inputs.items()
        }
        every = torch.arange(len(rows)), torch.from_numpy(length - 1), torch.from_numpy(silence)
        columns = [values.expand(len(rows), -1) for values in model.columns(read, *every)]
        yield torch.stack(columns, -1)[:, FIRST_ITEM:], torch.from_numpy(target[first : first + size]) - FIRST_ITEM


def _fit(
    model: Counts, place: int, split: PackedSplit, card: Card, sequences: Array, target: Array, advance: console.Advance
) -> float:
    """Put the likeliest weights of a head into `model`; the mean negative log-likelihood of an answer with them.

    Newton's method, half as far where that was too far: the likelihood of a softmax is concave in its weights. Each
    right answer counts the same, and the others are rivals of it, as where it is measured.
    """
    width = len(model.names)
    weights = kept = torch.zeros(width, dtype=torch.float64)
    best = loss = float("inf")
    with torch.no_grad():
        held = list(_blocks(model, split, card, sequences, target))
        for _ in range(ROUNDS):
            slope, curve = torch.zeros(width, dtype=torch.float64), torch.zeros(width, width, dtype=torch.float64)
            total, answers = 0.0, 0
            for numbers, right in held:
                there = right >= 0
                count = there.sum(1, keepdim=True).float()
                logs = (numbers @ weights.float()).log_softmax(1)
                total -= float((logs.gather(1, right.clamp(min=0)) * there).sum(dtype=torch.float64))
                answers += int(there.sum())
                shares = logs.exp() * count
                wanted = numbers.gather(1, right.clamp(min=0).unsqueeze(-1).expand(-1, -1, width)) * there.unsqueeze(-1)
                mean = torch.einsum("nk,nkw->nw", shares, numbers)
                flat = numbers.flatten(0, 1)
                slope += (wanted.sum((0, 1)) - mean.sum(0)).double()
                curve += (flat.T @ (flat * shares.flatten().unsqueeze(1)) - mean.T @ (mean / count)).double()
            advance(1)
            cost = (total + PRIOR * float(weights.square().sum()) / 2) / answers
            if cost > best:  # too far
                weights = (kept + weights) / 2
                continue
            gained, best, kept, loss = best - cost, cost, weights, total / answers
            if gained < ENOUGH:
                break
            move = torch.linalg.solve(curve + PRIOR * torch.eye(width, dtype=torch.float64), slope - PRIOR * weights)
            weights = weights + move * min(1.0, LONGEST_STEP / max(float(move.abs().max()), 1e-12))
    model.weights[place] = kept.float()
    return loss
