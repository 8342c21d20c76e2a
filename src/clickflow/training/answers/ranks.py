"""How well a head of kind ranking answered: ranks among all items."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickflow.training.answers.objective import Ints


@dataclass(frozen=True)
class Ranks:
    """Of every question about a known item, [n] each: the rank of the true one among all items (1 is best; items with
    the same probability count as better), and minus the log of its probability.

    `unknown`: how many true items the model does not know. As in the evaluation they are misses, and have no loss.
    """

    ranks: Ints
    losses: NDArray[np.float64]
    unknown: int = 0

    @property
    def questions(self) -> int:
        """Questions, about items known or not."""
        return len(self.ranks) + self.unknown

    def recall(self, k: int) -> float:
        """The share of true items that are among the first `k`."""
        return float((self.ranks <= k).sum()) / max(1, self.questions)

    def mrr(self, k: int) -> float:
        """The mean of 1 / rank, 0 beyond `k`."""
        return float(np.where(self.ranks <= k, 1.0 / self.ranks, 0.0).sum()) / max(1, self.questions)

    def figures(self, k: int = 20) -> dict[str, float]:
        """By the names of the evaluation: `recall@k` and `mrr@k` are over all questions, those that end in `_known`
        over the known items, `coverage` is the share of these.
        """
        if not self.questions:
            return {}
        known = len(self.ranks) / self.questions
        values = {f"recall@{k}": self.recall(k), f"mrr@{k}": self.mrr(k), "coverage": known}
        return values | {f"{name}_known": values[name] / (known or 1.0) for name in (f"recall@{k}", f"mrr@{k}")}
