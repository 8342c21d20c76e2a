"""Section `simulator` of params.yaml: the simulated shop."""

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, kw_only=True)
class Simulator:
    """The size and dirt of the simulated log."""

    events: int
    users: int | None
    items: int
    categories: int
    days: int
    start: date
    dirt: float
