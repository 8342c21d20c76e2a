"""dvc.yaml as a small neutral graph, by a plain YAML parse: no DVC, nothing heavy.

What DVC's own parser does is followed: default variables from params.yaml, `vars`, `foreach`, `matrix`, `${…}`, and
edges where a dependency and an output are the same path or lie one within the other. What is not followed
(`wdir`, variables of a single stage, a mapping in `cmd`) is refused by name rather than guessed at.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Any

from clickflow.orchestration.variables import Variables, read_yaml, text
from clickflow.system.errors import UsageError

FILE = "dvc.yaml"
PARAMS = "params.yaml"

_KNOWN = {"cmd", "deps", "outs", "params", "metrics", "plots", "meta", "desc", "frozen", "always_changed"}


@dataclass(frozen=True)
class Output:
    """A path that a stage writes."""

    path: str
    cache: bool = True
    """False: DVC does not keep the bytes, so that they cannot travel to another task."""
    persist: bool = False
    """True: what is there stays before the stage runs, which then adds to it."""


@dataclass(frozen=True)
class Stage:
    """One stage; `group` and `key` are the two halves of a generated name, `train@next_step`."""

    name: str
    group: str
    key: str | None
    cmd: tuple[str, ...]
    deps: tuple[str, ...] = ()
    outs: tuple[Output, ...] = ()
    params: tuple[str, ...] = ()
    """As in dvc.yaml: a key of params.yaml, or `file:key`."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    desc: str = ""

    def routing(self) -> Mapping[str, Any]:
        """`meta.airflow`: where and how the stage runs under Airflow."""
        airflow = self.meta.get("airflow") or {}
        if not isinstance(airflow, Mapping):
            raise UsageError(f"{FILE}: stage {self.name}: meta.airflow is not a mapping")
        return airflow


@dataclass(frozen=True)
class Graph:
    """The stages by name, in topological order (dvc.yaml's where it is free), and (upstream, downstream) edges."""

    stages: dict[str, Stage]
    edges: frozenset[tuple[str, str]]

    def upstream(self, name: str) -> tuple[str, ...]:
        """The direct predecessors of a stage, in topological order."""
        return tuple(other for other in self.stages if (other, name) in self.edges)

    def ancestors(self, name: str) -> tuple[str, ...]:
        """Every stage that must have run before, in topological order."""
        names = {name}
        for other in reversed(self.stages):
            if any((other, below) in self.edges for below in names):
                names.add(other)
        return tuple(other for other in self.stages if other in names and other != name)

    def leaves(self) -> tuple[str, ...]:
        """The stages that nothing depends on: where the pipeline ends."""
        inner = {up for up, _ in self.edges}
        return tuple(name for name in self.stages if name not in inner)

    def same_shape(self, other: "Graph") -> bool:
        """Whether both have the same stages and edges."""
        return set(self.stages) == set(other.stages) and self.edges == other.edges


def load(root: Path) -> Graph:
    """The graph of a checkout. Raises UsageError that names the file and the stage."""
    definition = read_yaml(root / FILE)
    if not isinstance(definition, Mapping) or not isinstance(definition.get("stages"), Mapping):
        raise UsageError(f"{root / FILE} has no mapping of stages")
    variables = Variables.load(root, PARAMS, definition.get("vars") or [])
    stages = list(_stages(definition["stages"], variables))
    names = [stage.name for stage in stages]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{FILE}: two stages are called {name}")
    edges = _edges(stages)
    return Graph(_ordered({stage.name: stage for stage in stages}, edges), edges)


def _stages(definitions: Mapping[str, Any], variables: Variables) -> Iterator[Stage]:
    for group, body in definitions.items():
        if not isinstance(body, Mapping):
            raise UsageError(f"{FILE}: stage {group} is not a mapping")
        if "foreach" in body:
            if set(body) != {"foreach", "do"}:
                raise UsageError(f"{FILE}: stage {group}: beside `foreach` stands `do`, and nothing else")
            for key, extra in _foreach(group, body["foreach"], variables):
                yield _stage(f"{group}@{key}", group, key, body["do"], variables.plus(extra))
        elif "matrix" in body:
            rest = {name: value for name, value in body.items() if name != "matrix"}
            for key, item in _matrix(group, body["matrix"], variables):
                yield _stage(f"{group}@{key}", group, key, rest, variables.plus({"key": key, "item": item}))
        else:
            yield _stage(group, group, None, body, variables)


def _foreach(group: str, over: Any, variables: Variables) -> Iterator[tuple[str, dict[str, Any]]]:
    """(key, variables) of each stage: over a list of plain values its values, of mappings or lists their numbers."""
    over = variables.resolve(over, f"stage {group}: foreach", composite=True)
    if isinstance(over, Mapping):
        for key, item in over.items():
            yield text(key), {"key": text(key), "item": item}
    elif isinstance(over, Sequence) and not isinstance(over, str):
        composite = any(isinstance(item, (Mapping, list)) for item in over)
        for number, item in enumerate(over):
            yield (str(number) if composite else text(item)), {"item": item}
    else:
        raise UsageError(f"{FILE}: stage {group}: foreach is over {text(over)!r}, neither a list nor a mapping")


def _matrix(group: str, over: Any, variables: Variables) -> Iterator[tuple[str, dict[str, Any]]]:
    """(key, item) of every combination; a mapping or list in an axis is named by the axis and its number."""
    axes = variables.resolve(over, f"stage {group}: matrix", composite=True)
    if not isinstance(axes, Mapping) or not all(isinstance(axis, list) for axis in axes.values()):
        raise UsageError(f"{FILE}: stage {group}: matrix is not a mapping of lists")
    for combination in product(*(enumerate(axis) for axis in axes.values())):
        parts = [
            f"{name}{number}" if isinstance(value, (Mapping, list)) else text(value)
            for name, (number, value) in zip(axes, combination, strict=True)
        ]
        yield "-".join(parts), {name: value for name, (_, value) in zip(axes, combination, strict=True)}


def _stage(name: str, group: str, key: str | None, body: Any, variables: Variables) -> Stage:
    at = f"stage {name}"
    if not isinstance(body, Mapping) or "cmd" not in body:
        raise UsageError(f"{FILE}: {at} has no cmd")
    for unknown in sorted(set(body) - _KNOWN):
        raise UsageError(
            f"{FILE}: {at}: {unknown!r} is not among what a compiled stage may have",
            next_step=f"it may have: {', '.join(sorted(_KNOWN))}",
        )
    body = {part: variables.resolve(value, f"{at}: {part}") for part, value in body.items()}
    meta = body.get("meta") or {}
    if not isinstance(meta, Mapping):
        raise UsageError(f"{FILE}: {at}: meta is not a mapping")
    commands = body["cmd"] if isinstance(body["cmd"], list) else [body["cmd"]]
    outs = [out for part in ("outs", "metrics", "plots") for out in _outputs(body.get(part) or [], at)]
    return Stage(
        name=name,
        group=group,
        key=key,
        cmd=tuple(str(command) for command in commands),
        deps=tuple(_path(dep) for dep in body.get("deps") or []),
        outs=tuple(outs),
        params=tuple(_params(body.get("params") or [])),
        meta=meta,
        desc=str(body.get("desc") or ""),
    )


def _outputs(entries: Sequence[Any], at: str) -> Iterator[Output]:
    for entry in entries:
        for path, flags in entry.items() if isinstance(entry, Mapping) else [(entry, {})]:
            # Several plots of one file are a list of settings of that one output.
            merged = flags[0] if isinstance(flags, list) and flags else flags or {}
            if not isinstance(merged, Mapping):
                raise UsageError(f"{FILE}: {at}: output {path}: {merged!r} is not a mapping")
            yield Output(_path(path), cache=merged.get("cache", True), persist=merged.get("persist", False))


def _params(entries: Sequence[Any]) -> Iterator[str]:
    for entry in entries:
        if isinstance(entry, Mapping):
            for file, keys in entry.items():
                yield from (f"{file}:{key}" for key in keys or [""])
        else:
            yield str(entry)


def _path(path: Any) -> str:
    return path if "://" in str(path) else normpath(str(path))


def _edges(stages: Sequence[Stage]) -> frozenset[tuple[str, str]]:
    """Upstream and downstream of every dependency. Raises where two outputs overlap."""
    writers: list[tuple[PurePosixPath, str]] = []
    for stage in stages:
        for out in stage.outs:
            path = PurePosixPath(out.path)
            for other, writer in writers:
                if _overlap(path, other):
                    both = f"{path}" if path == other else f"{other} and {path}, one within the other"
                    raise UsageError(f"{FILE}: stages {writer} and {stage.name} both write {both}")
            writers.append((path, stage.name))
    return frozenset(
        (writer, stage.name)
        for stage in stages
        for dep in stage.deps
        for path, writer in writers
        if "://" not in dep and _overlap(PurePosixPath(dep), path)
    )


def _overlap(one: PurePosixPath, other: PurePosixPath) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)


def _ordered(stages: Mapping[str, Stage], edges: frozenset[tuple[str, str]]) -> dict[str, Stage]:
    """Topological order, dvc.yaml's own where it is free. Raises on a cycle, naming its stages."""
    waiting = {name: {up for up, down in edges if down == name} for name in stages}
    ordered: dict[str, Stage] = {}
    while waiting:
        ready = next((name for name, needs in waiting.items() if not needs - ordered.keys()), None)
        if ready is None:
            raise UsageError(f"{FILE}: these stages wait for each other in a circle: {' → '.join(_circle(waiting))}")
        ordered[ready] = stages[ready]
        del waiting[ready]
    return ordered


def _circle(waiting: Mapping[str, set[str]]) -> list[str]:
    """One circle among stages that all wait, as names in running order, the first one again at the end."""
    walk = [next(iter(waiting))]
    while walk.count(walk[-1]) == 1:
        walk.append(next(up for up in sorted(waiting[walk[-1]]) if up in waiting))
    return walk[walk.index(walk[-1]) :][::-1]
