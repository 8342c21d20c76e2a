"""Simple systems that a network has to beat, fitted on the same training part.

A next-item baseline is a function `fit(history) -> scores`, and `scores(recent) -> [N, known]`: what it makes of the
items that a visitor saw, newest first (`clickflow.models.windows.recent`). A next-action baseline is
`fit(history) -> log_probabilities`, of the last action [N] to [N, actions + 1]. Another one is one more file and one
more line here.
"""

from collections.abc import Callable, Mapping

from clickflow.evaluation.baselines import actions, markov, popularity, repeat, vsknn, vstan
from clickflow.evaluation.baselines.history import ActionScores, History, Scores
from clickflow.evaluation.baselines.neighbours import Neighbours

NEXT_ITEM: Mapping[str, Callable[[History], Scores]] = {
    "popularity": popularity.fit,
    "repeat": repeat.fit,
    "markov": markov.fit,
    "vsknn": vsknn.fit,
    "vstan": vstan.fit,
}
"""Next-item baselines by the name they have in params.yaml."""

NEIGHBOURS: Mapping[str, Callable[[History], Neighbours]] = {"vsknn": vsknn.neighbours, "vstan": vstan.neighbours}
"""Those that are a session-kNN, to be asked for sparse scores, and leaving out a question's own session."""

NEXT_ACTION: Mapping[str, Callable[[History], ActionScores]] = {
    "majority": actions.fit_majority,
    "markov": actions.fit_markov,
}
"""Next-action baselines; they cost nothing, so all are always measured."""
