"""The best possible answers on simulated data: what a model that knew everything hidden would say.

Real logs have no truth; then there is none of this.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.evaluation import ranking
from clickflow.evaluation.scoring import HeldOut
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.system.files import read_json


@dataclass(frozen=True)
class Best:
    """The true process asked the same questions."""

    ranks: ranking.Ranks
    """[len(followed)] rank of the item that followed, among the candidate's items; 0 where it has none."""
    actions: npt.NDArray[np.float32]
    """[len(asked), actions + 1] log-probabilities; NaN where the truth knows no such event."""


def available(folder: Path) -> bool:
    """Whether data/truth says that the log is simulated."""
    card = folder / "card.json"
    return card.is_file() and bool(read_json(card).get("available"))


def best(folder: Path, test: HeldOut, known: int) -> Best:
    """Ask the truth in `folder` every question of `test`; items from `known` on do not compete."""
    from pyarrow import parquet

    # each kind of source with a truth has a way to ask it; only that of this log is a dependency of the stage
    truth = import_module(f"clickflow.sources.{read_json(folder / 'card.json')['source']}.truth")
    sessions = parquet.read_table(test.folder / "test" / "sequences.parquet", columns=["session_id"])
    items = parquet.read_table(test.folder / "vocabulary.parquet", columns=["item_id"])
    names: list[str] = ["", "", *items.column("item_id").to_pylist()]
    moments = truth.Moments(
        session_id=sessions.column("session_id").take(_indexes(test.asked.sequence)).to_pylist(),
        time=np.asarray(test.split.time)[test.asked.event],
    )
    kept = _kept(test)
    actions = truth.action_probabilities(folder, moments, kept)
    rows = test.followed
    ranks = truth.oracle_ranks(
        folder,
        truth.Moments([moments.session_id[row] for row in rows], moments.time[rows]),
        [names[item] for item in test.next_item[rows]],
        kept,
        names[FIRST_ITEM:known],
    )
    with np.errstate(divide="ignore"):
        logs = np.maximum(np.log(actions), np.log(1e-12))
    return Best(ranks.astype(np.int32), logs.astype(np.float32))


def _kept(test: HeldOut) -> Sequence[str]:
    """The event types that the store's sequences keep; all, where the store does not say."""
    return tuple(test.card.own_settings.get("event_types", test.card.actions))


def _indexes(values: npt.NDArray[np.integer]) -> Any:
    import pyarrow as pa

    return pa.array(values)
