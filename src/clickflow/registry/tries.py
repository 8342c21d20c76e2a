"""The candidates that gates have judged: a line `tried` of the ledger each, so that nobody tries without being seen."""

from collections.abc import Mapping
from typing import Any

from clickflow.evaluation import tries
from clickflow.paths import Paths
from clickflow.registry import ledger
from clickflow.registry.ledger import Entry
from clickflow.registry.lock import changing

KEYS = ("model_sha256", "window", "data_sha256")


def recorded(entries: list[Entry], model: str) -> list[dict[str, Any]]:
    """What was tried of a model, in order."""
    return [{key: e.facts.get(key) for key in KEYS} for e in entries if e.action == "tried" and e.model == model]


def number(paths: Paths, model: str, mine: Mapping[str, Any]) -> int:
    """The number of this try on its window; what is not recorded yet would be the next."""
    return tries.number(recorded(ledger.read(ledger.path(paths)), model), mine)


def record(paths: Paths, model: str, mine: Mapping[str, Any]) -> None:
    """Append a line for this try, unless there is one."""
    if mine in recorded(ledger.read(ledger.path(paths)), model):
        return
    with changing(paths):
        entries = ledger.whole(paths)
        if mine in recorded(entries, model):
            return
        standing = ledger.standing(entries, model)
        ledger.note(
            paths,
            entries,
            action="tried",
            model=model,
            version=0,
            champion=standing.champion,
            previous=standing.previous,
            reason=f"try {tries.number(recorded(entries, model), mine)} on its test window",
            facts=dict(mine),
        )


def best(paths: Paths, model: str, version: int) -> int:
    """The best champion of the past, as far as it was shown, when `version` became champion; `version` if it was it.

    That is the last one that was shown to be better than the best before it. Who rolls back puts the version in its
    place: a person has said that it is the better one.
    """
    made = [e for e in ledger.read(ledger.path(paths)) if e.model == model and e.moves and e.champion == version]
    if not made or made[-1].action != "promote":
        return version
    return int(made[-1].facts.get("best_champion") or version)
