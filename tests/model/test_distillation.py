"""A teacher's answers: what is learned of them, what a network becomes by them, and that a kill changes nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from markov_log import CPU, KNOWN, log, model, sizes
from small_models import ROOT

from clickflow.models import saved
from clickflow.models.answers.ranking import Ranking
from clickflow.models.ensemble import build, teacher
from clickflow.models.network import Network
from clickflow.params.file import load
from clickflow.params.models import Distillation, Model, own
from clickflow.system.errors import UsageError
from clickflow.training.answers import objectives
from clickflow.training.answers.ranking import AUXILIARY
from clickflow.training.batch_loss import Step, loss, part, prepare
from clickflow.training.batches import gather, of_split
from clickflow.training.checkpoints import Checkpoints
from clickflow.training.distillation import taught
from clickflow.training.loop import Trained, train

TWO = Distillation(teacher=("gru", "gru"), units=32, weight=0.7, top=8)


def pupil(how: Distillation = TWO, **choices: Any) -> Model:
    return replace(model(features=(), negatives=KNOWN, **choices), distillation=how)


def fit(spec: Model, **choices: Any) -> Trained:
    split, valid = log(150, 0), log(40, 1)
    return train(spec, sizes(split), split, valid, seed=0, settings=CPU, **choices)


def weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("copy", [True, False])
def test_what_is_minimised_is_the_cross_entropy_with_the_teachers_answers(copy: bool, temperature: float) -> None:
    """Of a full softmax, at the temperature and times its square; the session's own items have their bias."""
    split = log(30, 0)
    how = replace(TWO, temperature=temperature)
    spec = pupil(how, copy=copy, item={"associations": False}, dropout=0.0)
    torch.manual_seed(0)
    spec_of_teacher = teacher(spec)
    assert spec_of_teacher is not None
    lessons = taught(build(spec_of_teacher, sizes(split)).eval(), spec, split)
    network = build(spec, sizes(split)).eval()
    assert isinstance(network, Network)
    ranking = cast("Ranking", network.heads["next_item"])
    if ranking.returns is not None:
        ranking.returns.data.normal_(std=0.1)
    asking = objectives(spec, network.sizes)
    cut = of_split(split, spec.budget.max_length, at_end=True)
    batch = gather(split, cut, network.inputs, asking, KNOWN)

    def minimised(weight: float) -> tuple[Step, float]:
        answers = {name: each.at(cut, replace(how, weight=weight)) for name, each in lessons.items()}
        step = prepare(batch, asking, np.random.default_rng(0), "cpu", lessons=answers if weight else None)
        return step, float(loss(network, asking, step, network.items[step.rows]).total.detach())

    step, objective = minimised(0.7)
    target = torch.from_numpy(batch.targets["next_item"][0])
    row, column = (torch.from_numpy(i) for i in np.nonzero(target.numpy() > 0))
    inputs = {name: torch.from_numpy(values) for name, values in batch.inputs.items()}
    with torch.no_grad():
        reading = network.read(inputs, network.ready())
        first = replace(reading["next_item"].steps[0], mixture=None)
        scores = ranking.ask("x", replace(reading["next_item"], steps=[first]), row, column)["x"]
    lesson = lessons["next_item"].at(cut, how)
    items, shares = (torch.from_numpy(each)[row, column] for each in (lesson.answers, lesson.shares))
    assert ((shares.sum(1) > 0) & (shares.sum(1) < 1)).all()
    soft = (shares * (scores / temperature).log_softmax(1).gather(1, items)).sum(1)
    hard = scores.gather(1, target[row, column].unsqueeze(1)).squeeze(1)
    change = 0.7 * (shares.sum(1) * hard - temperature**2 * soft).mean()
    actions = torch.from_numpy(batch.targets["next_action"][0])
    row, column = (torch.from_numpy(i) for i in np.nonzero(actions.numpy() >= 0))
    with torch.no_grad():
        logits = network.ask(network.read(inputs, network.ready()), row, column)["next_action"]
    of_classes = torch.from_numpy(lessons["next_action"].at(cut, how).shares)[row, column]
    assert of_classes.sum(1).numpy() == pytest.approx(1, abs=1e-5)
    soft = -(temperature**2) * (of_classes * (logits / temperature).log_softmax(1)).sum(1)
    hard = -logits.gather(1, actions[row, column].unsqueeze(1)).squeeze(1)
    weight = spec.heads["next_action"].weight
    generated = AUXILIARY if copy else 1.0
    expected = minimised(0.0)[1] + generated * float(change) + weight * 0.7 * float((soft - hard).mean())
    assert objective == pytest.approx(expected, rel=2e-5)

    parts = [loss(network, asking, part(step, rank, 2), network.items[step.rows]).total for rank in (0, 1)]
    shared = float((parts[0] + parts[1]).detach())
    assert shared == pytest.approx(objective, rel=2e-5), "processes share a batch with its lesson"


def test_a_pupil_is_nearer_to_its_teacher_than_the_network_alone_and_is_one_small_network() -> None:
    spec = pupil(replace(TWO, weight=1.0, top=60), epochs=3)
    trained = fit(spec)
    assert isinstance(trained.network, Network)
    assert trained.network.spec.encoder.units == 24
    assert [record["network"] for record in trained.history] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert 7 <= trained.best_epoch <= 9, "of its own epochs, which come last"
    alone = fit(replace(spec, distillation=Distillation())).network
    own_teacher = teacher(spec)
    assert own_teacher is not None
    split = log(150, 0)
    its = train(own_teacher, sizes(split), split, log(40, 1), seed=1_000_003, settings=CPU).network
    answers = [taught(network, spec, log(60, 5))["next_item"] for network in (its, trained.network, alone)]
    shares = [np.zeros((len(each.answers), KNOWN), np.float32) for each in answers]
    for table, each in zip(shares, answers, strict=True):
        np.put_along_axis(table, each.answers.astype(np.int64), each.shares, axis=1)
    first = shares[0]
    apart = [float((first * (np.log(first.clip(1e-9)) - np.log(other.clip(1e-9)))).sum()) for other in shares[1:]]
    assert apart[0] < 0.8 * apart[1]


class Killed(Exception):
    """As if the process had been."""


class Killer:
    """A watcher that ends training after so many epochs."""

    def __init__(self, epochs: int) -> None:
        self.left = epochs

    def start(self, network: Network, steps: int, done: int, why: str) -> None:
        """Nothing."""

    def step(self, steps: int, questions: int, loss: float) -> None:
        """Nothing."""

    def epoch(self, record: dict[str, Any]) -> None:
        """Count."""
        self.left -= 1
        if not self.left:
            raise Killed


@pytest.mark.parametrize("after", [3, 5])
def test_the_same_seed_gives_the_same_weights_whether_it_was_killed_or_not(after: int, tmp_path: Path) -> None:
    whole = weights(fit(pupil()).network)
    checkpoints = Checkpoints(tmp_path / "checkpoints", 0.0)
    with pytest.raises(Killed):
        fit(pupil(), checkpoints=checkpoints, watcher=Killer(after))
    again = weights(fit(pupil(), checkpoints=checkpoints).network)
    assert all(torch.equal(tensor, again[name]) for name, tensor in whole.items())


def test_a_pupil_is_saved_as_one_and_a_model_without_a_teacher_as_ever(tmp_path: Path) -> None:
    network = build(pupil(), sizes(log(20, 0)))
    saved.save(network, tmp_path, {})
    assert saved.load_trained(tmp_path).spec.distillation == TWO
    assert "distillation" not in own(pupil(Distillation()))


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        ("{ensemble: [gru, gru], distillation: {teacher: [gru]}}", "a teacher's pupil is one network"),
        ("{distillation: {weight: 0.3}}", "has no effect without"),
        ("{distillation: {teacher: [gru]}, augmentation: {reorder: 0.1}}", "to the steps as they were"),
        ("{distillation: {teacher: [gru]}, heads: {next_item: {loss: bpr_max}}}", "are no probabilities to be taught"),
        ("{distillation: {teacher: [gru]}, encoder: {kind: transformer, positions: learned}}", "of the gru in"),
        ("{distillation: {teacher: [gru], weight: 0}}", "weight"),
    ],
)
def test_what_cannot_be_taught_is_an_error_that_names_the_place(model: str, fault: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    from ruamel.yaml import YAML

    yaml = YAML()
    whole = yaml.load(ROOT / "params.yaml")
    for name, value in yaml.load(model).items():
        whole["models"]["next_step"][name] = value
    yaml.dump(whole, path)
    with pytest.raises(UsageError, match=fault):
        load(path)
