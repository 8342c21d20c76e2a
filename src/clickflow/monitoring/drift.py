"""How far a window lies from the training data, and how much of that its size alone would give.

The distance of two distributions p and q over the same cells is the total variation distance

    d(p, q) = 1/2 sum |p_i - q_i|,

0 for equal shares, 1 for nothing in common: the share of one that would have to be something else to give the other
(Levin, Peres & Wilmer 2009, Markov Chains and Mixing Times, ch. 4). For the share of unknown items only a rise counts:
max(0, p - q). Both keep to the triangle inequality, which is what the rule below rests on.

A window is a sample. Even where nothing has moved, its distance is above 0, and the more so the smaller it is. Its
sampling error is taken from itself: whole sequences are drawn with replacement (cluster bootstrap, Efron 1979), for the
steps of a session resemble each other, and `noise` is the (1 - alpha) quantile of the distance between such a draw and
the window. The training data is a sample too, of S_r sequences to the window's S, so the noise is made larger by
sqrt(1 + S / S_r). A window breaches where

    d(window, training) > bound + noise.

If the true distance is at most the bound, then by the triangle inequality the sampling error must have been above the
noise, which happens with a probability of about alpha: docs/reference/monitoring.md says how often it was measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from clickflow.evaluation import bootstrap
from clickflow.evaluation.distributions import Values

RESAMPLES = 1000
"""Draws that the noise is read from."""
ONE_SIDED = ("unknown_items",)
"""Dimensions in which only a rise of the second cell counts."""


class Cells(Protocol):
    """What is counted: dimensions, each a run of cells of one vector."""

    def shares(self, totals: Values) -> dict[str, Values]:
        """Totals [..., cells] as shares of each dimension, [..., its cells]; NaN where it holds nothing."""
        ...


@dataclass(frozen=True)
class Distance:
    """How far one dimension lies from the training data, and the noise of that."""

    value: float
    noise: float


def distance(name: str, one: Values, other: Values) -> Values:
    """The distance of shares [..., cells] from shares that broadcast with them, [...]."""
    if name in ONE_SIDED:
        return np.asarray(np.maximum(one[..., 1] - other[..., 1], 0.0))
    return np.asarray(np.abs(one - other).sum(axis=-1) / 2)


def distances(
    cells: Cells,
    counts: Values,
    reference: Mapping[str, Values],
    *,
    sequences: int,
    alpha: float,
    seed: int,
) -> dict[str, Distance]:
    """The distance of a window from `reference` (shares of `sequences` sequences), by dimension.

    `counts` [S, cells] are the window's sequences. A dimension in which the window has nothing is left out.
    """
    own = cells.shares(counts.sum(axis=0))
    drawn = cells.shares(bootstrap.resampled(counts, RESAMPLES, seed))
    wider = (1 + len(counts) / max(sequences, 1)) ** 0.5
    measured = {}
    for name, shares in own.items():
        if np.isnan(shares).any():
            continue
        errors = distance(name, drawn[name], shares)
        # a draw without a single step in a dimension says nothing about it
        noise = float(np.nanquantile(errors, 1 - alpha)) * wider
        measured[name] = Distance(float(distance(name, shares, reference[name])), noise)
    return measured
