"""How weights are updated: torch's optimisers for the network, the same rules row by row for the item embedding.

A batch touches a few of the embedding's rows; only these are read, updated and written, together with their moments
("lazy": a row that is not touched does not move). Where every row is touched, the rules equal torch's.
"""

import inspect
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from clickflow.params.models import Optimiser

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
MOMENTUM = 0.9
MOMENTS = {"adamw": ("mean", "square"), "adam": ("mean", "square"), "sgd": ("velocity",), "adagrad": ("square",)}


def learning_rate(step: int, steps: int, warmup_share: float) -> float:
    """The share of the full learning rate at `step` of `steps`: a linear rise, then a linear fall to nearly 0."""
    warm = max(1, round(warmup_share * steps))
    return min((step + 1) / warm, (steps - step) / max(1, steps - warm + 1))


def rising(step: int, steps: int, warmup_share: float) -> float:
    """The share of the full learning rate at `step`, where no end is planned: a linear rise over `warmup_share` of so
    many `steps`, then all of it.
    """
    return min((step + 1) / max(1, round(warmup_share * steps)), 1.0)


def for_network(spec: Optimiser, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """torch's optimiser of that kind."""
    group = list(parameters)
    rate, decay = spec.learning_rate, spec.weight_decay
    if spec.kind == "adamw":
        return torch.optim.AdamW(group, lr=rate, betas=(BETA1, BETA2), eps=EPSILON, weight_decay=decay, fused=True)
    if spec.kind == "adam":
        return torch.optim.Adam(group, lr=rate, betas=(BETA1, BETA2), eps=EPSILON, weight_decay=decay, fused=True)
    if spec.kind == "sgd":
        return torch.optim.SGD(group, lr=rate, momentum=MOMENTUM, weight_decay=decay, fused=True)
    return torch.optim.Adagrad(group, lr=rate, weight_decay=decay, eps=1e-10)


# torch's methods import its compiler (1.2 s of processor time, 70 MB) to be told that they are not to be compiled.
# Nothing is compiled here, so they are called as they are inside.
_add_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
vars(_add_group)["__dynamo_disable"] = _add_group  # where torch would keep what the compiler has made of it


def step(optimiser: torch.optim.Optimizer) -> None:
    """`optimiser.step()`; no hooks are called."""
    with torch.no_grad():
        inspect.unwrap(type(optimiser).step)(optimiser)


class RowOptimiser:
    """Updates some rows of a table [K, D] in place; `moments` holds what the rule remembers, by name, each [K, D].

    There is no weight decay: only a row's direction counts.
    """

    def __init__(self, kind: str, table: Tensor) -> None:
        self.kind = kind
        self.moments = {name: torch.zeros_like(table) for name in MOMENTS[kind]}

    def update(self, table: Tensor, rows: Tensor, values: Tensor, gradient: Tensor, rate: float, step: int) -> None:
        """Write `values` [n, D], the table's rows of now, moved against `gradient` [n, D]; `step` counts from 1.

        Adam: Kingma & Ba 2015, with the bias correction of the step, not of the row; Adagrad: Duchi et al. 2011;
        sgd: with momentum 0.9.
        """
        if self.kind in ("adamw", "adam"):
            mean = self.moments["mean"].index_select(0, rows).lerp_(gradient, 1 - BETA1)
            square = (
                self.moments["square"].index_select(0, rows).mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
            )
            self.moments["mean"].index_copy_(0, rows, mean)
            self.moments["square"].index_copy_(0, rows, square)
            size = square.sqrt_().div_((1 - BETA2**step) ** 0.5).add_(EPSILON)
            table.index_copy_(0, rows, values.addcdiv(mean, size, value=-rate / (1 - BETA1**step)))
        elif self.kind == "sgd":
            velocity = self.moments["velocity"].index_select(0, rows).mul_(MOMENTUM).add_(gradient)
            self.moments["velocity"].index_copy_(0, rows, velocity)
            table.index_copy_(0, rows, values.add(velocity, alpha=-rate))
        else:
            square = self.moments["square"].index_select(0, rows).addcmul_(gradient, gradient)
            self.moments["square"].index_copy_(0, rows, square)
            table.index_copy_(0, rows, values.addcdiv(gradient, square.sqrt_().add_(1e-10), value=-rate))
