"""How the items of a session were seen so far: how often, how long ago, and whether first of all.

A recurrent network can hardly count, and yet that is what tells where a visitor goes back to.

Shapes: B sequences, T steps.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

FEATURES = 4
"""Numbers that are known of an item of the session, see `Sights`."""
HABITS = 2
"""Numbers that are known of the session itself."""


@dataclass(frozen=True)
class Sights:
    """Of items [B, T], at step t of the item of step u, all [B, T, T], the last index being u.

    `latest`: whether u is the last step up to t with that item, and it is known. `features` of the item: the log of
    how often it was seen up to t, the log of 1 + the step of its first sight, whether that is the first step of all,
    and the log of 1 + the steps from u to t; without meaning where u lies after t. `habits` [B, T, HABITS]: the share
    of the steps after the first that went back to an item, up to t, and the log of 1 + t.
    """

    latest: Tensor
    features: tuple[Tensor, ...]
    habits: Tensor

    def weighed(self, weights: Tensor) -> Tensor:
        """The sum of the features, each times its weight [..., FEATURES] of step t, [B, T, T]."""
        total = weights[..., :1] * self.features[0]
        for number, feature in enumerate(self.features[1:], 1):
            total = total + weights[..., number : number + 1] * feature
        return total


def sights(items: Tensor, first: int) -> Sights:
    """What is known of items [B, T]; indexes below `first` are no items."""
    step = torch.arange(items.shape[1], device=items.device)
    known = items >= first
    same = (items.unsqueeze(2) == items.unsqueeze(1)) & known.unsqueeze(1)
    back = step.unsqueeze(1) - step
    # up to step t (the first index) of the item of step u (the last)
    count = same.to(torch.float32).cumsum(1)
    begun = torch.where(same, step.unsqueeze(1), items.shape[1]).amin(1)
    again = torch.where(same & (step.unsqueeze(1) > step), step.unsqueeze(1), items.shape[1]).amin(1)
    latest = (back >= 0) & (again.unsqueeze(1) > step.unsqueeze(1)) & known.unsqueeze(1)
    far = torch.log1p(back.clamp(min=0).to(torch.float32))
    returned = (known & (begun < step)).to(torch.float32).cumsum(1)
    habits = torch.stack([returned / step.clamp(min=1), torch.log1p(step.to(torch.float32)).expand_as(returned)], -1)
    begun = begun.clamp(max=items.shape[1] - 1).to(torch.float32).unsqueeze(1)
    features = (count.clamp(min=1).log(), torch.log1p(begun), (begun == 0).to(torch.float32), far)
    return Sights(latest, features, habits)
