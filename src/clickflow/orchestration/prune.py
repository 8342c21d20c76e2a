"""`clickflow prune`: remove old runs by rule, and say of each what is kept and why.

Kept are the newest runs, the young ones, those that work, and those whose models matter: a champion now or before, a
candidate, a decision to promote. What the others have left goes: reference, results, logs, and workspaces of failures.
Bytes in the DVC cache and remote stay, for runs share them; `--objects` removes those that nothing needs.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from clickflow.orchestration import history, journal, repository, unused_objects, workspace
from clickflow.orchestration.history import Recorded
from clickflow.registry import ledger
from clickflow.system import console
from clickflow.system.paths import Paths


@dataclass(frozen=True)
class Kept:
    """A recorded run that stays, and why."""

    id: str
    why: str


@dataclass(frozen=True)
class Doomed:
    """Something that goes: a run's reference, or a folder."""

    id: str
    what: str
    path: str
    bytes: int


def run(paths: Paths, *, keep: int, days: float, bulk: bool, dry: bool, as_json: bool) -> None:
    """Prune the repository's references and this machine's home; with `dry` only say what would go.

    `bulk`: also objects of the DVC cache and remote of this home that nothing needs then.
    """
    origin, home = workspace.places(paths.root)
    repository.fetch(origin, home)
    now = datetime.now(UTC)
    kept, doomed = plan(origin, home, keep=keep, days=days, now=now)
    if not dry:
        _remove(origin, home, doomed)
    if bulk:
        doomed += _objects(origin, home, doomed, old=now - timedelta(days=days), now=now, dry=dry)
    freed = sum(thing.bytes for thing in doomed)
    console.emit(
        {
            "kept": [asdict(one) for one in kept],
            "removed": [asdict(one) for one in doomed],
            "bytes": freed,
            "dry_run": dry,
        },
        as_json=as_json,
        text=lambda: "\n".join(_lines(kept, doomed, freed, dry=dry)),
    )


def plan(origin: str, home: Path, *, keep: int, days: float, now: datetime) -> tuple[list[Kept], list[Doomed]]:
    """What stays and what goes; nothing is changed."""
    recorded = history.recorded(repository.at(origin, home))
    old = now - timedelta(days=days)
    matters = _matters(home, recorded)
    kept: dict[str, str] = {}
    for number, run in enumerate(recorded):
        reasons = {
            f"one of the {keep} newest": number < keep,
            f"younger than {days:g} days": run.when > old,
            matters.get(run.id, ""): run.id in matters,
            "a task of it works": any(journal.workspaces(home, run.id).values()),
        }
        if why := [reason for reason, holds in reasons.items() if holds]:
            kept[run.id] = ", ".join(why)
    doomed = [Doomed(run.id, "reference", run.reference, 0) for run in recorded if run.id not in kept]
    doomed += _folders(home, set(kept), {run.id for run in recorded}, old)
    return [Kept(name, why) for name, why in kept.items()], doomed


def _matters(home: Path, recorded: list[Recorded]) -> dict[str, str]:
    """Runs whose models matter, and why: by the ledger of this home, and by what each run says of itself."""
    reasons: dict[str, str] = {}
    for run in recorded:
        chosen = [
            model for model, said in (run.details.get("decisions") or {}).items() if said.get("decision") == "promote"
        ]
        if chosen:
            reasons[run.id] = f"its gate let {', '.join(chosen)} through"
    newest: dict[str, tuple[str, int]] = {}
    for entry in ledger.read(home / "ledger.jsonl"):
        name = str(entry.facts.get("run_id") or "")
        if name and entry.action == "promote":
            reasons[name] = f"made version {entry.version} of {entry.model} champion"
        if name and entry.version:
            newest[entry.model] = name, entry.version
    for model, (name, version) in newest.items():
        reasons.setdefault(name, f"holds the candidate of {model}, version {version}")
    return reasons


def _folders(home: Path, kept: set[str], recorded: set[str], old: datetime) -> Iterator[Doomed]:
    """Folders of the home: of runs that go, and of failures and unrecorded runs that are old enough."""
    for kind, what in (("runs", "results"), ("logs", "logs"), ("workspaces", "workspaces")):
        for folder in sorted((home / kind).iterdir()) if (home / kind).is_dir() else ():
            name = folder.name
            works = any(journal.workspaces(home, name).values())
            stays = name in kept and kind != "workspaces"
            aged = name in recorded and kind != "workspaces"  # its run goes, and this with it
            if folder.is_dir() and not works and not stays and name != "platform" and (aged or _changed(folder) < old):
                yield Doomed(name, what, str(folder), journal.size(folder))
    for folder in sorted((home / "checkpoints").glob("*")):
        if _changed(folder) < old:
            yield Doomed(
                folder.name, "checkpoints of a training that was not finished", str(folder), journal.size(folder)
            )


def _changed(folder: Path) -> datetime:
    moments = [path.lstat().st_mtime for path in (folder, *folder.iterdir())]
    return datetime.fromtimestamp(max(moments), UTC)


def _remove(origin: str, home: Path, doomed: list[Doomed]) -> None:
    with console.progress("prune", len(doomed)) as advance:
        for thing in doomed:  # folders first: what is named by a reference can be had again
            if thing.what != "reference":
                workspace.remove(Path(thing.path))
                advance(1, thing.path)
        gone = [thing for thing in doomed if thing.what == "reference"]
        opened = [f"{repository.OPENED}{thing.id}/" for thing in gone]
        repository.withdraw(origin, home, [*(thing.path for thing in gone), *opened])


def _objects(origin: str, home: Path, doomed: list[Doomed], *, old: datetime, now: datetime, dry: bool) -> list[Doomed]:
    """What nothing needs when `doomed` is gone, by the folder that had it; removed unless `dry`."""
    gone = [thing.path for thing in doomed if thing.what == "reference"]
    sizes_of: dict[Path, list[int]] = {}
    for file in unused_objects.unneeded(origin, home, without=gone, old=old, now=now):
        sizes_of.setdefault(file.parents[3], []).append(file.lstat().st_size)
        if not dry:
            file.unlink(missing_ok=True)
    return [Doomed(folder.name, f"{len(sizes)} objects", str(folder), sum(sizes)) for folder, sizes in sizes_of.items()]


def _lines(kept: list[Kept], doomed: list[Doomed], freed: int, *, dry: bool) -> Iterator[str]:
    for run in kept:
        yield f"kept     {run.id}: {run.why}"
    for thing in doomed:
        yield f"{'would go' if dry else 'removed '} {thing.id}: {thing.what}"
    yield f"{len(kept)} runs kept; {len(doomed)} things {'would go' if dry else 'removed'}, {freed / 1e6:.1f} MB"
