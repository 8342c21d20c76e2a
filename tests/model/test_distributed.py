"""Several processes train one network: the same losses and weights as one alone, whoever goes on with them."""

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from markov_log import CPU, log, model, sizes

import forks
from clickflow.params.models import Model
from clickflow.system.errors import ClickflowError, UsageError
from clickflow.training.checkpoints import Checkpoints
from clickflow.training.distributed import ProcessGroup, process_group
from clickflow.training.loop import Trained, train

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process would import torch, which takes longer than it trains; a spawned one is test_train_stage's."""
    monkeypatch.setattr("torch.multiprocessing.get_context", lambda _: forks.context())


def work(spec: Model, group: ProcessGroup | None, sessions: int = 90, **along: Any) -> Trained:
    training = log(sessions, 0)
    done = train(spec, sizes(training), training, log(40, 1), seed=0, settings=CPU, group=group, **along)
    if group and group.rank and "torch._dynamo" in sys.modules:
        raise ClickflowError("training imports torch's compiler, which takes over a second, and compiles nothing")
    return done


Job = tuple[Model, dict[str, Any]]
"""A training: its spec, and what `work` is told along with it."""


def each(jobs: Sequence[Job], group: ProcessGroup | None) -> list[Trained]:
    return [work(spec, group, **along) for spec, along in jobs]


def together(processes: int, *jobs: Job) -> list[Trained]:
    """The trainings one after the other, by the same processes: to start one takes longer than to train."""
    theirs = [(spec, {name: value for name, value in along.items() if name != "checkpoints"}) for spec, along in jobs]
    with process_group(processes, "cpu", partial(each, theirs)) as group:
        return each(jobs, group)


def alone(*jobs: Job) -> list[Trained]:
    return each(jobs, None)


def plain(**choices: Any) -> Model:
    """Without dropout, of which every process has its own."""
    spec = model(epochs=2, tokens=64, **choices)
    return replace(spec, encoder=replace(spec.encoder, dropout=0.0))


def alike(one: Trained, other: Trained) -> None:
    for mine, theirs in zip(one.history, other.history, strict=True):
        for part in ("train", "valid"):
            assert mine[part]["loss"] == pytest.approx(theirs[part]["loss"], rel=1e-4)
            assert mine[part]["next_item"] == pytest.approx(theirs[part]["next_item"], rel=1e-4)
            assert mine[part]["next_action"] == pytest.approx(theirs[part]["next_action"], rel=1e-4)
    for name, tensor in one.network.state_dict().items():
        torch.testing.assert_close(tensor, other.network.state_dict()[name], rtol=1e-2, atol=2e-3, msg=name)


CHOICES: dict[str, dict[str, Any]] = {
    "default": {},
    "horizon": {"item": {"horizon": 3}},
    "bpr_max": {"item": {"loss": "bpr_max", "associations": False}},
}


def test_two_have_the_loss_curve_of_one() -> None:
    jobs: list[Job] = [(plain(**choices), {}) for choices in CHOICES.values()]
    jobs.append((replace(plain(), loss_weights="learned"), {}))
    for by_two, by_one in zip(together(2, *jobs), alone(*jobs), strict=True):
        alike(by_two, by_one)


def test_three_too_with_vectors_moved_and_batches_of_fewer_sequences_than_processes() -> None:
    spec = plain()
    spec = replace(
        spec,
        budget=replace(spec.budget, batch_tokens=8),
        augmentation=replace(spec.augmentation, adversarial=0.1),
    )
    job: Job = (spec, {"sessions": 25})
    (by_three,), (by_one,) = together(3, job), alone(job)
    alike(by_three, by_one)


def test_what_two_have_begun_one_ends_and_the_other_way_round(tmp_path: Path) -> None:
    of_one, of_two = (Checkpoints(tmp_path / name, 0.0, lambda _: None) for name in ("one", "two"))
    (whole,) = alone((plain(), {}))
    some = whole.steps * 3 // 4  # in the second epoch
    (begun,) = alone((plain(), {"checkpoints": of_one, "max_steps": some}))
    ended, cut = together(2, (plain(), {"checkpoints": of_one}), (plain(), {"checkpoints": of_two, "max_steps": some}))
    assert begun.steps == cut.steps < whole.steps
    alike(ended, whole)
    (continued,) = alone((plain(), {"checkpoints": of_two}))
    alike(continued, whole)


def die(group: ProcessGroup) -> None:
    if group.rank:
        os.kill(os.getpid(), signal.SIGKILL)


def test_the_death_of_one_is_said() -> None:
    with (
        pytest.raises(ClickflowError, match=r"a training process has died: .*-9"),
        process_group(2, "cpu", die) as group,
    ):
        work(plain(), group)


def end(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_one_that_dies_on_its_way_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clickflow.training.distributed._member", end)
    with pytest.raises(ClickflowError, match=r"a training process has died: .*-9"), process_group(2, "cpu", die):
        pass


def test_after_a_group_that_never_came_about_the_next_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch numbers its groups; these processes met under two numbers, and waited for half an hour."""
    with monkeypatch.context() as patch:
        patch.setattr("clickflow.training.distributed.PATIENCE", timedelta(milliseconds=1))
        patch.setattr("clickflow.training.distributed._await", lambda *_: None)
        patch.setattr("clickflow.training.distributed._member", end)
        with pytest.raises(ClickflowError, match="a training process has died"), process_group(2, "cpu", die):
            pass
    together(2, (plain(), {}))


@pytest.mark.skipif(torch.cuda.device_count() > 4, reason="there are so many GPUs")
def test_more_processes_than_gpus_are_refused() -> None:
    with (
        pytest.raises(UsageError, match=r"training.processes is 5, and there are \d GPUs"),
        process_group(5, "cuda", die),
    ):
        pass
