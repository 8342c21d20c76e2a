"""Parse the text of a params.yaml: anything but plain YAML of a sensible size is refused before it can do harm."""

import os
from pathlib import Path
from typing import Any

import yaml

from clickflow.system import faults
from clickflow.system.errors import UsageError

MOST_BYTES = 256 << 10
DEEPEST = 24
"""Lists and mappings in each other."""
ABYSS = 200
"""Levels at which nobody looks further, to say where they begin."""
MOST_VALUES = 20_000
"""Values, those of an alias (`*name`) counted wherever it stands."""
NOT_RUN = "nothing was run"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""In C where there is one: twenty times as fast, and every command reads params."""


def read(path: Path) -> Any:
    """The values of the file.

    Raises UsageError where there is none, where it cannot be opened, and where `parse` does.
    """
    if not path.is_file():
        if os.path.lexists(path):
            raise UsageError(
                f"{path} is not a file",
                kept=NOT_RUN,
                next_step="move it away, and bring the file back: `git checkout params.yaml`",
            )
        raise UsageError(
            f"there is no {path.name} in {path.parent}", next_step="run clickflow inside a clone of the repository"
        )
    with faults.of_file(path, NOT_RUN), path.open("rb") as file:
        text = file.read(MOST_BYTES + 1)
    if len(text) > MOST_BYTES:
        raise UsageError(
            f"{path} is larger than {MOST_BYTES >> 10} KB, more than params are", kept=NOT_RUN, next_step=_BACK
        )
    try:
        return parse(text.decode("utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not text in UTF-8 (byte {error.start})", kept=NOT_RUN, next_step=f"save it as UTF-8; {_BACK}"
        ) from error


def parse(text: str, where: str) -> Any:
    """The values of a text.

    Raises UsageError where it is no YAML, has a key twice, or is nested deeper or holds more than params do.
    """
    loader = _LOADER(text)
    try:
        _no_abyss(text, where)
        root = loader.get_single_node()
        if root is None:
            raise UsageError(f"{where} is empty", kept=NOT_RUN, next_step=_BACK)
        _measure(root, where)
        return loader.construct_document(root)
    except yaml.YAMLError as error:
        raise UsageError(f"{where} is not valid YAML: {error}", kept=NOT_RUN, next_step=_BACK) from error
    except RecursionError as error:
        raise UsageError(f"{where} is nested too deeply", kept=NOT_RUN, next_step=_BACK) from error
    except (ValueError, OverflowError) as error:  # a date that never was, a number of thousands of digits
        raise UsageError(f"{where} holds an impossible value: {error}", kept=NOT_RUN, next_step=_BACK) from error
    finally:
        loader.dispose()


def nodes(text: str) -> Any:
    """The nodes of a text that `parse` takes; each says where it stands."""
    return yaml.compose(text, _LOADER)


_BACK = "correct it; `git diff params.yaml` shows what has changed"


def _no_abyss(text: str, where: str) -> None:
    """Raise UsageError where the C code would go down so deep that its stack ends, and the process with it."""
    depth = 0
    for event in yaml.parse(text, _LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > ABYSS:
            raise UsageError(f"{where} is nested too deeply", kept=NOT_RUN, next_step=_BACK)


def _measure(root: yaml.Node, where: str) -> None:
    """Raise UsageError for a key that stands twice, and for a tree of too many values or levels, aliases resolved."""
    sizes: dict[int, tuple[int, int]] = {}

    def measure(node: yaml.Node) -> tuple[int, int]:
        """How many values and levels there are from a node on."""
        if id(node) in sizes:
            if not sizes[id(node)][0]:
                raise UsageError(f"{_at(node, where)}: an alias refers to itself", kept=NOT_RUN, next_step=_BACK)
            return sizes[id(node)]
        sizes[id(node)] = (0, 0)
        inner: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            _no_key_twice(node, where)
            inner = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            inner = node.value
        inner_sizes = [measure(each) for each in inner]
        size, depth = 1 + sum(each for each, _ in inner_sizes), 1 + max((depth for _, depth in inner_sizes), default=0)
        if depth > DEEPEST:
            raise UsageError(f"{_at(node, where)} has over {DEEPEST} levels", kept=NOT_RUN, next_step=_BACK)
        if size > MOST_VALUES:
            raise UsageError(
                f"{_at(node, where)} holds more than {MOST_VALUES:,} values", kept=NOT_RUN, next_step=_BACK
            )
        sizes[id(node)] = (size, depth)
        return size, depth

    measure(root)


def _no_key_twice(node: yaml.MappingNode, where: str) -> None:
    seen: set[tuple[str, str]] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise UsageError(f"{_at(key, where)}: a name is not text", kept=NOT_RUN, next_step=_BACK)
        name = (key.tag, key.value)
        if name in seen:
            raise UsageError(
                f"{_at(key, where)}: {key.value[:100]} stands twice", kept=NOT_RUN, next_step="keep one of the two"
            )
        seen.add(name)


def _at(node: yaml.Node, where: str) -> str:
    return f"{where}, line {node.start_mark.line + 1}"
