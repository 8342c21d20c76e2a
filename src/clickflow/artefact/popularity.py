"""How often each item was met at each hour of the day: what is recommended where a history says nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.sequences.store import PackedSplit
from clickflow.system.moments import HOUR

HOURS = 24
MOST = 1000
"""Items that are kept of an hour, those with most steps."""
PRIOR = 500.0
"""Steps that each hour has besides its own, spread as those of all hours: where it has few, the day decides."""
BLOCK = 1 << 22
"""Steps that are counted at once."""


def write(train: PackedSplit, known: int, file: Path) -> None:
    """Count the steps of the training part by hour (UTC) and item: columns `hour`, `index`, `count`, of each hour the
    `MOST` items with most steps (of equals the lower index), in this order.
    """
    import pyarrow as pa

    from clickflow.sequences.writer import write_table

    counts = np.zeros(HOURS * known, np.int64)
    for start in range(0, len(train.item), BLOCK):
        item = np.asarray(train.item[start : start + BLOCK], np.int64)
        hour = np.asarray(train.time[start : start + BLOCK], np.int64) // HOUR % HOURS
        of_model = (item >= FIRST_ITEM) & (item < known)
        counts += np.bincount((hour * known + item)[of_model], minlength=HOURS * known)
    rows = []
    for number, own in enumerate(counts.reshape(HOURS, known)):
        best = np.argsort(-own, kind="stable")[:MOST]
        best = best[own[best] > 0]
        rows.append(np.stack([np.full(len(best), number), best, own[best]]))
    hours, index, count = np.concatenate(rows, axis=1)
    schema = pa.schema([("hour", pa.int8()), ("index", pa.int32()), ("count", pa.int64())])
    columns = {"hour": pa.array(hours, pa.int8()), "index": pa.array(index, pa.int32()), "count": pa.array(count)}
    write_table(file, [pa.table(columns, schema=schema)], schema)


def shares(
    count: npt.NDArray[np.integer], by_hour: tuple[Any, Any, Any] | None = None, hour: int | None = None
) -> npt.NDArray[np.float64]:
    """The share of each item in all steps, [known]; of an hour with a prior of `PRIOR` steps.

    `count`: steps of each item, by index; `by_hour`: the columns of the file.
    """
    whole = np.asarray(count, np.float64) / max(int(np.sum(count)), 1)
    if by_hour is None or hour is None:
        return whole
    hours, index, steps = by_hour
    own = hours == hour
    weights = PRIOR * whole
    weights[index[own]] += steps[own]
    return weights / max(float(weights.sum()), 1e-12)
