"""`clickflow rollback`: an earlier champion is put back, with a reason, by one line in the ledger."""

import json

from clickflow import console
from clickflow.errors import UsageError
from clickflow.params import Params
from clickflow.paths import Paths
from clickflow.registry import aliases, champion, ledger, mlflow_store, provenance
from clickflow.registry.ledger import Entry
from clickflow.registry.lock import changing


def run(params: Params, paths: Paths, model: str, *, reason: str, to: int | None, as_json: bool) -> None:
    """Make `to` the champion of `model`; none given: the previous champion. The champion until now becomes previous.

    The version must have been champion, or have passed the gate, and its files must be whole: they are fetched and
    hashed before anything changes. Raises UsageError where it may not be champion.
    """
    params.model(model)
    if not reason.strip():
        raise UsageError("a rollback needs a reason", next_step=f'`clickflow rollback {model} --reason "…"`')
    with changing(paths):
        store = mlflow_store.connect(params, paths)
        entries = ledger.read(ledger.path(paths))
        standing = aliases.complete(store, entries, model)
        by = {f"by_{key}": value for key, value in provenance.of(paths).items() if key in ("run_id", "dag_run")}
        if done := _done(entries, model, by):
            _say(done.model, done.champion, done.previous, done.reason, as_json=as_json)
            return
        target = to if to is not None else standing.previous
        kept = f"champion stays {standing.champion}" if standing.champion else "there is no champion"
        if not standing.champion:
            raise UsageError(
                f"{model} has no champion yet: nothing to roll back",
                next_step="`dvc repro`, then `clickflow promote`, make the first one",
            )
        if not target:
            raise UsageError(
                f"{model} has had no champion before version {standing.champion}",
                kept=kept,
                next_step=f"name a version that passed the gate: `clickflow rollback {model} --to VERSION --reason …`",
            )
        if target == standing.champion:
            raise UsageError(f"version {target} of {model} is champion already", kept=kept)
        registered = mlflow_store.version(store, model, target)
        was_champion = any(e.model == model and e.moves and target in (e.champion, e.previous) for e in entries)
        if registered is None or not (was_champion or registered.tags.get("decision") == "promote"):
            why = "is not registered" if registered is None else "was never champion and did not pass the gate"
            may = sorted({e.champion for e in entries if e.model == model and e.moves} - {standing.champion, 0})
            raise UsageError(
                f"version {target} of {model} {why}",
                kept=kept,
                next_step=f"these were champion: {', '.join(map(str, may)) or 'none other'}",
            )
        champion.fetch(params, paths, model, target)
        tags = registered.tags
        names = ("artefact_sha256", "model_sha256", "data_sha256", "commit", "run_id", "dag_run")
        facts = {name: tags[name] for name in names if name in tags}
        ledger.append(
            ledger.path(paths),
            entries,
            action="rollback",
            model=model,
            version=target,
            champion=target,
            previous=standing.champion,
            reason=reason.strip(),
            facts={**facts, **by, "metrics": json.loads(tags.get("metrics", "{}"))},
        )
        aliases.follow(store, entries, model)
    _say(model, target, standing.champion, reason.strip(), as_json=as_json)


def _done(entries: list[Entry], model: str, by: dict[str, str]) -> Entry | None:
    """The line of the same DAG run, whose task was killed after it, or cleared: once is enough."""
    mine = [e for e in entries if e.action == "rollback" and e.model == model and "by_dag_run" in by]
    return next((e for e in mine if e.facts.get("by_dag_run") == by["by_dag_run"]), None)


def _say(model: str, champion_now: int, before: int, reason: str, *, as_json: bool) -> None:
    console.emit(
        {"model": model, "champion": champion_now, "previous": before, "reason": reason},
        as_json=as_json,
        text=lambda: (
            f"{model}: version {champion_now} is champion again (was {before}, now previous); "
            "`clickflow open` writes it into params.yaml"
        ),
    )
