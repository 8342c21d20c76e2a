"""Write params.md, cli.md and features.md in docs/reference from params, the command line and the tables of features.

python scripts/reference.py            writes them
python scripts/reference.py --check    ends with 1 where one is out of date
"""

import sys
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

ROOT = Path(__file__).resolve().parents[1]


def params_page() -> str:
    """Every param with its type, its default, its bounds and what it does, section by section."""
    from clickflow.params.schema import Params, every

    lines = [
        "# params.yaml",
        "",
        "Made from the dataclasses in `src/clickflow/params` by `python scripts/reference.py`.",
        "",
        "The file says what a shop chose; what it does not name is as below. `clickflow params` shows all that holds",
        "in a checkout, and marks what the file names. The file is checked before any work starts: an unknown key or",
        "a wrong value is an error that names its place. Units stand in the names. `*` is any name: of a model, of a",
        "metric …",
        "",
        "What is *needed* has to stand in the file, for `dvc.yaml` reads it there, and so have the sections",
        "`simulator`, `ingest`, `quality`, `sequences`, `training`, `export`, `evaluation`, `gate` and `promotion`:",
        "where nothing of one is chosen, write `training: {}`. Where it is not there, DVC ends with `Parameters … are",
        "missing`.",
        "",
        "A mapping or list that the file gives takes the place of the whole default: `nulls` with one column has no",
        "`*`, unless that is written beside it. A section may be empty, or all comments.",
    ]
    hints = get_type_hints(Params)
    for section in fields(Params):
        own = [each for each in every() if each.name.partition(".")[0] == section.name]
        about = getattr(hints[section.name], "__doc__", None) if is_dataclass(hints[section.name]) else None
        lines += ["", f"## {section.name}", "", *([about.strip().split("\n\n")[0], ""] if about else [])]
        lines += ["| key | type | default | bounds | |", "| --- | --- | --- | --- | --- |", *map(_row, own)]
    return "\n".join(lines) + "\n"


def _row(param: Any) -> str:
    default = "*needed*" if param.default is MISSING else _cell(param.default)
    of_text = str in (param.kind, *get_args(param.kind)) and param.meta.le
    limits = f"at most {param.meta.le:,} bytes" if of_text else param.meta.range
    bounds = ", ".join(filter(None, [param.meta.unit, limits]))
    return f"| `{param.name}` | {_escaped(_type(param.kind))} | {default} | {bounds} | {_escaped(param.meta.text)} |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _cell(value: Any) -> str:
    """A default as a file would say it."""
    from clickflow.params.patch import plain, written

    return f"`{_escaped(written(_short(value) if isinstance(value, Mapping) else plain(value)))}`"


def _short(value: Any) -> Any:
    """A value without what is left at its default, and is nothing."""
    from clickflow.params.patch import plain

    if is_dataclass(value):
        return {
            each.name: plain(getattr(value, each.name))
            for each in fields(value)
            if getattr(value, each.name) is not None and getattr(value, each.name) is not False
        }
    if isinstance(value, Mapping):
        return {key: _short(inner) for key, inner in value.items()}
    return plain(value)


def _type(kind: Any) -> str:
    """A type as a reader of params.yaml would say it."""
    if kind is type(None):
        return "null"
    if get_origin(kind) is Literal:
        return " | ".join(f"`{choice}`" for choice in get_args(kind))
    arguments = [_type(a) for a in get_args(kind) if a is not Ellipsis]
    if get_origin(kind) in (Union, UnionType):
        return " | ".join(arguments)
    if kind is Any:
        return "anything"
    if is_dataclass(kind):
        return "mapping"
    if get_origin(kind) is tuple:
        return f"list of {arguments[0]}"
    if get_origin(kind) is Mapping:
        return f"{arguments[0]} to {arguments[1]}"
    name: str = kind.__name__
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "datetime": "time"}.get(
        name, name
    )


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


def features_page() -> str:
    """Every hand-made feature, unit by unit."""
    from clickflow.features import TABLES, table

    lines = ["# Hand-made features", "", "Made from `src/clickflow/features` by `python scripts/reference.py`.", ""]
    lines += [
        "What classical models and baselines read of a customer or a visit, at the time of asking. A feature reads",
        "nothing after that time. One that does not exist (the gaps of a customer with one purchase) is missing, and "
        "not 0.",
    ]
    for unit in TABLES:
        lines += ["", f"## {unit}", "", "| name | unit | meaning | window |", "| --- | --- | --- | --- |"]
        lines += [f"| `{each.name}` | {each.unit} | {each.meaning} | {each.window} |" for each in table(unit)]
    return "\n".join(lines) + "\n"


PAGES = {"params.md": params_page, "cli.md": cli_page, "features.md": features_page}


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
