"""A small shop whose model answers online: for tests of what stands on it, without training anything."""

import atexit
import json
import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import small_models

from clickflow.artefact import export
from clickflow.online.history import Step
from clickflow.online.served import Items, Served
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.sequences.store import open_split
from clickflow.system.paths import Paths

MODEL = "next_step"
_folders: dict[str, Path] = {}
"""Workspaces, made once for each choice: an export takes half a second."""


def exported(folder: Path, *, version: int = 1, seed: int = 0, **choices: Any) -> Served:
    """The artefact of an untrained network of `small_models.spec(**choices)`, made by the real export in the workspace
    `folder`, and served. Items are called by their index, `"2"` and on.
    """
    key = json.dumps([seed, choices], sort_keys=True)
    if key not in _folders:
        _folders[key] = Path(mkdtemp())
        atexit.register(shutil.rmtree, _folders[key], ignore_errors=True)
        paths, params = small_models.workspace(_folders[key], seed=seed, **choices)
        export.run(replace(params, export=replace(params.export, tolerance=1e-3)), paths, MODEL)
    shutil.copytree(_folders[key], folder, dirs_exist_ok=True)
    return Served.of(MODEL, version, Paths(folder).exported(MODEL))


def with_categories(served: Served) -> Served:
    """Whose items have a category and a price, which those of `small_models.shop` have not."""
    places = np.arange(len(served.items))
    category = np.where(places < FIRST_ITEM, 0, FIRST_ITEM + places % 4)
    names = ["", "", "a", "b", "c", "d"]
    code = {name: code for code, name in enumerate(names) if name}
    price = (1.0 + places % 7).astype(np.float64)
    items = replace(served.items, category=category, price=price, categories=names, category_of=code)
    return replace(served, items=items)


def priced(artefact: Path) -> None:
    """Give each item of an artefact a price, which those of `small_models.shop` have not: 1 for the first, 2, …"""
    import pyarrow as pa
    from pyarrow import parquet

    from clickflow.artefact.artefact import CARD, VOCABULARY
    from clickflow.system import integrity
    from clickflow.system.files import read_json, sha256, write_json

    table = parquet.read_table(artefact / VOCABULARY)
    prices = pa.array([1.0 + place % 7 for place in range(table.num_rows)], table.schema.field("price").type)
    parquet.write_table(table.set_column(table.column_names.index("price"), "price", prices), artefact / VOCABULARY)
    card = {**read_json(artefact / CARD), "vocabulary_sha256": sha256(artefact / VOCABULARY)}
    write_json(artefact / CARD, card)
    integrity.seal(artefact)


def history(
    folder: Path, served: Served, sequence: int, part: str = "test", steps: int | None = None
) -> tuple[Step, ...]:
    """A sequence of the store of `exported`, up to so many steps, as a client would send it."""
    split = open_split(Paths(folder).sequences("session"), part)
    begin, end = int(split.begin[sequence]), int(split.end[sequence])
    return tuple(_step(split, at, served.artefact.card["actions"], served.items) for at in range(begin, end)[:steps])


def _step(split: Any, at: int, actions: Any, items: Items) -> Step:
    price, category = float(split.price[at]), int(split.category[at])
    return Step(
        str(split.item[at]),
        actions[split.action[at]],
        int(split.time[at]),
        None if category == 0 else (items.categories[category] or "?") if category < len(items.categories) else "?",
        None if price != price else price,
    )
