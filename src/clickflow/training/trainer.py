"""One network in training: what stays the same meanwhile, a step, and a look at the validation part."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clickflow.models.answers.ranking import Ranking
from clickflow.models.hand_made import read_by
from clickflow.models.network import Network
from clickflow.models.sizes import Sizes
from clickflow.params.models import Model, RankingHead
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.system.errors import DataError
from clickflow.training import associations, augmentation, budget, hand_made, last_pass, optimisers
from clickflow.training import device as devices
from clickflow.training.answers import objectives
from clickflow.training.answers.classes import ClassesObjective
from clickflow.training.batch_loss import Loss, Step, loss, part, prepare
from clickflow.training.batches import Ints, Windows, gather, of_split, plan, random
from clickflow.training.distillation import TeacherAnswers
from clickflow.training.distributed import ProcessGroup
from clickflow.training.shares import fit_shares
from clickflow.training.state import State
from clickflow.training.temperature import fit_temperature
from clickflow.training.validation import answer, sample, weighted

if TYPE_CHECKING:
    from clickflow.models.answers.classes import Classes
    from clickflow.sequences.store import PackedSplit

SHUFFLE, NEGATIVES, DROPOUT, AUGMENT = 0, 1, 2, 3
"""What a random state is for."""
VALID_SCORES, VALID_QUESTIONS = 200_000_000, (1_000, 10_000)
"""Validation asks as many questions as give so many scores, between these bounds."""
VALID_SHARE = 0.05
"""Where it is looked at more than once an epoch, no more than this share of the training steps, but for the least."""


class Trainer:
    """What stays the same while training goes on, and the `state` that changes.

    `open`: no end is planned, the validation part decides (`training.budget`); `epochs`, `steps`: how many at most;
    `looks`: after how many of an epoch's batches the validation part is asked.
    """

    def __init__(
        self,
        spec: Model,
        sizes: Sizes,
        training: "PackedSplit",
        validation: "PackedSplit | None",
        seed: int,
        device: devices.Device,
        overfit: bool,
        group: ProcessGroup | None = None,
        taught: Mapping[str, TeacherAnswers] | None = None,
    ) -> None:
        self.group, self.taught = group, taught or {}
        self.spec, self.sizes, self.training, self.validation = spec, sizes, training, validation
        self.seed, self.device, self.overfit = seed, device, overfit
        self.objectives = objectives(spec, sizes)
        self.windows = self.cut(training)
        rankings = {name: head for name, head in spec.heads.items() if isinstance(head, RankingHead)}
        if not len(self.windows) or (rankings and sizes.known <= FIRST_ITEM):
            raise DataError(
                f"there is nothing to learn from: {len(self.windows)} sequences with a step to predict, "
                f"{max(0, sizes.known - FIRST_ITEM)} known items",
                next_step="the store's card.json says what was left out; a smaller sequences.min_item_count may help",
            )
        self.counted = [name for name, head in rankings.items() if head.associations]
        self.before: associations.Before | None = None
        self.near: augmentation.Near | None = None
        if self.counted:
            table, self.before = associations.count(training, sizes.known)
            self.near = augmentation.Near.of(table)
            sizes = replace(sizes, associations=table)
        sizes = replace(sizes, hand_made=read_by(spec, clock=sizes.clock))
        self.state = State(Network(spec, sizes).to(device.kind).train(), spec.optimiser)
        for name, head in self.state.network.heads.items():
            self.objectives[name].learn_from(training)
            self.objectives[name].begin(head, training)
            objective, reader = self.objectives[name], hand_made.reader(self.state.network)
            if reader is not None and isinstance(objective, ClassesObjective):
                objective.begin_hand_made(cast("Classes", head), training, reader)
        self.batches = len(self.plan(0))
        held_out = self.cut(validation) if validation is not None and validation.n_sequences else None
        self.open = spec.budget.epochs is None and held_out is not None and len(held_out) > 0
        self.epochs = spec.budget.epochs or (budget.OPEN if self.open else budget.by_size(training.n_events))
        self.steps = self.batches * self.epochs
        self.looks = budget.looks(self.batches) if self.open else [self.batches]
        self.judged_windows: Windows | None = None
        if held_out is not None and len(held_out):
            low, high = VALID_QUESTIONS
            if self.open:
                high = max(low, min(high, round(VALID_SHARE * training.n_events)))
            self.judged_windows = sample(held_out, min(high, max(low, VALID_SCORES // sizes.known)))

    def cut(self, split: "PackedSplit") -> Windows:
        """The windows of a split that this network reads."""
        at_end = any(objective.head.at_end for objective in self.objectives.values())
        return of_split(split, self.spec.budget.max_length, at_end=at_end)

    def plan(self, epoch: int) -> list[Ints]:
        """The batches of an epoch, as indexes of windows."""
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
        network = state.network
        batch = gather(
            self.training, windows, network.inputs, self.objectives, self.sizes.known, hand_made.reader(network)
        )
        before: Sequence[NDArray[np.float32]] = self.before.gather(windows) if self.before else ()
        if change:
            was, batch = batch, augmentation.changed(batch, change, self.near, chance)
            before = augmentation.unsaid(before, batch, was, self.counted[0]) if before else ()
        draws = random(self.seed, NEGATIVES, place)
        lessons = {name: taught.at(windows, spec.distillation) for name, taught in self.taught.items()}
        step = prepare(batch, self.objectives, draws, self.device.kind, before, lessons)
        if spec.encoder.dropout:
            mine = [self.group.rank] if self.group else []
            torch.manual_seed(int(random(self.seed, DROPOUT, at, *mine).integers(1 << 62)))
        table = state.network.items.data
        rows = table.index_select(0, step.rows).requires_grad_()
        outcome = Loss(rows.new_zeros(()), {})
        if step.asks:
            for parameter in state.dense:
                parameter.grad = None
            outcome = self.learn(step, rows)
            if spec.augmentation.adversarial and rows.grad is not None:
                self.oppose(step, rows, rows.grad)
            if spec.optimiser.clip_norm > 0:
                torch.nn.utils.clip_grad_norm_([*state.dense, rows], spec.optimiser.clip_norm)
            share = self.rate(at)
            for group in state.optimiser.param_groups:
                group["lr"] = spec.optimiser.learning_rate * share
            optimisers.step(state.optimiser)
            if rows.grad is not None:
                rate = spec.optimiser.embedding_learning_rate * share
                state.rows.update(table, step.rows, rows.detach(), rows.grad, rate, at + 1)
            if self.open and not state.progress.last:
                state.average.update(at + 1)
        return batch.tokens, outcome

    def rate(self, step: int) -> float:
        """The share of the full learning rate at `step`."""
        warm, progress = self.spec.optimiser.warmup_share, self.state.progress
        if progress.last:
            return last_pass.rate(progress.batch, self.batches)
        if self.open:
            return optimisers.rising(step, self.batches * budget.by_size(self.training.n_events), warm)
        return optimisers.learning_rate(step, self.steps, warm)

    def learn(self, step: Step, rows: Tensor) -> Loss:
        """The loss with the item vectors `rows`, and its gradients in all that is trained; summed over `group`."""
        network, group = self.state.network, self.group
        mine = part(step, group.rank, group.size) if group else step
        outcome = Loss(rows.new_zeros(()), {})
        if mine.inputs["item"].numel():
            outcome = loss(
                network,
                self.objectives,
                mine,
                rows,
                bfloat16=self.device.bfloat16,
                scores=self.device.scores,
                log_variances=self.state.log_variances,
            )
        held = self.held(step)
        outcome = Loss(outcome.total + held, outcome.heads)
        if outcome.heads or held.requires_grad:
            outcome.total.backward()  # type: ignore[no-untyped-call]
        heads = {name: (value.detach(), count) for name, (value, count) in outcome.heads.items()}
        if group is None:
            return Loss(outcome.total.detach(), heads)
        counts = {name: questions.of for name, questions in step.heads.items()}
        none = (rows.new_zeros(()), 0)
        losses = {"total": outcome.total, **{name: heads.get(name, none)[0] for name, count in counts.items() if count}}
        sums = group.all_reduce(losses, [*self.state.dense, rows])
        return Loss(sums.pop("total"), {name: (value, counts[name]) for name, value in sums.items()})

    def held(self, step: Step) -> Tensor:
        """What keeps learned weights of heads from 0: half the log variance of each head that the batch asks, by its
        weight; of the processes of a group the first one's.
        """
        learned = self.state.log_variances
        if learned is None or (self.group and self.group.rank):
            return self.state.network.items.new_zeros(())
        weights = learned.new_tensor([self.weights[name] * step.heads[name].any for name in self.spec.heads])
        return (weights * learned).sum() / 2

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

    def fit_temperature(self) -> None:
        """Scores of a loss that is no likelihood become probabilities, by what was not trained on if there is any."""
        if self.judged_windows is not None and self.validation is not None:
            fit_temperature(self.state.network, self.validation, self.judged_windows)
        else:
            fit_temperature(self.state.network, self.training, self.windows)

    def fit_shares(self) -> None:
        """How answers are mixed is fitted to what was held out, where that has chosen the length of training."""
        if self.open and self.judged_windows is not None and self.validation is not None:
            fit_shares(self.state.network, self.validation, self.judged_windows)

    def turn(self) -> None:
        """To the last pass, from the best weights; or back into it, where an earlier run was stopped in it."""
        state, progress, held_out = self.state, self.state.progress, self.validation
        if held_out is None:
            raise TypeError("the last pass is over what was held out, and nothing was")
        if not progress.last:
            state.use_best()
            self.fit_shares()
            progress.batch, progress.sums, progress.last = 0, {}, True
        time = np.asarray(self.training.time), np.asarray(held_out.time)
        self.training = last_pass.joined(self.training, held_out)
        every, own = self.cut(self.training), len(self.cut(held_out))
        times = max(1, round(progress.best_after))
        self.windows = every.take(last_pass.chosen(np.concatenate(time), every, own, times))
        self.batches, self.looks, self.taught = len(self.plan(progress.epoch)), [], {}
        if self.counted:
            table, self.before = associations.count(self.training, self.sizes.known)
            for head in state.network.heads.values():
                if isinstance(head, Ranking) and head.associations is not None:
                    head.associations.know(table)

    @property
    def weights(self) -> dict[str, float]:
        """How much each head's loss counts."""
        return {name: head.weight for name, head in self.spec.heads.items()}

    def look(self) -> None:
        """Ask the validation part, keep the weights if they are the best so far, and stop when patience ends."""
        progress, weights = self.state.progress, self.weights
        if self.judged_windows is None or self.validation is None:
            return
        with self.state.average.inside():
            valid = answer(self.state.network, self.validation, self.judged_windows).metrics(weights)
            better = progress.best_loss is None or valid["loss"] < progress.best_loss
            if better:
                self.state.keep_best()
        after = round(progress.epoch + progress.batch / self.batches, 3)
        if self.open:
            valid["after_epochs"] = after
        if better:
            progress.best_loss, progress.best_epoch, progress.best_after = valid["loss"], progress.epoch + 1, after
        if progress.mark is None or valid["loss"] < progress.mark - budget.GAIN * abs(progress.mark) * self.open:
            progress.mark, progress.worse = valid["loss"], 0
        else:
            progress.worse += 1
        if progress.valid is None or valid["loss"] < progress.valid["loss"]:
            progress.valid = valid
        progress.done = progress.worse >= self.spec.budget.patience * len(self.looks)

    def close_epoch(self) -> None:
        """Make the epoch's record: losses in training, and the best look at the validation part in it."""
        progress = self.state.progress
        losses = {name: total / count for name, (total, count) in sorted(progress.sums.items())}
        if not losses:
            raise DataError(
                "there is nothing to learn from: no step of the training part is followed by an item that is known",
                next_step="a smaller sequences.min_item_count in params.yaml may help",
            )
        record: dict[str, Any] = {
            "epoch": progress.epoch + 1,
            "steps": progress.step,
            "train": {**losses, "loss": weighted(losses, self.weights)},
        }
        if learned := self.state.loss_weights:
            record["loss_weights"] = learned
        if progress.valid is not None:
            record["valid"] = progress.valid
        progress.epoch, progress.batch, progress.sums, progress.valid = progress.epoch + 1, 0, {}, None
        progress.history.append(record)
        progress.done |= progress.epoch >= self.epochs
