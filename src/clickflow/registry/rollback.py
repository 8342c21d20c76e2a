"""`clickflow rollback`: an earlier champion is put back, or the champion taken down, by one line in the ledger."""

import json
from collections.abc import Mapping
from typing import Any

from clickflow.params.schema import Params
from clickflow.registry import aliases, canary, champion, ledger
from clickflow.registry.ledger import Entry
from clickflow.registry.lock import changing
from clickflow.system import console
from clickflow.system.errors import UsageError
from clickflow.system.paths import Paths
from clickflow.tracking import mlflow_client, provenance, registered_models
from clickflow.tracking.mlflow_client import Store


def run(params: Params, paths: Paths, model: str, *, reason: str, to: int | None, as_json: bool) -> None:
    """Make `to` the champion of `model`; none given: the previous champion. The champion until now becomes previous.

    0 takes the champion down: the next candidate is judged as the first one, as befits another shop's data. A version
    must have been champion, or a canary; one that waits for a person's word, or that a person rejected, waits on. Its
    files must be whole: they are fetched and hashed before anything changes. Raises UsageError where it may not be
    champion.
    """
    params.model(model)
    if not reason.strip():
        raise UsageError("a rollback needs a reason", next_step=f'`clickflow rollback {model} --reason "…"`')
    with changing(paths):
        store = mlflow_client.connect(params, paths)
        entries = ledger.whole(paths)
        standing = aliases.complete(store, entries, model)
        by = {f"by_{key}": value for key, value in provenance.of(paths.root).items() if key in ("run_id", "dag_run")}
        if done := _done(entries, model, by):
            _say(done.model, done.champion, done.previous, done.reason, as_json=as_json)
            return
        target = to if to is not None else standing.previous
        kept = f"champion stays {standing.champion}" if standing.champion else "there is no champion"
        if not standing.champion and not target:
            raise UsageError(
                f"{model} has no champion yet: nothing to roll back",
                next_step="`dvc repro`, then `clickflow promote`, make the first one",
            )
        if not target and to is None:
            raise UsageError(
                f"{model} has had no champion before version {standing.champion}",
                kept=kept,
                next_step=f"name a version that was let through: `clickflow rollback {model} --to VERSION --reason …`",
            )
        if target == standing.champion:
            raise UsageError(f"version {target} of {model} is champion already", kept=kept)
        tags = _tags(params, paths, store, entries, model, target, kept=kept) if target else {}
        names = ("artefact_sha256", "model_sha256", "data_sha256", "commit", "run_id", "dag_run")
        # what was signed then; of a version of before there was a ledger, what its tags in MLflow say
        signed = ledger.facts_of(entries, model, target)
        facts = {name: known for name in names if (known := signed.get(name) or tags.get(name))}
        ledger.note(
            paths,
            entries,
            action="rollback",
            model=model,
            version=target,
            champion=target,
            previous=standing.champion,
            reason=reason.strip(),
            facts={**facts, **by, "metrics": signed.get("metrics") or _metrics(tags)},
        )
        aliases.follow(store, entries, model)
    _say(model, target, standing.champion, reason.strip(), as_json=as_json)


def _metrics(tags: Mapping[str, str]) -> Any:
    """Those that a version was registered with; none where they cannot be read."""
    try:
        return json.loads(tags.get("metrics", "{}"))
    except ValueError:
        console.say("warning: the metrics in the version's tags in MLflow cannot be read: the ledger's line has none")
        return {}


def _tags(
    params: Params, paths: Paths, store: Store, entries: list[Entry], model: str, target: int, *, kept: str
) -> Mapping[str, str]:
    """The tags of a version that may be champion, and whose files are whole. Raises UsageError, DataError."""
    moves = [entry for entry in entries if entry.model == model and entry.moves]
    registered = registered_models.version(store, model, target)
    was_champion = any(target in (entry.champion, entry.previous) for entry in moves)
    let_through = any(e.model == model and e.version == target and e.action in canary.LET_THROUGH for e in entries)
    if registered is None or not (was_champion or let_through):
        passed = registered is not None and registered.tags.get("decision") == "promote"
        why = f"was never champion and {'nobody has agreed to it' if passed else 'did not pass the gate'}"
        if registered is None:
            why = "is not registered"
        may = sorted({entry.champion for entry in moves} - {moves[-1].champion if moves else 0, 0})
        raise UsageError(
            f"version {target} of {model} {why}",
            kept=kept,
            next_step=f"these were champion: {', '.join(map(str, may)) or 'none other'}"
            + ("; to agree to it: `clickflow promote --approve` where its run's results lie" if passed else ""),
        )
    champion.fetch(params, paths, model, target)
    return registered.tags


def _done(entries: list[Entry], model: str, by: dict[str, str]) -> Entry | None:
    """The line of the same DAG run, whose task was killed after it, or cleared: once is enough."""
    mine = [e for e in entries if e.action == "rollback" and e.model == model and "by_dag_run" in by]
    return next((e for e in mine if e.facts.get("by_dag_run") == by["by_dag_run"]), None)


def _say(model: str, champion_now: int, before: int, reason: str, *, as_json: bool) -> None:
    console.emit(
        {"model": model, "champion": champion_now, "previous": before, "reason": reason},
        as_json=as_json,
        text=lambda: (
            f"{model}: {f'version {champion_now} is champion again' if champion_now else 'there is no champion now'} "
            f"(was {before}, now previous); `clickflow open` writes it into params.yaml"
        ),
    )
