"""Where the head next_action begins: at how often each action followed the last one in the training part."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from clickflow.models.heads import QUICK, NextAction

if TYPE_CHECKING:
    from clickflow.sequences.store import PackedSplit

CHUNK = 1 << 22


def begin(head: NextAction, training: "PackedSplit") -> None:
    """Set the bias of `head` to the log shares of what came next, and its table of the last action to how these change
    with it, each count one more than it was. What is left to learn is what a Markov table does not know.
    """
    classes = head.score.out_features
    counts = np.zeros((classes, classes))
    last = np.asarray(training.offsets[1:], np.int64) - 1
    for start in range(0, training.n_events, CHUNK):
        stop = min(start + CHUNK, training.n_events)
        action = np.minimum(training.action[start : stop + 1].astype(np.int64), classes - 1)
        now, then = action[: stop - start], np.full(stop - start, classes - 1)
        then[: len(action) - 1] = action[1:]
        ends = last[np.searchsorted(last, start) : np.searchsorted(last, stop)] - start
        then[ends] = classes - 1
        counts += np.bincount(now * classes + then, minlength=classes**2).reshape(classes, classes)
    counts += 1
    overall = np.log(counts.sum(0) / counts.sum())
    after = np.log(counts / counts.sum(1, keepdims=True)) - overall
    with torch.no_grad():
        head.score.bias.copy_(torch.from_numpy(overall / QUICK))
        if head.recent is not None:
            head.recent.weight[:classes].copy_(torch.from_numpy(after / QUICK))
