"""Sessions by their number of steps: where classes begin, and what they are called."""

from collections.abc import Sequence
from itertools import pairwise

FINE = (2, 3, 4, 5, 7, 10, 15, 20, 30, 50)
"""For drift, whose shares are of all sessions; they stand in the reference.json of every model."""
COARSE = (2, 3, 5, 10, 20)
"""For slices: fewer, since each must have predictions enough to be judged by. All of them begin a fine one too."""


def names(begins: Sequence[int]) -> list[str]:
    """`2`, `3-4` … `20+`; what is shorter than the first has no name here."""
    classes = [str(low) if high == low + 1 else f"{low}-{high - 1}" for low, high in pairwise(begins)]
    return [*classes, f"{begins[-1]}+"]
