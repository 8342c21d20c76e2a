"""Faults as problem details (RFC 9457): one table of what can go wrong, with its status and what to do."""

from dataclasses import dataclass

import msgspec
from starlette.responses import Response

from clickflow.online.http.schema import Problem
from clickflow.online.page.chinese import chinese

TYPES = {
    "malformed": (400, "The request cannot be read", "send JSON as /openapi.json describes it"),
    "no-key": (401, "A key is needed", "send `Authorization: Bearer KEY`; `clickflow serve --new-key NAME` makes one"),
    "not-allowed": (403, "The key may not do this", "use a key with the scope that the detail names"),
    "not-found": (404, "There is no such thing", "see /openapi.json for what there is, /v1/models for models"),
    "wrong-method": (405, "The path does not know this method", "see /openapi.json"),
    "too-slow": (408, "The body did not arrive in time", "send it at once"),
    "too-large": (413, "The request is too large", "send less at once, or raise the limit in `serve:` of params.yaml"),
    "not-json": (415, "The body is not said to be JSON", "send `Content-Type: application/json`"),
    "invalid": (422, "The request does not fit the schema", "see /openapi.json"),
    "too-many": (429, "Too many requests of this key", "wait as long as Retry-After says, or raise serve.rate"),
    "fault": (500, "The server made an error", "look for the id of the request in the server's log"),
    "not-ready": (503, "The server cannot answer this now", "try again; /readyz says what is missing"),
    "timeout": (504, "The answer took too long", "ask for less, or raise serve.timeout_seconds"),
}
"""By name: status, title, what to do."""
MEDIA = "application/problem+json"


@dataclass
class Refused(Exception):
    """A request that is not answered: a name of `TYPES` and what is the matter; `next` where there is better advice."""

    name: str
    detail: str
    next: str = ""
    where: str = ""
    retry_after: float | None = None


def response(refused: Refused, request: str = "", language: bytes = b"") -> Response:
    """As it is sent. `language`: `Accept-Language`; where that begins with Chinese, it is said in it."""
    status, title, advice = TYPES[refused.name]
    said = _in_chinese if language[:2].lower() == b"zh" else str
    body = Problem(
        type=f"/problems/{refused.name}",
        title=said(title),
        status=status,
        detail=said(refused.detail),
        next=said(refused.next or advice),
        where=refused.where,
        request=request,
    )
    headers = {"Cache-Control": "no-store", "Vary": "Accept-Language"}
    if refused.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(refused.retry_after + 0.5)))
    if refused.name == "no-key":
        headers["WWW-Authenticate"] = 'Bearer realm="clickflow"'
    return Response(msgspec.json.encode(body), status, headers, MEDIA)


def _in_chinese(text: str) -> str:
    return chinese(text) or text
