"""Sources of an earlier ingest that are gone, or have changed since."""

from collections.abc import Collection, Mapping
from typing import Any

from clickflow.events.manifest import Manifest
from clickflow.events.storage import UNTOUCHED
from clickflow.params.schema import Params
from clickflow.system import console
from clickflow.system.errors import DataError

SHOWN = 5


def origin(params: Params) -> dict[str, Any]:
    """Where the files of a source are said to lie; empty for what is made anew by every ingest."""
    source = params.source
    return {"path": source.path, "pattern": source.pattern} if source.kind == "files" else {}


def check(previous: Manifest | None, params: Params, names: Collection[str]) -> None:
    """Raise DataError where a file that was taken in is not among `names` any more, unless it may go.

    With another `source.path`, `source.pattern` or kind the source is another one: what is replaced is said.
    """
    there = set(names)
    gone = [source for source in previous.sources if source.name not in there] if previous else []
    if previous is None or not gone:
        return
    accepted = sum(source.accepted for source in gone)
    what = f"{_names([source.name for source in gone])}, of which {accepted:,} events were accepted"
    if previous.origin != origin(params):
        changed = ", ".join(_changes(previous.origin, origin(params)))
        console.say(f"the source is another one ({changed}): the ingest before took in {what}; they are replaced")
    elif previous.origin and params.ingest.missing_sources == "stop":
        raise DataError(
            f"{what}, {'is' if len(gone) == 1 else 'are'} no longer in {params.source.path}",
            kept=f"{UNTOUCHED}: {previous.total('accepted'):,} events",
            next_step="put them back; or, if their events are to go too, set ingest.missing_sources: drop",
        )
    elif previous.origin:
        console.say(f"ingest.missing_sources is drop: {what}, gone from {params.source.path}: their events are dropped")


def _names(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [
        f"source.{name} was {old[name]!r}" if name in old else f"source.{name} is {new[name]!r}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]
