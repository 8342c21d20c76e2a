"""How alike items are, to a model: the cosine of their vectors in its network; of a model without, by category."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from clickflow.artefact import vectors as in_graph
from clickflow.online.cut import Cut
from clickflow.online.table import highest
from clickflow.sequences.indexes import FIRST_ITEM

if TYPE_CHECKING:
    from clickflow.online.served import Served

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def vectors(served: "Served") -> Floats | None:
    """The vectors [known, D] of the items, each of length 1 (0: it has none); of an ensemble those of all networks side
    by side, so that a product is the mean of their cosines. None: the model has none.
    """
    session = served.artefact.session
    if isinstance(session, Cut) and len(tables := session.tables) == 1:
        return tables[0]
    return in_graph.vectors(served.artefact)


def to(served: "Served", index: int, others: npt.NDArray[np.integer]) -> Floats:
    """How alike one item and each of `others` are, from -1 to 1; of a model without vectors 1 where both have the same
    category, else 0.
    """
    table = vectors(served)
    if table is not None:
        return np.asarray(table[others] @ table[index], np.float32)
    own = served.items.category[index]
    return np.asarray((served.items.category[others] == own) & (own >= FIRST_ITEM), np.float32)


def among(served: "Served", items: Ints) -> Callable[[int], Floats]:
    """From the place of one of `items` to how alike it and each of them are, as `to` says it; their vectors are
    gathered once.
    """
    table = vectors(served)
    if table is None:
        return lambda place: to(served, int(items[place]), items)
    own = np.ascontiguousarray(table[items])
    return lambda place: np.asarray(own @ own[place], np.float32)


def nearest(served: "Served", index: int, k: int) -> tuple[Ints, Floats] | None:
    """The `k` items most like one, the likest first and equal ones by index, and how alike they are; None: the model
    has no vectors. Those of a network are found without scoring all in float32 (`table.Table`).
    """
    session = served.artefact.session
    if isinstance(session, Cut) and len(tables := session.exact) == 1:
        (rows,), (cosines,), _ = tables[0].best(np.asarray(tables[0].vectors[index])[None], k + 1)
    elif (table := vectors(served)) is not None:
        every = np.asarray(table[FIRST_ITEM:] @ table[index], np.float32)
        rows = highest(every, k + 1)
        rows, cosines = rows + FIRST_ITEM, every[rows]
    else:
        return None
    others = rows != index
    rows, cosines = rows[others], cosines[others]
    order = np.lexsort((rows, -cosines))[:k]
    return rows[order], cosines[order]
