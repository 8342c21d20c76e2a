"""Change values in the text of a params.yaml and nothing else: comments, quotes and layout stay."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import yaml

from clickflow.params.file import check
from clickflow.params.text import parse
from clickflow.system.errors import ClickflowError

INDENT = 2


def apply(text: str, values: Mapping[str, Any]) -> str:
    """`text` with `values`, by dotted name, in place of those that stand there, or added at the end of their section.

    Raises ClickflowError where one is written over several lines, UsageError where the whole would be invalid.
    """
    before = text
    for name, value in values.items():
        text = _with(text, name.split("."), value)
    parsed = parse(text, "params.yaml as it would be")
    if more := moved(parse(before, "params.yaml"), parsed, values):
        raise ClickflowError(shared(more, values), kept="params.yaml is unchanged", next_step=APART)
    check(parsed, "params.yaml as it would be")
    for name, value in values.items():
        section = parsed
        for part in name.split("."):
            section = section[part]
        if section != value:
            raise ClickflowError(f"{name} could not be changed safely", kept="params.yaml is unchanged")
    return text


APART = "write it out in its own place"


def shared(more: Sequence[str], names: Iterable[str]) -> str:
    """That setting `names` would set `more`, too."""
    return f"params.yaml has {more[0]} and {next(iter(names))} in one (`&name`, `*name`): both would change"


def moved(before: Any, after: Any, names: Iterable[str]) -> list[str]:
    """What is another in `after` and is none of the params called `names`, by dotted name: two places of a file may be
    one, by an anchor.
    """
    paths = [tuple(name.split(".")) for name in names]
    above = {path[:depth] for path in paths for depth in range(len(path))}
    fresh = [place for place in above if not isinstance(_at(before, place), Mapping)]
    own = (*paths, *fresh)
    was, now = dict(_leaves(before, ())), dict(_leaves(after, ()))
    return [
        ".".join(map(str, place))
        for place in [*was, *(place for place in now if place not in was)]
        if (place not in was or place not in now or was[place] != now[place])
        and place not in above
        and not any(place[: len(each)] == each for each in own)
    ]


def _at(value: Any, place: Sequence[str]) -> Any:
    for part in place:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _leaves(value: Any, place: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*place, key))
    else:
        yield place, value


def _with(text: str, path: Sequence[str], value: Any) -> str:
    node: Any = yaml.compose(text, yaml.SafeLoader)
    column = -INDENT
    for depth, part in enumerate(path):
        inner = {key.value: (key, each) for key, each in node.value} if isinstance(node, yaml.MappingNode) else {}
        if part not in inner:
            return _added(text, node, column + INDENT, path[depth:], value)
        key, node = inner[part]
        column = key.start_mark.column
    end = _end(node)
    if end is None:
        raise _refused(path, f"stands line {node.start_mark.line + 1}, not on one line", value)
    start, new = node.start_mark.index, written(value)
    return text[:start] + new + _moved(text[end:], len(new) - (end - start))


def _added(text: str, place: Any, column: int, path: Sequence[str], value: Any) -> str:
    """The text with a param below a node that does not have it yet; `column`: where the keys of an empty one begin."""
    if isinstance(place, yaml.MappingNode) and place.flow_style:
        at = place.end_mark.index - 1
        inner = written(value)
        for part in reversed(path[1:]):
            inner = f"{{{part}: {inner}}}"
        return f"{text[:at]}{', ' if place.value else ''}{path[0]}: {inner}{text[at:]}"
    if isinstance(place, yaml.MappingNode):
        column = place.start_mark.column
    elif not (isinstance(place, yaml.ScalarNode) and place.value == ""):
        raise _refused(path, f"cannot stand below line {place.start_mark.line + 1}", value)
    last = place
    while isinstance(last, yaml.CollectionNode) and not last.flow_style and last.value:
        last = last.value[-1][1] if isinstance(last, yaml.MappingNode) else last.value[-1]
    at = last.end_mark.index
    if text[at - 1 : at] != "\n":  # else it is a text of several lines
        line = text.find("\n", at)
        text, at = (text, line + 1) if line >= 0 else (f"{text}\n", len(text) + 1)
    lines = [f"{' ' * (column + INDENT * depth)}{part}:" for depth, part in enumerate(path)]
    return text[:at] + "\n".join(lines) + f" {written(value)}\n" + text[at:]


def _refused(path: Sequence[str], why: str, value: Any) -> ClickflowError:
    return ClickflowError(
        f"params.yaml: {'.'.join(path)} {why}",
        kept="params.yaml is unchanged",
        next_step=f"set `{path[-1]}: {written(value)}` there",
    )


def without(text: str, names: Sequence[str], notes: Mapping[str, Sequence[str]] | None = None) -> str:
    """`text` with these params, by dotted name, as comments: what they held can be read, and put back.

    `notes`: by name, lines that stand above it, as comments too. A param that is not there stays so. Raises
    ClickflowError where one shares its line with others.
    """
    for name in names:
        *path, last = name.split(".")
        node: Any = yaml.compose(text, yaml.SafeLoader)
        for part in (*path, last):
            inner = {key.value: (key, each) for key, each in node.value} if isinstance(node, yaml.MappingNode) else {}
            if part not in inner:
                break
            if node.flow_style:
                raise ClickflowError(
                    f"params.yaml: {name} shares line {node.start_mark.line + 1} with others",
                    kept="params.yaml is unchanged",
                    next_step=f"take {name} out there",
                )
            key, node = inner[part]
        else:
            text = _commented(text, key.start_mark, node.end_mark, (notes or {}).get(name, ()))
    return text


def _commented(text: str, start: Any, end: Any, notes: Sequence[str]) -> str:
    """The lines from a key to the end of its value as comments, below `notes`; `end` of a block stands where the next
    key begins.
    """
    lines = text.splitlines(keepends=True)
    last = end.line if end.column > start.column or end.line == start.line else end.line - 1
    last = min(last, len(lines) - 1)
    while last > start.line and not lines[last].lstrip(" ").rstrip("\n"):
        last -= 1
    for number in range(start.line, last + 1):
        if lines[number].strip():
            lines[number] = f"{lines[number][: start.column]}# {lines[number][start.column :]}"
    lines[start.line : start.line] = [f"{' ' * start.column}# {note}\n" for note in notes]
    return "".join(lines)


def diff(before: str, after: str) -> str:
    """The unified diff of two texts of params.yaml, for people and for `git apply`."""
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), "a/params.yaml", "b/params.yaml", n=1
    )
    return "".join(lines)


def written(value: Any) -> str:
    """A value as params.yaml says it, on one line."""
    return str(
        yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True, sort_keys=False)
    ).splitlines()[0]


def plain(value: Any) -> Any:
    """A value as YAML and JSON have it."""
    if is_dataclass(value):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _end(node: Any) -> int | None:
    """Where a value ends; None where it is written over several lines that may hold comments of their own."""
    if isinstance(node, yaml.ScalarNode) or node.flow_style:
        return int(node.end_mark.index)
    if isinstance(node, yaml.MappingNode) and len(node.value) == 1:
        return _end(node.value[0][1])
    return None


def _moved(rest: str, by: int) -> str:
    """What follows a value; a comment on its line stays in its column, where there is room."""
    blanks = len(rest) - len(rest.lstrip(" "))
    if blanks == 0 or rest[blanks : blanks + 1] != "#":
        return rest
    return " " * max(1, blanks - by) + rest[blanks:]
