"""Answers of a system to every question about the test sequences, in blocks of bounded memory."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clickflow.artefact.artefact import Artefact
from clickflow.artefact.windows import Questions, batch, blocks, questions, recent
from clickflow.baselines import NEXT_ACTION, NEXT_ITEM
from clickflow.baselines.history import History
from clickflow.baselines.positions import Positions
from clickflow.evaluation import customers, ranking, vocabularies
from clickflow.sequences.store import Card, PackedSplit
from clickflow.system.console import Advance

BLOCK_BYTES = 1 << 25
"""Bytes of one block of scores (questions x items)."""
BLOCK_QUESTIONS = 1024
"""Questions in one block at most."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class HeldOut:
    """The test sequences and what followed each step."""

    folder: Path
    card: Card
    split: PackedSplit
    asked: Questions
    """All positions, cut to the candidate's `max_length`."""
    items: npt.NDArray[np.int32]
    """[e] the split's items, as what is asked for."""
    next_item: Ints
    """[n] index, in the store's vocabulary, of the item that followed; -1 after the last step."""
    next_action: Ints
    """[n] code of the action that followed; `len(card.actions)`, exit, after the last step."""
    followed: Ints
    """Indexes of the questions that another step follows: those of next_item."""
    customer: customers.Codes
    """Of each sequence of the split, who it came from."""

    def ahead(self, horizon: int) -> Ints:
        """The items that followed each of `followed`, one step ahead and on, [len(followed), horizon]; -1 where the
        sequence has ended.
        """
        asked = self.asked
        event, left = asked.event[self.followed], (asked.length - asked.position)[self.followed]
        step = np.arange(1, horizon + 1)
        there = step < left[:, None]
        return np.where(there, self.items[np.where(there, event[:, None] + step, event[:, None])], -1)


@dataclass(frozen=True)
class Answers:
    """What one artefact answers; None where it has no such head."""

    ranks: ranking.Ranks | None
    """[len(followed), horizon asked] the rank of the items that followed, by `next_item`."""
    ahead: ranking.Ranks | None
    """The same by `next_items`."""
    actions: npt.NDArray[np.float32] | None
    """[len(asked), actions + 1] log-probabilities."""


def held_out(
    folder: Path,
    card: Card,
    split: PackedSplit,
    max_sequences: int,
    max_length: int,
    customer: customers.Codes | None = None,
) -> HeldOut:
    """Questions about the latest `max_sequences` sequences of `split`, and their true answers."""
    chosen = np.arange(max(0, split.n_sequences - max_sequences), split.n_sequences)
    return about(folder, card, split, chosen, max_length, customer)


def about(
    folder: Path,
    card: Card,
    split: PackedSplit,
    chosen: Ints,
    max_length: int,
    customer: customers.Codes | None = None,
) -> HeldOut:
    """Questions about the `chosen` sequences of `split`, and their true answers. `customer`: of each sequence of the
    split; none given: each is its own.
    """
    if customer is None:
        customer = customers.themselves(split.n_sequences)
    asked = questions(split.offsets, chosen, max_length)
    followed = np.flatnonzero(asked.has_next)
    item = np.full(len(asked), -1, np.int64)
    item[followed] = split.item[asked.event[followed] + 1]
    action = np.full(len(asked), len(card.actions), np.int64)
    action[followed] = split.action[asked.event[followed] + 1]
    return HeldOut(folder, card, split, asked, np.asarray(split.item), item, action, followed, customer)


def answer(
    test: HeldOut, artefact: Artefact, advance: Advance, *, horizon: int = 1, block: int | None = None
) -> Answers:
    """Score an artefact on every question; `horizon`: the items of so many next steps are ranked; `block` overrides
    how many questions at a time.

    Its items are those of its own vocabulary: it is ranked among them, and a target it does not know has rank 0.
    """
    translation = vocabularies.translation(test.folder, test.card, artefact)
    # the same questions; an artefact of another max_length reads windows of its own
    asked = questions(test.split.offsets, np.unique(test.asked.sequence), artefact.max_length)
    wanted = np.zeros((len(asked), horizon), np.int64)
    items = test.ahead(horizon)
    wanted[test.followed] = np.where(items >= 0, translation.item[np.maximum(items, 0)], 0)
    ranks = {name: np.zeros(wanted.shape, np.int32) for name in ("next_item", "next_items") if name in artefact.outputs}
    logs = np.zeros((len(asked), len(test.card.actions) + 1), np.float32) if "next_action" in artefact.outputs else None
    for chosen in blocks(asked, block or _size(artefact.known)):
        inputs, rows, columns = batch(test.split, asked, chosen, artefact.inputs, translation)
        scores = artefact.scores(inputs, rows, columns)
        for name, made in ranks.items():
            made[chosen] = _ranks(scores[name], wanted[chosen])
        if logs is not None:
            logs[chosen] = vocabularies.actions(test.card, artefact, scores["next_action"])
        advance(len(chosen))
    next_item, next_items = (
        ranks[name][test.followed] if name in ranks else None for name in ("next_item", "next_items")
    )
    return Answers(ranks=next_item, ahead=next_items, actions=logs)


def baseline_ranks(test: HeldOut, past: History, name: str, advance: Advance, *, horizon: int = 1) -> ranking.Ranks:
    """Fit a next-item baseline on the training part and rank the items that followed, [len(followed), horizon]."""
    scores = NEXT_ITEM[name](past)
    items = np.where(np.asarray(test.split.item) < past.known, test.split.item, 1)
    longest = int(test.asked.window.max(initial=1))
    wanted = test.ahead(horizon)
    made = np.zeros(wanted.shape, np.int32)
    for place in _slices(len(made), _size(2 * past.known)):
        chosen = test.followed[place]
        made[place] = _ranks(scores(recent(items, test.asked, chosen, longest)), wanted[place])
        advance(len(chosen))
    return made


def baseline_actions(
    test: HeldOut, train: Positions, name: str, advance: Advance
) -> tuple[npt.NDArray[np.float32], bool]:
    """Fit a next-action baseline on the training part; its log-probabilities [len(asked), actions + 1], and whether
    its fit converged.
    """
    asked = Positions(test.split, test.asked.event, test.asked.first, train.actions)
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        fitted = NEXT_ACTION[name](train)
    made = fitted(asked).astype(np.float32)
    advance(len(asked))
    return made, not any(each.category.__name__ == "ConvergenceWarning" for each in raised)


def _ranks(scores: npt.NDArray[np.floating], targets: Ints) -> ranking.Ranks:
    """`ranking.ranks` of several targets a row, [N, H]."""
    return np.stack([ranking.ranks(scores, column) for column in targets.T], axis=1)


def _size(known: int) -> int:
    return max(1, min(BLOCK_QUESTIONS, BLOCK_BYTES // (4 * known)))


def _slices(total: int, size: int) -> Iterator[slice]:
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))
