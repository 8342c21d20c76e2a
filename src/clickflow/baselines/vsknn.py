"""V-SKNN: the items of past sessions that resemble this one (Ludewig & Jannach 2018, doi 10.1007/s11257-018-9209-6).

As in its authors' session-rec with linear weights: among the `sample` most recent training sessions that share an
item with this one, the `neighbours` with the largest sum of shared items' weights, where an item weighs a tenth less
for every step since it was seen. An item's score is the sum over the neighbours that have it of similarity x decay,
where the decay falls by a tenth for every step since the newest item shared with that neighbour; rare items count
more (idf). Of session-rec's weightings and with idf on or off these were the best on `bolcom_clicks`.
"""

import numpy as np

from clickflow.baselines import neighbours as search
from clickflow.baselines.history import History, Scores
from clickflow.baselines.neighbours import Neighbours
from clickflow.baselines.session_index import STEPS, Weighting


def weighting(*, neighbours: int = 500, sample: int = 1000, idf: float = 1.0) -> Weighting:
    """The table of V-SKNN."""
    back = np.arange(STEPS)
    return Weighting(
        neighbours=neighbours,
        sample=sample,
        similarity=np.maximum(1 - 0.1 * back, 0.1),
        newest=np.maximum(1 - 0.1 * (back + 1), 0.0),
        cosine=False,
        recency=None,
        distance=None,
        idf=idf,
        returns=False,
    )


def neighbours(history: History) -> Neighbours:
    """V-SKNN with its defaults, to be asked for sparse scores."""
    return search.fit(history, weighting())


def fit(history: History) -> Scores:
    """V-SKNN with its defaults."""
    return search.as_scores(neighbours(history))
