"""Simple systems that a network has to beat, fitted on the same training part.

One that ranks is a function `fit(history) -> scores`, and `scores(recent) -> [N, known]`: what it makes of the items
that a visitor saw, newest first (`clickflow.artefact.windows.recent`). One of classes is
`fit(train) -> log_probabilities`, and `log_probabilities(positions) -> [N, classes]`, where both read positions of
sequences (`clickflow.baselines.positions`). Another one is one more file and one more line here.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from clickflow.baselines import actions, handmade, itemknn, markov, popularity, repeat, tables, vsknn, vstan
from clickflow.baselines.forecasts import FORECAST, fit_moving_average
from clickflow.baselines.history import ClassScores, History, Scores
from clickflow.baselines.neighbours import Neighbours
from clickflow.baselines.positions import Positions
from clickflow.heads.head import Kind

RANKING: Mapping[str, Callable[[History], Scores]] = {
    "popularity": popularity.fit,
    "decayed_popularity": popularity.fit_decayed,
    "repeat": repeat.fit,
    "markov": markov.fit,
    "itemknn": itemknn.fit,
    "vsknn": vsknn.fit,
    "vstan": vstan.fit,
    "vstan_returns": vstan.fit_returns,
}
"""Baselines that rank the items, by the name they have in params.yaml."""

NEIGHBOURS: Mapping[str, Callable[[History], Neighbours]] = {
    "vsknn": vsknn.neighbours,
    "vstan": vstan.neighbours,
    "vstan_returns": partial(vstan.neighbours, returns=True),
}
"""Those that are a session-kNN, to be asked for sparse scores, and leaving out a question's own session."""

CLASSES: Mapping[str, Callable[[Positions], ClassScores]] = {
    "majority": actions.fit_majority,
    "markov": actions.fit_markov,
    "item_rate": actions.fit_item_rate,
    "logistic": tables.fit_logistic,
    "forest": tables.fit_forest,
    "boosting": tables.fit_boosting,
}
"""Baselines that give classes a probability, likewise."""

PROBABILITY: Mapping[str, Callable[[Positions], ClassScores]] = {
    **CLASSES,
    "logistic": handmade.fit_logistic,
    "boosting": handmade.fit_boosting,
    "moving_average": fit_moving_average,
}
"""Those that give yes and no a probability; two of them by the hand-made features of their unit."""

AMOUNT: Mapping[str, Callable[[Positions], ClassScores]] = {
    "mean": handmade.fit_mean,
    "rfm": handmade.fit_rfm,
    "boosting": handmade.fit_amount_boosting,
}
"""Those that give an amount: functions of positions to the expected value and its quantiles [N, 4]."""

BASELINES: Mapping[Kind, Mapping[str, Callable[[Any], Any]]] = {
    "ranking": RANKING,
    "classes": CLASSES,
    "probability": PROBABILITY,
    "amount": AMOUNT,
    "forecast": FORECAST,
}
"""By kind of answer."""
