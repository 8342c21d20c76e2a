"""What `${…}` in dvc.yaml stands for, as DVC reads it: YAML 1.2, dotted names, numbers for the places of a list."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from clickflow.system.errors import UsageError

_REFERENCE = re.compile(r"(?<!\\)\$\{(.*?)\}")
_NAME = re.compile(r"[^.\[\]]+(\.[^.\[\]]+|\[[^.\[\]]+\])*")


class _Yaml12(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML reads YAML 1.1, in which `no` is false and `1e-3` is text; DVC reads 1.2."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9][0-9_]*|[-+]?0o[0-7_]+|[-+]?0x[0-9a-fA-F_]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9_]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("merge", r"<<", "<"),
):
    _Yaml12.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), ["" if c == "\0" else c for c in _first]
    )
# 010 is ten: only 0o and 0x say another base.
_Yaml12.add_constructor(
    "tag:yaml.org,2002:int", lambda _, node: int(node.value, 0 if re.match("[-+]?0[ox]", node.value) else 10)
)
_Yaml12.add_constructor(
    "tag:yaml.org,2002:float", lambda _, node: float(re.sub(r"\.(inf|nan)", r"\1", node.value.lower()))
)


def parse_yaml(content: str) -> Any:
    """YAML 1.2 as plain values. Raises yaml.YAMLError where it is not valid."""
    return yaml.load(content, Loader=_Yaml12)


def read_yaml(path: Path) -> Any:
    """A YAML 1.2 file as plain values. Raises UsageError where it is missing or not valid."""
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"there is no {path}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid YAML: {error}") from error


def text(value: Any) -> str:
    """A plain value as it stands in a name or a command."""
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class Variables:
    """The values that `${…}` may name."""

    values: Mapping[str, Any]

    @staticmethod
    def load(root: Path, default: str, entries: Sequence[Any]) -> "Variables":
        """From the default file where there is one, then from `vars`: `file`, `file:key,key`, or a mapping.

        Raises UsageError where a value is given twice.
        """
        values: dict[str, Any] = {}
        whole = set()
        if (root / default).is_file():
            _merge(values, _mapping(root / default), default)
            whole.add(default)
        for entry in entries:
            if isinstance(entry, Mapping):
                _merge(values, entry, "vars")
                continue
            file, _, keys = str(entry).partition(":")
            if not keys and file in whole:
                continue
            loaded = _mapping(root / file)
            wanted = [key for key in keys.split(",") if key] or list(loaded)
            for key in wanted:
                if key not in loaded:
                    raise UsageError(f"dvc.yaml: vars: {file} has no {key!r}")
            _merge(values, {key: loaded[key] for key in wanted}, str(entry))
            if not keys:
                whole.add(file)
        return Variables(values)

    def plus(self, more: Mapping[str, Any]) -> "Variables":
        """The same with more values; a name that is there already is covered."""
        return Variables({**self.values, **more})

    def resolve(self, value: Any, at: str, *, composite: bool = False) -> Any:
        """`value` with every `${…}` in it replaced, in lists and mappings too.

        `at` says where it stands, for messages; `composite` lets a text that is one `${…}` stand for a mapping or
        a list. Raises UsageError where a name is unknown or a value is not plain.
        """
        if isinstance(value, Mapping):
            return {self.resolve(key, at): self.resolve(item, at, composite=composite) for key, item in value.items()}
        if isinstance(value, list):
            return [self.resolve(item, at, composite=composite) for item in value]
        if not isinstance(value, str):
            return value
        first = _REFERENCE.search(value)
        if first and first.group(0) == value:
            return self.select(first.group(1), at) if composite else self._plain(first, at)
        return _REFERENCE.sub(lambda match: text(self._plain(match, at)), value).replace(r"\${", "${")

    def select(self, name: str, at: str) -> Any:
        """The value of a dotted name, `models.next_step.unit` or `list[0]`."""
        if not _NAME.fullmatch(name.strip()):
            raise UsageError(f"dvc.yaml: {at}: ${{{name}}} is not a name")
        value: Any = self.values
        for part in name.replace("[", ".").replace("]", "").split("."):
            part = part.strip()
            if isinstance(value, Mapping) and part in value:
                value = value[part]
            elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
                value = value[int(part)]
            else:
                raise UsageError(
                    f"dvc.yaml: {at}: ${{{name}}} is not known: there is no {part!r}",
                    next_step="write `units: [session]` into params.yaml: earlier versions did without"
                    if name == "units"
                    else "params.yaml, `vars` of dvc.yaml, and `item` and `key` of foreach and matrix are known",
                )
        return value

    def _plain(self, match: re.Match[str], at: str) -> Any:
        value = self.select(match.group(1), at)
        if isinstance(value, (Mapping, list)):
            kind = "mapping" if isinstance(value, Mapping) else "list"
            raise UsageError(f"dvc.yaml: {at}: {match.group(0)} is a {kind}, where a plain value is needed")
        return value


def _mapping(path: Path) -> Mapping[str, Any]:
    loaded = read_yaml(path)
    if not isinstance(loaded, Mapping):
        raise UsageError(f"{path} is not a mapping, so that nothing in it has a name")
    return loaded


def _merge(into: dict[str, Any], more: Mapping[str, Any], source: str, at: str = "") -> None:
    for key, value in more.items():
        if isinstance(into.get(key), Mapping) and isinstance(value, Mapping):
            into[key] = dict(into[key])
            _merge(into[key], value, source, f"{at}{key}.")
        elif key in into:
            raise UsageError(f"dvc.yaml: {source} gives {at}{key} a second value")
        else:
            into[key] = value
