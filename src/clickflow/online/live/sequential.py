"""Comparing two versions while answers come in: evidence that may be looked at after every visitor.

A difference D lies in [-1, 1]. Against the statement that its mean, given the past, is at most d, one bets on it being
more: the capital of the bet,

    K_t(d) = mean over stakes s of  prod_{i <= t} (1 + s (D_i - d)),        0 <= s < 1 / (1 + d),

starts at 1 and, if the statement is true, is a nonnegative supermartingale: an e-process. So the chance that it *ever*
reaches 1 / alpha is at most alpha (Ville 1939), however often and whenever it is looked at. The stakes are a fixed grid
(diversified Kelly betting, Waudby-Smith & Ramdas 2023, *Estimating means of bounded random variables by betting*,
JRSS B 86(1)); the d that bets on neither side refute are a confidence sequence for the mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

STAKES = np.array([0.9, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.08, 0.05, 0.03, 0.015])
"""Shares of the stake that may lose everything."""
TURN = 2
"""Visitors of each group in a turn, at least: of 1, 2, 4, 8 and 16 the most powerful (docs/howto/live.md)."""
GRID = np.linspace(-1, 1, 401)
"""Means that the confidence sequence is cut from."""


@dataclass(frozen=True)
class Evidence:
    """What differences say of their mean. An e-value of 20 refutes at the level .05, whenever it is reached."""

    pairs: int
    mean: float | None
    low: float
    high: float
    better: float
    """The largest e-value so far against: the mean is at most -margin."""
    worse: float
    """The largest e-value so far against: the mean is at least 0."""


def evidence(differences: Values, *, margin: float, alpha: float, grid: bool = True) -> Evidence:
    """Of differences [n] in [-1, 1], in the order in which they came; `margin`: how much worse is not worse. `grid`:
    whether the ends of the confidence sequence are asked for.
    """
    if not len(differences):
        return Evidence(0, None, -1.0, 1.0, 1.0, 1.0)
    kept = [
        max(_most(differences, mean), _most(-differences, -mean)) < np.log(2 / alpha)
        for mean in (GRID if grid else ())  # the bets on both sides share alpha
    ]
    low, high = (GRID[kept][[0, -1]] if any(kept) else np.full(2, differences.mean())).tolist()
    better, worse = _most(differences, -margin), _most(-differences, 0.0)
    return Evidence(len(differences), float(differences.mean()), low, high, float(np.exp(better)), float(np.exp(worse)))


def log_capital(differences: Values, mean: float) -> Values:
    """The logarithm of K_t(mean) after each difference, [n]."""
    stakes = STAKES / max(1 + mean, 1e-9)
    paths = np.log1p(stakes[:, None] * (differences - mean)).cumsum(axis=1)
    top = paths.max(axis=0)
    capital: Values = top + np.log(np.exp(paths - top).mean(axis=0))
    return capital


def _most(differences: Values, mean: float) -> float:
    return max(0.0, float(log_capital(differences, mean).max()))


def by_turns(candidate: Sequence[bool] | npt.NDArray[np.bool_], values: Values) -> Values:
    """Differences between two groups of visitors, in the order in which they came, values in [0, 1].

    A turn ends with the first visitor after which `TURN` of both groups have come; its difference is the candidate's
    mean less the other's. Where it ends depends on who was put where and on nothing that they did, so its mean is the
    difference of the groups'; and both halves of it are of the same hour, whatever the hour does to all.
    """
    differences: list[float] = []
    sums, counts = [0.0, 0.0], [0, 0]
    for group, value in zip(candidate, values, strict=True):
        sums[bool(group)] += float(value)
        counts[bool(group)] += 1
        if min(counts) >= TURN:
            differences.append(sums[1] / counts[1] - sums[0] / counts[0])
            sums, counts = [0.0, 0.0], [0, 0]
    return np.array(differences, np.float64)
