"""Networks that answer together: what their mean is, how they are trained, and that a kill costs only the last one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from markov_log import CPU, KNOWN, log, model, sizes
from small_models import ROOT

from clickflow.models.ensemble import Ensemble
from clickflow.models.network import Network
from clickflow.params.file import load
from clickflow.params.models import Model
from clickflow.system.errors import UsageError
from clickflow.training.batches import windows
from clickflow.training.checkpoints import Checkpoints
from clickflow.training.loop import Trained, train
from clickflow.training.validation import answer


def together(*kinds: str, epochs: int = 2) -> Model:
    return replace(model(epochs=epochs, features=()), ensemble=kinds)  # type: ignore[arg-type]


def fit(spec: Model, **choices: Any) -> Trained:
    split, valid = log(200, 0), log(40, 1)
    return train(spec, sizes(split), split, valid, seed=0, settings=CPU, **choices)


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    other_weights = other.state_dict()
    return all(torch.equal(tensor, other_weights[name]) for name, tensor in one.state_dict().items())


def test_an_ensemble_answers_the_mean_of_the_probabilities_and_its_first_network_is_the_one_alone() -> None:
    spec = together("gru", "attention", "gru")
    trained = fit(spec)
    network = trained.network
    assert isinstance(network, Ensemble)
    inputs = {"item": torch.tensor([[5, 9, 1], [7, 7, KNOWN + 3]])}
    ask = (torch.tensor([0, 1, 1]), torch.tensor([2, 0, 2]))
    with torch.no_grad():
        mixture = network(inputs, *ask)
        parts = [member(inputs, *ask) for member in network.networks]
    for name, answers in mixture.items():
        expected = torch.stack([part[name].exp() for part in parts]).mean(0)
        torch.testing.assert_close(answers.exp(), expected, atol=1e-6, rtol=1e-5)
    alone = fit(replace(spec, ensemble=())).network
    assert same(network.networks[0], alone)
    assert not same(network.networks[2], alone), "another seed"
    assert [(record["network"], record["epoch"]) for record in trained.history] == [
        (1, 1), (1, 2), (2, 3), (2, 4), (3, 5), (3, 6),
    ]  # fmt: skip


def test_it_is_likelier_than_its_networks_are_on_average() -> None:
    network = fit(together("gru", "gru")).network
    assert isinstance(network, Ensemble)
    split = log(60, 3)
    cut = windows(split.offsets, 8, to_the_end=True)
    losses = [answer(each, split, cut).heads["next_item"].losses.mean() for each in (network, *network.networks)]
    assert losses[0] < np.mean(losses[1:]) - 1e-3


class Killed(Exception):
    """As if the process had been."""


class Killer:
    """A watcher that ends training in an epoch of a network; `started` counts the networks, and the steps done."""

    def __init__(self, epoch: int) -> None:
        self.at = epoch
        self.started: list[int] = []

    def start(self, network: Network, steps: int, done: int, why: str) -> None:
        self.started.append(done)

    def step(self, steps: int, questions: int, loss: float) -> None:
        pass

    def epoch(self, record: dict[str, Any]) -> None:
        if record["epoch"] == self.at:
            raise Killed


def test_a_kill_in_the_second_network_leaves_the_first_as_it_is(tmp_path: Path) -> None:
    spec = together("gru", "gru")
    whole = fit(spec).network
    checkpoints = Checkpoints(tmp_path / "checkpoints", 0.0)
    with pytest.raises(Killed):
        fit(spec, checkpoints=checkpoints, watcher=Killer(3))
    again = Killer(99)
    assert same(fit(spec, checkpoints=checkpoints, watcher=again).network, whole)
    first, second = again.started
    assert second == first // 2 > 0, "the first had ended, the second half of its epochs"
    checkpoints.remove()
    assert not (tmp_path / "checkpoints").exists()


def test_each_kind_must_fit_the_encoders_params(tmp_path: Path) -> None:
    text = (ROOT / "tests/assets/params_long.yaml").read_text(encoding="utf-8")
    assert "ensemble: []" in text
    path = tmp_path / "params.yaml"
    path.write_text(text.replace("ensemble: []", "ensemble: [gru, transformer]"), encoding="utf-8")
    assert load(path).model("next_step").ensemble == ("gru", "transformer")
    path.write_text(
        text.replace("ensemble: []", "ensemble: [transformer, gru]").replace("positions: null", "positions: learned"),
        encoding="utf-8",
    )
    with pytest.raises(UsageError, match=r"positions: only kind transformer.*of the gru in models.next_step.ensemble"):
        load(path)
    path.write_text(text.replace("ensemble: []", "ensemble: [gru, tree]"), encoding="utf-8")
    with pytest.raises(UsageError, match="ensemble"):
        load(path)
