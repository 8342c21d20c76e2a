"""What baselines learn from, written as lists of items."""

from collections.abc import Sequence

import numpy as np

from clickflow.baselines.history import History

KNOWN = 9


def history(sessions: Sequence[Sequence[int]], ends: Sequence[int] | None = None, known: int = KNOWN) -> History:
    """A history of lists of items, which end at `ends`, or one after the other."""
    lengths = [len(session) for session in sessions]
    flat = np.array([item for session in sessions for item in session], np.int64)
    return History(
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        item=flat,
        time=np.repeat(np.array(ends if ends is not None else range(len(sessions)), np.int64), lengths),
        known=known,
    )
