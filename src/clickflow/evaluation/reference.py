"""reference.json: what the model's training data looked like, and how well it answered at its evaluation.

The stage `evaluate` writes it, the registry keeps it with the version, and `clickflow watch` compares
later data with it. Shares and counts only: no session, no user, no item's name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clickflow.artefact.artefact import VOCABULARY, Artefact
from clickflow.evaluation import distributions, headline
from clickflow.evaluation.distributions import Cells, Values
from clickflow.evaluation.systems import CANDIDATE
from clickflow.heads import outputs
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.sequences.store import Card, open_split
from clickflow.system.errors import DataError
from clickflow.system.files import read_json
from clickflow.system.moments import iso, of_iso

VERSION = 1


@dataclass(frozen=True)
class Reference:
    """A model's reference.

    `trained_until` and `seen_until`: the last instants of its training and validation part, microseconds since 1970
    UTC. `sequences`: of the training part. `settings`: how sessions were cut. `shares`: by dimension, in the order of
    `cells`. `metrics`: {name: {value, low, high}} at its evaluation, and the `confidence` of these intervals.
    """

    model_sha256: str
    data_sha256: str
    trained_until: int
    seen_until: int
    sequences: int
    settings: Mapping[str, Any]
    cells: Cells
    shares: Mapping[str, Values]
    metrics: Mapping[str, Mapping[str, float | None]]
    confidence: float


def of(artefact: Artefact, store: Path, card: Card, metrics: Mapping[str, Any], confidence: float) -> dict[str, Any]:
    """What reference.json holds, for an artefact made from the packed store in `store`."""
    train = open_split(store, "train")
    cells = Cells(card.actions, item_groups(artefact), distributions.price_edges(train.price))
    # the store's own indexes are the artefact's; from `known` on it reads them as unknown
    index = np.arange(max(card.known, card.items_total + FIRST_ITEM))
    item = np.where(index < card.known, index, 1)
    totals = distributions.total(cells, train, item, np.arange(len(card.actions)))
    own = {output.name: metrics[output.name][CANDIDATE] for output in headline.answered(metrics) if not output.second}
    return {
        "version": VERSION,
        "model_sha256": artefact.card["model_sha256"],
        "data_sha256": card.sha256,
        "trained_until": iso(card.boundaries["valid"]),
        "seen_until": iso(card.boundaries["test"]),
        "sequences": distributions.counted(train),
        "steps": train.n_events,
        "settings": dict(card.own_settings),
        "actions": list(card.actions),
        "price_edges": [round(float(edge), 6) for edge in cells.prices],
        "shares": {name: _rounded(each) for name, each in cells.shares(totals).items()},
        "metrics": {
            outputs.full(head, name, own): each
            for head, figures in own.items()
            for name, each in figures.items()
            if not name.endswith("_known")
        },
        "confidence": confidence,
    }


def read(file: Path, artefact: Artefact) -> Reference:
    """The reference in `file`, which must be that of `artefact`. Raises DataError where it is not."""
    try:
        raw = read_json(file)
        reference = Reference(
            model_sha256=raw["model_sha256"],
            data_sha256=raw["data_sha256"],
            trained_until=of_iso(raw["trained_until"]),
            seen_until=of_iso(raw["seen_until"]),
            sequences=int(raw["sequences"]),
            settings=raw["settings"],
            cells=Cells(tuple(raw["actions"]), item_groups(artefact), np.array(raw["price_edges"], np.float64)),
            shares={name: np.array(each, np.float64) for name, each in raw["shares"].items()},
            metrics=raw["metrics"],
            confidence=float(raw["confidence"]),
        )
        version, fits = (
            raw["version"],
            {name: len(each) for name, each in reference.shares.items()} == reference.cells.sizes,
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{file} is not the reference of a model: {error!r}", next_step=_AGAIN) from error
    if version != VERSION or not fits or reference.model_sha256 != artefact.card["model_sha256"]:
        raise DataError(f"{file} is not the reference of the model in {artefact.folder}", next_step=_AGAIN)
    return reference


_AGAIN = "remove it, and run the command again: it is fetched from the registry"


def item_groups(artefact: Artefact) -> distributions.Ints:
    """The popularity groups of an artefact's items, from the training steps in its vocabulary."""
    from pyarrow import parquet

    return distributions.groups(parquet.read_table(artefact.folder / VOCABULARY, columns=["count"])["count"].to_numpy())


def _rounded(shares: Values) -> list[float]:
    return [round(float(share), 9) for share in np.nan_to_num(shares)]
