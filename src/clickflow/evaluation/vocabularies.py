"""From the indexes of a packed store to those of a model: by name, because every training numbers items anew."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.artefact.artefact import Artefact
from clickflow.artefact.windows import Translation
from clickflow.sequences.indexes import FIRST_ITEM, PADDING, UNKNOWN
from clickflow.sequences.store import Card

NEVER = float(np.log(1e-12))
"""Log-probability of a class that a model has no answer for."""


def translation(folder: Path, card: Card, artefact: Artefact) -> Translation:
    """How the indexes of the store in `folder` read in the artefact's vocabulary.

    What the artefact lacks is `UNKNOWN` (items, categories) or the first action.
    """
    from pyarrow import parquet

    stored = parquet.read_table(folder / "vocabulary.parquet", columns=["item_id"]).column("item_id").to_pylist()
    named = parquet.read_table(folder / "categories.parquet", columns=["category"]).column("category").to_pylist()
    own = {name: index for index, name in enumerate(artefact.card["actions"])}
    return Translation(
        item=_by_name(stored, artefact.item_ids()),
        action=np.array([own.get(name, 0) for name in card.actions], np.int64),
        category=_by_name(named, artefact.categories()),
        store=card,
    )


def fit(folder: Path, card: Card, artefact: Artefact, targets: npt.NDArray[np.integer]) -> dict[str, Any]:
    """How an artefact that was made from other data fits the store in `folder`, so that two shops are told apart.

    `items_here`: the share of its items that the store holds. `targets_known`: the share of the items asked for,
    `targets` [n] in the store's vocabulary, that it knows. `same_key`: whether the pseudonyms of both were made with
    one key, or the artefact's with one that the store's took the place of; None where one of them does not say.
    """
    stored = translation(folder, card, artefact).item
    here = np.count_nonzero(np.unique(stored) > UNKNOWN) / max(artefact.known - FIRST_ITEM, 1)
    here_now, then = ((each or {}) for each in (card.settings.get("source"), artefact.card.get("source")))
    keys = [here_now.get("key"), then.get("key")]
    return {
        "items_here": round(float(here), 6),
        "targets_known": round(float((stored[targets] > UNKNOWN).mean()), 6) if len(targets) else None,
        "same_key": then["key"] in (keys[0], *here_now.get("former_keys", ())) if all(keys) else None,
    }


def _by_name(stored: list[str], own: list[str]) -> npt.NDArray[np.int64]:
    """[FIRST_ITEM + stored names]: the index in `own`; padding and unknown stay what they are."""
    index = {name: number for number, name in enumerate(own) if number >= FIRST_ITEM}
    return np.array([PADDING, UNKNOWN, *(index.get(name, UNKNOWN) for name in stored)], np.int64)
