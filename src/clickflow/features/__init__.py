"""Hand-made features of a question, a table a unit: what classical models and baselines read. Pure numpy.

A unit is one file with a `TABLE` of features and a function `compute`, and an entry here.
"""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from clickflow.features.feature import Feature, Names, Spans
from clickflow.system.errors import UsageError, nearest

if TYPE_CHECKING:  # params are checked by this room, also where DAGs are parsed
    from clickflow.sequences.features import Array
    from clickflow.sequences.store import PackedSplit

TABLES = ("customer", "session")
"""The units that have a table of features."""

__all__ = ["TABLES", "Feature", "Names", "Spans", "compute", "names", "table"]


def _module(unit: str) -> Any:
    """The module with a unit's features, `TABLE`, and the function that computes all of them, `compute`."""
    from clickflow.features import customer, prefix

    return {"customer": customer, "session": prefix}[unit]


def table(unit: str) -> tuple[Feature, ...]:
    """The features of a unit. Raises UsageError where it has none."""
    if unit not in TABLES:
        raise UsageError(
            f"there are no hand-made features of the unit {unit!r}; there are of: {', '.join(TABLES)}",
            kept="nothing was run",
        )
    rows: tuple[Feature, ...] = _module(unit).TABLE
    return rows


@cache
def names(unit: str, *, clock: bool = True) -> tuple[str, ...]:
    """The names of a unit's features, in the order of its table; of a log with an order and no `clock` those that are
    of no times.
    """
    return tuple(feature.name for feature in table(unit) if clock or not feature.of_clock)


def compute(
    unit: str, split: "PackedSplit", spans: Spans, store: Names, chosen: Sequence[str] | None = None
) -> "Array":
    """The `chosen` features (none given: all) of N questions, float32 [N, F], NaN where a value does not exist.

    Raises UsageError for a name that the unit does not have.
    """
    known = names(unit)
    columns = known if chosen is None else tuple(chosen)
    for name in () if columns == known else columns:
        if name not in known:
            raise UsageError(
                f"the unit {unit} has no feature {name!r}{nearest(name, known)}",
                kept="nothing was run",
                next_step="choose of docs/reference/features.md",
            )
    values: Array = _module(unit).compute(split, spans, store)
    if columns == known:
        return values
    return values[:, [known.index(name) for name in columns]].copy("C")
