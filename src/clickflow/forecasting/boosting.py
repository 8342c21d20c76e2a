"""One boosting model (LightGBM) over all series: quantiles and mean of every step ahead, from lags.

A quantile regression each (Koenker and Bassett 1978), weighted by the level, so that the loss is the one in units.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.forecasting import shared
from clickflow.forecasting.lags import RECENT, Lags, lags
from clickflow.forecasting.panel import LEVELS, Panel, Shared, Step

Array = NDArray[Any]

ROWS = 20_000
"""Questions that a model is trained on; more are sampled."""
LEAST = 300
"""With fewer there is no model."""
COMMON = {
    "learning_rate": 0.06,
    "num_leaves": 16,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 2.0,
    "max_bin": 127,
    "feature_pre_filter": False,
    "verbosity": -1,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
}
TREES: Mapping[Step, tuple[Mapping[str, bool], int, int]] = {
    "day": ({}, 100, 1),
    "week": ({"extra_trees": True}, 120, 2),
    "month": ({"extra_trees": True}, 120, 2),
}
"""By step what else LightGBM is told, rounds, and how many times larger the least leaf is. Weeks and months have few
periods to learn from: cuts drawn at random (Geurts, Ernst and Wehenkel 2006) follow what was so in one of them less.
"""
LARGEST = 30.0
"""Values more times the level than this are cut off in training."""
OBJECTIVES: tuple[dict[str, Any], ...] = (
    {"objective": "tweedie", "tweedie_variance_power": 1.3},
    *({"objective": "quantile", "alpha": level} for level in LEVELS),
)
"""One model each: the mean, then the quantiles."""


@dataclass(frozen=True)
class Questions:
    """Series, origin and step ahead, [n] each."""

    rows: Array
    origins: Array
    steps: Array


def training_questions(held: Lags, horizon: int, seed: int) -> Questions:
    """Those whose answer lies inside the panel, the recent ones more often."""
    rng = np.random.default_rng(seed)
    panel = held.panel
    least = held.first + RECENT[panel.step] // 2 + 1
    count = np.maximum(panel.periods - least, 0)  # origins with at least one answer
    if not count.sum():
        empty = np.zeros(0, np.int64)
        return Questions(empty, empty, empty)
    wanted = int(min(ROWS, count.sum() * horizon))
    rows = rng.choice(len(count), wanted, p=count / count.sum())
    age = rng.random(wanted) ** 1.5 * count[rows]  # periods before the end: more of the last ones
    origins = panel.periods - 1 - age.astype(np.int64)
    steps = rng.integers(1, np.minimum(horizon, panel.periods - origins) + 1)
    order = np.lexsort((steps, origins, rows))
    return Questions(rows[order], origins[order], steps[order])


@dataclass(frozen=True)
class Boosting:
    """The models, as LightGBM writes them, in the order of `OBJECTIVES`, and what they were trained with."""

    texts: tuple[str, ...]
    horizon: int
    shared: Shared

    def forecast(self, known: Panel, held: Lags | None = None) -> Array:
        """Forecasts [s, h, 4] of all series of `known`; `held`: its lags as fitted, where they are there."""
        import lightgbm

        held = held or lags(known.as_fitted(self.shared))
        known = held.panel
        series = len(known.values)
        rows = np.repeat(np.arange(series), self.horizon)
        origins = np.full(len(rows), known.periods)
        features = held.table(rows, origins, np.tile(np.arange(1, self.horizon + 1), series))
        level = held.level(rows, origins)
        models = [lightgbm.Booster(model_str=text) for text in self.texts]
        out = np.stack([model.predict(features, num_threads=1) for model in models], 1) * level[:, None]
        out[:, 1:] = np.sort(out[:, 1:], 1)
        forecast: Array = np.maximum(out, 0).reshape(series, self.horizon, 4)
        return forecast


def fit(known: Panel, horizon: int, *, seed: int = 0, held: Lags | None = None) -> Boosting | None:
    """Train on all that `known` holds, `held` its lags where they are there; None where that is too little."""
    import lightgbm

    held = held or lags(known)
    questions = training_questions(held, horizon, seed)
    if len(questions.rows) < LEAST:
        return None
    features = held.table(questions.rows, questions.origins, questions.steps)
    level = held.level(questions.rows, questions.origins)
    target = np.minimum(known.values[questions.rows, questions.origins + questions.steps - 1] / level, LARGEST)
    if not target.any():
        return None
    data = lightgbm.Dataset(features, target, weight=level / level.mean(), params=COMMON, free_raw_data=False)
    drawn, rounds, larger = TREES[known.step]
    least = larger * int(np.clip(len(target) // 300, 10, 200))
    common = {**COMMON, **drawn, "min_data_in_leaf": least, "seed": seed}
    texts = [lightgbm.train(common | objective, data, rounds).model_to_string() for objective in OBJECTIVES]
    return Boosting(tuple(texts), horizon, shared.of(known))
