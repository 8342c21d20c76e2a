"""Training: from a spec and a packed split to a network.

The same spec, data, seed and kind of device give the same weights, whether training was stopped on the way or not:
every random choice is a function of the seed and of the place (epoch, step) where it is made, and a checkpoint holds
all the rest.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch

from clickflow.models.ensemble import Ensemble, members, teacher
from clickflow.models.network import Network
from clickflow.models.sizes import Sizes
from clickflow.params.models import Model
from clickflow.params.training import Training
from clickflow.system.errors import UsageError
from clickflow.training import device as devices
from clickflow.training.batch_loss import Loss
from clickflow.training.checkpoints import Checkpoints
from clickflow.training.distillation import TeacherAnswers, taught
from clickflow.training.distributed import ProcessGroup
from clickflow.training.trainer import Trainer
from clickflow.training.validation import weighted

if TYPE_CHECKING:
    from clickflow.sequences.store import PackedSplit

APART = 1_000_003
"""How far apart the seeds of an ensemble's networks are."""
LOOK = 0.25
"""Seconds between two reports of a loss: reading it makes a CUDA device wait."""


class Watcher(Protocol):
    """Who is told how training goes."""

    def start(self, network: Network, steps: int, done: int, why: str, /) -> None:
        """`steps` in all, at most, `done` of them by an earlier run that was stopped; `why` this device."""

    def step(self, steps: int, questions: int, loss: float, /) -> None:
        """So many steps and questions since the last call; the loss of the last one, as an epoch's record has it."""

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
    group: ProcessGroup | None = None,
    last_pass: bool = False,
) -> Trained:
    """Train `spec` on `training`; `validation` decides which epoch's weights are kept, and when to stop early.

    `checkpoints`: where to go on from, and to write to; they stay until the caller removes them. `group`: the processes
    that train together, of which the first alone has checkpoints and a watcher. For debugging:
    `overfit` takes the same batch again and again, which must drive the loss down; `max_steps` ends training there.
    The networks of an ensemble are trained one after the other, the first as if it were alone; one that has ended is
    not trained again after a kill.
    Where the spec names no number of epochs, `validation` decides how long it goes on (`training.budget`), and then how
    the parts of an answer are mixed (`training.shares`); with `last_pass` it is learned too once it has decided
    (`training.last_pass`).
    Raises DataError where there is nothing to learn, UsageError where the loss becomes infinite or no number.
    """
    if taught_by := teacher(spec):
        return _taught(
            spec,
            taught_by,
            sizes,
            training,
            validation,
            seed=seed,
            settings=settings,
            checkpoints=checkpoints,
            watcher=watcher,
            overfit=overfit,
            max_steps=max_steps,
            group=group,
            last_pass=last_pass,
        )
    trained: list[Trained] = []
    for index, member in enumerate(members(spec)):
        before = sum(len(each.history) for each in trained)
        trained.append(
            one_network(
                member,
                sizes,
                training,
                validation,
                seed=seed + index * APART,
                settings=settings,
                checkpoints=checkpoints.part(index) if checkpoints and spec.ensemble else checkpoints,
                watcher=_Numbered(watcher, index, before) if watcher and spec.ensemble else watcher,
                overfit=overfit,
                max_steps=max_steps,
                group=group,
                last_pass=last_pass,
            )
        )
    if not spec.ensemble:
        return trained[0]
    networks = [each.network for each in trained if isinstance(each.network, Network)]
    earlier = [sum(len(each.history) for each in trained[:index]) for index in range(len(trained))]
    return Trained(
        Ensemble(spec, networks[0].sizes, networks).eval(),
        [_numbered(record, index, earlier[index]) for index, each in enumerate(trained) for record in each.history],
        tuple(each.best_epoch + epochs for each, epochs in zip(trained, earlier, strict=True)),
        sum(each.steps for each in trained),
        sum(each.questions for each in trained),
    )


def _taught(
    spec: Model,
    taught_by: Model,
    sizes: Sizes,
    training: "PackedSplit",
    validation: "PackedSplit | None",
    *,
    seed: int,
    settings: Training,
    checkpoints: Checkpoints | None,
    watcher: Watcher | None,
    **along: Any,
) -> Trained:
    """The teacher's networks, then `spec`, which learns their answers too; see `train`."""
    of_teacher = replace(checkpoints, folder=checkpoints.folder / "teacher") if checkpoints else None
    first = train(
        taught_by, sizes, training, validation, seed=seed + APART, settings=settings, checkpoints=of_teacher,
        watcher=watcher, **along,
    )  # fmt: skip
    count, before = len(taught_by.ensemble), len(first.history)
    device = devices.choose(settings)
    with devices.settled(device, settings.threads):
        answers = taught(first.network, spec, training)
    own = one_network(
        spec, sizes, training, validation, seed=seed, settings=settings,
        checkpoints=checkpoints.part(count) if checkpoints else None,
        watcher=_Numbered(watcher, count, before) if watcher else None, taught=answers, **along,
    )  # fmt: skip
    history = [*first.history, *(_numbered(record, count, before) for record in own.history)]
    best = tuple(epoch + before for epoch in own.best_epochs)
    return Trained(own.network, history, best, first.steps + own.steps, first.questions + own.questions)


def _numbered(record: dict[str, Any], index: int, before: int) -> dict[str, Any]:
    """An epoch's record of the network `index` of an ensemble, those before having had so many epochs."""
    return {**record, "epoch": record["epoch"] + before, "network": index + 1}


class _Numbered:
    """Tells a watcher of one network of an ensemble."""

    def __init__(self, watcher: Watcher, index: int, before: int) -> None:
        self.watcher, self.index, self.before = watcher, index, before
        self.start, self.step = watcher.start, watcher.step

    def epoch(self, record: dict[str, Any]) -> None:
        """An epoch has ended."""
        self.watcher.epoch(_numbered(record, self.index, self.before))


def one_network(
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
    group: ProcessGroup | None,
    last_pass: bool,
    taught: Mapping[str, TeacherAnswers] | None = None,
) -> Trained:
    """One network, see `train`; `taught`: what its teacher says, by head."""
    device = devices.choose(settings)
    with devices.settled(device, settings.threads):
        torch.manual_seed(seed)
        run = Trainer(spec, sizes, training, validation, seed, device, overfit, group, taught)
        saved = checkpoints.newest() if checkpoints else None
        saved = group.broadcast(saved) if group else saved
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
        if last_pass and run.open and progress.done and not overfit:
            run.turn()
            before = progress.step
            with devices.learning(device):
                _epoch(run, checkpoints, watcher, max_steps)
            if checkpoints and progress.step > before:
                checkpoints.save(progress.step, run.state.checkpoint())
        else:
            run.state.use_best()
            if progress.done and not overfit:
                run.fit_shares()
        run.fit_temperature()
    best = progress.best_epoch if progress.best_epoch is not None else progress.epoch
    return Trained(run.state.network.eval(), progress.history, (best,), progress.step, progress.questions)


def _epoch(run: Trainer, checkpoints: Checkpoints | None, watcher: Watcher | None, max_steps: int | None) -> bool:
    """The rest of the epoch where the state stands, or until patience ends; False where `max_steps` ended it."""
    state, progress = run.state, run.state.progress
    pending: list[Loss] = []
    looked = written = time.monotonic()
    steps, questions, last = 0, 0, 0.0
    for chosen in run.plan(progress.epoch)[progress.batch :]:
        if max_steps is not None and progress.step >= max_steps:
            _settle(run, pending, last)
            return False
        count, losses = run.step(chosen)
        pending.append(losses)
        progress.step += 1
        progress.batch += 1
        progress.questions += count
        steps, questions = steps + 1, questions + count
        if progress.batch in run.looks:
            last = _settle(run, pending, last)
            run.look()
            if progress.done:
                break
        now = time.monotonic()
        if watcher and now - looked >= LOOK:
            last = _settle(run, pending, last)
            watcher.step(steps, questions, last)
            looked, steps, questions = now, 0, 0
        if checkpoints and now - written >= checkpoints.seconds and progress.batch < run.batches:
            last = _settle(run, pending, last)
            checkpoints.save(progress.step, state.checkpoint())
            written = time.monotonic()
    last = _settle(run, pending, last)
    if watcher and steps:
        watcher.step(steps, questions, last)
    return True


def _settle(run: Trainer, pending: list[Loss], last: float) -> float:
    """Add the losses of the last steps to the epoch's sums, one after the other so that the digits do not depend on
    when it is done; returns the loss of the last one, `last` if there is none. UsageError where what is minimised is
    infinite or no number.
    """
    state = run.state
    for losses in pending:
        minimised = float(losses.total)
        if not math.isfinite(minimised):
            raise UsageError(
                f"training diverged: the loss is {minimised} at about step {state.progress.step:,}",
                kept="the last checkpoint, from before",
                next_step="lower the model's optimiser.learning_rate or optimiser.clip_norm in params.yaml",
            )
        for name, (value, count) in losses.heads.items():
            total, questions = state.progress.sums.get(name, (0.0, 0))
            state.progress.sums[name] = [total + float(value) * count, questions + count]
        if losses.heads:
            last = weighted({name: float(value) for name, (value, _) in losses.heads.items()}, run.weights)
    pending.clear()
    return last
