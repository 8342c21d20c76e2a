"""The unit `customer`: a person's whole history as of a cut-off, asked once about the days after it.

A person has as many sequences as there are cut-offs before which they bought lately; guests have none. Steps at and
after the cut-off are not read: they are what answers come from, up to the end of the horizon.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from clickflow.params.sequences import CustomerUnit
from clickflow.sequences.units.unit import AsOf, Log, Rules, Unit

if TYPE_CHECKING:
    from clickflow.sequences.features import Array

WHOLE = 1 << 40
"""More steps than anybody has: a history is never cut into pieces."""


def rules(params: CustomerUnit) -> Rules:
    """All that a person did is one history; repeated steps are pieces bought, and stay."""

    def begins(rows: "Mapping[str, Array]", before: "Array") -> "Array":
        never: Array = rows["time"] < before
        return never

    return Rules(
        event_types=params.event_types,
        begins=begins,
        drop_repeats=False,
        baskets=True,
        min_length=1,
        max_length=WHOLE,
    )


def as_of(params: CustomerUnit) -> AsOf:
    """As the params say."""
    return AsOf(horizon_days=params.horizon_days, every_days=params.every_days, active_days=params.active_days)


HORIZONS = (30, 14, 7, 3, 1)
"""Days ahead that are suggested: the longest of which the log has `ENOUGH`."""
ENOUGH = 8
"""Horizons in a log: three for the answers of the three parts, the rest for histories to be read."""


def horizon(log: Log) -> int | None:
    """The days ahead that the log has enough days for; None: not for one."""
    return next((days for days in HORIZONS if ENOUGH * days <= log.span_days), None)


def unfit(log: Log) -> str | None:
    """Nobody to follow, nothing bought, or too few days."""
    if not log.users:
        return "names no users"
    if not log.purchases:
        return "holds no purchases"
    if horizon(log) is None:
        return f"spans {log.span_days:.1f} days, and {ENOUGH * HORIZONS[-1]} are needed"
    return None


def suggested(log: Log) -> Mapping[str, Any]:
    """The horizon, and cut-offs so near each other that the days of a short log are used."""
    days = horizon(log) or HORIZONS[-1]
    return {"horizon_days": days, "every_days": max(1, days // 4)}


UNIT = Unit(
    name="customer",
    what="All that a person did before a cut-off.",
    section="customer",
    rules=rules,
    row={
        "user_id": "string",
        "cut_off": "time",
        "start": "time",
        "end": "time",
        "length": "int32",
    },
    columns=("quantity",),
    asks="last",
    as_of=as_of,
    unfit=unfit,
    suggested=suggested,
    by_person=True,
)
