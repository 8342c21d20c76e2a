"""How well a network answers questions it was not trained on: exact losses, and ranks among all items."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from clickflow.heads.head import NOTHING
from clickflow.models.ensemble import Ensemble
from clickflow.models.network import Network
from clickflow.training.answers import objectives
from clickflow.training.answers.objective import Measured
from clickflow.training.batches import Windows, gather, plan, random
from clickflow.training.hand_made import reader

if TYPE_CHECKING:
    from clickflow.sequences.store import PackedSplit

BATCH_TOKENS = 4096
SCORES = 1 << 22
"""How many log-probabilities are computed at once: about what a cache holds."""


@dataclass(frozen=True)
class Answers:
    """How well each head answered, by its name."""

    heads: Mapping[str, Measured]

    def metrics(self, weights: Mapping[str, float]) -> dict[str, float]:
        """The loss, the figures of the heads, and each head's mean loss under its name. Figures bear the names of the
        evaluation; those of a second head have that head's name before them.
        """
        values = {"loss": self.loss(weights)}
        first = True
        for name, head in self.heads.items():
            figures = head.figures()
            values |= figures if first else {f"{name}.{key}": value for key, value in figures.items()}
            first &= not figures
        return values | {name: float(head.losses.mean()) for name, head in self.heads.items() if len(head.losses)}

    def loss(self, weights: Mapping[str, float]) -> float:
        """The weighted sum of the mean losses, comparable between epochs."""
        return sum(
            weights.get(name, 0.0) * (float(head.losses.mean()) if len(head.losses) else 0.0)
            for name, head in self.heads.items()
        )


def weighted(losses: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """What is called the loss everywhere: the sum of the heads' mean losses (nats a question) times their weights."""
    return sum(weights[name] * value for name, value in losses.items())


def answer(network: Network | Ensemble, split: "PackedSplit", windows: Windows) -> Answers:
    """Ask all questions of `windows`, as `Network.forward` answers them, in float32."""
    known, device = network.sizes.known, next(network.parameters()).device
    asking = objectives(network.spec, network.sizes)
    parts: dict[str, list[dict[str, NDArray[Any]]]] = {name: [] for name in asking}
    unknown = dict.fromkeys(asking, 0)
    at_once = max(1, SCORES // known)
    was_training = network.training
    network.eval()
    with torch.inference_mode():
        ready: Any = network.ready()
        for chosen in plan(windows.length, BATCH_TOKENS, random(0, 0)):
            batch = gather(split, windows.take(chosen), network.inputs, asking, known, reader(network))
            inputs = {name: torch.from_numpy(values).to(device) for name, values in batch.inputs.items()}
            unknown = {name: count + batch.unknown[name] for name, count in unknown.items()}
            rows, columns = np.nonzero(batch.question_mask)
            reading: Any = network.read(inputs, ready)
            for start in range(0, len(rows), at_once):
                row, column = rows[start : start + at_once], columns[start : start + at_once]
                outputs = network.ask(reading, torch.from_numpy(row).to(device), torch.from_numpy(column).to(device))
                for name, objective in asking.items():
                    target = batch.targets[name][0][row, column]
                    some, scores = np.flatnonzero(target != NOTHING), outputs[name]
                    if len(some) < len(target):
                        target, scores = target[some], scores[torch.from_numpy(some).to(device)]
                    parts[name].append(objective.measure(scores, target))
    network.train(was_training)
    return Answers(
        {name: objective.measured(_joined(parts[name]), unknown[name]) for name, objective in asking.items()}
    )


def _joined(parts: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """The same arrays of all parts, one after the other; of no parts, empty ones."""
    names = parts[0] if parts else ("losses", "ranks")
    return {name: np.concatenate([np.zeros(0), *(each[name] for each in parts)]) for name in names}


def sample(windows: Windows, questions: int) -> Windows:
    """Windows spread evenly over the split, of about so many steps together; the same ones every time."""
    total = int(windows.length.sum())
    every = max(1, -(-total // max(1, questions)))
    return windows.take(slice(None, None, every))
