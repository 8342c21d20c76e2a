"""Several processes train one network: the same losses and weights as one alone, whoever goes on with them."""

import os
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from markov_log import CPU, log, model, sizes

from clickflow.params.models import Model
from clickflow.system.errors import ClickflowError, UsageError
from clickflow.training.checkpoints import Checkpoints
from clickflow.training.distributed import ProcessGroup, process_group
from clickflow.training.loop import Trained, train

pytestmark = pytest.mark.slow


def work(spec: Model, group: ProcessGroup | None, sessions: int = 150, **along: Any) -> Trained:
    training = log(sessions, 0)
    done = train(spec, sizes(training), training, log(40, 1), seed=0, settings=CPU, group=group, **along)
    if group and group.rank and "torch._dynamo" in sys.modules:
        raise ClickflowError("training imports torch's compiler, which takes over a second, and compiles nothing")
    return done


def fit(spec: Model, processes: int, **along: Any) -> Trained:
    sessions = along.get("sessions", 150)
    with process_group(processes, "cpu", partial(work, spec, sessions=sessions)) as group:
        return work(spec, group, **along)


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


@pytest.mark.parametrize(
    "choices",
    [{}, {"item": {"horizon": 3}}, {"item": {"loss": "bpr_max", "associations": False}}],
    ids=["default", "horizon", "bpr_max"],
)
def test_two_have_the_loss_curve_of_one(choices: dict[str, Any]) -> None:
    alike(fit(plain(**choices), 2), fit(plain(**choices), 1))


def test_three_too_with_vectors_moved_and_batches_of_fewer_sequences_than_processes() -> None:
    spec = plain()
    spec = replace(
        spec,
        budget=replace(spec.budget, batch_tokens=8),
        augmentation=replace(spec.augmentation, adversarial=0.1),
    )
    alike(fit(spec, 3, sessions=25), fit(spec, 1, sessions=25))


def test_what_two_have_begun_one_ends_and_the_other_way_round(tmp_path: Path) -> None:
    whole = fit(plain(), 1)
    for first, second in ((2, 1), (1, 2)):
        kept = Checkpoints(tmp_path / str(first), 0.0, lambda _: None)
        cut = fit_some(plain(), first, kept)
        assert cut.steps < whole.steps
        alike(fit(plain(), second, checkpoints=kept), whole)


def fit_some(spec: Model, processes: int, kept: Checkpoints) -> Trained:
    """Not to the end: some steps into the second epoch."""
    steps = 45
    with process_group(processes, "cpu", partial(work, spec, max_steps=steps)) as group:
        return work(spec, group, checkpoints=kept, max_steps=steps)


def die(group: ProcessGroup) -> None:
    if group.rank:
        os.kill(os.getpid(), signal.SIGKILL)


def test_the_death_of_one_is_said() -> None:
    with (
        pytest.raises(ClickflowError, match=r"a process that trained along has ended: .*-9"),
        process_group(2, "cpu", die) as group,
    ):
        work(plain(), group)


@pytest.mark.skipif(torch.cuda.device_count() > 4, reason="there are so many GPUs")
def test_more_processes_than_gpus_are_refused() -> None:
    with (
        pytest.raises(UsageError, match=r"training.processes is 5, and there are \d GPUs"),
        process_group(5, "cuda", die),
    ):
        pass
