"""How well a network answers questions it was not trained on: exact losses, and ranks among all items."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from clickflow.models.ensemble import Ensemble
from clickflow.models.network import Network
from clickflow.training.batches import NO_ACTION, Ints, Windows, gather, plan, random

if TYPE_CHECKING:
    from clickflow.sequences.store import PackedSplit

SCORES = 1 << 22
"""How many log-probabilities are computed at once: about what a cache holds."""


@dataclass(frozen=True)
class Answers:
    """For every question asked, [N] each: the rank of the true next item among all items (1 is best; items with the
    same probability count as better), minus the log of its probability, and the same loss for the next action.
    """

    ranks: Ints
    item_losses: NDArray[np.float64]
    action_losses: NDArray[np.float64]

    def recall(self, k: int) -> float:
        """The share of next items that are among the first `k`."""
        return float((self.ranks <= k).mean()) if len(self.ranks) else 0.0

    def mrr(self, k: int) -> float:
        """The mean of 1 / rank, 0 beyond `k`."""
        return float(np.where(self.ranks <= k, 1.0 / self.ranks, 0.0).mean()) if len(self.ranks) else 0.0

    def loss(self, item_weight: float, action_weight: float) -> float:
        """The weighted sum of the mean losses, comparable between epochs."""
        item = float(self.item_losses.mean()) if len(self.item_losses) else 0.0
        action = float(self.action_losses.mean()) if len(self.action_losses) else 0.0
        return item_weight * item + action_weight * action


def answer(network: Network | Ensemble, split: "PackedSplit", windows: Windows, *, batch_tokens: int = 4096) -> Answers:
    """Ask all questions of `windows`, as `Network.forward` answers them, in float32."""
    known, device = network.sizes.known, next(network.parameters()).device
    ranks, items, actions = [], [], []
    at_once = max(1, SCORES // known)
    was_training = network.training
    network.eval()
    with torch.inference_mode():
        ready: Any = network.ready()
        for chosen in plan(windows.length, batch_tokens, random(0, 0)):
            batch = gather(split, windows.take(chosen), network.inputs, known, len(network.sizes.actions))
            inputs = {name: torch.from_numpy(values).to(device) for name, values in batch.inputs.items()}
            asked = np.zeros(batch.next_item.shape, bool)
            if network.next_item is not None:
                asked |= batch.next_item > 0
            if network.next_action is not None:
                asked |= batch.next_action != NO_ACTION
            rows, columns = np.nonzero(asked)
            reading: Any = network.read(inputs, ready)
            for start in range(0, len(rows), at_once):
                row, column = rows[start : start + at_once], columns[start : start + at_once]
                found = network.ask(reading, torch.from_numpy(row).to(device), torch.from_numpy(column).to(device))
                if network.next_item is not None:
                    target = batch.next_item[row, column]
                    some = torch.from_numpy(np.flatnonzero(target)).to(device)
                    scores = found["next_item"][some]
                    own = scores.gather(1, torch.from_numpy(target[target > 0]).to(device).unsqueeze(1))
                    ranks.append((scores >= own).sum(1).cpu().numpy())
                    items.append(-own.squeeze(1).double().cpu().numpy())
                if network.next_action is not None:
                    code = torch.from_numpy(batch.next_action[row, column]).to(device)
                    own = found["next_action"].gather(1, code.unsqueeze(1))
                    actions.append(-own.squeeze(1).double().cpu().numpy())
    network.train(was_training)
    none = np.zeros(0)
    return Answers(
        ranks=np.concatenate([np.zeros(0, np.int64), *ranks]),
        item_losses=np.concatenate([none, *items]),
        action_losses=np.concatenate([none, *actions]),
    )


def sample(windows: Windows, questions: int) -> Windows:
    """Windows spread evenly over the split, of about so many steps together; the same ones every time."""
    total = int(windows.length.sum())
    every = max(1, -(-total // max(1, questions)))
    return windows.take(slice(None, None, every))
