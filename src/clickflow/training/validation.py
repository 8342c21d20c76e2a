"""How well a network answers questions it was not trained on: exact losses, and ranks among all items."""

from collections.abc import Mapping
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
    """For every question about a known item, [N] each: the rank of the true next item among all items (1 is best; items
    with the same probability count as better), minus the log of its probability, and the same loss for the next action.

    `unknown`: how many next items the model does not know. As in the evaluation they are misses, and have no loss.
    """

    ranks: Ints
    item_losses: NDArray[np.float64]
    action_losses: NDArray[np.float64]
    unknown: int = 0

    @property
    def asked(self) -> int:
        """Questions about the next item, known or not."""
        return len(self.ranks) + self.unknown

    def recall(self, k: int) -> float:
        """The share of next items that are among the first `k`."""
        return float((self.ranks <= k).sum()) / max(1, self.asked)

    def mrr(self, k: int) -> float:
        """The mean of 1 / rank, 0 beyond `k`."""
        return float(np.where(self.ranks <= k, 1.0 / self.ranks, 0.0).sum()) / max(1, self.asked)

    def metrics(self, weights: Mapping[str, float], k: int = 20) -> dict[str, float]:
        """Losses and ranks by the names of the evaluation: `recall@k` and `mrr@k` are over all next items, those that
        end in `_known` over the known ones, `coverage` is the share of these.
        """
        found = {"loss": self.loss(weights["next_item"], weights["next_action"])}
        if self.asked:
            known = len(self.ranks) / self.asked
            found |= {f"recall@{k}": self.recall(k), f"mrr@{k}": self.mrr(k), "coverage": known}
            found |= {f"{name}_known": found[name] / (known or 1.0) for name in (f"recall@{k}", f"mrr@{k}")}
        if len(self.item_losses):
            found["next_item"] = float(self.item_losses.mean())
        if len(self.action_losses):
            found["next_action"] = float(self.action_losses.mean())
        return found

    def loss(self, item_weight: float, action_weight: float) -> float:
        """The weighted sum of the mean losses, comparable between epochs."""
        item = float(self.item_losses.mean()) if len(self.item_losses) else 0.0
        action = float(self.action_losses.mean()) if len(self.action_losses) else 0.0
        return item_weight * item + action_weight * action


def weighted(losses: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """What is called the loss everywhere: the sum of the heads' mean losses (nats a question) times their weights."""
    return sum(weights[name] * value for name, value in losses.items())


def answer(network: Network | Ensemble, split: "PackedSplit", windows: Windows, *, batch_tokens: int = 4096) -> Answers:
    """Ask all questions of `windows`, as `Network.forward` answers them, in float32."""
    known, device = network.sizes.known, next(network.parameters()).device
    ranks, items, actions, unknown = [], [], [], 0
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
                unknown += batch.unknown
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
        unknown=unknown,
    )


def sample(windows: Windows, questions: int) -> Windows:
    """Windows spread evenly over the split, of about so many steps together; the same ones every time."""
    total = int(windows.length.sum())
    every = max(1, -(-total // max(1, questions)))
    return windows.take(slice(None, None, every))
