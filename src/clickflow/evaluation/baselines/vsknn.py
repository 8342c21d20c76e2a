"""V-SKNN: the items of past sessions that resemble this one (Ludewig & Jannach 2018, doi 10.1007/s11257-018-9209-6).

As in its authors' session-rec with linear weights: among the `sample` most recent training sessions that share an
item with this one, the `neighbours` with the largest sum of shared items' weights, where an item weighs a tenth less
for every step since it was seen. An item's score is the sum over the neighbours that have it of similarity x decay,
where the decay falls by a tenth for every step since the newest item shared with that neighbour; rare items count
more (idf). Of session-rec's weightings and with idf on or off these were the best on `bolcom_clicks`.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from clickflow.evaluation.baselines.history import FIRST_ITEM, History, Scores, popular

if TYPE_CHECKING:
    from scipy.sparse import csr_array

LEAST = 1e-9
"""What popularity may add at most: it orders items that no neighbour has, and nothing else."""
EXACT = 52
"""Steps whose powers of two a float64 adds up exactly."""


def fit(history: History, *, neighbours: int = 500, sample: int = 1000, idf: float = 1.0) -> Scores:
    """Keep the sessions; an item's scores are multiplied by 1 + idf x log(sessions / count), so 0 turns that off."""
    from scipy.sparse import csr_array

    sessions, by_item = _index(history, sample)
    count = np.maximum(history.counts, 1)
    lift = 1 + idf * np.log(max(sessions.shape[0], 1) / count) if idf else np.ones(history.known)
    share = LEAST * popular(history)

    def scores(recent: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        asked = _asked(recent, history.known) @ by_item
        similarity, session = _nearest(asked, neighbours, sample)
        rows, columns = np.nonzero(similarity > 0)
        weighted = csr_array(
            (similarity[rows, columns], (rows, session[rows, columns])), shape=(len(recent), sessions.shape[0])
        )
        found: npt.NDArray[np.float64] = (weighted @ sessions).toarray()
        return found * lift + share

    return scores


def _index(history: History, sample: int) -> tuple["csr_array", "csr_array"]:
    """Sessions by item ([sessions, known], oldest session first, 0 or 1), and its transpose with the `sample` most
    recent sessions of each item alone: the most recent of several items' sessions are among those of each.
    """
    from scipy.sparse import csr_array

    n, known = len(history.offsets) - 1, history.known
    place = np.empty(n, np.int64)
    place[np.lexsort((np.arange(n), history.end))] = np.arange(n)
    real = history.item >= FIRST_ITEM
    pairs = np.unique(place[history.sequence[real]] * known + history.item[real])
    session, item = pairs // known, pairs % known
    by_session = csr_array((np.ones(len(pairs)), (session, item)), shape=(n, known))
    order = np.lexsort((-session, item))
    sorted_item = item[order]
    nth = np.arange(len(order)) - np.searchsorted(sorted_item, sorted_item)
    kept = order[nth < sample]
    by_item = csr_array((np.ones(len(kept), np.complex128), (item[kept], session[kept])), shape=(known, n))
    return by_session, by_item


def _asked(recent: npt.NDArray[np.int64], known: int) -> "csr_array":
    """The sessions asked about [N, known]: an item's weight as the real part, 2^-(steps since) as the imaginary part.

    One product with the index then gives, for every past session, the sum of the weights of shared items and, as the
    leading bit of the other sum, the newest one.
    """
    from scipy.sparse import csr_array

    rows, back = np.nonzero(recent >= FIRST_ITEM)
    item = recent[rows, back]
    _, first = np.unique(rows * known + item, return_index=True)  # an item counts where it was seen last
    rows, back, item = rows[first], back[first], item[first]
    values = np.maximum(1 - 0.1 * back, 0.1) + 1j * 0.5 ** np.minimum(back, EXACT - 1)
    return csr_array((values, (rows, item)), shape=(len(recent), known))


def _nearest(asked: "csr_array", neighbours: int, sample: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """The nearest sessions of each row: decayed similarities [N, k], 0 beyond those there are, and sessions [N, k].

    Of equally similar sessions the more recent one is taken.
    """
    asked.sort_indices()
    counts = np.diff(asked.indptr)
    rows = np.repeat(np.arange(asked.shape[0]), counts)
    # the newest session of a row stands last, and goes to place 0
    place = np.repeat(asked.indptr[1:], counts) - 1 - np.arange(asked.nnz)
    kept = place < sample
    width = min(sample, int(counts.max(initial=0)))
    similarity, newest = np.zeros((asked.shape[0], width)), np.ones((asked.shape[0], width))
    session = np.zeros((asked.shape[0], width), np.int64)
    where = rows[kept], place[kept]
    similarity[where], newest[where] = asked.data[kept].real, asked.data[kept].imag
    session[where] = asked.indices[kept]
    chosen = np.argsort(-similarity, axis=1, kind="stable")[:, :neighbours]
    steps = 1 - np.frexp(np.take_along_axis(newest, chosen, axis=1))[1]  # since the newest shared item
    decay = np.maximum(1 - 0.1 * (steps + 1), 0.0)
    return np.take_along_axis(similarity, chosen, axis=1) * decay, np.take_along_axis(session, chosen, axis=1)
