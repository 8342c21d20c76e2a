"""Training: from a spec and a packed split to a network.

The same spec, data, seed and kind of device give the same weights, whether training was stopped on the way or not:
every random choice is a function of the seed and of the place (epoch, step) where it is made, and a checkpoint holds
all the rest.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clickflow.errors import DataError, UsageError
from clickflow.models.ensemble import Ensemble, members
from clickflow.models.heads import FIRST_ITEM
from clickflow.models.network import Network, Sizes
from clickflow.params import Model, Training
from clickflow.training import actions, associations, augmentation, optimisers
from clickflow.training import device as devices
from clickflow.training.batches import Ints, Windows, gather, plan, random, windows
from clickflow.training.budget import settled
from clickflow.training.checkpoints import Checkpoints
from clickflow.training.negatives import candidates
from clickflow.training.objective import Loss, Step, loss, part, prepare
from clickflow.training.sharpness import sharpen
from clickflow.training.state import State
from clickflow.training.team import Team
from clickflow.training.validation import answer, sample

if TYPE_CHECKING:
    from clickflow.sequences.store import PackedSplit

SHUFFLE, NEGATIVES, DROPOUT, AUGMENT = 0, 1, 2, 3
"""What a random state is for."""
VALID_SCORES, VALID_QUESTIONS = 200_000_000, (1_000, 10_000)
"""Validation asks as many questions as give so many scores, between these bounds."""
APART = 1_000_003
"""How far apart the seeds of an ensemble's networks are."""
LOOK = 0.25
"""Seconds between two reports of a loss: reading it makes a CUDA device wait."""


class Watcher(Protocol):
    """Who is told how training goes."""

    def start(self, network: Network, steps: int, done: int, why: str, /) -> None:
        """`steps` in all, `done` of them by an earlier run that was stopped; `why` this device."""

    def step(self, steps: int, questions: int, loss: float, /) -> None:
        """So many steps and questions since the last call; the loss of now."""

    def epoch(self, record: dict[str, Any], /) -> None:
        """An epoch has ended; `record` is its line of the history."""


@dataclass(frozen=True)
class Trained:
    """What training gives: the network (best weights, ready to answer), one record an epoch, the epoch of the best
    weights, and how many steps and questions there were in all.

    Of an ensemble the epochs are numbered on, a network after the other, and each has its best one.
    """

    network: Network | Ensemble
    history: list[dict[str, Any]]
    best_epochs: tuple[int, ...]
    steps: int
    questions: int

    @property
    def best_epoch(self) -> int:
        """Of the first network, which most often is the only one."""
        return self.best_epochs[0]


def train(
    spec: Model,
    sizes: Sizes,
    training: "PackedSplit",
    validation: "PackedSplit | None" = None,
    *,
    seed: int,
    settings: Training,
    checkpoints: Checkpoints | None = None,
    watcher: Watcher | None = None,
    overfit: bool = False,
    max_steps: int | None = None,
    team: Team | None = None,
) -> Trained:
    """Train `spec` on `training`; `validation` decides which epoch's weights are kept, and when to stop early.

    `checkpoints`: where to go on from, and to write to; they stay until the caller removes them. `team`: this process's
    place among those that train together, of which the first alone has checkpoints and a watcher. For debugging:
    `overfit` takes the same batch again and again, which must drive the loss down; `max_steps` ends training there.
    The networks of an ensemble are trained one after the other, the first as if it were alone; one that has ended is
    not trained again after a kill.
    Where the spec names no number of epochs, it follows from the training part (`budget.settled`).
    Raises DataError where there is nothing to learn, UsageError where the loss becomes infinite or no number.
    """
    spec, found = settled(spec, training.n_events), []
    epochs = spec.budget.epochs or 0
    for index, member in enumerate(members(spec)):
        found.append(
            _train(
                member,
                sizes,
                training,
                validation,
                seed=seed + index * APART,
                settings=settings,
                checkpoints=checkpoints.part(index) if checkpoints and spec.ensemble else checkpoints,
                watcher=_Numbered(watcher, index, epochs) if watcher and spec.ensemble else watcher,
                overfit=overfit,
                max_steps=max_steps,
                team=team,
            )
        )
    if not spec.ensemble:
        return found[0]
    networks = [each.network for each in found if isinstance(each.network, Network)]
    return Trained(
        Ensemble(spec, networks[0].sizes, networks).eval(),
        [_numbered(record, index, epochs) for index, each in enumerate(found) for record in each.history],
        tuple(each.best_epoch + index * epochs for index, each in enumerate(found)),
        sum(each.steps for each in found),
        sum(each.questions for each in found),
    )


def _numbered(record: dict[str, Any], index: int, epochs: int) -> dict[str, Any]:
    """An epoch's record of the network `index` of an ensemble."""
    return {**record, "epoch": record["epoch"] + index * epochs, "network": index + 1}


class _Numbered:
    """Tells a watcher of one network of an ensemble."""

    def __init__(self, watcher: Watcher, index: int, epochs: int) -> None:
        self.watcher, self.index, self.epochs = watcher, index, epochs
        self.start, self.step = watcher.start, watcher.step

    def epoch(self, record: dict[str, Any]) -> None:
        """An epoch has ended."""
        self.watcher.epoch(_numbered(record, self.index, self.epochs))


def _train(
    spec: Model,
    sizes: Sizes,
    training: "PackedSplit",
    validation: "PackedSplit | None",
    *,
    seed: int,
    settings: Training,
    checkpoints: Checkpoints | None,
    watcher: Watcher | None,
    overfit: bool,
    max_steps: int | None,
    team: Team | None,
) -> Trained:
    """One network, see `train`."""
    device = devices.choose(settings)
    with devices.settled(device, settings.threads):
        torch.manual_seed(seed)
        run = _Run(spec, sizes, training, validation, seed, device, overfit, team)
        saved = checkpoints.newest() if checkpoints else None
        saved = team.same(saved) if team else saved
        if saved:
            run.state.restore(saved)
        progress = run.state.progress
        if watcher:
            watcher.start(run.state.network, run.steps, progress.step, device.why)
        while not progress.done:
            with devices.learning(device):
                whole = _epoch(run, checkpoints, watcher, max_steps)
            if not whole:
                break
            run.close_epoch()
            if checkpoints:
                checkpoints.save(progress.step, run.state.checkpoint())
            if watcher:
                watcher.epoch(progress.history[-1])
        run.state.use_best()
        run.sharpen()
    best = progress.best_epoch if progress.best_epoch is not None else progress.epoch
    return Trained(run.state.network.eval(), progress.history, (best,), progress.step, progress.questions)


class _Run:
    """What stays the same while training goes on, and the state that changes."""

    def __init__(
        self,
        spec: Model,
        sizes: Sizes,
        training: "PackedSplit",
        validation: "PackedSplit | None",
        seed: int,
        device: devices.Device,
        overfit: bool,
        team: Team | None = None,
    ) -> None:
        self.team = team
        self.spec, self.sizes, self.training, self.validation = spec, sizes, training, validation
        self.seed, self.device, self.overfit = seed, device, overfit
        self.windows = self.cut(training)
        item = spec.heads.next_item
        if not len(self.windows) or (item and sizes.known <= FIRST_ITEM):
            raise DataError(
                f"there is nothing to learn from: {len(self.windows)} sequences with a step to predict, "
                f"{max(0, sizes.known - FIRST_ITEM)} known items",
                next_step="the store's card.json says what was left out; a smaller sequences.min_item_count may help",
            )
        self.draw = candidates(item, sizes.known, training.item)
        self.before: associations.Before | None = None
        self.near: augmentation.Near | None = None
        if item and item.associations:
            table, self.before = associations.count(training, sizes.known)
            self.near = augmentation.Near.of(table)
            sizes = replace(sizes, associations=table)
        self.state = State(Network(spec, sizes).to(device.kind).train(), spec.optimiser)
        if (head := self.state.network.next_action) is not None:
            actions.begin(head, training)
        self.batches = len(self.plan(0))
        self.epochs = spec.budget.epochs or 0
        self.steps = self.batches * self.epochs
        self.asked: Windows | None = None
        if validation is not None and validation.n_sequences:
            low, high = VALID_QUESTIONS
            asked = self.cut(validation)
            if len(asked):
                self.asked = sample(asked, min(high, max(low, VALID_SCORES // sizes.known)))

    def cut(self, split: "PackedSplit") -> Windows:
        return windows(split.offsets, self.spec.budget.max_length, to_the_end=self.spec.heads.next_action is not None)

    def plan(self, epoch: int) -> list[Ints]:
        place = 0 if self.overfit else epoch
        batches = plan(self.windows.length, self.spec.budget.batch_tokens, random(self.seed, SHUFFLE, place))
        return batches[:1] * len(batches) if self.overfit else batches

    def step(self, chosen: Ints) -> tuple[int, Loss]:
        """One batch; returns the number of questions and the loss before the update."""
        state, spec, at = self.state, self.spec, self.state.progress.step
        place = 0 if self.overfit else at
        change = spec.augmentation if any(vars(spec.augmentation).values()) else None
        windows = self.windows.take(chosen)
        if change:
            chance = random(self.seed, AUGMENT, place)
            windows = augmentation.cropped(windows, change.crop, chance)
        batch = gather(
            self.training,
            windows,
            state.network.inputs,
            self.sizes.known,
            len(self.sizes.actions),
            horizon=spec.heads.next_item.horizon if spec.heads.next_item else 1,
        )
        before: Sequence[NDArray[np.float32]] = self.before.gather(windows) if self.before else ()
        if change:
            was, batch = batch, augmentation.changed(batch, change, self.near, chance)
            before = augmentation.unsaid(before, batch, was) if before else ()
        draws = random(self.seed, NEGATIVES, place)
        head, outputs = state.network.next_item, state.network.outputs
        own = head is not None and head.returns is not None
        step = prepare(batch, self.draw, draws, self.device.kind, outputs=outputs, own=own, before=before)
        if spec.encoder.dropout:
            mine = [self.team.rank] if self.team else []
            torch.manual_seed(int(random(self.seed, DROPOUT, at, *mine).integers(1 << 62)))
        table = state.network.items.data
        rows = table.index_select(0, step.rows).requires_grad_()
        found = Loss(rows.new_zeros(()), {})
        if step.asks:
            state.optimiser.zero_grad(set_to_none=True)
            found = self.learn(step, rows)
            if spec.augmentation.adversarial and rows.grad is not None:
                self.oppose(step, rows, rows.grad)
            if spec.optimiser.clip_norm > 0:
                torch.nn.utils.clip_grad_norm_([*state.dense, rows], spec.optimiser.clip_norm)
            share = optimisers.learning_rate(at, self.steps, spec.optimiser.warmup_share)
            for group in state.optimiser.param_groups:
                group["lr"] = spec.optimiser.learning_rate * share
            state.optimiser.step()
            if rows.grad is not None:
                rate = spec.optimiser.embedding_learning_rate * share
                state.rows.update(table, step.rows, rows.detach(), rows.grad, rate, at + 1)
        return batch.tokens, found

    def learn(self, step: Step, rows: Tensor) -> Loss:
        """The loss with the item vectors `rows`, and its gradients in all that is trained; of the whole team if any."""
        network, team = self.state.network, self.team
        mine = part(step, team.rank, team.size) if team else step
        found = Loss(rows.new_zeros(()), {})
        if mine.inputs["item"].numel():
            found = loss(network, mine, rows, bfloat16=self.device.bfloat16, scores=self.device.scores)
        if found.heads:
            found.total.backward()  # type: ignore[no-untyped-call]
        heads = {name: (value.detach(), count) for name, (value, count) in found.heads.items()}
        if team is None:
            return Loss(found.total.detach(), heads)
        counts = {"next_item": step.asked[0].of if step.asked else 0, "next_action": step.actions}
        none = (rows.new_zeros(()), 0)
        losses = {"total": found.total, **{name: heads.get(name, none)[0] for name, count in counts.items() if count}}
        sums = team.add(losses, [*self.state.dense, rows])
        return Loss(sums.pop("total"), {name: (value, counts[name]) for name, value in sums.items()})

    def oppose(self, step: Step, rows: Tensor, rise: Tensor) -> None:
        """Add the gradients at the item vectors that a small move along `rise`, the loss's gradient, makes of `rows`.

        Adversarial training by the gradient's direction (Goodfellow et al. 2015; of embeddings Miyato et al. 2017), the
        move being a share of each vector's length.
        """
        leaves = [*self.state.dense, rows]
        first = [leaf.grad for leaf in leaves]
        for leaf in leaves:
            leaf.grad = None
        length = rows.detach().norm(dim=-1, keepdim=True) / rise.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        moved = (rows.detach() + self.spec.augmentation.adversarial * length * rise).requires_grad_()
        self.learn(step, moved)
        for leaf, before, after in zip(leaves, first, [*(leaf.grad for leaf in leaves[:-1]), moved.grad], strict=True):
            leaf.grad = before if after is None else after if before is None else before + after

    def sharpen(self) -> None:
        """Scores of a loss that is no likelihood become probabilities, by what was not trained on if there is any."""
        if self.asked is not None and self.validation is not None:
            sharpen(self.state.network, self.validation, self.asked)
        else:
            sharpen(self.state.network, self.training, self.windows)

    def close_epoch(self) -> None:
        """Validate, keep the best weights, and decide whether to go on."""
        progress, heads = self.state.progress, self.spec.heads
        weights = {
            "next_item": heads.next_item.weight if heads.next_item else 0.0,
            "next_action": heads.next_action.weight if heads.next_action else 0.0,
        }
        losses = {name: total / count for name, (total, count) in sorted(progress.sums.items())}
        if not losses:
            raise DataError(
                "there is nothing to learn from: no step of the training part is followed by an item that is known",
                next_step="a smaller sequences.min_item_count in params.yaml may help",
            )
        record: dict[str, Any] = {
            "epoch": progress.epoch + 1,
            "steps": progress.step,
            "train": {**losses, "loss": sum(weights[name] * value for name, value in losses.items())},
        }
        progress.epoch, progress.batch, progress.sums = progress.epoch + 1, 0, {}
        if self.asked is not None and self.validation is not None:
            answers = answer(self.state.network, self.validation, self.asked)
            valid = {"loss": answers.loss(weights["next_item"], weights["next_action"])}
            if len(answers.item_losses):
                valid["next_item"] = float(answers.item_losses.mean())
                valid |= {"recall@20": answers.recall(20), "mrr@20": answers.mrr(20)}
            if len(answers.action_losses):
                valid["next_action"] = float(answers.action_losses.mean())
            record["valid"] = valid
            if progress.best_loss is None or valid["loss"] < progress.best_loss:
                progress.best_loss, progress.best_epoch, progress.worse = valid["loss"], progress.epoch, 0
                self.state.keep_best()
            else:
                progress.worse += 1
        progress.history.append(record)
        progress.done = progress.epoch >= self.epochs or progress.worse >= self.spec.budget.patience


def _epoch(run: _Run, checkpoints: Checkpoints | None, watcher: Watcher | None, max_steps: int | None) -> bool:
    """The rest of the epoch where the state stands; False where `max_steps` ended it."""
    state, progress = run.state, run.state.progress
    pending: list[Loss] = []
    looked = written = time.monotonic()
    steps = questions = 0
    for chosen in run.plan(progress.epoch)[progress.batch :]:
        if max_steps is not None and progress.step >= max_steps:
            _settle(state, pending)
            return False
        asked, found = run.step(chosen)
        pending.append(found)
        progress.step += 1
        progress.batch += 1
        progress.questions += asked
        steps, questions = steps + 1, questions + asked
        now = time.monotonic()
        if watcher and now - looked >= LOOK:
            last = _settle(state, pending)
            watcher.step(steps, questions, last)
            looked, steps, questions = now, 0, 0
        if checkpoints and now - written >= checkpoints.seconds and progress.batch < run.batches:
            _settle(state, pending)
            checkpoints.save(progress.step, state.checkpoint())
            written = time.monotonic()
    last = _settle(state, pending)
    if watcher and steps:
        watcher.step(steps, questions, last)
    return True


def _settle(state: State, pending: list[Loss]) -> float:
    """Add the losses of the last steps to the epoch's sums, one after the other so that the digits do not depend on
    when it is done; returns the last one. UsageError where one is infinite or no number.
    """
    last = 0.0
    for found in pending:
        last = float(found.total)
        if not math.isfinite(last):
            raise UsageError(
                f"training went astray: the loss is {last} at about step {state.progress.step:,}",
                kept="the last checkpoint, from before",
                next_step="lower the model's optimiser.learning_rate or optimiser.clip_norm in params.yaml",
            )
        for name, (value, count) in found.heads.items():
            total, questions = state.progress.sums.get(name, (0.0, 0))
            state.progress.sums[name] = [total + float(value) * count, questions + count]
    pending.clear()
    return last
