"""Which events of an earlier ingest a new one may keep: those that the same raw bytes would give again."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from clickflow.events import manifest
from clickflow.events.contract import EVENT_TYPES
from clickflow.events.manifest import Manifest
from clickflow.events.presets import ANY_TYPE, PRESETS
from clickflow.events.quarantine import FILE
from clickflow.params.schema import Params
from clickflow.system import console, files, integrity
from clickflow.system.paths import Paths


def load(paths: Paths) -> Manifest | None:
    """The manifest of what lies there, which a new run may build on: every file is checked against its recorded hash.

    None where nothing lies there, or some of it is missing, which is said: all is read again then. Raises DataError
    where a file has changed since it was written.
    """
    folders = (paths.events, paths.quarantine)
    if not all((folder / integrity.SEAL).is_file() for folder in folders):
        if (paths.events / manifest.NAME).is_file():
            console.say("there are events without hashes, of an earlier version: all files are read again")
        return None
    for folder in folders:
        faults = integrity.damaged(folder, paths.home)
        integrity.refuse(folder, [each for each in faults if each.fault != "is missing"])
        if faults:
            console.say(f"{faults[0].path} is missing: all files are read again")
            return None
    before = manifest.read(paths.events)
    if before and files.sha256(paths.quarantine / FILE) != before.quarantine["sha256"]:
        console.say(f"{paths.quarantine} is of another ingest than {paths.events}: all files are read again")
        return None
    return before


def settings(params: Params, key: str, former: Sequence[str] = ()) -> dict[str, Any]:
    """All that the same raw bytes' canonical rows depend on; `key` names the key of the pseudonyms, `former` those that
    it took the place of.
    """
    source = params.source
    return {
        "kind": source.kind,
        "preset": source.preset,
        "format": source.format,
        "delimiter": source.delimiter,
        "encoding": source.encoding,
        "header": None if source.header is None else list(source.header),
        "columns": dict(source.columns),
        "explode": source.explode,
        "event_types": dict(source.event_types),
        "decimal": source.decimal,
        "thousands": source.thousands,
        "currency": list(source.currency),
        "nulls": {name: list(texts) for name, texts in source.nulls.items()},
        "time_format": source.time_format,
        **({"time_formats": dict(source.time_formats)} if source.time_formats else {}),
        **({"newest_first": True} if source.newest_first else {}),
        "timezone": source.timezone,
        "sql_query": source.sql_query if source.kind == "sql" else None,
        "as_of": None if source.as_of is None else utc(source.as_of).isoformat(),
        "future_tolerance_minutes": params.ingest.future_tolerance_minutes,
        "max_text_length": params.ingest.max_text_length,
        "bad_optional": params.ingest.bad_optional,
        "duplicates": params.ingest.duplicates,
        "require_user": params.ingest.require_user,
        "key": key,
        **({"former_keys": list(former)} if former else {}),
    }


def utc(moment: datetime) -> datetime:
    """A moment with a zone; without one it is UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The settings that differ, sorted."""
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))


def tightened(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The changed settings under which an accepted row might have become another one, or none.

    What is left out only lets more rows in: those in quarantine can be checked again, and the rest stays as it is.
    """

    def later(a: str | None, b: str | None) -> bool:
        return b is None or (a is not None and datetime.fromisoformat(a) <= datetime.fromisoformat(b))

    named = [layout.event_types for layout in PRESETS.get(str(old.get("preset")), ())] + [old.get("event_types", {})]
    settled = {name.lower() for types in named for name in types} | set(EVENT_TYPES)

    def known(name: str) -> bool:
        return ANY_TYPE in settled or name.lower() in settled

    looser: dict[str, Callable[[Any, Any], bool]] = {
        "as_of": later,
        "future_tolerance_minutes": lambda a, b: a <= b,
        "max_text_length": lambda a, b: a <= b,
        "bad_optional": lambda a, b: (a, b) == ("quarantine", "empty"),
        "require_user": lambda a, b: a and not b,
        "event_types": lambda a, b: a.items() <= b.items() and not any(known(name) for name in b.keys() - a.keys()),
    }
    return [name for name in changed(old, new) if name not in looser or not looser[name](old.get(name), new.get(name))]
