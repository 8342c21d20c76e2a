"""Canary: a version that passed the gate answers some visitors beside the champion, until a rule or a person ends it.

Each beginning and each end is a line of the ledger: `canary` begins one, `stop` ends it, and so does whatever moves the
champion. Only a version that `clickflow promote` has let through before, gate and person asked, may begin: its line
says so, and no tag that somebody could set. Where the rule says that it is no worse, `promote` makes it champion.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from clickflow.params.schema import Params
from clickflow.registry import aliases, champion, ledger
from clickflow.registry.ledger import Entry
from clickflow.registry.lock import changing
from clickflow.system.errors import UsageError
from clickflow.system.paths import Paths
from clickflow.tracking import mlflow_client

LET_THROUGH = ("promote", "canary")
"""Lines that are written when gate and person have agreed."""


def running(entries: Sequence[Entry], model: str) -> Entry | None:
    """The line that began the canary of `model` that is on; None where none is."""
    on = None
    for entry in entries:
        if entry.model == model:
            on = entry if entry.action == "canary" else None if entry.moves or entry.action == "stop" else on
    return on


def start(params: Params, paths: Paths, model: str, version: int, reason: str) -> Entry:
    """Begin a canary of a version that was let through before. Raises UsageError where it may not begin."""
    params.model(model)
    with changing(paths):
        entries, store = ledger.whole(paths), mlflow_client.connect(params, paths)
        standing = aliases.complete(store, entries, model)
        let = [e for e in entries if e.model == model and e.version == version and e.action in LET_THROUGH]
        kept = f"champion stays {standing.champion or '(none)'}; no canary began"
        if not standing.champion or version == standing.champion:
            why = f"version {version} is champion already" if standing.champion else f"{model} has no champion yet"
            raise UsageError(f"{why}: there is nothing to compare", kept=kept, next_step="`clickflow status`")
        if not let:
            raise UsageError(
                f"version {version} of {model} was never let through: the ledger has no line that says so",
                kept=kept,
                next_step="`clickflow promote` asks the gate; with the model in live.canary it begins a canary",
            )
        if on := running(entries, model):
            raise UsageError(
                f"a canary of {model} is on: version {on.version} since {on.time[:16]} UTC",
                kept=kept,
                next_step=f"`clickflow canary stop {model}` ends it",
            )
        champion.fetch(params, paths, model, version)
        facts = {name: value for name, value in let[-1].facts.items() if name != "evidence"}
        entry = ledger.note(
            paths,
            entries,
            action="canary",
            model=model,
            version=version,
            champion=standing.champion,
            previous=standing.previous,
            reason=reason,
            facts={**facts, "share": params.live.share},
        )
        aliases.follow(store, entries, model)
    return entry


def end(
    params: Params,
    paths: Paths,
    model: str,
    *,
    promote: bool,
    reason: str,
    test: int | None = None,
    evidence: Mapping[str, Any] | None = None,
) -> Entry:
    """End the canary that is on: its version becomes champion, or it stops. `test`: the number of the line that began
    the canary that `evidence` is of. Raises UsageError where none is on, or it is another one by now.
    """
    params.model(model)
    with changing(paths):
        entries, store = ledger.whole(paths), mlflow_client.connect(params, paths)
        standing = aliases.complete(store, entries, model)
        on = running(entries, model)
        if on is None or test not in (None, on.number):
            raise UsageError(
                f"no canary of {model} is on" if on is None else f"another canary of {model} has begun since",
                kept=f"champion stays {standing.champion or '(none)'}",
                next_step="`clickflow canary status` shows what is on",
            )
        if promote:
            champion.fetch(params, paths, model, on.version)
        facts = {name: value for name, value in on.facts.items() if name != "share"}
        entry = ledger.note(
            paths,
            entries,
            action="promote" if promote else "stop",
            model=model,
            version=on.version,
            champion=on.version if promote else standing.champion,
            previous=standing.champion if promote else standing.previous,
            reason=reason,
            facts={**facts, "canary": on.number, **({"evidence": dict(evidence)} if evidence else {})},
        )
        aliases.follow(store, entries, model)
    return entry
