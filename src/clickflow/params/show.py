"""The verb `params`: every value that holds, whether it was chosen or is a default, and what it does."""

from collections.abc import Mapping
from typing import Any

from rich.markup import escape

from clickflow.params import text
from clickflow.params.meta import Meta, leaves
from clickflow.params.models import model_kinds
from clickflow.params.patch import plain, written
from clickflow.params.schema import Params
from clickflow.system import console
from clickflow.system.errors import UsageError, nearest
from clickflow.system.paths import Paths

CHOSEN, DEFAULT = "*", " "
WIDTH = 48
"""Letters, after which what a param does begins."""


def run(params: Params, paths: Paths, begins: str, *, as_json: bool) -> None:
    """Print every param whose dotted name is `begins` or below it; empty: all.

    Raises UsageError where there is none.
    """
    raw = text.read(paths.params)
    listed = {
        name: {
            "value": plain(value),
            "chosen": _stands(raw, name),
            "unit": meta.unit if meta else "",
            "range": _bounds(meta, value) if meta else "",
            "text": meta.text if meta else "",
        }
        for name, value, meta in leaves(params)
        if f"{name}.".startswith(f"{begins}." if begins else "") and not _of_another_kind(params, name)
    }
    if not listed:
        known = sorted({".".join(name.split(".")[:depth]) for name, _, _ in leaves(params) for depth in range(1, 9)})
        raise UsageError(
            f"there is no param {begins!r}{nearest(begins, known)}",
            next_step="`clickflow params` lists those that hold, docs/reference/params.md all there are",
        )
    console.emit(listed, as_json=as_json, text=lambda: _page(listed))


def _bounds(meta: Meta, value: Any) -> str:
    """Of a text the most bytes, of a number its range."""
    return f"at most {meta.le:,} bytes" if isinstance(value, str) and meta.le else meta.range


def _of_another_kind(params: Params, name: str) -> bool:
    """Whether it is a param of a model that its kind does not read."""
    section, model, first, *_ = [*name.split("."), "", ""]
    if section != "models" or model not in params.models:
        return False
    of = [kind for kind, each in model_kinds().items() if first in each.reads]
    return bool(of) and params.models[model].kind not in of


def _stands(raw: Any, name: str) -> bool:
    """Whether the file names a param; the name of a metric has a dot in it too."""
    if not name:
        return True
    if not isinstance(raw, Mapping):
        return False
    heads = [key for key in raw if name == key or name.startswith(f"{key}.")]
    return any(_stands(raw[key], name.removeprefix(str(key)).removeprefix(".")) for key in heads)


def _page(listed: Mapping[str, Mapping[str, Any]]) -> str:
    lines = []
    for name, each in listed.items():
        bounds = ", ".join(filter(None, [each["unit"], each["range"]]))
        about = f"{each['text']} ({bounds})" if bounds else each["text"]
        said = f"{CHOSEN if each['chosen'] else DEFAULT} {name}: {written(each['value'])}"
        lines.append(f"{said:{WIDTH}}  # {about}")
    return escape("\n".join([*lines, f"{CHOSEN} stands in params.yaml; every other one is a default"]))
