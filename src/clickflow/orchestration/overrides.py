"""Other values for a run's params.yaml, checked before any work starts; the file keeps its comments and layout."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from clickflow.orchestration.variables import parse_yaml
from clickflow.params.file import check
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
    """The text of a params.yaml with other values in it; comments and layout stay.

    Raises UsageError where a name leads nowhere, a value is of the wrong type, or the whole would not be valid.
    """
    if not overrides:
        check(parse_yaml(text))
        return text
    round_trip = _round_trip()
    document = round_trip.load(text)
    for name, value in overrides.items():
        _set(document, name, value)
    out = io.StringIO()
    round_trip.dump(document, out)
    changed = out.getvalue()
    try:
        check(parse_yaml(changed), "params.yaml with the values of this run")
    except UsageError as error:
        raise UsageError(error.what, kept="nothing was run", next_step=_hint(error, overrides)) from error
    return changed


def _set(document: Any, name: str, value: Any) -> None:
    *path, last = name.split(".")
    place = document
    done: list[str] = []
    for part in path:
        if not isinstance(place, Mapping) or part not in place:
            raise _unknown(name, part, place, done)
        place = place[part]
        done.append(part)
    if not isinstance(place, Mapping):
        raise _unknown(name, last, place, done)
    place[last] = _in_flow(value)  # type: ignore[index]


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


def _unknown(name: str, part: str, place: Any, done: Sequence[str]) -> UsageError:
    if not isinstance(place, Mapping):
        return UsageError(f"{name}: {'.'.join(done)} is one value and has nothing below it", kept="nothing was run")
    return UsageError(f"{name}: unknown key {part!r}{nearest(part, map(str, place))}", kept="nothing was run")


def _hint(error: UsageError, overrides: Overrides) -> str:
    named = [name for name in overrides if name in error.what]
    return f"correct {', '.join(named or overrides)}; docs/reference/params.md says what each may be"
