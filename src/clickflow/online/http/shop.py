"""Routes about the shop as a whole: from what `clickflow profiles` and `clickflow demand` left below reports/, and what
a champion of series forecasts.
"""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from clickflow.online import outlook
from clickflow.online.http import schema
from clickflow.online.http.problems import Refused
from clickflow.online.http.questions import subject
from clickflow.online.http.route import Call, Route
from clickflow.online.http.settings import Service

SLOW = 30.0
"""Seconds that forecasts may take: the first time, what makes them is loaded."""
MADE_BY = {
    "segments": "`clickflow profiles --out reports/profiles` makes them",
    "forecasts": "`clickflow demand --out reports/demand` makes them, or a champion of series",
}


class Segment(Struct):
    """Customers who are alike. `name`: by language; `share`: of all customers."""

    key: str
    name: dict[str, str]
    customers: int
    share: float


class Segments(Struct):
    """Of all customers that the log knew as of then. `report`: the hash of the report that answers, as `seal` of its
    `_hashes.json` has it; null: it was written before there were hashes.
    """

    as_of: str
    customers: int
    segments: list[Segment]
    report: str | None = None


class Who(Struct, forbid_unknown_fields=True):
    """A customer, by the shop's own id."""

    customer: schema.Name


class SegmentOf(Struct):
    """Of one customer. `values`: their RFM segment, days since the first and the last event, purchases, money;
    `report`: as of all segments.
    """

    segment: str
    name: str
    as_of: str
    values: dict[str, float | None]
    report: str | None = None


class Ahead(Struct):
    """One step: what is expected, and the bounds within which 8 of 10 lie."""

    period: str
    expected: float
    low_10: float
    middle: float
    high_90: float


class Series(Struct):
    """Of one item, category, or the shop."""

    id: str
    expected: float
    """All steps together."""
    periods: list[Ahead]


class Planned(Struct):
    """What a champion reads of the plan of its store: `columns`; those that it learned and the plan lacks, those that
    it did not learn, all of which are as usual; `until`: the last day that is planned, later ones have no plan.
    """

    columns: list[str]
    lacking: list[str]
    not_learned: list[str]
    until: str | None


class Forecasts(Struct):
    """The largest series. `level`: what a series is of; `step`: day or week; `coverage`: the share of
    past values within the bounds, where it was measured; `plan`: of promotions and prices, where there is one; `model`,
    `version`: who forecasts, a champion; none: what `clickflow demand` left, and `report` says which, by the hash in
    its `_hashes.json` (`seal`).
    """

    level: str
    step: str
    horizon: int
    count: int
    """Of all series."""
    series: list[Series]
    coverage: float | None = None
    plan: Planned | None = None
    model: str | None = None
    version: int | None = None
    report: str | None = None


class Find(Struct):
    """Of `/v1/forecasts`: series whose id holds `q`; none: all."""

    q: Annotated[str, Meta(max_length=256)] = ""
    k: Annotated[int, Meta(ge=1, le=outlook.SERIES)] = 20


async def segments(service: Service, _: Call) -> Segments:
    """All segments."""
    return msgspec.convert(_there(await asyncio.to_thread(outlook.segments, _paths(service)), "segments"), Segments)


async def segment(service: Service, call: Call) -> SegmentOf:
    """The segment of a customer."""
    name = subject(service, "customer", call.body.customer)
    row = await asyncio.to_thread(outlook.row_of, _paths(service), name or "")
    if row is None:
        raise Refused("not-found", "no segment is known of this customer", MADE_BY["segments"])
    return msgspec.convert(row, SegmentOf)


async def forecasts(service: Service, call: Call) -> Forecasts:
    """Demand ahead."""
    served = [service.engine.current(name) for name in service.engine.models]
    content = await asyncio.to_thread(outlook.forecasts, _paths(service), served, call.query.q)
    _there(content, "forecasts")
    return msgspec.convert({**content, "series": content["series"][: call.query.k]}, Forecasts)


def _paths(service: Service) -> Any:
    return service.settings.extra.get("paths")


def _there(content: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    if content.get("missing"):
        raise Refused("not-found", f"there are no {what}", MADE_BY[what])
    return content


ROUTES = (
    Route(method="GET", path="/v1/segments", answer=segments, gives=Segments, summary="Segments of customers."),
    Route(
        method="POST",
        path="/v1/segment",
        answer=segment,
        takes=Who,
        gives=SegmentOf,
        summary="The segment of a customer.",
    ),
    Route(
        method="GET",
        path="/v1/forecasts",
        seconds=SLOW,
        answer=forecasts,
        query=Find,
        gives=Forecasts,
        summary="Demand ahead, with bounds: the largest series.",
    ),
)
