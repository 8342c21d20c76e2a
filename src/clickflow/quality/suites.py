"""The committed suites made ready for one run, in a copy: nothing below expectations/ is written to."""

import json
import shutil
import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from clickflow.params.quality import Quality
from clickflow.quality.profile import WHY_UNKNOWN
from clickflow.system import files
from clickflow.system.errors import UsageError, nearest

CHECKPOINT = "events"
"""The checkpoint that is run, and whose order the report keeps."""

SEVERITIES = ("critical", "warning", "info")


@dataclass(frozen=True)
class Rule:
    """One expectation of a suite.

    `bound` is what it was compared with, parameters filled in; `unchecked` says why it was left out, or is None.
    `columns` are the columns of `table` that it reads.
    """

    id: str
    name: str
    suite: str
    table: str
    kind: str
    severity: str
    about: str
    columns: tuple[str, ...]
    bound: Mapping[str, Any]
    unchecked: str | None


def parameters(quality: Quality) -> dict[str, float | None]:
    """What a suite may name as `$PARAMETER`: every number of params.quality; of a pair, `_min` and `_max`."""
    values: dict[str, float | None] = {}
    for field in fields(quality):
        value = getattr(quality, field.name)
        if isinstance(value, tuple):
            values |= {f"{field.name}_min": value[0], f"{field.name}_max": value[1]}
        else:
            values[field.name] = value
    return values


def prepare(
    source: Path,
    copy: Path,
    known: Mapping[str, float | None],
    tables: Mapping[str, Mapping[str, Collection[Any]]],
) -> list[Rule]:
    """Copy the context `source` to `copy`, with an id for every expectation and without those that cannot be checked.

    An expectation is left out, and comes back with a reason, where one of its parameters is null, or where it reads a
    column of a one-row table whose value is not known. `tables`: name → column → values.

    Raises UsageError where a file is no JSON, where an expectation names a parameter, severity, table or column that
    does not exist, or where two rules of a suite have the same name.
    """
    if not (source / "great_expectations.yml").is_file():
        raise UsageError(
            f"{source} holds no great_expectations.yml",
            kept="nothing was written",
            next_step="restore it: git checkout -- expectations",
        )
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("uncommitted"), dirs_exist_ok=True)
    prepared: list[Rule] = []
    for entry in _read(copy / "checkpoints" / f"{CHECKPOINT}.json")["validation_definitions"]:
        path = copy / "validation_definitions" / f"{entry['name']}.json"
        definition = _read(path)
        suite, table = definition["suite"]["name"], definition["data"]["asset"]["name"]
        where = f"expectations/expectations/{suite}.json"
        if table not in tables:
            raise _fault(f"{path.name} asks for the table {table!r}; there is: {', '.join(sorted(tables))}")
        file = copy / "expectations" / f"{suite}.json"
        content = _read(file)
        rules: list[Rule] = []
        kept = []
        for expectation in content["expectations"]:
            rule = _rule(expectation, suite, table, where, known, tables[table])
            if rule.name in {other.name for other in rules}:
                raise _fault(f"{where}: two rules are called {rule.name!r}; give one another meta.rule")
            rules.append(rule)
            if rule.unchecked is None:
                kept.append({**expectation, "id": rule.id, "meta": {**expectation.get("meta", {}), "rule": rule.name}})
        files.write_json(file, {**content, "expectations": kept})
        prepared += rules
    return prepared


def _rule(
    expectation: Mapping[str, Any],
    suite: str,
    table: str,
    where: str,
    known: Mapping[str, float | None],
    columns: Mapping[str, Collection[Any]],
) -> Rule:
    kwargs, meta = expectation.get("kwargs") or {}, expectation.get("meta") or {}
    read = tuple(_columns(kwargs))
    kind = expectation.get("type")
    if not isinstance(kind, str):
        raise _fault(f"{where}: an expectation has no type")
    name = str(meta.get("rule") or "_".join([kind.removeprefix("expect_"), *read]))
    severity = expectation.get("severity", "critical")
    if severity not in SEVERITIES:
        raise _fault(f"{where}: {name}: severity is {severity!r}, not one of {', '.join(SEVERITIES)}")
    for column in read:
        if column not in columns:
            raise _fault(f"{where}: {name}: the table {table!r} has no column {column!r}{_nearest(column, columns)}")
    bound = {key: value for key, value in kwargs.items() if not key.startswith("column") and value is not None}
    unchecked = None
    for key, value in bound.items():
        if isinstance(value, Mapping) and "$PARAMETER" in value:
            parameter = value["$PARAMETER"]
            if parameter not in known:
                raise _fault(f"{where}: {name}: no parameter is called {parameter!r}{_nearest(parameter, known)}")
            bound[key] = known[parameter]
            if known[parameter] is None:
                unchecked = f"quality.{parameter} is null"
    for column in read:
        values = list(columns[column])
        if unchecked is None and len(values) == 1 and values[0] is None:
            unchecked = WHY_UNKNOWN.get(column, f"{column} is not known for this log")
    return Rule(
        id=str(expectation.get("id") or uuid.uuid5(uuid.NAMESPACE_OID, f"{suite}/{name}")),
        name=name,
        suite=suite,
        table=table,
        kind=kind,
        severity=severity,
        about=str(expectation.get("notes") or ""),
        columns=read,
        bound=bound,
        unchecked=unchecked,
    )


def _columns(kwargs: Mapping[str, Any]) -> Iterator[str]:
    for key in ("column", "column_A", "column_B"):
        if isinstance(kwargs.get(key), str):
            yield kwargs[key]
    yield from kwargs.get("column_list") or []


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise _fault(f"expectations/{path.parent.name}/{path.name} does not exist") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _fault(f"expectations/{path.parent.name}/{path.name} is not valid JSON: {error}") from error


def _fault(what: str) -> UsageError:
    return UsageError(what, kept="nothing was written", next_step="docs/howto/expectations.md says what a suite holds")


def _nearest(name: str, known: Collection[str]) -> str:
    return nearest(name, known) or f"; there is: {', '.join(sorted(known))}"
