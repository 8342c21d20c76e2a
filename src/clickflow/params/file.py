"""Read params.yaml and check it against the dataclasses of `params.schema` and the rules of `params.rules`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

from clickflow.params.bounds import beyond, outside
from clickflow.params.meta import default_of
from clickflow.params.models import HeadParams, Model, heads
from clickflow.params.rules import rules
from clickflow.params.schema import Params
from clickflow.system.errors import UsageError, nearest

SHOWN, LONGEST, LONGEST_LINE = 30, 200, 2000
"""Faults in a message, letters of a value, and of a fault."""
REMOVED: Mapping[str, str] = {"sequences.engine": "DuckDB is the only engine"}
"""Params of earlier versions that are accepted and do nothing, and why there is none any more."""


def load(path: Path, say: Callable[[str], None] = lambda _: None) -> Params:
    """Read and check params.yaml; `say` is told of what is accepted and does nothing, and of what an
    earlier version did without.

    Raises UsageError where the file is missing, is no YAML, has an unknown key, lacks one that dvc.yaml names, or holds
    a value of the wrong type or range; every fault is named, with its place.
    """
    from clickflow.params import text

    raw = text.read(path)
    for name in _removed(raw):
        say(f"{path.name}: {name} does nothing any more ({REMOVED[name]}); its line can go")
    params = check(raw, str(path.name))
    if "units" not in raw:
        say(f"{path.name}: units is not named, and dvc.yaml reads it there: write `units: [{', '.join(params.units)}]`")
    return params


def check(raw: Any, where: str = "params.yaml") -> Params:
    """A parsed params.yaml as `Params`; see `load`."""
    from pydantic import ValidationError

    faults = list(beyond(raw))  # before anything computes with them
    if faults:
        raise _faulty(where, faults)
    try:
        params: Params = _adapter(tuple(heads())).validate_python(_sections(raw))
    except ValidationError as error:
        raise _faulty(where, [_fault(fault) for fault in error.errors()]) from error
    if faults := list(_truths(raw, params)) or _faults(params):
        raise _faulty(where, faults)
    return params


def _sections(raw: Any) -> Any:
    """The sections without what has been removed; one whose lines are all comments chooses nothing."""
    if not isinstance(raw, Mapping):
        return raw
    gone = [name.split(".") for name in _removed(raw)]
    sections: dict[Any, Any] = {}
    for key, section in raw.items():
        if section is None and is_dataclass(get_type_hints(Params).get(key)):
            sections[key] = {}
        elif any(key == of for of, _ in gone):
            sections[key] = {name: value for name, value in section.items() if [key, name] not in gone}
        else:
            sections[key] = section
    return sections


def _removed(raw: Any) -> list[str]:
    """Those of REMOVED that a file has."""
    sections = raw if isinstance(raw, Mapping) else {}
    return [
        name
        for name in REMOVED
        if isinstance(section := sections.get(name.partition(".")[0]), Mapping) and name.partition(".")[2] in section
    ]


def _truths(raw: Any, read: Any, name: str = "") -> Iterator[str]:
    """A line for every yes or no that was taken for 1 or 0: `seed: true` is a slip, and no seed."""
    if isinstance(raw, bool) and not isinstance(read, bool) and isinstance(read, int | float):
        yield f"{name}: {str(raw).lower()} is not a number"
    elif isinstance(raw, Mapping):
        for key, inner in raw.items():
            of = getattr(read, str(key), None) if is_dataclass(read) else read.get(key) if _maps(read) else None
            yield from _truths(inner, of, f"{name}.{key}" if name else str(key))
    elif isinstance(raw, list | tuple) and isinstance(read, list | tuple):
        for number, (inner, of) in enumerate(zip(raw, read, strict=False)):
            yield from _truths(inner, of, f"{name}.{number}")


def _maps(value: Any) -> bool:
    return isinstance(value, Mapping)


def _faults(params: Params) -> list[str]:
    # beyond once more: numbers and dates that were written as texts are seen only now
    return list(beyond(asdict(params))) or list(outside(params, Params)) or list(rules(params))


def _faulty(where: str, faults: Sequence[str]) -> UsageError:
    lines = [f"  {fault[:LONGEST_LINE]}{'…' * (len(fault) > LONGEST_LINE)}" for fault in faults[:SHOWN]]
    more = [f"  and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
    return UsageError(
        "\n".join([f"{where} has {len(faults)} fault{'s' if len(faults) > 1 else ''}:", *lines, *more]),
        kept="nothing was run",
        next_step="correct it; docs/reference/params.md says what each may be",
    )


@cache
def _adapter(_: tuple[str, ...]) -> Any:
    """Of a table of heads of those names."""
    return _configured(Params)


@cache
def _model_adapter(_: tuple[str, ...]) -> Any:
    """The same of a model alone."""
    return _configured(Model)


def _configured(whole: Any) -> Any:
    """What checks `whole`: the settings stand on the dataclasses, which both share, so they are the same for both."""
    from pydantic import ConfigDict, TypeAdapter, with_config

    for kind in _dataclasses(whole):
        # YAML reads 1 as a number: types and columns that are called so are names all the same
        with_config(ConfigDict(extra="forbid", strict=False, coerce_numbers_to_str=True))(kind)
    return TypeAdapter(whole)


def with_values(params: Params, name: str, values: Mapping[str, Any]) -> Params:
    """`params` with other values at dotted names below `models.<name>`, checked as `check` does.

    Raises UsageError, with a line for every fault.
    """
    from pydantic import ValidationError

    raw = asdict(params.model(name))
    faults: list[str] = []
    for key, value in values.items():
        *path, last = key.split(".")
        place: Any = raw
        for part in path:
            place = place.get(part) if isinstance(place, dict) else None
        if isinstance(place, dict) and last in place:
            place[last] = value
        else:
            faults.append(f"models.{name}.{key}: this model has no such param")
    try:
        changed = replace(params, models={**params.models, name: _model_adapter(tuple(heads())).validate_python(raw)})
    except ValidationError as error:
        faults += [_fault({**fault, "loc": ("models", name, *fault["loc"])}) for fault in error.errors()]
    else:
        faults += list(_truths(raw, changed.model(name), f"models.{name}")) or _faults(changed)
    if faults:
        raise UsageError("\n".join(faults), kept="nothing was run")
    return changed


def _fault(fault: Any) -> str:
    """One line for one of pydantic's errors; an unknown key names the nearest valid one."""
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        known = _keys_at(fault["loc"][:-1])
        return f"{where}: unknown key{nearest(str(fault['loc'][-1]), known)}"
    if fault["type"] == "missing":
        return f"{where}: is missing{_instead(fault['loc'])}"
    given = repr(fault["input"])
    return f"{where}: {fault['msg'].lower()}, not {given if len(given) <= LONGEST else f'{given[:LONGEST]} …'}"


def _instead(location: tuple[Any, ...]) -> str:
    """What to write where something is missing: dvc.yaml names it, so that it must stand in the file."""
    kind = get_type_hints(Params).get(str(location[0])) if len(location) == 1 else None
    if not is_dataclass(kind):
        return ", and dvc.yaml reads it there"
    needed = [each.name for each in fields(kind) if default_of(each) is MISSING]
    if needed:
        return f", and dvc.yaml reads {', '.join(needed)} there"
    return f", and dvc.yaml names it: where nothing of it is chosen, write `{location[0]}: {{}}`"


def _keys_at(location: tuple[Any, ...]) -> list[str]:
    """The keys that may stand at a place of params.yaml."""
    kind: Any = Params
    if location[2:] == ("heads",):
        return list(heads())
    for part in location:
        if kind is HeadParams and str(part) in heads():
            kind = heads()[str(part)].params
            continue
        hints = get_type_hints(kind) if is_dataclass(kind) else {}
        kind = hints.get(str(part), kind)
        inner = [a for a in get_args(kind) if is_dataclass(a)]
        kind = inner[0] if inner else kind
    return [f.name for f in fields(kind)] if is_dataclass(kind) else []


def _dataclasses(kind: Any) -> list[Any]:
    """`kind` and every dataclass its fields lead to."""
    kinds, todo = [], [kind, *(head.params for head in heads().values())]
    while todo:
        current = todo.pop()
        todo.extend(get_args(current))
        if isinstance(current, type) and is_dataclass(current) and current not in kinds:
            kinds.append(current)
            todo.extend(get_type_hints(current).values())
    return kinds
