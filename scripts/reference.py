"""Write the pages of docs/reference that are made: of params, the command line, features, and the server's routes.

python scripts/reference.py            writes them
python scripts/reference.py --check    ends with 1 where one is out of date
"""

import json
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
    lines = ["# clickflow VERB", "", "Made from `src/clickflow/verbs` by `python scripts/reference.py`.", ""]
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


def serving_page() -> str:
    """Every route of `clickflow serve`, the structs that are sent and answered, and the faults."""
    from clickflow.online.http import openapi, problems
    from clickflow.online.http.app import ROUTES

    routes = [route for route in ROUTES if route.listed]
    document = openapi.document(routes)
    lines = ["# clickflow serve over HTTP", "", "Made from the server's routes by `python scripts/reference.py`.", ""]
    lines += [
        "The server says the same of itself at `GET /openapi.json`, with which clients can be made.",
        "[How to run and ask it](../howto/serve.md). A field that is not named here is an error. Times are",
        "microseconds since 1970 UTC, or RFC 3339 with a zone. Scope: what a key must be allowed.",
    ]
    lines += ["", "## Routes", "", "| | scope | sends | answers | |", "| --- | --- | --- | --- | --- |"]
    for route in routes:
        sent = route.takes or route.query
        given = _struct(route.gives.__name__) if route.gives else f"`{route.media}`"
        cells = [
            f"`{route.method} {openapi.path_of(route)}`",
            route.scope or "",
            _struct(sent.__name__) if sent else "",
        ]
        lines.append(f"| {' | '.join([*cells, given, _escaped(route.summary)])} |")
    schemas = document["components"]["schemas"]
    for route in routes:
        if route.query is not None:
            own = document["paths"][openapi.path_of(route)][route.method.lower()]["parameters"]
            of_query = {each["name"]: each["schema"] for each in own if each["in"] == "query"}
            schemas[route.query.__name__] = {"properties": of_query, "description": "In the address, after `?`."}
    for name in sorted(schemas):
        own = schemas[name]
        about = [f"{own['description'].replace(chr(10), ' ')}", ""] if "description" in own else []
        lines += ["", f"## {name}", "", *about, "| field | type | default | bounds |", "| --- | --- | --- | --- |"]
        for field, kind in own.get("properties", {}).items():
            default = "*needed*" if field in own.get("required", ()) else _default(kind)
            bounds = ", ".join(
                f"{word} {kind_of[key]:,}" for kind_of in _kinds(kind) for key, word in BOUNDS.items() if key in kind_of
            )
            lines.append(f"| `{field}` | {_sent(kind)} | {default} | {bounds} |")
    lines += [
        "",
        "## Faults",
        "",
        "`application/problem+json` (RFC 9457): a Problem, whose `type` ends with the name.",
        "",
    ]
    lines += ["| name | status | | what to do |", "| --- | --- | --- | --- |"]
    lines += [
        f"| `{name}` | {status} | {title} | {advice} |" for name, (status, title, advice) in problems.TYPES.items()
    ]
    return "\n".join(lines) + "\n"


BOUNDS = {
    "minimum": "from",
    "maximum": "to",
    "minLength": "letters from",
    "maxLength": "letters to",
    "minItems": "entries from",
    "maxItems": "entries to",
}


def _struct(name: str) -> str:
    return f"[{name}](#{name.lower()})"


def _default(kind: Mapping[str, Any]) -> str:
    return f"`{json.dumps(kind['default'])}`" if kind.get("default") is not None else ""


def _kinds(kind: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [each for each in kind.get("anyOf", [kind]) if each.get("type") != "null"]


def _sent(kind: Mapping[str, Any]) -> str:
    """A JSON schema in a few words."""
    if "anyOf" in kind:
        return " or ".join(dict.fromkeys(_sent(each) for each in kind["anyOf"] if each.get("type") != "null"))
    if "$ref" in kind:
        return _struct(kind["$ref"].rpartition("/")[2])
    if "enum" in kind:
        return ", ".join(f"`{each}`" for each in kind["enum"])
    if kind.get("type") == "array":
        return f"list of {_sent(kind.get('items', {}))}" if kind.get("items") else "list"
    if kind.get("type") == "object" and "additionalProperties" in kind:
        inner = kind["additionalProperties"]
        return f"text to {_sent(inner)}" if isinstance(inner, dict) and inner else "mapping"
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    return "time" if kind.get("format") == "date-time" else words.get(kind.get("type", ""), "anything")


PAGES = {"params.md": params_page, "cli.md": cli_page, "features.md": features_page, "serving-api.md": serving_page}


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
