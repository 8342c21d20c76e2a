"""`clickflow promote`: register the candidates; make champions of those that passed the gate, and the person asked.

Under one lock, for each model: register the artefact as a version, alias `candidate`, one line in the ledger, and only
then the aliases `previous` and `champion`. Killed in between, the next promote or rollback completes it: the ledger
rules. The same decision carried out twice changes nothing the second time.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from clickflow import console, integrity
from clickflow.errors import DataError, UsageError
from clickflow.files import read_json, sha256, sha256_folder
from clickflow.models.artefact import CARD, MODEL
from clickflow.params import Params
from clickflow.paths import Paths
from clickflow.registry import aliases, approval, ledger, mlflow_store, provenance, tries
from clickflow.registry.approval import Answer, Word
from clickflow.registry.ledger import Action, Entry, Standing
from clickflow.registry.lock import changing
from clickflow.registry.mlflow_store import CANDIDATE, Store


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


@dataclass(frozen=True)
class Outcome:
    """What became of one candidate."""

    model: str
    outcome: Literal["promoted", "already champion", "held", "rejected", "refused"]
    version: int
    champion: int
    previous: int
    text: str
    next_step: str = ""


def run(
    params: Params, paths: Paths, models: list[str], *, as_json: bool, answers: Mapping[str, Answer] | None = None
) -> None:
    """Promote, hold or reject each model's candidate as its gate decided, and say what happened.

    Where `promotion.approve` names the model, its entry in `answers` must agree.

    Raises UsageError where a candidate was refused: the gate judged other bytes, or against another champion.
    """
    for model in models:
        params.model(model)
    candidates = [read_candidate(paths, model) for model in models]
    with changing(paths):
        store = mlflow_store.connect(params, paths)
        entries = ledger.whole(paths)
        outcomes = [
            _one(store, paths, entries, candidate, _word(params, candidate, (answers or {}).get(candidate.model)))
            for candidate in candidates
        ]
    console.emit(
        {"models": [asdict(outcome) for outcome in outcomes], "registry": store.shown},
        as_json=as_json,
        text=lambda: "\n".join(f"{outcome.model}: {outcome.text}" for outcome in outcomes),
    )
    refused = [outcome for outcome in outcomes if outcome.outcome == "refused"]
    if refused:
        raise UsageError(
            "refused: " + "; ".join(f"{outcome.model}: {outcome.text}" for outcome in refused),
            kept="no champion was changed by what was refused; the refusal stands in the ledger",
            next_step="; ".join(sorted({outcome.next_step for outcome in refused})),
        )


def read_candidate(paths: Paths, model: str) -> Candidate:
    """The gate's decision on `model` and the artefact it lies beside; UsageError where one is missing."""
    file, exported = paths.gate(model) / "decision.json", paths.exported(model)
    onnx = exported / MODEL
    for needed in (file, onnx):
        if not needed.is_file():
            raise UsageError(
                f"{model} has no {needed.relative_to(paths.root)}: nothing to promote",
                kept="nothing was registered",
                next_step="run `dvc repro`; the gate must have decided first",
            )
    integrity.verify(paths.gate(model), paths.evaluation(model), home=paths.home)
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
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{file} is not a decision of the gate: {error}", next_step=f"run `clickflow gate {model}`"
        ) from error


def _content(exported: Path) -> str:
    files = sorted(file for file in exported.rglob("*") if file.is_file() and file.name not in (CARD, integrity.SEAL))
    lines = (f"{file.relative_to(exported).as_posix()} {sha256(file)}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _word(params: Params, candidate: Candidate, answer: Answer | None) -> Word:
    model, summary = candidate.model, str(candidate.content.get("summary") or f"the gate decided: {candidate.decision}")
    return approval.word(model, candidate.decision, summary, answer, asked=model in params.promotion.approve)


def _one(store: Store, paths: Paths, entries: list[Entry], candidate: Candidate, word: Word) -> Outcome:
    model, reason = candidate.model, word.reason
    standing = aliases.complete(store, entries, model)
    origin = provenance.of(paths)
    facts: dict[str, Any] = {
        **origin,
        "artefact_sha256": candidate.artefact_sha256,
        "model_sha256": candidate.model_sha256,
        "decision_sha256": candidate.decision_sha256,
        "data_sha256": candidate.content.get("data_sha256"),
        "best_champion": candidate.content.get("best_champion", 0),
        tries.HASH: tries.newest(paths),
        "metrics": candidate.metrics,
        **word.facts,
    }
    used = [e for e in entries if e.model == model and e.facts.get("decision_sha256") == candidate.decision_sha256]
    done = [entry for entry in used if entry.action == word.decision]
    if word.decision == "promote" and _is_champion(store, standing, candidate):
        text = f"version {standing.champion} is champion already; nothing to change"
        return Outcome(model, "already champion", standing.champion, standing.champion, standing.previous, text)
    if objection := _objection(paths, candidate, word, standing, done):
        if not (used and used[-1].action == "refuse" and used[-1].reason == objection.reason):
            _note(paths, entries, "refuse", model, 0, standing, objection.reason, facts)
            aliases.follow(store, entries, model)
        return Outcome(model, "refused", 0, standing.champion, standing.previous, objection.reason, objection.next_step)
    registered = mlflow_store.register(
        store,
        model,
        _folders(paths, model),
        tags=_tags(candidate, origin),
        metrics=_logged(candidate.metrics),
        title=f"{_data(candidate)} · {word.decision}",
        description=_description(candidate, word, origin),
    )
    version = registered.number
    facts["artefact_sha256"] = registered.tags["artefact_sha256"]
    mlflow_store.point(store, model, CANDIDATE, version)
    if word.decision == "promote":
        _note(paths, entries, "promote", model, version, Standing(version, standing.champion), reason, facts)
        aliases.follow(store, entries, model)
        was = f"version {standing.champion}, kept as previous" if standing.champion else "none before"
        text = f"version {version} is champion now ({was})"
        return Outcome(model, "promoted", version, version, standing.champion, text)
    if not done:
        _note(paths, entries, word.decision, model, version, standing, reason, facts)
        aliases.follow(store, entries, model)
    stays = f"champion stays {standing.champion}" if standing.champion else "there is no champion yet"
    outcome: Literal["held", "rejected"] = "held" if word.decision == "hold" else "rejected"
    text = f"version {version} {outcome}, {stays}: {reason}"
    return Outcome(model, outcome, version, standing.champion, standing.previous, text)


def _is_champion(store: Store, standing: Standing, candidate: Candidate) -> bool:
    holder = mlflow_store.version(store, candidate.model, standing.champion) if standing.champion else None
    return holder is not None and holder.tags.get("content_sha256") == candidate.content_sha256


@dataclass(frozen=True)
class _Objection:
    reason: str
    next_step: str


def _objection(
    paths: Paths, candidate: Candidate, word: Word, standing: Standing, done: list[Entry]
) -> _Objection | None:
    """Why the decision may not be carried out; `done` are the ledger's lines of it being carried out before."""
    judged = candidate.content.get("artefact_sha256"), candidate.content.get("model_sha256")
    if judged != (candidate.artefact_sha256, candidate.model_sha256):
        return _Objection(
            f"the artefact in {paths.exported(candidate.model).relative_to(paths.root)} is not the one the gate judged",
            "run `dvc repro`, so that the gate judges what lies there",
        )
    if word.decision != "promote":
        return None
    if done:
        return _Objection(
            f"this decision made version {done[-1].version} champion on {done[-1].time[:19]} UTC, and the champion was "
            f"changed since",
            f"to put it back: `clickflow rollback {candidate.model} --to {done[-1].version} --reason …`",
        )
    if candidate.champion_version != standing.champion:
        return _Objection(
            f"it was judged against champion {candidate.champion_version or '(none)'}, and the champion is "
            f"{standing.champion or '(none)'} now",
            "run `clickflow open`, which writes the present champion into params.yaml, then `dvc repro` and "
            "`clickflow promote` again",
        )
    return None


def _note(
    paths: Paths,
    entries: list[Entry],
    action: Action,
    model: str,
    version: int,
    after: Standing,
    reason: str,
    facts: dict[str, Any],
) -> None:
    ledger.note(
        paths,
        entries,
        action=action,
        model=model,
        version=version,
        champion=after.champion,
        previous=after.previous,
        reason=reason,
        facts=facts,
    )


def _folders(paths: Paths, model: str) -> dict[str, Path]:
    """What a version's run holds: the artefact, the report, the decision, and the params and lock it came from."""
    return {
        mlflow_store.EXPORTED: paths.exported(model),
        mlflow_store.EVALUATION: paths.evaluation(model),
        "gate": paths.gate(model),
        "metrics": paths.metrics(model),
        "params": paths.params,
        "lock": paths.root / "dvc.lock",
    }


def _tags(candidate: Candidate, origin: dict[str, str]) -> dict[str, str]:
    tags = {
        **origin,
        "artefact_sha256": candidate.artefact_sha256,
        "content_sha256": candidate.content_sha256,
        "model_sha256": candidate.model_sha256,
        "decision": candidate.decision,
        "decision_sha256": candidate.decision_sha256,
        "metrics": json.dumps(candidate.metrics, sort_keys=True),
    }
    data = candidate.content.get("data_sha256")
    return {**tags, "data_sha256": str(data)} if data else tags


def _data(candidate: Candidate) -> str:
    """Source and last day of what the candidate learned from, as far as the decision says; else the data's hash."""
    data = candidate.content.get("data") or {}
    source = " ".join(str(data[name]) for name in ("kind", "preset") if data.get(name))
    until = f"to {str(data['to'])[:10]}" if data.get("to") else f"data {str(candidate.content.get('data_sha256'))[:8]}"
    return f"{source} {until}".strip()


def _description(candidate: Candidate, word: Word, origin: Mapping[str, str]) -> str:
    """What a person reads in MLflow, in Markdown."""
    came = [f"{name} `{origin[name]}`" for name in ("run_id", "dag_run", "commit") if name in origin]
    lines = [str(candidate.content.get("sentence") or ""), f"**{word.decision}**: {word.reason}", ", ".join(came)]
    return "\n\n".join(line for line in lines if line)


def _logged(metrics: dict[str, float]) -> dict[str, float]:
    """MLflow's metric names have no @."""
    return {name.replace("@", "_at_"): value for name, value in metrics.items()}
