"""Would another sample of the same customers have given the same segments, and the same neighbours?"""

from itertools import combinations
from typing import Any

import numpy as np

from clickflow.profiles import embedding as embeddings
from clickflow.profiles import segments
from clickflow.profiles.embedding import Customers, Ints

TRAININGS = 3
"""Each on customers drawn with replacement, and with a seed of its own; all pairs are compared."""
JUDGED, NEIGHBOURS = 500, 10
"""Customers whose neighbours are compared, at most, and how many of each."""


def measure(known: Customers, judged: Customers, count: int, seed: int) -> dict[str, Any]:
    """Learn from draws of `known`, and see where `judged` go: the mean adjusted Rand index (1: the same segments, 0: as
    by chance) of the segments and of RFM's, and the share of nearest neighbours in common.
    """
    from sklearn.metrics import adjusted_rand_score

    draw = np.random.default_rng(seed)
    rows = np.sort(draw.permutation(len(judged))[:JUDGED])
    own: list[Ints] = []
    rfm: list[Ints] = []
    near: list[Ints] = []
    for each in range(TRAININGS):
        sample = known.take(np.sort(draw.integers(len(known), size=len(known))))
        learned = embeddings.learn(sample, seed + each)
        own.append(segments.clusters(sample, learned, count, seed + each).of(judged))
        rfm.append(segments.rfm(sample).of(judged))
        near.append(embeddings.similar(learned.of(judged), rows, NEIGHBOURS)[0])
    pairs = list(combinations(range(TRAININGS), 2))
    common = [
        np.mean([len({*a} & {*b}) / max(1, len(a)) for a, b in zip(near[i], near[j], strict=True)]) for i, j in pairs
    ]
    return {
        "trainings": TRAININGS,
        "segments": round(float(np.mean([adjusted_rand_score(own[i], own[j]) for i, j in pairs])), 4),
        "rfm": round(float(np.mean([adjusted_rand_score(rfm[i], rfm[j]) for i, j in pairs])), 4),
        "neighbours": round(float(np.mean(common)), 4),
        "neighbours_by_chance": round(min(1.0, NEIGHBOURS / max(1, len(judged) - 1)), 4),
    }
