"""Section `simulator` of params.yaml: the simulated shop."""

from dataclasses import dataclass
from datetime import date
from typing import Annotated

from clickflow.params.meta import CENTURY, Meta


@dataclass(frozen=True, kw_only=True)
class Simulator:
    """The size and dirt of the simulated log."""

    events: Annotated[int, Meta("events to make, at least", ge=1, le=1e11)] = 160_000
    users: Annotated[int | None, Meta("customers; null: follows from events", le=1e9)] = None
    items: Annotated[int, Meta("items that the shop sells", ge=1, le=1e8)] = 2000
    categories: Annotated[int, Meta("categories that they belong to", ge=1, le=1e6)] = 40
    days: Annotated[int, Meta("length of the log", "days", ge=1, le=CENTURY)] = 28
    start: Annotated[date, Meta("its first day")] = date(2026, 1, 5)
    dirt: Annotated[float, Meta("rows made dirty", "share")] = 0.002
    planted: Annotated[
        float,
        Meta("visits that are planted: card testing, scraping, promotion abuse, account takeover", "share", le=0.5),
    ] = 0.0
