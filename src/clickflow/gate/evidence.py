"""What the gate judges by: the evaluation's files and the artefact, read and held against each other."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clickflow.evaluation import slices
from clickflow.evaluation.systems import ACTIONS, AHEAD, CANDIDATE, CHAMPION, ONE_STEP, ORACLE, PREDICTIONS
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.system.errors import DataError
from clickflow.system.files import read_json, sha256, sha256_folder
from clickflow.system.paths import Paths

Array = NDArray[Any]

_NO_SLICE = {"sequence", "customer", "position", "target", "tied"}

SAME_SHOP = 0.1
"""The least share of items that two trainings of one shop have in common."""


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The next-item predictions, one row each [n], of all systems.

    `sequence` int: 0 to sequences - 1. `customer` int: who it came from (`customers.Codes`). `ranks`: by system, the
    rank of the true item, 0: none; the oracle is left out, being no competitor. `missing`: by system, how many rows it
    left without an answer. `known` bool: the true item is in the candidate's vocabulary. `slices`: by dimension, the
    slice's code of each row and the names of the codes. `seen`: by earlier version, bool: it may have learned from the
    row; None, or no entry: that is not known. `tied` bool: the answer has the time of the step before. `oracle`: the
    rank under the true process, 0: it does not know.
    """

    sequence: Array
    customer: Array
    ranks: Mapping[str, Array]
    missing: Mapping[str, int]
    known: Array
    slices: Mapping[str, tuple[Array, list[str]]]
    seen: Mapping[str, Array | None] = field(default_factory=dict)
    tied: Array | None = None
    oracle: Array | None = None

    @property
    def sequences(self) -> int:
        """How many sequences have a prediction."""
        return int(self.sequence.max(initial=-1)) + 1


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The rows of another head [n], of all systems; the oracle, and the candidate's own `one_step`, are left out.

    `sequence` and `customer` are as in `Predictions`; of next_items so are `ranks` and `known`. Of next_action `rows`:
    by metric and system what each row adds, float64; the action's code `target`, and by system the code `predicted`
    and, where it is there, its `confidence`.
    """

    sequence: Array
    customer: Array
    ranks: Mapping[str, Array] = field(default_factory=dict)
    known: Array = field(default_factory=lambda: np.zeros(0, np.bool_))
    rows: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)
    target: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    predicted: Mapping[str, Array] = field(default_factory=dict)
    confidence: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All of it. `predictions` is None for a model without the head next_item; `answers`: by head, those of others."""

    predictions: Predictions | None
    metrics: Mapping[str, Any]
    champion_version: int
    artefact_sha256: str
    model_sha256: str
    data_sha256: str | None
    size_mb: float
    latency_ms: float | None
    answers: Mapping[str, Answers] = field(default_factory=dict)
    tries: int = 1
    """The how manieth on its test window this candidate is."""

    @property
    def best_version(self) -> int:
        """The best champion of the past; 0: there was none."""
        return int(self.metrics.get("best_version", self.champion_version))

    @property
    def another_shop(self) -> str | None:
        """Why the champion is no measure of this candidate, and what to do; None where it is one.

        It is one unless its pseudonyms were made with another key, or it neither knows the items asked for nor has
        its own items in this log, each by less than `SAME_SHOP`.
        """
        fit = self.metrics.get("champion_fit")
        if not self.champion_version or not fit:
            return None
        here, known = fit["items_here"], fit["targets_known"] or 0.0
        if fit["same_key"] is False:
            why = "its users' pseudonyms were made with another key"
        elif here < SAME_SHOP and known < SAME_SHOP:
            why = f"this log holds {here:.1%} of its items, and it knows {known:.1%} of the items asked for"
        else:
            return None
        return (
            f"version {self.champion_version} is the champion of another shop: {why}; nothing was compared. "
            f"`clickflow rollback {self.metrics.get('model', 'MODEL')} --to 0 --reason …` takes it down, then "
            f"`clickflow open` and `dvc repro`"
        )


def read(paths: Paths, model: str, champion_version: int) -> Evidence:
    """Read it. Raises DataError where a file is missing, or was made from another artefact or another champion."""
    metrics = _json(paths.measured(model), f"clickflow evaluate {model}")
    exported = paths.exported(model)
    card = _json(exported / "card.json", f"clickflow export {model}")
    onnx = exported / "model.onnx"
    if not onnx.is_file():
        raise DataError(f"there is no {onnx}", next_step=f"run `dvc repro export@{model}`")
    found = sha256(onnx)
    for name, said in (("card.json", card.get("model_sha256")), ("metrics.json", _artefact(metrics, "model_sha256"))):
        if said != found:
            raise DataError(
                f"{model}: {name} speaks of another artefact than the one in {exported}: {said} is not {found}",
                kept="no decision was written",
                next_step=f"run `dvc repro gate@{model}`, which exports and evaluates again where needed",
            )
    if metrics.get("champion_version", 0) != champion_version:
        raise DataError(
            f"{model} was evaluated beside champion {metrics.get('champion_version')}, params.yaml names "
            f"{champion_version}",
            kept="no decision was written",
            next_step=f"run `dvc repro evaluate@{model}`, then the gate",
        )
    latency = _number(_artefact(metrics, "latency_ms_p95_class") or card.get("latency_ms_p95_class"))
    folder, known = paths.evaluation(model), int(card["known"])
    answers = {}
    if metrics.get("next_items"):
        answers["next_items"] = _ahead(folder / AHEAD, known)
    if metrics.get("next_action"):
        answers["next_action"] = _actions(folder / ACTIONS)
    return Evidence(
        predictions=_predictions(folder / PREDICTIONS, known) if metrics.get("next_item") else None,
        metrics=metrics,
        champion_version=champion_version,
        artefact_sha256=sha256_folder(exported),
        model_sha256=found,
        data_sha256=metrics.get("data_sha256") or card.get("data_sha256"),
        size_mb=onnx.stat().st_size / 1e6,
        latency_ms=latency,
        answers=answers,
    )


def _table(file: Path, *needed: str) -> Any:
    try:
        table = pq.read_table(file)
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read: {error}", next_step="run `clickflow evaluate` again") from error
    if lacking := {"sequence", "target", *needed} - set(table.column_names):
        raise DataError(
            f"{file} lacks the columns {', '.join(sorted(lacking))}", next_step="run `clickflow evaluate` again"
        )
    return table


def _actions(file: Path) -> Answers:
    """accuracy and log_loss, row by row."""
    table = _table(file, *(f"{what}_{CANDIDATE}" for what in ("predicted", "loss", "confidence")))
    target, systems = table["target"].to_numpy(), _systems(table, "loss_")
    predicted = {name: table[f"predicted_{name}"].to_numpy() for name in systems}
    return Answers(
        sequence=_sequence(table),
        customer=_customer(table),
        rows={
            "accuracy": {name: (predicted[name] == target).astype(np.float64) for name in systems},
            "log_loss": {name: table[f"loss_{name}"].to_numpy().astype(np.float64) for name in systems},
        },
        target=target,
        predicted=predicted,
        confidence={name: table[f"confidence_{name}"].to_numpy() for name in _systems(table, "confidence_")},
    )


def _ahead(file: Path, known: int) -> Answers:
    table = _table(file, f"rank_{CANDIDATE}")
    return Answers(
        sequence=_sequence(table),
        customer=_customer(table),
        ranks={name: table[f"rank_{name}"].to_numpy() for name in _systems(table, "rank_")},
        known=_known(table, known),
    )


def _systems(table: Any, prefix: str) -> list[str]:
    named = [name.removeprefix(prefix) for name in table.column_names if name.startswith(prefix)]
    return [name for name in named if name not in (ORACLE, ONE_STEP)]


def _sequence(table: Any) -> Array:
    sequence: Array = np.unique(table["sequence"].to_numpy(), return_inverse=True)[1]
    return sequence


def _customer(table: Any) -> Array:
    """Whose each row is; rows that do not say it are their sequence's."""
    sequence = table["sequence"].to_numpy()
    owner: Array = table["customer"].to_numpy() if "customer" in table.column_names else -1 - sequence
    return owner


def _known(table: Any, known: int) -> Array:
    """Whether the target is an item that the candidate knows."""
    target = table["target"].to_numpy()
    inside: Array = (target >= FIRST_ITEM) & (target < known)
    return inside


def _predictions(file: Path, known: int) -> Predictions:
    table = _table(file, f"rank_{CANDIDATE}")
    ranks, missing, sliced, seen, oracle = {}, {}, {}, {}, None
    for name in table.column_names:
        column = table[name]
        if name.startswith("rank_"):
            system = name.removeprefix("rank_")
            if system == ORACLE:
                oracle = column.fill_null(0).to_numpy()
            if system == ORACLE or (system == CHAMPION and column.null_count == len(column)):
                continue
            missing[system] = column.null_count
            ranks[system] = column.fill_null(0).to_numpy()
        elif name.startswith("seen_"):
            seen[name.removeprefix("seen_")] = None if column.null_count else column.to_numpy()
        elif name not in _NO_SLICE:
            sliced[name] = _slices(name, column)
    return Predictions(
        sequence=_sequence(table),
        customer=_customer(table),
        ranks=ranks,
        missing=missing,
        known=_known(table, known),
        slices=sliced,
        seen=seen,
        tied=table["tied"].to_numpy() if "tied" in table.column_names else None,
        oracle=oracle,
    )


def _slices(name: str, column: Any) -> tuple[Array, list[str]]:
    """Each row's slice: its code [n], and the names of the codes. Lengths are put together as in the report."""
    if name == "length":
        column = pa.chunked_array([slices.lengths(column.to_numpy()).tolist()])
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    return encoded.indices.to_numpy(), [str(value) for value in encoded.dictionary.to_pylist()]


def _json(file: Path, verb: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = read_json(file)
    except FileNotFoundError as error:
        raise DataError(f"there is no {file}", next_step=f"run `{verb}`, or `dvc repro`") from error
    except ValueError as error:
        raise DataError(f"{file} is not valid JSON: {error}", next_step=f"run `{verb}` again") from error
    return content


def _artefact(metrics: Mapping[str, Any], key: str) -> Any:
    return (metrics.get("artefact") or {}).get(key)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
