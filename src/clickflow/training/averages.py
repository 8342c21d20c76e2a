"""A running average of the latest weights: it ends where a learning rate that decays to 0 would, with no planned end.

Polynomial-decay averaging (Shamir & Zhang 2013, "Stochastic gradient descent for non-smooth optimization"): the update
number t has the weight (roll + 1) / (t + roll), so that the average is over about the last 1 / (roll + 1) of training,
however long it has been.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

ROLL = 8
EVERY = 5
"""Steps between two updates: all weights are read then, where a step touches a part of the items."""


class Average:
    """The average of a network's weights; `weights` by name, empty until the first update."""

    def __init__(self, network: nn.Module) -> None:
        self.named = dict(network.named_parameters())
        self.weights: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step` steps."""
        if step % EVERY:
            return
        if not self.weights:
            self.weights = {name: parameter.detach().clone() for name, parameter in self.named.items()}
            return
        share = (ROLL + 1) / (step // EVERY + ROLL)
        for name, parameter in self.named.items():
            self.weights[name].lerp_(parameter, share)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """The network has the average for its weights meanwhile; its own where there is none yet."""
        own = {name: self.named[name].data for name in self.weights}
        for name, average in self.weights.items():
            self.named[name].data = average
        try:
            yield
        finally:
            for name, data in own.items():
                self.named[name].data = data
