"""`clickflow promote`: register the candidates; make champions of those that passed the gate, and the person asked.

Under one lock, for each model: register the artefact as a version, alias `candidate`, one line in the ledger, and only
then the aliases `previous` and `champion`. Killed in between, the next promote or rollback completes it: the ledger
rules. The same decision carried out twice changes nothing the second time. What the gate wrote is not believed: before
the lock is taken, `clickflow.registry.verify` decides again from the evidence.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from clickflow.params.schema import Params
from clickflow.registry import aliases, approval, canary, ledger, origin, try_log, verify
from clickflow.registry.approval import Answer, Word
from clickflow.registry.candidate import Candidate, read_candidate, register
from clickflow.registry.ledger import Action, Entry, Standing
from clickflow.registry.lock import changing
from clickflow.registry.origin import Origin
from clickflow.registry.verify import Objection
from clickflow.system import console
from clickflow.system.errors import UsageError
from clickflow.system.paths import Paths
from clickflow.tracking import mlflow_client, registered_models
from clickflow.tracking.mlflow_client import Store
from clickflow.tracking.registered_models import CANDIDATE


@dataclass(frozen=True)
class Outcome:
    """What became of one candidate."""

    model: str
    outcome: Literal["promoted", "already champion", "canary", "held", "rejected", "refused", "stands"]
    version: int
    champion: int
    previous: int
    text: str
    next_step: str = ""


def run(
    params: Params,
    paths: Paths,
    models: list[str],
    *,
    as_json: bool,
    answers: Mapping[str, Answer] | None = None,
    dry_run: bool = False,
) -> None:
    """Promote, hold or reject each model's candidate as its gate decided, and say what happened.

    Where `promotion.approve` names the model, its entry in `answers` must agree; in a run the commit's names count.
    `dry_run`: only say whether each decision stands.

    Raises UsageError where a candidate was refused: the gate judged other bytes, by other rules, or against another
    champion, or it does not decide what its decision says.
    """
    for model in models:
        params.model(model)
    candidates = [read_candidate(paths, model) for model in models]
    source = origin.of(paths)
    _check_home(paths, source)
    rules = verify.committed(params, source)
    objections = {
        each.model: _of_artefact(paths, each) or verify.objection(params, paths, each.model, each.content, source)
        for each in candidates
    }
    if dry_run:
        outcomes, shown = [_foretold(candidate, objections[candidate.model]) for candidate in candidates], ""
    else:
        with changing(paths):
            store = mlflow_client.connect(rules, paths)  # a run does not say where it is registered
            shown, entries = store.shown, ledger.whole(paths)
            outcomes = []
            for candidate in candidates:
                word = _word(rules, candidate, (answers or {}).get(candidate.model))
                share = rules.live.share if candidate.model in rules.live.canary else None
                objection = objections[candidate.model]
                outcomes.append(_one(store, paths, entries, candidate, word, source, objection, share))
    console.emit(
        {"models": [asdict(outcome) for outcome in outcomes], "registry": shown},
        as_json=as_json,
        text=lambda: "\n".join(f"{outcome.model}: {outcome.text}" for outcome in outcomes),
    )
    refused = [outcome for outcome in outcomes if outcome.outcome == "refused"]
    if refused:
        raise UsageError(
            "refused: " + "; ".join(f"{outcome.model}: {outcome.text}" for outcome in refused),
            kept="no champion was changed by what was refused"
            + ("" if dry_run else "; the refusal stands in the ledger"),
            next_step="; ".join(sorted({outcome.next_step for outcome in refused})),
        )


def _check_home(paths: Paths, source: Origin) -> None:
    """Raise UsageError in the folder of a run, where the home that the run is of is not named: it has a registry."""
    home = paths.root.resolve().parent.parent
    if source.run and "CLICKFLOW_HOME" not in os.environ and (home / "ledger.jsonl").exists():
        raise UsageError(
            f"this is the folder of run {source.named['run_id']}, and its home {home} is not named",
            kept="nothing was registered",
            next_step=f"set CLICKFLOW_HOME={home} and run the command again",
        )


def _foretold(candidate: Candidate, objection: Objection | None) -> Outcome:
    """What a dry run says of a candidate: version and champion are not looked up."""
    if objection:
        return Outcome(candidate.model, "refused", 0, 0, 0, objection.reason, objection.next_step)
    summary = candidate.content.get("summary")
    return Outcome(candidate.model, "stands", 0, 0, 0, f"the decision stands: {candidate.decision}, {summary}")


def _word(params: Params, candidate: Candidate, answer: Answer | None) -> Word:
    model, summary = candidate.model, str(candidate.content.get("summary") or f"the gate decided: {candidate.decision}")
    return approval.word(model, candidate.decision, summary, answer, required=model in params.promotion.approve)


def _one(
    store: Store,
    paths: Paths,
    entries: list[Entry],
    candidate: Candidate,
    word: Word,
    source: Origin,
    objection: Objection | None,
    share: float | None,
) -> Outcome:
    """Carry one decision out, unless there is an `objection` to it. `share`: of the visitors whom a version that is let
    through answers first, as a canary; None: it is champion at once.
    """
    model, reason = candidate.model, word.reason
    standing = aliases.complete(store, entries, model)
    facts: dict[str, Any] = {
        **source.facts(),
        "artefact_sha256": candidate.artefact_sha256,
        "model_sha256": candidate.model_sha256,
        "decision_sha256": candidate.decision_sha256,
        "rules_sha256": (candidate.content.get("judged_by") or {}).get("sha256"),
        "data_sha256": candidate.content.get("data_sha256"),
        "best_champion": candidate.content.get("best_champion", 0),
        try_log.HASH: try_log.newest(paths),
        "metrics": candidate.metrics,
        **word.facts,
    }
    used = [e for e in entries if e.model == model and e.facts.get("decision_sha256") == candidate.decision_sha256]
    done = [e for e in used if e.action == word.decision and (e.action == "promote" or word.said_in(e.facts))]
    if word.decision == "promote" and _is_champion(store, standing, candidate):
        text = f"version {standing.champion} is champion already; nothing to change"
        return Outcome(model, "already champion", standing.champion, standing.champion, standing.previous, text)
    if word.decision == "promote" and (on := canary.running(entries, model)) in used and on is not None:
        text = f"version {on.version} is a canary already; `clickflow canary status` shows how it fares"
        return Outcome(model, "canary", on.version, standing.champion, standing.previous, text)
    tried = used if share is not None and standing.champion else []
    if objection := objection or _objection(candidate, word, standing, done) or _ended(candidate, word, tried):
        if not (used and used[-1].action == "refuse" and used[-1].reason == objection.reason):
            _note(paths, entries, "refuse", model, 0, standing, objection.reason, facts)
            aliases.follow(store, entries, model)
        return Outcome(model, "refused", 0, standing.champion, standing.previous, objection.reason, objection.next_step)
    registered = register(store, paths, candidate, word, source)
    version = registered.number
    # of a model that is registered already, what was signed when it was, and not what its tags say now
    signed = ledger.facts_of(entries, model, version)
    facts["artefact_sha256"] = signed.get("artefact_sha256") or registered.tags["artefact_sha256"]
    registered_models.point(store, model, CANDIDATE, version)
    if word.decision == "promote" and share is not None and standing.champion:
        _note(paths, entries, "canary", model, version, standing, reason, {**facts, "share": share})
        aliases.follow(store, entries, model)
        text = f"version {version} is a canary now, champion stays {standing.champion}: `clickflow canary status`"
        return Outcome(model, "canary", version, standing.champion, standing.previous, text)
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
    holder = registered_models.version(store, candidate.model, standing.champion) if standing.champion else None
    return holder is not None and holder.tags.get("content_sha256") == candidate.content_sha256


def _of_artefact(paths: Paths, candidate: Candidate) -> Objection | None:
    judged = candidate.content.get("artefact_sha256"), candidate.content.get("model_sha256")
    if judged == (candidate.artefact_sha256, candidate.model_sha256):
        return None
    name = paths.exported(candidate.model).relative_to(paths.root)
    return Objection(
        f"the artefact in {name} is not the one the gate judged",
        f"`dvc checkout --force {name}` puts back what it judged, `dvc repro` has it judge what lies there",
    )


def _objection(candidate: Candidate, word: Word, standing: Standing, done: list[Entry]) -> Objection | None:
    """Why the registry as it is now forbids it; `done` are the ledger's lines of it being carried out before."""
    if word.decision != "promote":
        return None
    if done:
        return Objection(
            f"this decision made version {done[-1].version} champion on {done[-1].time[:19]} UTC, and the champion was "
            f"changed since",
            f"to put it back: `clickflow rollback {candidate.model} --to {done[-1].version} --reason …`",
        )
    if candidate.champion_version != standing.champion:
        return Objection(
            f"it was judged against champion {candidate.champion_version or '(none)'}, and the champion is "
            f"{standing.champion or '(none)'} now",
            "run `clickflow open`, which writes the present champion into params.yaml, then `dvc repro` and "
            "`clickflow promote` again",
        )
    return None


def _ended(candidate: Candidate, word: Word, used: list[Entry]) -> Objection | None:
    """A canary that was ended does not begin again by itself; `used` are the ledger's lines of the decision."""
    began = [entry for entry in used if entry.action == "canary"]
    if word.decision != "promote" or not began:
        return None
    return Objection(
        f"this decision began a canary of version {began[-1].version} on {began[-1].time[:19]} UTC, which was ended",
        f"to try it once more: `clickflow canary start {candidate.model} --version {began[-1].version} --reason …`",
    )


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
