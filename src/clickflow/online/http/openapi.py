"""OpenAPI 3.1 of a table of routes, made from the structs that read and write it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from clickflow import __version__
from clickflow.online.http import problems
from clickflow.online.http.route import Route
from clickflow.online.http.schema import Problem

REFERENCE = "#/components/schemas/{name}"
STATUS_OF: Mapping[str, Sequence[str]] = {
    "every": ("no-key", "not-allowed", "not-found", "too-many", "fault", "not-ready", "timeout"),
    "body": ("malformed", "too-slow", "too-large", "not-json"),
    "asked": ("invalid",),
}
"""Names of problems that routes may answer with: every one, those with a body, and those that are asked something."""


def path_of(route: Route) -> str:
    """Its path as OpenAPI writes it."""
    return re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path)


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """The whole document; of the same routes the same."""
    listed = [route for route in routes if route.listed]
    kinds: set[Any] = {kind for route in listed for kind in (route.takes, route.gives, route.query) if kind is not None}
    ordered = sorted({*kinds, Problem}, key=lambda kind: str(kind.__name__))
    references, components = msgspec.json.schema_components(ordered, ref_template=REFERENCE)
    at = dict(zip(ordered, references, strict=True))
    paths: dict[str, Any] = {}
    for route in listed:
        paths.setdefault(path_of(route), {})[route.method.lower()] = _operation(route, at, components)
    for kind in ordered:  # a struct of a query is parameters, and no component
        if any(route.query is kind for route in listed):
            components.pop(kind.__name__, None)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "clickflow serve",
            "version": __version__,
            "description": "What a shop's champions say. Faults are problem details (RFC 9457).",
        },
        "security": [{"key": []}, {"header": []}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.items())),
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _operation(route: Route, at: Mapping[Any, Any], components: Mapping[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{path_of(route)}").strip("_"),
        "summary": route.summary,
        "responses": {str(route.status): _given(route, at), **_faults(route, at)},
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"\{(\w+)", route.path)
    ]
    if route.query is not None:
        own = components[route.query.__name__]
        parameters += [
            {"name": name, "in": "query", "required": name in own.get("required", ()), "schema": _of_query(schema)}
            for name, schema in own["properties"].items()
        ]
    if parameters:
        operation["parameters"] = parameters
    if route.takes is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": at[route.takes]}}}
    if route.scope is None:
        operation["security"] = []
    else:
        operation["description"] = f"Where there are keys, one with the scope `{route.scope}`."
    return operation


def _of_query(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter that may be left out is not null."""
    kinds = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
    plain = dict(kinds[0]) if len(kinds) == 1 else {name: value for name, value in schema.items() if name != "anyOf"}
    return {name: value for name, value in plain.items() if not (name == "default" and value is None)}


def _given(route: Route, at: Mapping[Any, Any]) -> dict[str, Any]:
    schema = {"schema": at[route.gives]} if route.gives is not None else {}
    return {"description": "The answer.", "content": {route.media: schema}}


def _faults(route: Route, at: Mapping[Any, Any]) -> dict[str, Any]:
    names = list(STATUS_OF["every"])
    names += STATUS_OF["body"] if route.takes is not None else ()
    names += STATUS_OF["asked"] if route.takes is not None or route.query is not None else ()
    by_status: dict[int, list[str]] = {}
    for name in names:
        by_status.setdefault(problems.TYPES[name][0], []).append(problems.TYPES[name][1])
    content = {problems.MEDIA: {"schema": at[Problem]}}
    return {
        str(status): {"description": "; ".join(titles) + ".", "content": content}
        for status, titles in sorted(by_status.items())
    }
