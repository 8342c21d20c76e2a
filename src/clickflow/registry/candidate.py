"""A candidate: what its gate decided, the hashes of what lies there, and how it is registered in MLflow."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from clickflow.artefact.artefact import CARD, model_file
from clickflow.registry.approval import Word
from clickflow.registry.origin import Origin, requester
from clickflow.system import integrity
from clickflow.system.errors import DataError, UsageError
from clickflow.system.files import read_json, sha256, sha256_folder
from clickflow.system.paths import Paths
from clickflow.tracking import registered_models
from clickflow.tracking.mlflow_client import Store
from clickflow.tracking.registered_models import Version


@dataclass(frozen=True)
class Candidate:
    """What the gate decided, and the hashes of what lies there now.

    `content_sha256` is the artefact without its card, which holds a measured latency: it says whether two artefacts
    are the same model. `artefact_sha256` is all of it.
    """

    model: str
    decision: Literal["promote", "hold", "reject"]
    champion_version: int
    metrics: dict[str, float]
    content: dict[str, Any]
    decision_sha256: str
    artefact_sha256: str
    content_sha256: str
    model_sha256: str


def read_candidate(paths: Paths, model: str) -> Candidate:
    """The gate's decision on `model` and the artefact it lies beside; UsageError where one is missing."""
    file, exported = paths.gate(model) / "decision.json", paths.exported(model)
    onnx = model_file(exported)
    for needed in (file, onnx):
        if not needed.is_file():
            raise UsageError(
                f"{model} has no {needed.relative_to(paths.root)}: nothing to promote",
                kept="nothing was registered",
                next_step="run `dvc repro`; the gate must have decided first",
            )
    try:
        content = read_json(file)
        decision = content["decision"]
        if decision not in ("promote", "hold", "reject"):
            raise ValueError(f"decision {decision!r}")
        return Candidate(
            model=model,
            decision=decision,
            champion_version=int(content["champion_version"]),
            metrics={key: float(value) for key, value in content["metrics"].items() if value is not None},
            content=content,
            decision_sha256=sha256(file),
            artefact_sha256=sha256_folder(exported),
            content_sha256=_content(exported),
            model_sha256=sha256(onnx),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(
            f"{file} is not a decision of the gate: {error}",
            kept="nothing was registered",
            next_step=f"run `clickflow gate {model}`",
        ) from error


def _content(exported: Path) -> str:
    files = sorted(file for file in exported.rglob("*") if file.is_file() and file.name not in (CARD, integrity.SEAL))
    lines = (f"{file.relative_to(exported).as_posix()} {sha256(file)}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def register(store: Store, paths: Paths, candidate: Candidate, word: Word, source: Origin) -> Version:
    """Register it as a version; where the same model is one already, it is that version."""
    return registered_models.register(
        store,
        candidate.model,
        _folders(paths, candidate.model),
        tags=_tags(candidate, source.named),
        metrics=_logged(candidate.metrics),
        title=f"{_data(candidate)} · {word.decision}",
        description=_description(candidate, word, source),
    )


def _folders(paths: Paths, model: str) -> dict[str, Path]:
    """What a version's run holds: the artefact, the report, the decision, and the params and lock it came from."""
    return {
        registered_models.EXPORTED: paths.exported(model),
        registered_models.EVALUATION: paths.evaluation(model),
        "gate": paths.gate(model),
        "metrics": paths.metrics(model),
        "params": paths.params,
        "lock": paths.root / "dvc.lock",
    }


def _tags(candidate: Candidate, named: Mapping[str, str]) -> dict[str, str]:
    """By which a version is found again."""
    tags = {
        **named,
        "artefact_sha256": candidate.artefact_sha256,
        "content_sha256": candidate.content_sha256,
        "model_sha256": candidate.model_sha256,
        "decision": candidate.decision,
        "decision_sha256": candidate.decision_sha256,
        "metrics": json.dumps(candidate.metrics, sort_keys=True),
    }
    learned = candidate.content.get("data_sha256")
    return {**tags, "data_sha256": str(learned)} if learned else tags


def _data(candidate: Candidate) -> str:
    """Source and last day of what the candidate learned from, as far as the decision says; else the data's hash."""
    data = candidate.content.get("data") or {}
    source = " ".join(str(data[name]) for name in ("kind", "preset") if data.get(name))
    until = f"to {str(data['to'])[:10]}" if data.get("to") else f"data {str(candidate.content.get('data_sha256'))[:8]}"
    return f"{source} {until}".strip()


def _description(candidate: Candidate, word: Word, source: Origin) -> str:
    """What a person reads in MLflow, in Markdown."""
    came = [f"{name} `{source.named[name]}`" for name in ("run_id", "dag_run", "commit") if name in source.named]
    came += [requester(source.person)] if source.person else []
    changed = ", ".join(f"{name} `{value}`" for name, value in source.overrides.items())
    lines = [
        str(candidate.content.get("sentence") or ""),
        f"**{word.decision}**: {word.reason}",
        ", ".join(came),
        f"with other params than its commit's: {changed}" if changed else "",
    ]
    return "\n\n".join(line for line in lines if line)


def _logged(metrics: dict[str, float]) -> dict[str, float]:
    """MLflow's metric names have no @."""
    return {name.replace("@", "_at_").replace("%", "_percent"): value for name, value in metrics.items()}
