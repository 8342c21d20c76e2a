"""VSTAN: V-SKNN that also minds when a session was and how far an item stands from what is shared.

STAN (Garg et al. 2019, arXiv:1910.12781) with V-SKNN's weights (Ludewig et al. 2021, doi 10.1007/s11257-020-09277-1;
their session-rec). The similarity of a past session is the sum over the shared items of exp(-steps since seen / λ),
over the square root of its number of items, times a decay by its age. An item's score is the sum over the neighbours
that have it of similarity x exp(-steps since the newest shared item / λ) x exp(-distance / λ) x idf, the distance
being the steps in the neighbour between the item and the newest item shared.
"""

import numpy as np

from clickflow.evaluation.baselines import neighbours as search
from clickflow.evaluation.baselines.history import History, Scores
from clickflow.evaluation.baselines.neighbours import Neighbours
from clickflow.evaluation.baselines.session_index import STEPS, Weighting


def weighting(
    *,
    neighbours: int = 500,
    sample: int = 5000,
    similarity: float = 1.02,
    newest: float = 1.02,
    distance: float = 2.05,
    recency: float | None = None,
    idf: float = 5.0,
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
    )


def neighbours(history: History) -> Neighbours:
    """VSTAN with its defaults, to be asked for sparse scores."""
    return search.fit(history, weighting())


def fit(history: History) -> Scores:
    """VSTAN with its defaults."""
    return search.as_scores(neighbours(history))
