"""How often visitors return to an item of the same session: what a session-kNN cannot learn from its neighbours.

In some shops' logs the item just seen is never the next one, in others it is every fifth time. Neighbours have it in
any case, for it is why they are neighbours. So the scores of the session's own items are multiplied by a factor for
each step back: how often that item came next on training positions, over the share of the scores it had there, each
position asked without its own session. (session-rec has a switch for it, `remind`, set by hand.)
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from clickflow.artefact.windows import questions, recent
from clickflow.baselines.history import History
from clickflow.baselines.session_index import Floats, Ints
from clickflow.sequences.indexes import FIRST_ITEM

if TYPE_CHECKING:
    from scipy.sparse import csr_array

STEPS_BACK = 20
"""Steps back with a factor of their own; what was seen before them keeps its scores."""
POSITIONS, LONGEST, SEED = 4000, 50, 0
"""Training positions that are asked, and how many steps of each are read."""


def learn(history: History, ask: Callable[[Ints, Ints], "csr_array"]) -> Floats:
    """The factors [STEPS_BACK], by `ask(recent, own)`, the scores of a session-kNN fitted on the same history."""
    positions = questions(history.offsets, np.arange(len(history.offsets) - 1), LONGEST)
    rows = np.flatnonzero(positions.has_next)
    if len(rows) > POSITIONS:
        rows = np.sort(np.random.default_rng(SEED).choice(rows, POSITIONS, replace=False))
    if not len(rows):
        return np.ones(STEPS_BACK)
    shown = recent(history.item, positions, rows, LONGEST)
    scores = ask(shown, positions.sequence[rows])
    total = np.maximum(np.asarray(scores.sum(axis=1)).reshape(-1), np.finfo(np.float64).tiny)
    row, back = entries(shown, scores.shape[1])
    item = shown[row, back]
    came = item == history.item[positions.event[rows] + 1][row]
    hits = np.bincount(back, weights=came, minlength=STEPS_BACK)
    mass = np.bincount(back, weights=scores[row, item] / total[row], minlength=STEPS_BACK)
    factors: Floats = (hits + 1) / (mass + 1)
    return factors


def weigh(scores: "csr_array", shown: npt.NDArray[np.integer], factors: Floats) -> None:
    """Multiply the scores [N, known] of the items shown, in place."""
    row, back = entries(shown, scores.shape[1])
    item = shown[row, back]
    own = scores[row, item] if len(row) else np.zeros(0)
    there = own > 0
    if there.any():
        scores[row[there], item[there]] = (own * factors[back])[there]


def entries(shown: npt.NDArray[np.integer], known: int) -> tuple[Ints, Ints]:
    """Row and steps back of every item (below `known`) in the last `STEPS_BACK` steps, each where it was seen last."""
    seen = shown[:, :STEPS_BACK]
    row, back = np.nonzero((seen >= FIRST_ITEM) & (seen < known))
    item = shown[row, back].astype(np.int64)
    _, first = np.unique(row * known + item, return_index=True)
    return row[first], back[first]
