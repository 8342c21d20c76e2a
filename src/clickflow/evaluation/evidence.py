"""What the gate judges by: the evaluation's files and the artefact, read and held against each other."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clickflow.errors import DataError
from clickflow.evaluation import slices
from clickflow.files import read_json, sha256, sha256_folder
from clickflow.paths import Paths

Array = NDArray[Any]

CANDIDATE, CHAMPION, ORACLE = "candidate", "champion", "oracle"
_NO_SLICE = {"sequence", "position", "target"}


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The next-item predictions, one row each [n], of all systems.

    `sequence` int: 0 to sequences - 1. `ranks`: by system, the rank of the true item, 0: none; the oracle is left out,
    being no competitor. `missing`: by system, how many rows it left without an answer. `known` bool: the true item is
    in the candidate's vocabulary. `slices`: by dimension, the slice's code of each row and the names of the codes.
    """

    sequence: Array
    ranks: Mapping[str, Array]
    missing: Mapping[str, int]
    known: Array
    slices: Mapping[str, tuple[Array, list[str]]]

    @property
    def sequences(self) -> int:
        """How many sequences have a prediction."""
        return int(self.sequence.max(initial=-1)) + 1

    @property
    def baselines(self) -> list[str]:
        """The systems that are neither candidate nor champion."""
        return sorted(set(self.ranks) - {CANDIDATE, CHAMPION})


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All of it. `predictions` is None for a model without the head next_item."""

    predictions: Predictions | None
    metrics: Mapping[str, Any]
    champion_version: int
    artefact_sha256: str
    model_sha256: str
    data_sha256: str | None
    size_mb: float
    latency_ms: float | None


def read(paths: Paths, model: str, champion_version: int) -> Evidence:
    """Read it. Raises DataError where a file is missing, or was made from another artefact or another champion."""
    metrics = _json(paths.metrics(model), f"clickflow evaluate {model}")
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
    return Evidence(
        predictions=_predictions(paths.evaluation(model) / "predictions.parquet", int(card["known"]))
        if metrics.get("next_item")
        else None,
        metrics=metrics,
        champion_version=champion_version,
        artefact_sha256=sha256_folder(exported),
        model_sha256=found,
        data_sha256=metrics.get("data_sha256") or card.get("data_sha256"),
        size_mb=onnx.stat().st_size / 1e6,
        latency_ms=latency,
    )


def _predictions(file: Path, known: int) -> Predictions:
    try:
        table = pq.read_table(file)
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read: {error}", next_step="run `clickflow evaluate` again") from error
    if lacking := {"sequence", "target", f"rank_{CANDIDATE}"} - set(table.column_names):
        raise DataError(
            f"{file} lacks the columns {', '.join(sorted(lacking))}", next_step="run `clickflow evaluate` again"
        )
    ranks, missing, sliced = {}, {}, {}
    for name in table.column_names:
        column = table[name]
        if name.startswith("rank_"):
            system = name.removeprefix("rank_")
            if system == ORACLE or (system == CHAMPION and column.null_count == len(column)):
                continue
            missing[system] = column.null_count
            ranks[system] = column.fill_null(0).to_numpy()
        elif name not in _NO_SLICE:
            sliced[name] = _slices(name, column)
    _, sequence = np.unique(table["sequence"].to_numpy(), return_inverse=True)
    return Predictions(
        sequence=sequence, ranks=ranks, missing=missing, known=table["target"].to_numpy() < known, slices=sliced
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
