"""The unit `session`: one visit.

A given session is kept as given, together with its user, even over a long silence. Where the source gives none, a
silence longer than the gap ends the session; every event of the user breaks a silence, also of a type that is not
packed.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from clickflow.params.sequences import SessionUnit
from clickflow.sequences.units.unit import Log, Rules, Unit

if TYPE_CHECKING:
    from clickflow.sequences.features import Array

MINUTE = 60_000_000
"""Microseconds."""


def rules(params: SessionUnit) -> Rules:
    """A session ends where a longer silence than the gap begins, if the source gave none."""
    gap = round(params.gap_minutes * MINUTE)

    def begins(rows: "Mapping[str, Array]", before: "Array") -> "Array":
        new: Array = rows["open"] & (rows["time"] - before > gap)
        return new

    return Rules(
        event_types=params.event_types,
        begins=begins,
        drop_repeats=params.drop_repeats,
        baskets=params.baskets,
        min_length=params.min_length,
        max_length=params.max_length,
    )


BASKETS = 0.9
"""A share of ties above which the visits of a log are baskets, which have no order to learn from."""


def unfit(log: Log) -> str | None:
    """Visits whose steps are all of one moment."""
    if log.ties > BASKETS:
        return f"holds baskets, no visits: {log.ties:.0%} of the steps have the time of the step before"
    return None


UNIT = Unit(
    name="session",
    what="One visit, as the source gives it, or between two long silences of a visitor.",
    section="session",
    rules=rules,
    row={
        "session_id": "string",
        "user_id": "string",
        "start": "time",
        "end": "time",
        "length": "int32",
        "piece": "int32",
    },
    unfit=unfit,
)
