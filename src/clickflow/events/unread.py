"""Optional values that could not be read: left empty, and counted with an example, by column and reason."""

from collections.abc import Mapping
from typing import Any

from clickflow.events.shapes import shape

Unread = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Column → reason → `count`, and of the first by line its `line` and the shape of its text, `text`."""


def joined(first: Unread, second: Unread) -> dict[str, dict[str, dict[str, Any]]]:
    """Both together, in the order of the names."""
    merged: dict[str, dict[str, dict[str, Any]]] = {}
    for part in (first, second):
        for column, reasons in part.items():
            for reason, seen in reasons.items():
                before = merged.setdefault(column, {}).get(reason)
                earliest = seen if before is None or seen["line"] < before["line"] else before
                count = seen["count"] + (before["count"] if before else 0)
                merged[column][reason] = {"count": count, "line": earliest["line"], "text": shape(earliest["text"])}
    return {column: dict(sorted(merged[column].items())) for column in sorted(merged)}


def values(unread: Unread) -> int:
    """How many values there are."""
    return sum(seen["count"] for reasons in unread.values() for seen in reasons.values())
