"""Other values in the text of a params.yaml, and nothing else changed: comments, quotes and layout stay."""

import difflib
from collections.abc import Mapping
from typing import Any

import yaml

from clickflow.params.file import check
from clickflow.params.text import parse
from clickflow.system.errors import ClickflowError


def apply(text: str, values: Mapping[str, Any]) -> str:
    """`text` with `values`, by dotted name, in place of those that stand there.

    Raises ClickflowError where one is written over several lines, UsageError where the whole would be invalid.
    """
    root = yaml.compose(text, yaml.SafeLoader)
    places = []
    for name, value in values.items():
        node = _node(root, name)
        end = None if node is None else _end(node)
        if node is None or end is None:
            where = f"line {node.start_mark.line + 1}" if node else "nowhere"
            raise ClickflowError(
                f"params.yaml: {name} stands {where}, not on one line",
                kept="params.yaml is unchanged",
                next_step=f"set `{name.rpartition('.')[2]}: {written(value)}` there",
            )
        places.append((node.start_mark.index, end, written(value)))
    for start, end, new in sorted(places, reverse=True):  # from the end, so that earlier places stay where they are
        text = text[:start] + new + _moved(text[end:], len(new) - (end - start))
    parsed = parse(text, "params.yaml as it would be")
    check(parsed, "params.yaml as it would be")
    for name, value in values.items():
        found = parsed
        for part in name.split("."):
            found = found[part]
        if found != value:
            raise ClickflowError(f"{name} could not be changed safely", kept="params.yaml is unchanged")
    return text


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


def _node(root: Any, name: str) -> Any:
    for part in name.split("."):
        if not isinstance(root, yaml.MappingNode):
            return None
        root = next((value for key, value in root.value if key.value == part), None)
    return root


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
