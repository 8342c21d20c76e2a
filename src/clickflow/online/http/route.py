"""What a route is: an entry of a table, with what it takes and gives; and what its function gets of a request."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from msgspec import Struct
from starlette.responses import Response

from clickflow.online.http.keys import Key, Scope
from clickflow.online.http.settings import Service


@dataclass(slots=True)
class Call:
    """One request, let in and read. `body`: an instance of the route's `takes`; `query`: of its `query`."""

    request: str
    """Its id."""
    route: str
    path: Mapping[str, str]
    body: Any = None
    query: Any = None
    key: Key | None = None
    """None: there are no keys."""
    model: str = ""
    """Which model and version answered, for the log."""
    version: int = 0
    understood: bool = False
    """The question was read whole: what cannot be read from here on is the server's own."""


Answered = Struct | Response
Handler = Callable[[Service, Call], Awaitable[Answered]]


@dataclass(frozen=True, kw_only=True)
class Route:
    """One method of one path.

    `answer`: gives a struct of the schema, or a response of its own; raises `Refused`, or a ClickflowError, which
    becomes problem details. `scope`: what a key must be allowed; None: anybody may ask. `name`: in metrics and logs;
    none given: the path. `path` in Starlette's form; `{item:path}` takes slashes too.
    """

    method: str
    path: str
    answer: Handler
    summary: str
    takes: type[Struct] | None = None
    query: type[Struct] | None = None
    gives: type[Struct] | None = None
    scope: Scope | None = "read"
    media: str = "application/json"
    """Of what it gives where that is no struct."""
    listed: bool = True
    """Whether it stands in openapi.json."""
    status: int = 200
    seconds: float | None = None
    """After which it is given up; None: serve.timeout_seconds."""
