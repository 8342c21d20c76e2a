"""The unit `customer`: a person's whole history as of a cut-off, asked once about the days after it.

A person has as many sequences as there are cut-offs before which they bought lately; guests have none. Steps at and
after the cut-off are not read: they are what answers come from, up to the end of the horizon.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from clickflow.params.sequences import CustomerUnit
from clickflow.sequences.units.unit import AsOf, Rules, Unit

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
    by_person=True,
)
