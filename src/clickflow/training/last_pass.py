"""The last pass: a network also learns from the validation part, once that has chosen the length of training.

The sessions of the validation part are the latest, and so say more of those to come than any others do. They are added
to the associations, and a short pass over them and the latest of the training part, at a learning rate that decays to
0, teaches the network their items. Nothing is measured on the validation part afterwards: the network has learned it.
"""

from typing import TYPE_CHECKING

import numpy as np

from clickflow.training.batches import Ints, Windows

if TYPE_CHECKING:
    from clickflow.sequences.store import PackedSplit

LATEST = 0.05
"""Share of the training part's windows, the latest, that are read again, once, lest they be forgotten."""
RATE = 0.1
"""Share of the full learning rate where the pass begins."""


def joined(earlier: "PackedSplit", later: "PackedSplit") -> "PackedSplit":
    """The sequences of both, in memory."""
    columns = {name: np.concatenate([values, later.columns[name]]) for name, values in earlier.columns.items()}
    if earlier.bounds is not None and later.bounds is not None:
        bounds = earlier.bounds.then(later.bounds, earlier.n_events)
        return type(earlier)(bounds, earlier.asks, earlier.horizon, **columns)
    offsets = np.concatenate([earlier.offsets, later.offsets[1:] + earlier.offsets[-1]])
    return type(earlier)(None, earlier.asks, offsets=offsets, **columns)


def chosen(time: Ints, windows: Windows, held_out: int, times: int) -> Ints:
    """Which of `windows` the pass reads: the last `held_out` of them, `times` over (as often as the others were read
    before), and the latest of the others; `time` is that of each step.
    """
    others = len(windows) - held_out
    order = np.argsort(time[windows.end[:others] - 1], kind="stable")
    latest = order[others - round(LATEST * others) :]
    return np.concatenate([latest, np.tile(np.arange(others, len(windows)), times)])


def rate(batch: int, batches: int) -> float:
    """The share of the full learning rate."""
    return RATE * (1 - batch / batches)
