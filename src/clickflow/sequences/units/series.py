"""The unit `series`: units sold a day, or a week, of an item, a category or the shop, as of an origin.

A series begins with its first sale and has a step for every period up to the last whole one of the log, zeros between.
It is asked about as of rolling origins: steps before the origin are read, those of the horizon after it are the answer.
What was cancelled is taken off the units of the period in which that was said, never of the earlier one in which it was
bought: no later event changes a value.
"""

from collections.abc import Mapping
from typing import Any

from clickflow.params.sequences import SeriesUnit
from clickflow.sequences.units.unit import AsOf, Log, Sums, Unit

DAYS = {"day": 1, "week": 7}
"""In a step."""
SOLD, IDLE = "sale", "no_sale"
"""What a period was."""


def sums(params: SeriesUnit) -> Sums:
    """As the params say."""
    return Sums(level=params.level, period_days=DAYS[params.step], returns=params.returns == "subtract")


def as_of(params: SeriesUnit) -> AsOf:
    """As the params say."""
    days = DAYS[params.step]
    return AsOf(
        horizon_days=params.horizon * days,
        every_days=params.every * days,
        active_days=params.active_days,
        active=SOLD,
        least=params.least_sales,
        period_days=days,
        now="last",
        param="sequences.series.horizon",
    )


HORIZONS = (14, 7, 3, 1)
"""Days ahead that are suggested: the longest of which the log has `ENOUGH`."""
ENOUGH = 8
"""Horizons in a log: three for the answers of the three parts, the rest for what is read."""


def unfit(log: Log) -> str | None:
    """Nothing sold, or too few days."""
    if not log.purchases:
        return "holds no purchases"
    if log.span_days < ENOUGH * HORIZONS[-1]:
        return f"spans {log.span_days:.1f} days, and {ENOUGH * HORIZONS[-1]} are needed"
    return None


def suggested(log: Log) -> Mapping[str, Any]:
    """The horizon, and origins so near each other that the days of a short log are used."""
    days = next((days for days in HORIZONS if ENOUGH * days <= log.span_days), HORIZONS[-1])
    return {"horizon": days, "every": max(1, days // 2)}


UNIT = Unit(
    name="series",
    what="Units sold a day or a week, of an item, a category or the shop, before an origin.",
    section="series",
    sums=sums,
    actions=(IDLE, SOLD),
    row={"series": "string", "cut_off": "time", "start": "time", "end": "time", "length": "int32"},
    owner="series",
    columns=("quantity",),
    asks="last",
    as_of=as_of,
    unfit=unfit,
    suggested=suggested,
)
