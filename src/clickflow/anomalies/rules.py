"""Baselines of the search for odd sequences: simple rates, and an isolation forest on hand-made features.

Each gives a score [N], the higher the odder.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow import features
from clickflow.features.feature import Spans

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
TREES, SAMPLE = 200, 256
"""Of the isolation forest: Liu et al. 2008 use 100 trees of 256 sequences."""
RATED = ("steps", "steps_per_minute", "carts", "purchases", "items")
"""What the rate rules count of a visit; a rule fires the more, the fewer visits reach the count."""


def table(split: Any, store: Any, chosen: Ints) -> Floats:
    """The hand-made features of whole sequences [N, F], 0 where a value does not exist; `store` is the store's card."""
    offsets = np.asarray(split.offsets, np.int64)
    begin, end = offsets[chosen], offsets[chosen + 1]
    spans = Spans(begin, end, np.asarray(split.time, np.int64)[end - 1])
    values = np.asarray(features.compute("session", split, spans, store), np.float64)
    return np.nan_to_num(values)


def rates(reference: Floats, features_of: Floats) -> Floats:
    """The largest of some counts and rates, each as -ln of the share of the reference's sequences that reach it."""
    known, own = _rated(reference), _rated(features_of)
    scores = np.zeros(own.shape)
    for k in range(own.shape[1]):
        column = np.sort(known[:, k])
        reach = len(column) - np.searchsorted(column, own[:, k], side="left")
        scores[:, k] = -np.log((reach + 0.5) / (len(column) + 1))
    worst: Floats = scores.max(axis=1)
    return worst


def isolation_forest(reference: Floats, features_of: Floats) -> Floats:
    """How few cuts at random separate a sequence from others (Liu et al. 2008), on the logs of the features."""
    from sklearn.ensemble import IsolationForest
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        forest = IsolationForest(n_estimators=TREES, max_samples=min(SAMPLE, len(reference)), random_state=0, n_jobs=1)
        forest.fit(_log(reference))
        oddness: Floats = -forest.score_samples(_log(features_of))
    return oddness


def _log(values: Floats) -> Floats:
    return np.asarray(np.sign(values) * np.log1p(np.abs(values)))


def _rated(values: Floats) -> Floats:
    place = {name: k for k, name in enumerate(features.names("session"))}
    minutes = values[:, place["since_start"]] / 60
    own = {
        name: values[:, place["steps"]] / np.maximum(minutes, 0.5)
        if name == "steps_per_minute"
        else values[:, place[name]]
        for name in RATED
    }
    return np.stack(list(own.values()), axis=1)


RULES: Mapping[str, Callable[[Floats, Floats], Floats]] = {"rates": rates, "isolation_forest": isolation_forest}
"""By name: `rule(reference [M, F], asked [N, F]) -> [N]`, both tables of features."""
