"""What one sequence may be: one file a unit, and this table of them. Standard library only, as params ask it.

A unit of your own, outside this package, joins the table by `add`. Why it is so stands in
docs/decisions/0009-units-and-stores.md.
"""

from typing import Any

from clickflow.sequences.units import customer, series, session
from clickflow.sequences.units.unit import Log, Unit
from clickflow.system.errors import UsageError, nearest

UNITS: dict[str, Unit] = {unit.name: unit for unit in (session.UNIT, customer.UNIT, series.UNIT)}
"""All units by name."""


def add(unit: Unit) -> None:
    """Make a unit known."""
    UNITS[unit.name] = unit


def named(name: str) -> Unit:
    """The unit of that name. Raises UsageError, naming the nearest, where there is none."""
    if name not in UNITS:
        known = ", ".join(UNITS)
        raise UsageError(f"there is no unit {name!r}; there is: {known}{nearest(name, UNITS)}", kept="nothing was run")
    return UNITS[name]


def unfit(log: Log) -> dict[str, str]:
    """The units of which a log gives no sequences, and why."""
    return {name: why for name, unit in UNITS.items() if unit.unfit and (why := unit.unfit(log))}


def suggested(log: Log) -> dict[str, Any]:
    """Params that suit a log, by dotted name, of the units of which it gives sequences."""
    without = unfit(log)
    return {
        f"sequences.{unit.section}.{param}": value
        for name, unit in UNITS.items()
        if unit.suggested and name not in without
        for param, value in unit.suggested(log).items()
    }
