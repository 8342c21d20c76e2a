"""A param that nothing reads is a promise that nobody keeps: the source is searched for each."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from clickflow.heads import HEADS
from clickflow.params.meta import dataclass_in, hints
from clickflow.params.schema import Params
from clickflow.params.watch import MaxDrift
from clickflow.sequences.units import UNITS

SRC = Path(__file__).resolve().parents[2] / "src/clickflow"
BY_NAME = {
    *(f"MaxDrift.{each.name}" for each in fields(MaxDrift)),  # a mapping of bounds, each compared by its name
    *(f"Sequences.{unit.section}" for unit in UNITS.values()),  # the section of a unit, which names it
    "Evaluation.action_baselines",  # the old form, by Evaluation.of_old_form
    "Sequences.since",  # by Sequences.window
    "Sequences.until",
    "SeriesUnit.plan",  # of whichever unit has one
    "Runs.sources",  # from the text of a commit, before it is checked
}
"""Params that are read without an attribute of their name."""


@dataclass(frozen=True)
class Reads:
    """What a module reads: `imported` are the dataclasses of params that it knows."""

    imported: frozenset[str]
    attributes: frozenset[tuple[str, str]]
    """The name before the last dot, or what it was assigned from, and the name after it."""


def reads_of(text: str) -> Reads:
    tree = ast.parse(text)
    modules: set[str] = set()
    imported: set[str] = set()
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {each.asname or each.name.partition(".")[0]: each.name for each in node.names}
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("clickflow.params."):
                imported |= set(names.values())
            modules |= set(names)
        if isinstance(node, ast.Assign):
            aliases |= dict(_assigned(node.targets[0], node.value))
    attributes = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            before = _last(node.value)
            if not (isinstance(node.value, ast.Name) and before in modules):
                attributes |= {(before, node.attr), (aliases.get(before, before), node.attr)}
    return Reads(frozenset(imported), frozenset(attributes))


def _assigned(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, str]]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for one, other in zip(target.elts, value.elts, strict=False):
            yield from _assigned(one, other)
    elif isinstance(value, ast.IfExp):
        yield from _assigned(target, value.body)
    elif isinstance(target, ast.Name) and isinstance(value, ast.Attribute):
        yield target.id, value.attr


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def sections() -> dict[Any, set[str]]:
    """Every dataclass of params, and the names by which it is held."""
    names: dict[Any, set[str]] = {}

    def walk(kind: Any) -> None:
        for each in fields(kind):
            inner = dataclass_in(hints(kind)[each.name])
            if inner is not None:
                names.setdefault(inner, set()).add(each.name)
                walk(inner)

    walk(Params)
    for head in HEADS.values():
        names.setdefault(head.params, set()).add("head")
    return names


def unread(modules: list[Reads], named_by_suites: str) -> set[str]:
    missing = set()
    for kind, held in sections().items():
        kinds = {base.__name__ for base in kind.__mro__}  # what a head has from another is read where that one's is
        for each in fields(kind):
            bases = [base for base in kind.__mro__[1:] if base in sections()]
            if any(each.name in base.__annotations__ for base in bases):
                continue  # read as that of its base
            name = f"{kind.__name__}.{each.name}"
            by_suite = kind.__name__ == "Quality" and f'"{each.name}"' in named_by_suites
            if not by_suite and not any(
                each.name == attr and (before in held or kinds & module.imported)
                for module in modules
                for before, attr in module.attributes
            ):
                missing.add(name)
    return missing


def test_every_param_is_read(root: Path) -> None:
    rooms = [path for path in SRC.rglob("*.py") if path.parent.name != "params"]
    modules = [reads_of(path.read_text(encoding="utf-8")) for path in (*rooms, *root.glob("dags/*.py"))]
    suites = "".join(path.read_text(encoding="utf-8") for path in (root / "expectations").rglob("*.json"))
    assert unread(modules, suites) == BY_NAME


def test_a_module_of_that_name_reads_no_param() -> None:
    text = """
from clickflow.params.sequences import Sequences
from clickflow.sequences import engine
change = spec.augmentation if spec else None
engine.engine(change.crop)
"""
    assert reads_of(text).imported == {"Sequences"}
    assert ("augmentation", "crop") in reads_of(text).attributes
    assert ("engine", "engine") not in reads_of(text).attributes
