"""`clickflow status`: each model's champion, since when, how good, by which run and why; candidate; last decision."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from clickflow.events.freshness import Freshness, freshness
from clickflow.params.schema import Params
from clickflow.registry import aliases as followers
from clickflow.registry import ledger, origin
from clickflow.registry.ledger import Entry
from clickflow.system import console
from clickflow.system.errors import DataError
from clickflow.system.paths import Paths
from clickflow.tracking import mlflow_client, registered_models
from clickflow.tracking.mlflow_client import Store
from clickflow.tracking.registered_models import CANDIDATE, CHAMPION, FORGOTTEN, PREVIOUS, Version

ORIGIN = ("run_id", "dag_run", "commit", "data_sha256", "model_sha256")
"""Where a version comes from; see `clickflow.tracking.provenance`."""


@dataclass(frozen=True, kw_only=True)
class Champion:
    """The version that ships; `since` is ISO 8601 in UTC. `request`: who asked and agreed, and what was not as
    committed; see `clickflow.registry.origin`.
    """

    version: int
    previous: int
    since: str | None
    actor: str | None
    why: str | None
    metrics: Mapping[str, float]
    origin: Mapping[str, str]
    request: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The last line of the ledger on a model."""

    action: str
    version: int
    time: str
    actor: str
    why: str
    request: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ModelStatus:
    """What is known of one model; `frozen` is the champion in params.yaml, `down` the line that took the last champion
    down and put none in its place, `notes` what a person should look at.
    """

    model: str
    champion: Champion | None
    candidate: int | None
    last: Decision | None
    down: Decision | None
    versions: int
    frozen: int
    notes: tuple[str, ...]
    live: tuple[str, ...] = ()
    """What became of the answers, as `clickflow live` last had it: beside the decision that was made offline."""


def run(params: Params, paths: Paths, *, as_json: bool, live: Mapping[str, Sequence[str]] | None = None) -> None:
    """Print the state of every model of params.yaml; nothing is changed. `live`: by model, what became of answers."""
    statuses, shown, signing = collect(params, paths)
    statuses = [replace(each, live=tuple((live or {}).get(each.model, ()))) for each in statuses]
    data, wrong = _data(params, paths)
    console.emit(
        {
            "models": {status.model: asdict(status) for status in statuses},
            "data": {"wrong": wrong} if wrong else None if data is None else asdict(data),
            "registry": shown,
            "ledger": signing or "every line is signed",
            "home": str(paths.home),
        },
        as_json=as_json,
        text=lambda: _shown(statuses, shown, wrong or (data.text() if data else "nothing was ingested here"), signing),
    )


def collect(params: Params, paths: Paths) -> tuple[list[ModelStatus], str, str]:
    """The state of every model, the registry's URI as it may be shown, and what there is to say of signatures.

    Raises DataError where the ledger was changed or lost lines, by its own account, by git's or by MLflow's.
    """
    entries = ledger.whole(paths)
    shown = mlflow_client.without_password(mlflow_client.uri_of(params, paths))
    store = None if mlflow_client.untouched(params, paths) and not entries else mlflow_client.connect(params, paths)
    if store:
        entries = _followed(store, paths, entries, sorted(params.models))
    return [_of(params, store, entries, model) for model in sorted(params.models)], shown, ledger.signing(entries)


def _followed(store: Store, paths: Paths, entries: list[Entry], models: Sequence[str]) -> list[Entry]:
    """The ledger that the registry has followed, read again where lines came while the registry was asked.

    Raises DataError where it is not this one.
    """
    while True:
        try:
            for model in models:
                followers.check(store, entries, model)
            return entries
        except DataError:
            now = ledger.whole(paths)
            if len(now) <= len(entries):
                raise
            entries = now


def _of(params: Params, store: Store | None, entries: list[Entry], model: str) -> ModelStatus:
    mine = [entry for entry in entries if entry.model == model]
    standing = ledger.standing(mine, model)
    versions = {v.number: v for v in registered_models.versions(store, model)} if store else {}
    aliases = registered_models.aliases(store, model) if store else {}
    notes = []
    number, previous = standing.champion, standing.previous
    if standing.entry is None:
        number, previous = aliases.get(CHAMPION, 0), aliases.get(PREVIOUS, 0)
        if number:
            notes.append("this home's ledger has no line on the champion; the alias in MLflow names it")
    elif aliases.get(CHAMPION, 0) != number:
        notes.append(
            f"the alias champion names {aliases.get(CHAMPION, 'nothing')}, the ledger {number}: the next promote or "
            f"rollback sets it right"
        )
    if number and number not in versions:
        notes.append(f"the registry has no version {number}")
    if params.champion[model] != number:
        notes.append(f"params.yaml names champion {params.champion[model]}: `clickflow open` writes {number} there")
    candidate = aliases.get(CANDIDATE)
    notes += [
        _forgotten(version, versions[version].tags) for version in sorted({number, candidate or 0} & set(versions))
    ]
    return ModelStatus(
        model=model,
        champion=_champion(number, previous, standing.entry, versions) if number else None,
        candidate=None if candidate in ledger.champions(mine, model) | {number} else candidate,
        last=_decision(mine[-1]) if mine else None,
        down=_decision(standing.entry) if standing.entry and not standing.champion else None,
        versions=len(versions),
        frozen=params.champion[model],
        notes=tuple(filter(None, notes)),
    )


def _forgotten(version: int, tags: Mapping[str, str]) -> str:
    """What a version learned from people who were forgotten since; empty: nothing."""
    count = len(list(filter(None, tags.get(FORGOTTEN, "").split(","))))
    people = "1 forgotten person" if count == 1 else f"{count} forgotten people"
    return f"version {version} was trained with {people}, or may have been: retrain" if count else ""


def _champion(number: int, previous: int, entry: Entry | None, versions: Mapping[int, Version]) -> Champion:
    facts: Mapping[str, Any] = entry.facts if entry else {}
    tags = versions[number].tags if number in versions else {}
    named = {key: str(facts.get(key) or tags.get(key)) for key in ORIGIN if facts.get(key) or tags.get(key)}
    return Champion(
        version=number,
        previous=previous,
        since=entry.time if entry else None,
        actor=entry.actor if entry else None,
        why=f"{entry.action}: {entry.reason}" if entry else None,
        metrics=dict(facts.get("metrics", {})),
        origin=named,
        request=_request(entry) if entry else {},
    )


def _decision(entry: Entry) -> Decision:
    return Decision(
        action=entry.action,
        version=entry.version,
        time=entry.time,
        actor=entry.actor,
        why=entry.reason,
        request=_request(entry),
    )


def _request(entry: Entry) -> dict[str, Any]:
    return {name: entry.facts[name] for name in origin.RECORDED if name in entry.facts}


def _data(params: Params, paths: Paths) -> tuple[Freshness | None, str]:
    """How fresh the data is, or what is wrong with the files that say so."""
    try:
        return freshness(params, paths), ""
    except DataError as error:
        return None, f"{error.what}; next: {error.next_step}"


def _shown(statuses: list[ModelStatus], registry: str, data: str, signing: str) -> Any:
    """A table a model, a line a fact: it stays readable in a narrow terminal."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    tables = []
    for status in statuses:
        table = Table(title=status.model, title_justify="left", title_style="bold", show_header=False)
        table.add_column(no_wrap=True, style="dim")
        table.add_column(overflow="fold")
        for name, value in _facts(status):
            table.add_row(name, escape(value))
        tables.append(table)
    last = f"registry: {registry}"
    if not any(status.versions or status.last for status in statuses):
        last = f"nothing is registered yet in {registry}: run `dvc repro`, then `clickflow promote`"
    return Group(*tables, escape(f"data: {data}"), escape(last), *([f"note: {signing}"] if signing else []))


def _facts(status: ModelStatus) -> Iterator[tuple[str, str]]:
    champion, last = status.champion, status.last
    if champion:
        since = f" since {_minute(champion.since)}" if champion.since else ""
        previous = f", version {champion.previous} before it" if champion.previous else ""
        yield "champion", f"version {champion.version}{since}{previous}"
        yield "metrics", ", ".join(f"{name} {value:.4f}" for name, value in sorted(champion.metrics.items()))
        named = [f"{name} {champion.origin[name][:40]}" for name in ("run_id", "commit") if name in champion.origin]
        yield "by", ", ".join([*named, *([champion.actor] if champion.actor else [])])
        if origin_text := origin.words(champion.request):
            yield "request", origin_text
        yield "why", champion.why or "not known"
    else:
        yield "champion", f"none since {_minute(status.down.time)}: {status.down.why}" if status.down else "none yet"
    yield "candidate", f"version {status.candidate}" if status.candidate else "none"
    if last:
        version = f" of version {last.version}" if last.version else ""
        yield "last decision", f"{last.action}{version}, {_minute(last.time)} by {last.actor}: {last.why}"
        if (origin_text := origin.words(last.request)) and (not champion or champion.since != last.time):
            yield "", origin_text
    for number, line in enumerate(status.live):
        yield "" if number else "live", line
    for note in status.notes:
        yield "note", note


def _minute(time: str) -> str:
    return f"{time[:16].replace('T', ' ')} UTC"
