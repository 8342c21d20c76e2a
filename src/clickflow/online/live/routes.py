"""Routes of what became of answers: feedback on one, and the last report of `clickflow live`."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from starlette.responses import Response

from clickflow.online.http.problems import Refused
from clickflow.online.http.route import Call, Route
from clickflow.online.http.schema import Amount, Name
from clickflow.online.http.settings import Service
from clickflow.online.live import log

Few = Annotated[list[Name], Meta(max_length=1000)]


class Feedback(Struct, forbid_unknown_fields=True, kw_only=True):
    """What became of the answer to the request of that id: items that were shown, clicked and bought, and for how much.
    `name`: of this word on this answer, so that one that is sent twice counts once.
    """

    request: Name
    shown: Few | None = None
    clicked: Few = []
    bought: Few = []
    value: Amount | None = None
    name: Name | None = None


class Noted(Struct):
    """How many rows of it were written down; fewer than were told where too many wait. A `name` that was there before
    is seen where the log is read, by `clickflow live`, and not here.
    """

    kept: int


def _live(service: Service) -> Any:
    if (live := service.settings.extra.get("live")) is None:
        raise Refused("not-found", "this server keeps no log of answers", "set live.log of params.yaml")
    return live


async def feedback(service: Service, call: Call) -> Noted:
    """Keep a word of feedback."""
    body: Feedback = call.body
    said: dict[str, list[str]] = {log.CLICKED: body.clicked, log.BOUGHT: body.bought}
    if body.shown is not None:
        said = {log.SHOWN: body.shown, **said}
    return Noted(_live(service).feedback(body.request, said, body.value, body.name))


async def last(service: Service, _: Call) -> Response:
    """The last report."""
    return Response(msgspec.json.encode(_live(service).report()), media_type="application/json")


ROUTES = (
    Route(
        method="POST",
        path="/v1/feedback",
        answer=feedback,
        takes=Feedback,
        gives=Noted,
        scope="events",
        summary="Tell what became of an answer.",
    ),
    Route(
        method="GET",
        path="/v1/live",
        answer=last,
        media="application/json",
        summary="Live metrics by version, as `clickflow live` last had them; {} before.",
    ),
)
