"""Other values for a run's params.yaml, checked before any work starts; the file keeps its comments and layout."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import reduce
from typing import Any

import yaml

from clickflow.orchestration.variables import parse_yaml
from clickflow.params.bounds import beyond
from clickflow.params.file import SHOWN, check
from clickflow.params.patch import APART, moved, plain, shared
from clickflow.params.schema import Params
from clickflow.system.errors import UsageError, nearest

Overrides = Mapping[str, Any]
"""Dotted name of a param to its value."""


def parse(settings: Sequence[str]) -> dict[str, Any]:
    """`name.of.param=value`, each value read as YAML: `4`, `true`, `null`, `[a, b]`, `text`.

    Raises UsageError where one has no `=`, or a name comes twice.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        name = name.strip()
        if not equals or not name:
            raise UsageError(
                f"{setting!r} sets nothing", kept="nothing was run", next_step="write it as name.of.param=value"
            )
        if name in values:
            raise UsageError(f"{name} is set twice", kept="nothing was run")
        try:
            values[name] = parse_yaml(value)
        except yaml.YAMLError as error:
            raise UsageError(f"{name}: {value!r} is not a YAML value", kept="nothing was run") from error
    return values


def apply(text: str, overrides: Overrides) -> str:
    """The text of a params.yaml with other values in it; comments and layout stay. What it does not name is added.

    Raises UsageError where a name leads nowhere, a value is of the wrong type, or the whole would not be valid.
    """
    params = check(parse_yaml(text))
    if not overrides:
        return text
    try:
        if faults := list(beyond(overrides)):
            raise UsageError("\n".join(faults[:SHOWN]), kept="nothing was run")
        return _applied(text, params, overrides)
    except RecursionError:
        raise UsageError("a value is nested more deeply than params are", kept="nothing was run") from None


def _applied(text: str, params: Params, overrides: Overrides) -> str:
    round_trip = _round_trip()
    document = round_trip.load(text)
    for name, value in overrides.items():
        _set(document, params, name, value)
    out = io.StringIO()
    round_trip.dump(document, out)
    changed = out.getvalue()
    try:
        check(parse_yaml(changed), "params.yaml with the values of this run")
    except UsageError as error:
        raise UsageError(error.what, kept="nothing was run", next_step=_hint(error, overrides)) from error
    after = parse_yaml(changed)
    for name, value in overrides.items():
        if any(other.startswith(f"{name}.") for other in overrides):
            continue
        if reduce(lambda inner, part: inner[part], name.split("."), after) != value:
            raise UsageError(f"{name}: YAML reads another value than was given", kept="nothing was run")
    if more := moved(parse_yaml(text), after, overrides):
        raise UsageError(shared(more, overrides), kept="nothing was run", next_step=f"{APART}, and commit that")
    return changed


def _set(document: Any, params: Params, name: str, value: Any) -> None:
    """Set a param in the document, whose values are `params`; whether there is one of that name is checked later."""
    *path, last = name.split(".")
    place, known = document, params
    for depth, part in enumerate(path):
        members = _members(known)
        if members is None or part not in members:
            raise _unknown(name, part, members, path[:depth])
        known = members[part]
        if _members(known) is None:
            raise _unknown(name, last, None, path[: depth + 1])
        if not isinstance(place.get(part), Mapping):
            # a section is written with what is set in it, a mapping of any names as a whole
            _put(place, part, _block({} if is_dataclass(known) else plain(known)))
        place = place[part]
    _put(place, last, _in_flow(value))


def _put(place: Any, key: str, value: Any) -> None:
    if key in place or not place:
        place[key] = value
    else:  # before what stands there: blank lines and comments that follow belong to the next section
        place.insert(0, key, value)


def _members(known: Any) -> Mapping[str, Any] | None:
    """What is below a part of the params by name; None where it is one value."""
    if is_dataclass(known):
        return {each.name: getattr(known, each.name) for each in fields(known)}
    return known if isinstance(known, Mapping) else None


def _block(value: Mapping[str, Any]) -> Any:
    from ruamel.yaml.comments import CommentedMap

    return CommentedMap({key: _in_flow(inner) for key, inner in value.items()})


def _in_flow(value: Any) -> Any:
    """A list or mapping as one that is written on one line."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    if not isinstance(value, (Mapping, list)):
        return value
    flow: Any = CommentedMap(value) if isinstance(value, Mapping) else CommentedSeq(value)
    flow.fa.set_flow_style()
    return flow


def _round_trip() -> Any:
    """A reader and writer of YAML that leaves alone what is not changed."""
    from ruamel.yaml import YAML

    yaml = YAML()

    class Representer(yaml.Representer):  # type: ignore[misc, name-defined]
        """Its own, so that other users of the library in this process see no change."""

    Representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    yaml.Representer = Representer
    yaml.preserve_quotes = True
    yaml.width = 10_000
    return yaml


def _unknown(name: str, part: str, members: Mapping[str, Any] | None, done: Sequence[str]) -> UsageError:
    if members is None:
        return UsageError(f"{name}: {'.'.join(done)} is one value and has nothing below it", kept="nothing was run")
    return UsageError(f"{name}: unknown key {part!r}{nearest(part, members)}", kept="nothing was run")


def _hint(error: UsageError, overrides: Overrides) -> str:
    named = [name for name in overrides if name in error.what]
    return f"correct {', '.join(named or overrides)}; docs/reference/params.md says what each may be"
