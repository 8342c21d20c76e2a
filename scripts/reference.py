"""Write docs/reference/params.md and docs/reference/cli.md from params.yaml, the dataclasses and the command line.

python scripts/reference.py            writes them
python scripts/reference.py --check    ends with 1 where one is out of date
"""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

ROOT = Path(__file__).resolve().parents[1]


def params_page() -> str:
    """Every key of params.yaml with its type, its default and what the comment beside it says."""
    from ruamel.yaml import YAML

    from clickflow.params.schema import Params

    tree = YAML().load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    lines = [
        "# params.yaml",
        "",
        "Made from `params.yaml` and `src/clickflow/params/schema.py` by `python scripts/reference.py`.",
        "The file is checked before any work starts: an unknown key, a missing one or a wrong value is an error that",
        "names its place. Units stand in the names.",
    ]
    for section in tree:
        rows = list(_rows(tree, section, get_type_hints(Params)[section], (section,)))
        lines += ["", f"## {section}", "", "| key | type | default | |", "| --- | --- | --- | --- |", *rows]
    return "\n".join(lines) + "\n"


def _rows(parent: Any, key: str, kind: Any, at: tuple[str, ...]) -> Iterator[str]:
    from clickflow.heads import HEADS

    value = parent[key]
    if isinstance(value, dict) and value:
        inner = next((a for a in (kind, *get_args(kind)) if is_dataclass(a)), None)
        hints = get_type_hints(inner) if inner else {}
        if key == "heads":
            hints = {name: head.params for name, head in HEADS.items()}
        for name in value:
            # a mapping's values are of its last type argument; a dataclass names the type of each field
            yield from _rows(value, name, hints.get(name, get_args(kind)[-1] if get_args(kind) else Any), (*at, name))
        return
    comment = parent.ca.items.get(key)
    text = comment[2].value.split("\n")[0].lstrip("# ").strip() if comment and comment[2] else ""
    shown = "" if isinstance(value, dict) else _cell(value)
    yield f"| `{'.'.join(at)}` | {_escaped(_type(kind))} | {shown} | {_escaped(text)} |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _cell(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return f"`{json.dumps(value)}`"
    return f"`{', '.join(map(str, value)) if isinstance(value, list) else value}`"


def _type(kind: Any) -> str:
    """A type as a reader of params.yaml would say it."""
    if kind is type(None):
        return "null"
    if get_origin(kind) is Literal:
        return " | ".join(f"`{choice}`" for choice in get_args(kind))
    arguments = [_type(a) for a in get_args(kind) if a is not Ellipsis]
    if get_origin(kind) in (Union, UnionType):
        return " | ".join(arguments)
    if get_origin(kind) is tuple:
        return f"list of {arguments[0]}"
    if get_origin(kind) is Mapping:
        return f"{arguments[0]} to {arguments[1]}"
    name: str = kind.__name__
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}.get(name, name)


def cli_page() -> str:
    """What `clickflow VERB --help` says of each verb, as a table of its options."""
    import typer

    from clickflow.cli import app

    group = typer.main.get_command(app)
    lines = ["# clickflow VERB", "", "Made from `src/clickflow/cli.py` by `python scripts/reference.py`.", ""]
    lines += [
        "Exit codes: 0 done, 1 failed (trying again may help), 2 wrong use or parameter, 3 the data is not fit for",
        "use, 130 stopped by Ctrl-C. An error has three parts: what happened to which file, row, param or task; what",
        "was kept; what to do next. Faults of disks, memory, files and engines (Arrow, DuckDB, ONNX) have them too.",
        "",
        "An error of clickflow itself says so in a sentence, ends with 1, and leaves its traceback in",
        "`$CLICKFLOW_HOME/faults/*.log`, readable by its owner alone and without the values that messages quote; the",
        "newest 20 are kept. With `CLICKFLOW_DEBUG=1` the traceback is shown instead. A process that the kernel kills",
        "(no memory left, `kill -9`) can say nothing itself; who started it says by which signal it ended.",
    ]
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        lines += ["", f"## clickflow {name}", "", (command.help or "").strip(), ""]
        parameters = [p for p in command.params if p.name != "help"]
        if parameters:
            lines += ["| option | default | |", "| --- | --- | --- |"]
        for parameter in parameters:
            shown = ", ".join(f"`{option}`" for option in parameter.opts)
            if parameter.param_type_name == "argument":
                shown = f"`{(parameter.name or '').upper()}`"
            default = "needed" if parameter.required else f"`{parameter.default}`" if parameter.default else ""
            lines.append(f"| {shown} | {default} | {getattr(parameter, 'help', '') or ''} |")
    return "\n".join(lines) + "\n"


PAGES = {"params.md": params_page, "cli.md": cli_page}


def main() -> None:
    """Write or check the pages."""
    stale = []
    for name, page in PAGES.items():
        path = ROOT / "docs/reference" / name
        text = page()
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in sys.argv[1:]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if stale and "--check" in sys.argv[1:]:
        raise SystemExit(f"out of date: {', '.join(stale)}; run: python scripts/reference.py")


if __name__ == "__main__":
    main()
