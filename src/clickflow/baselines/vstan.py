"""VSTAN: V-SKNN that also weighs how old a session is, and how far an item stands from the shared ones.

STAN (Garg et al. 2019, arXiv:1910.12781) with V-SKNN's weights (Ludewig et al. 2021, doi 10.1007/s11257-020-09277-1;
their session-rec). The similarity of a past session is the sum over the shared items of exp(-steps since seen / λ),
over the square root of its number of items, times a decay by its age. The age is counted in sessions: that needs an
order and no clock. An item's score is the sum over the neighbours that have it of similarity x exp(-steps since the
newest shared item / λ) x exp(-distance / λ) x idf, the distance being the steps in the neighbour between the item and
the newest item shared. The defaults of λ were chosen on training sessions, see docs/experiments.md.
"""

import numpy as np

from clickflow.baselines import neighbours as search
from clickflow.baselines.history import History, Scores
from clickflow.baselines.neighbours import Neighbours
from clickflow.baselines.session_index import STEPS, Weighting


def weighting(
    *,
    neighbours: int = 500,
    sample: int = 1000,
    similarity: float = 8.0,
    newest: float = 4.0,
    distance: float = 8.0,
    recency: float | None = 1.0,
    idf: float = 5.0,
    returns: bool = False,
) -> Weighting:
    """The table of VSTAN; λ of each decay in steps, that of `recency` in the share of all sessions."""
    back = np.arange(STEPS)
    return Weighting(
        neighbours=neighbours,
        sample=sample,
        similarity=np.exp(-back / similarity),
        newest=np.exp(-back / newest),
        cosine=True,
        recency=recency,
        distance=distance,
        idf=idf,
        returns=returns,
    )


def neighbours(history: History, *, returns: bool = False) -> Neighbours:
    """VSTAN with its defaults, to be asked for sparse scores."""
    return search.fit(history, weighting(returns=returns))


def fit(history: History) -> Scores:
    """VSTAN with its defaults."""
    return search.as_scores(neighbours(history))


def fit_returns(history: History) -> Scores:
    """VSTAN that has also learned how often visitors return to an item."""
    return search.as_scores(neighbours(history, returns=True))
