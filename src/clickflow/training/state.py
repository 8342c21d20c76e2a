"""The state of a training, to a checkpoint and back."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from clickflow.models.network import Network
from clickflow.params.models import Optimiser
from clickflow.training import optimisers
from clickflow.training.averages import Average
from clickflow.training.checkpoints import Checkpoint


@dataclass
class Progress:
    """Where training stands; all of it JSON. `epoch` and `batch` are the next to be done, `step` counts both.

    `sums`: per head the sum of losses and the number of questions in this epoch; `valid`: the best look at the valid
    part in it; `best_epoch` is None as long as nothing was validated, `best_after` how many epochs that was in all;
    `worse`: looks since a loss clearly better than those before, which was `mark`; `done`: no epoch is left, or
    patience has ended; `last`: the last pass has begun (`training.last_pass`), `batch` is then of that one.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    questions: int = 0
    sums: dict[str, list[float]] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    best_loss: float | None = None
    best_epoch: int | None = None
    best_after: float = 0.0
    mark: float | None = None
    worse: int = 0
    valid: dict[str, Any] | None = None
    done: bool = False
    last: bool = False


class State:
    """A network, its optimisers, the average of its weights, the best ones so far, and `progress`; `log_variances`
    [heads]: where the weights of the heads are learned, the log of how wrong each head has to be (`batch_loss.loss`).
    """

    def __init__(self, network: Network, spec: Optimiser) -> None:
        self.network = network
        self.dense: list[nn.Parameter] = [p for name, p in network.named_parameters() if name != "items"]
        self.log_variances: nn.Parameter | None = None
        if network.spec.loss_weights == "learned":
            self.log_variances = nn.Parameter(torch.zeros(len(network.spec.heads), device=network.items.device))
            self.dense.append(self.log_variances)
        self.optimiser = optimisers.for_network(spec, self.dense)
        self.rows = optimisers.RowOptimiser(spec.kind, network.items.data)
        self.average = Average(network)
        self.best: dict[str, Tensor] = {}
        self.progress = Progress()

    @property
    def loss_weights(self) -> dict[str, float]:
        """What each head's loss has come to count beside its weight, exp(-s); empty where that is not learned."""
        if self.log_variances is None:
            return {}
        learned = (-self.log_variances.detach()).exp().cpu().double().tolist()
        return {name: round(weight, 6) for name, weight in zip(self.network.spec.heads, learned, strict=True)}

    def keep_best(self) -> None:
        """The weights of now are the best so far."""
        self.best = {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}

    def use_best(self) -> None:
        """Put the best weights into the network, if any were kept."""
        if self.best:
            self.network.load_state_dict(self.best)

    def checkpoint(self) -> Checkpoint:
        """Everything, as tensors and JSON."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self.average.weights.items()}
        tensors |= {f"rows.{name}": tensor for name, tensor in self.rows.moments.items()}
        if self.log_variances is not None:
            tensors["learned.log_variances"] = self.log_variances.detach()
        for index, parameter in enumerate(self.dense):
            for name, value in self.optimiser.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    tensors[f"optimiser.{index}.{name}"] = value
        return Checkpoint(tensors, vars(self.progress))

    def restore(self, checkpoint: Checkpoint) -> None:
        """Be what `checkpoint` was made of."""
        device = self.network.items.device
        names = ("network", "best", "average", "rows", "optimiser", "learned")
        parts: dict[str, dict[str, Tensor]] = {name: {} for name in names}
        for name, tensor in checkpoint.tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor.to(device)
        self.network.load_state_dict(parts["network"])
        self.best = parts["best"]
        self.average.weights = parts["average"]
        self.rows.moments = parts["rows"]
        if self.log_variances is not None:
            self.log_variances.data.copy_(parts["learned"]["log_variances"])
        for name, tensor in parts["optimiser"].items():
            index, _, key = name.partition(".")
            self.optimiser.state[self.dense[int(index)]][key] = tensor
        self.progress = Progress(**checkpoint.state)
