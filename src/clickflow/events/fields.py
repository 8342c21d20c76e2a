"""Where a value stands in an object: `user.id` leads into objects, `event_params[page]` to the entry that is called so
in a list of keys and values, or in an object.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

STEP = re.compile(r"\.?([^.\[\]]+)|\[([^\[\]]*)\]")

MOST = 1 << 20
"""A list of more elements is not exploded."""

Steps = tuple[tuple[str, bool], ...]
"""Names, and whether each is a key in brackets."""


def steps_of(field: str) -> Steps:
    """The steps of a path; one, the field itself, where it is none."""
    if "." not in field and "[" not in field:
        return ((field, False),)
    steps: list[tuple[str, bool]] = []
    at = 0
    while at < len(field):
        match = STEP.match(field, at)
        if match is None:
            return ((field, False),)
        steps.append((match[1], False) if match[1] is not None else (match[2], True))
        at = match.end()
    return tuple(steps)


def getter(field: str) -> Callable[[dict[str, Any]], Any]:
    """What reads a field of an object; None where it is not there. A list on the way is given as it is."""
    steps = steps_of(field)
    if len(steps) == 1:
        return lambda event: event.get(field)

    def descend(event: dict[str, Any]) -> Any:
        if field in event:
            return event[field]
        value: Any = event
        for name, keyed in steps:
            if keyed:
                value = _entry(value, name)
            elif isinstance(value, list):
                return value
            else:
                value = value.get(name) if isinstance(value, dict) else None
        return _first(value) if steps[-1][1] else value

    return descend


def read(events: Sequence[dict[str, Any]], field: str) -> list[Any]:
    """What `getter` reads, of many objects; the usual fields without a call an object."""
    get, steps = getter(field), steps_of(field)
    if len(steps) == 1:
        return [event.get(field) for event in events]
    if len(steps) == 2 and not steps[0][1] and not steps[1][1]:
        (first, _), (second, _) = steps
        return [
            inner.get(second) if type(inner := event.get(first)) is dict and field not in event else get(event)
            for event in events
        ]
    return [get(event) for event in events]


def _entry(value: Any, key: str) -> Any:
    """The value that a list of keys and values, or an object, has for a key."""
    if isinstance(value, dict):
        return value.get(key)
    if isinstance(value, list):
        for entry in value:
            if isinstance(entry, dict) and entry.get("key") == key:
                return entry.get("value")
            if isinstance(entry, list) and len(entry) == 2 and entry[0] == key:
                return entry[1]
    return None


def _first(value: Any) -> Any:
    """Of an object with a field a type (`string_value`, `int_value`), the first that is not null."""
    if isinstance(value, dict):
        return next((each for each in value.values() if each is not None), None)
    return value


def exploded(value: Any, path: str) -> list[dict[str, Any]]:
    """An object for every element of the list at `path`: the object with the element in the list's place, and with the
    element's fields, where it is an object, beside its own and beside the list. Without a list, or with an empty one,
    the object alone.
    """
    if not isinstance(value, dict):
        return []
    if not path:
        return [value]
    elements = getter(path)(value)
    if not isinstance(elements, list):
        elements = [elements]
    outer, names = dict(value), [name for name, _ in steps_of(path)]
    return [
        {**_replaced(outer, names, element), **(element if isinstance(element, dict) else {})}
        for element in elements or [None]
    ]


def _replaced(value: dict[str, Any], names: list[str], element: Any) -> dict[str, Any]:
    first, *rest = names
    if not rest:
        return {**value, first: element, **(element if isinstance(element, dict) else {})}
    inner = value.get(first)
    return {**value, first: _replaced(inner, rest, element)} if isinstance(inner, dict) else value


def paths(event: dict[str, Any]) -> Iterator[str]:
    """The fields of an object, with the paths of those in inner objects and in lists of keys and values."""
    for name, value in event.items():
        yield name
        if isinstance(value, dict):
            yield from (f"{name}.{inner}" for inner in paths(value))
        elif isinstance(value, list):
            keys = [entry["key"] for entry in value if isinstance(entry, dict) and {"key", "value"} <= entry.keys()]
            yield from (f"{name}[{key}]" for key in keys if isinstance(key, str))
