"""What the gate judges by: the evaluation's files and the artefact, read and checked against each other."""

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
from clickflow.evaluation.answers import KINDS
from clickflow.evaluation.systems import CANDIDATE, ONE_STEP, ORACLE
from clickflow.heads import outputs
from clickflow.heads.outputs import Output
from clickflow.system.errors import DataError
from clickflow.system.files import read_json, sha256, sha256_folder
from clickflow.system.paths import Paths

Array = NDArray[Any]

SAME_SHOP = 0.1
"""The least share of items that two trainings of one shop have in common."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows [n] of one output, of all systems; the candidate's own `one_step` is left out.

    `sequence` int: 0 to sequences - 1. `customer` int: who it came from (`customers.Codes`). `answers`: by system what
    it answered, in the form of its kind (`clickflow.evaluation.answers`); the oracle is apart, being no competitor.
    `missing`: by system, how many rows it left without an answer. `known` bool: the candidate can give the true answer.
    `slices`: by dimension, the slice's code of each row and the names of the codes. `seen`: by earlier version, bool:
    it may have learned from the row; None, or no entry: that is not known. `tied` bool: the answer has the time of the
    step before.
    """

    output: Output
    sequence: Array
    customer: Array
    target: Array
    answers: Mapping[str, Any]
    missing: Mapping[str, int]
    known: Array
    slices: Mapping[str, tuple[Array, list[str]]] = field(default_factory=dict)
    seen: Mapping[str, Array | None] = field(default_factory=dict)
    tied: Array | None = None
    oracle: Any = None

    def __len__(self) -> int:
        return len(self.sequence)

    @property
    def sequences(self) -> int:
        """How many sequences have a row."""
        return int(self.sequence.max(initial=-1)) + 1

    def counted(self, metric: str) -> Array:
        """What each row counts in a metric, float64 [n]: 0 where it is over known answers and this is none."""
        return self.known.astype(np.float64) if metric.endswith("_known") else np.ones(len(self))

    def values(self, metric: str, answers: Any) -> Array:
        """What each row adds to a metric that is a mean over rows, float64 [n]."""
        return self.counted(metric) * KINDS[self.output.kind].values(metric, answers, self.target)

    def of_truth(self) -> Array:
        """1 where the true process has an answer, float64 [n]."""
        return KINDS[self.output.kind].answered(self.oracle).astype(np.float64)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All of it; `rows`: by output of the model, in the order in which they are shown."""

    rows: Mapping[str, Rows]
    metrics: Mapping[str, Any]
    champion_version: int
    artefact_sha256: str
    model_sha256: str
    data_sha256: str | None
    size_mb: float
    latency_ms: float | None
    tries: int = 1
    """The how manieth on its test window this candidate is."""

    @property
    def ranked(self) -> Rows | None:
        """Those of the first ranking."""
        return self.rows.get(outputs.main(self.rows, "ranking"))

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
    if metrics.get("model", model) != model:
        raise DataError(
            f"{paths.measured(model)} is the evaluation of {metrics['model']}, not of {model}",
            kept="no decision was written",
            next_step=f"run `dvc repro evaluate@{model}`, then the gate",
        )
    exported = paths.exported(model)
    card = _json(exported / "card.json", f"clickflow export {model}")
    onnx = exported / card.get("file", "model.onnx")
    if onnx.parent != exported or not onnx.is_file():
        raise DataError(f"there is no {onnx}", next_step=f"run `dvc repro export@{model}`")
    hashed = sha256(onnx)
    for name, recorded in (
        ("card.json", card.get("model_sha256")),
        ("metrics.json", _artefact(metrics, "model_sha256")),
    ):
        if recorded != hashed:
            raise DataError(
                f"{model}: {name} describes another artefact than the one in {exported}: {recorded} is not {hashed}",
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
    measured = outputs.of(output.name for output in outputs.every() if metrics.get(output.name))
    return Evidence(
        rows={output.name: _rows(folder / output.evidence, output, known) for output in measured},
        metrics=metrics,
        champion_version=champion_version,
        artefact_sha256=sha256_folder(exported),
        model_sha256=hashed,
        data_sha256=metrics.get("data_sha256") or card.get("data_sha256"),
        size_mb=onnx.stat().st_size / 1e6,
        latency_ms=latency,
    )


def _table(file: Path, *needed: str) -> Any:
    try:
        table = pq.read_table(file)
        lacking = {"sequence", "target", *needed} - set(table.column_names)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise DataError(f"{file} cannot be read: {error}", next_step="run `clickflow evaluate` again") from error
    if lacking:
        raise DataError(
            f"{file} lacks the columns {', '.join(sorted(lacking))}", next_step="run `clickflow evaluate` again"
        )
    return table


def _sequence(table: Any) -> Array:
    sequence: Array = np.unique(table["sequence"].to_numpy(), return_inverse=True)[1]
    return sequence


def _customer(table: Any) -> Array:
    """Whose each row is; rows that do not say it are their sequence's."""
    sequence = table["sequence"].to_numpy()
    owner: Array = table["customer"].to_numpy() if "customer" in table.column_names else -1 - sequence
    return owner


def _rows(file: Path, output: Output, known: int) -> Rows:
    kind = KINDS[output.kind]
    table = _table(file, *kind.columns(CANDIDATE))
    answers, missing = kind.read(table)
    target = table["target"].to_numpy()
    seen = {name.removeprefix("seen_"): name for name in table.column_names if name.startswith("seen_")}
    competing = [system for system in answers if system not in (ORACLE, ONE_STEP)]
    return Rows(
        output=output,
        sequence=_sequence(table),
        customer=_customer(table),
        target=target,
        answers={system: answers[system] for system in competing},
        missing={system: missing[system] for system in competing},
        known=kind.known(target, int(target.max(initial=0)) + 1 if output.by else known),
        slices={name: _slices(name, table[name]) for name in slices.DIMENSIONS if name in table.column_names},
        seen={system: None if table[name].null_count else table[name].to_numpy() for system, name in seen.items()},
        tied=table["tied"].to_numpy() if "tied" in table.column_names else None,
        oracle=answers.get(ORACLE),
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
