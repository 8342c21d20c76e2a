"""Workspaces as after the evaluation, with ranks whose truth is known."""

import hashlib
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from numpy.typing import NDArray
from pyarrow import parquet

from clickflow.gate import stage
from clickflow.params.file import check
from clickflow.params.schema import Params
from clickflow.registry import try_log
from clickflow.system import integrity
from clickflow.system.files import read_json, sha256, write_json
from clickflow.system.paths import Paths

MODEL = "next_step"
KNOWN = 1000
LN2 = math.log(2)
Ranks = NDArray[np.int32]


def sequences(n: int, seed: int = 0) -> NDArray[np.int32]:
    """Which of `n` sequences each prediction belongs to: 1 to 9 predictions a sequence."""
    lengths = np.random.default_rng(seed).integers(1, 10, n)
    return np.repeat(np.arange(n, dtype=np.int32), lengths)


def ranks(sequence: NDArray[np.int32], hit: float, seed: int) -> Ranks:
    """Ranks of which about the share `hit` lies in 1..20, the rest beyond; sequences differ in how easy they are."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(0, 0.15, int(sequence.max()) + 1)[sequence]
    hits = rng.random(len(sequence)) < np.clip(hit + ease, 0, 1)
    return np.where(hits, rng.integers(1, 21, len(sequence)), rng.integers(21, KNOWN, len(sequence))).astype(np.int32)


def worse(target_ranks: Ranks, share: float, seed: int) -> Ranks:
    """`target_ranks` with a share of its answers lost: every metric falls by this share, whatever it was."""
    lost = np.random.default_rng(seed).random(len(target_ranks)) < share
    return np.where(lost, 0, target_ranks).astype(np.int32)


def measured(
    paths: Paths,
    sequence: NDArray[np.int32],
    systems: Mapping[str, Ranks],
    *,
    champion: int = 0,
    hour: NDArray[Any] | None = None,
    unknown: NDArray[np.bool_] | None = None,
    actions: Mapping[str, Any] | None = None,
    artefact: Mapping[str, Any] | None = None,
    losses: Mapping[str, NDArray[Any]] | None = None,
    fit: Mapping[str, Any] | None = None,
    seen: NDArray[np.bool_] | None = None,
    customer: NDArray[np.int32] | None = None,
    tied: NDArray[np.bool_] | None = None,
    weights: bytes = b"weights",
    window: tuple[str, str] = ("2026-01-05T00", "2026-01-06T00"),
    best: int | None = None,
    champion_answers: Mapping[str, int] | None = None,
) -> None:
    """Write what export and evaluate would have: card, predictions, metrics. `unknown` [n]: items that the candidate
    does not know. `losses` [n]: of next_action, by system; one below ln 2 counts as right.
    `seen` [n]: rows that the champion may have learned from; masked: it is not known.
    `tied` [n]: answers of the same instant as the step before. `best`: the version of the system best_champion.
    `customer` [n]: whose each row is; none given: nobody is known.
    `fit`: what differs in the champion's from that of one of the same shop. `champion_answers`: its outputs, and for
    how many next steps; none given: those of the candidate.
    """
    exported, folder = paths.exported(MODEL), paths.evaluation(MODEL)
    for each in (exported, folder):
        shutil.rmtree(each, ignore_errors=True)
        each.mkdir(parents=True)
    (exported / "model.onnx").write_bytes(weights * 1000)
    onnx = sha256(exported / "model.onnx")
    write_json(exported / "card.json", {"known": KNOWN, "model_sha256": onnx, "data_sha256": "d" * 64})
    n = len(sequence)
    owner = customer if customer is not None else -1 - sequence
    if systems:
        start = np.concatenate([[True], sequence[1:] != sequence[:-1]])
        first = np.maximum.accumulate(np.where(start, np.arange(n), 0))
        hours = hour if hour is not None else sequence % 24
        beyond = unknown if unknown is not None else np.zeros(n, bool)
        columns = {
            "sequence": pa.array(sequence),
            "customer": pa.array(owner),
            "position": pa.array((np.arange(n) - first).astype(np.int32)),
            "target": pa.array(np.where(beyond, KNOWN + 7, 7).astype(np.int32)),
            **{f"rank_{name}": pa.array(target_ranks) for name, target_ranks in systems.items()},
            "length": pa.array((np.bincount(sequence)[sequence] + 1).astype(np.int32)),
            "day": pa.array(["2026-01-05"] * n),
            "hour": pa.array([f"{h:02d}" for h in hours]),
            "popularity": pa.array(np.where(beyond, "unknown", "head").tolist()),
        }
        if "champion" not in systems:
            columns["rank_champion"] = pa.nulls(n, pa.int32())
        else:
            columns["seen_champion"] = pa.array(np.zeros(n, bool) if seen is None else seen)
        if "best_champion" in systems:
            columns["seen_best_champion"] = columns["seen_champion"]
        columns["tied"] = pa.array(np.zeros(n, bool) if tied is None else tied)
        parquet.write_table(pa.table(columns), folder / "predictions.parquet")
    if actions:
        losses_by_system = losses or {"candidate": few_nats(n or 500, 0.5), "majority": few_nats(n or 500, 1.5)}
        size = len(next(iter(losses_by_system.values())))
        table = {
            "sequence": pa.array(sequence if n else np.arange(size, dtype=np.int32)),
            "customer": pa.array(owner if n else np.arange(size, dtype=np.int32)),
            "target": pa.array(np.zeros(size, np.int8)),
            **{f"predicted_{name}": pa.array((each > LN2).astype(np.int8)) for name, each in losses_by_system.items()},
            **{f"loss_{name}": pa.array(each) for name, each in losses_by_system.items()},
            **({"seen_champion": pa.array(np.zeros(size, bool))} if "champion" in losses_by_system else {}),
            "confidence_candidate": pa.array(np.full(size, _confidence(losses_by_system["candidate"], actions))),
        }
        parquet.write_table(pa.table(table), folder / "actions.parquet")
        actions = {"candidate": actions["candidate"] | _by_rows(losses_by_system["candidate"], actions)}
    own = dict.fromkeys([*["next_item"] * bool(systems), *["next_action"] * bool(actions)], 1)
    answered = {"candidate": own, "champion": own if champion_answers is None else champion_answers}
    same_shop = {"items_here": 0.9, "targets_known": 0.9, "same_key": True, "answered": answered}
    write_json(
        paths.measured(MODEL),
        {
            "next_item": {name: metrics(np.ma.filled(target_ranks, 0)) for name, target_ranks in systems.items()}
            or None,
            "next_action": actions,
            "champion_version": champion,
            "best_version": champion if best is None else best,
            "window": dict(zip(("from", "to"), window, strict=True)),
            "champion_fit": {**same_shop, **(fit or {})} if champion else None,
            "data_sha256": sha256_of(window[0]),
            "artefact": {"model_sha256": onnx, "size_mb": 0.007, "latency_ms_p95_class": 2.0, **(artefact or {})},
        },
    )
    for each in (exported, folder):
        integrity.seal(each)


def sha256_of(text: str) -> str:
    """A hash that stands for the data of a window."""
    return hashlib.sha256(text.encode()).hexdigest()


def metrics(target_ranks: Any) -> dict[str, Any]:
    """recall, MRR and NDCG of ranks, without intervals."""
    values: dict[str, float] = {}
    for k in (1, 5, 10, 20):
        hit = [int(rank) for rank in target_ranks if 1 <= rank <= k]
        values[f"recall@{k}"] = len(hit) / len(target_ranks)
        values[f"mrr@{k}"] = sum(1 / rank for rank in hit) / len(target_ranks)
        values[f"ndcg@{k}"] = sum(1 / math.log2(rank + 1) for rank in hit) / len(target_ranks)
    return {name: {"value": round(value, 6), "low": None, "high": None} for name, value in values.items()}


def _by_rows(losses: NDArray[Any], actions: Mapping[str, Any]) -> dict[str, Any]:
    """accuracy, unless it was not measured, and log_loss, as the rows give them."""
    values = {"accuracy": float(np.mean(losses <= LN2)), "log_loss": float(losses.mean())}
    cells = actions["candidate"]
    return {name: {"value": round(value, 6)} for name, value in values.items() if cells[name]["value"] is not None}


def _confidence(losses: NDArray[Any], actions: Mapping[str, Any]) -> float:
    """One for all rows, off the accuracy by the calibration error that `actions` says."""
    error, accuracy = actions["candidate"]["ece"]["value"] or 0.0, float(np.mean(losses <= LN2))
    if math.isnan(error):
        return accuracy
    return accuracy + error if accuracy + error <= 1 else accuracy - error


def few_nats(n: int, mean: float, seed: int = 0) -> NDArray[Any]:
    """Losses of next_action around a mean."""
    return np.random.default_rng(seed).gamma(2.0, mean / 2, n)


def accurate(error: float | None = 0.02, accuracy: float | None = 0.7) -> dict[str, Any]:
    """next_action of metrics.json; `measured` puts the rows' own accuracy there, unless it is None."""
    cells = {"accuracy": {"value": accuracy, "low": None, "high": None}, "log_loss": {"value": 0.5}}
    return {"candidate": {**cells, "ece": {"value": error}}}


def params_with(root: Path, champion: int = 0, **gate: Any) -> Params:
    """The repository's params with another gate: `champion__rule="better"` is gate.champion.rule."""
    raw = yaml.safe_load((root / "tests/assets/params_long.yaml").read_text(encoding="utf-8"))
    raw["champion"][MODEL] = champion
    for key, value in gate.items():
        place = raw["gate"]
        *folders, name = key.split("__")
        for folder in folders:
            place = place[folder]
        place[name] = value
    return check(raw)


def decision(paths: Paths) -> dict[str, Any]:
    """decision.json."""
    content: dict[str, Any] = read_json(paths.gate(MODEL) / "decision.json")
    return content


def verdicts(paths: Paths) -> dict[str, str]:
    """Rule to verdict."""
    return {rule["rule"]: rule["verdict"] for rule in decision(paths)["rules"]}


MANY = sequences(1500)
STRONG = ranks(MANY, 0.5, seed=1)
WEAK = worse(STRONG, 0.3, seed=2)


def decided(root: Path, paths: Paths, champion: int = 0, **rules: Any) -> str:
    for folder in (paths.evaluation(MODEL), paths.exported(MODEL)):
        integrity.seal(folder)  # as the stages leave them, whatever a test has made of them
    stage.run(params_with(root, champion, **rules), paths, MODEL, try_log.record)
    return str(decision(paths)["decision"])


def rule(paths: Paths, start: str) -> dict[str, Any]:
    rules = [each for each in decision(paths)["rules"] if each["rule"].startswith(start)]
    assert len(rules) == 1, [each["rule"] for each in decision(paths)["rules"]]
    return dict(rules[0])
