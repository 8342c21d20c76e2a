"""`clickflow forget ID…`: remove a person everywhere clickflow keeps bytes, and certify it.

First the person goes on the list that ingest consults, so that nothing brings them back; then, place after place, what
holds them is written again or removed; at last every place is searched once more. Who is being forgotten lies in
`<home>/forget.json` (mode 0600) until all is done: a forget that was cut short is completed by the next one.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clickflow.events import forgotten
from clickflow.events.commit import scratch
from clickflow.events.engine import started
from clickflow.events.tables import Table
from clickflow.online.live import log
from clickflow.orchestration import removed_objects, repository, workspace
from clickflow.params.schema import Params
from clickflow.privacy import canonical, certificate, experiments, leftovers, objects, people, raw, scored, served
from clickflow.privacy.leftovers import Removed
from clickflow.privacy.people import People, Person
from clickflow.privacy.search import holds, looked_into
from clickflow.serving.identities import existing_key
from clickflow.system import console, files, locks
from clickflow.system.errors import ClickflowError, UsageError
from clickflow.system.paths import Paths
from clickflow.system.process import git
from clickflow.tracking.mlflow_client import sign_in_as_promoter

PENDING = "forget.json"
NOT_CHANGED = "nothing was changed"


def run(
    params: Params, paths: Paths, ids: Sequence[str], *, file: Path | None, dry: bool, raw_outside: bool, as_json: bool
) -> None:
    """The verb. Raises ClickflowError, after the certificate is written, where something could not be removed."""
    given = [*ids, *(_listed(file) if file else [])]
    sign_in_as_promoter()
    with alone(paths.home):
        content, path = forget(params, paths, given, dry=dry, raw_outside=raw_outside)
    shown = {**content, "certificate": str(path) if path else None}
    console.emit(
        shown,
        as_json=as_json,
        text=lambda: "\n".join([*certificate.lines(content), *([f"certificate: {path}"] if path else [])]),
    )
    if content["unreached"] and not dry:
        raise ClickflowError(
            f"{len(content['unreached'])} things that hold them, or may, could not be removed",
            kept=f"the certificate {path} names them; everything else is done",
            next_step="remove them by hand, or mend what is in the way and run the same command again",
        )


def forget(
    params: Params, paths: Paths, given: Sequence[str], *, dry: bool, raw_outside: bool
) -> tuple[dict[str, Any], Path | None]:
    """Forget, or only look; the certificate and where it lies. The lock is held."""
    origin, home = workspace.places(paths.root)
    key = existing_key(paths)
    pending = _pending(home)
    if not given and not pending:
        raise UsageError("nobody is named", kept=NOT_CHANGED, next_step="clickflow forget ID…, or --file FILE")
    if works := leftovers.busy(home):
        raise ClickflowError(
            f"{len(works)} runs are at work, which would make what holds the person again: {', '.join(works[:5])}",
            kept=NOT_CHANGED,
            next_step="wait until they end (`clickflow runs`), then forget",
        )
    before = [Person.of(plain) for plain in pending.get("people", [])]
    met = {person.user: person for person in before}
    fresh = [person for person in people.find(params, paths, given, key) if person.user not in met]
    who, raw_files, unread = raw.search(params, paths, People((*before, *fresh), key))
    who = people.formerly(params, paths, who)
    done: list[Removed] = [Removed(**thing) for thing in pending.get("removed", [])]
    state: dict[str, Any] = {
        "people": [person.plain() for person in who.persons],
        "started": pending.get("started") or _now(),
        "seen": pending.get("seen", {}),
        "rows": pending.get("rows", {"events": 0, "quarantine": 0, "raw": 0}),
        "removed": [asdict(thing) for thing in done],
        "objects": pending.get("objects", []),
        "tested": pending.get("tested", []),
    }

    def save(things: Sequence[Removed] = ()) -> None:
        done.extend(things)
        state["removed"] = [asdict(thing) for thing in done]
        if not dry:
            _save(home, state)

    stores, unreached = objects.stores(origin, home)
    seen = {name: experiments.StoreMatch(tuple(s["names"]), tuple(s["test"])) for name, s in state["seen"].items()}
    seen |= {name: s for name, s in experiments.stores(paths, who, stores).items() if s.names or name not in seen}
    state["seen"] = {name: asdict(store) for name, store in seen.items()}
    doomed, unlooked = objects.search(stores, who, origin, home)
    unreached += unlooked
    state["tested"] = sorted({*state["tested"], *_tested(paths, who)})
    save()
    if not dry:
        forgotten.add(home, key, {"user": who.users, "session": who.sessions})
        log.settled(log.place(home))  # from here on no server writes of them
    save(served.remove(params, who, dry=dry)[0])
    rows, kept = scored.remove(params, who, dry=dry)
    save(rows)
    unreached += kept
    _raw_and_events(params, paths, who, raw_files, state, save, dry=dry, outside=raw_outside)
    save(list(leftovers.in_checkout(params, paths, who, set(state["tested"]), dry=dry)))
    save(_objects(stores, doomed, state, home, dry=dry))
    if not dry:
        save(list(experiments.clean(params, paths, who, seen)))
    marked = {} if dry else experiments.mark(params, paths, who, seen)
    save(list(leftovers.in_home(paths, who, dry=dry)))
    if params.serve.redis is not None and not dry:
        served.settled()
    unreached += served.remove(params, who, dry=dry)[1]
    unreached += _left(params, paths, who, raw_files, unread, outside=raw_outside, dry=dry)
    runs = objects.runs_without(origin, home, set(doomed) | set(state["objects"]))
    content = _certificate(who, state, done, marked, runs, unreached, dry=dry)
    if dry:
        return content, None
    path = certificate.write(home, content)
    (home / PENDING).unlink(missing_ok=True)
    return content, path


def _raw_and_events(
    params: Params,
    paths: Paths,
    who: People,
    raw_files: dict[str, raw.Matches],
    state: Any,
    save: Any,
    *,
    dry: bool,
    outside: bool,
) -> None:
    """Raw files, then events, quarantine and truth, which change together."""
    todo = {
        name: file
        for name, file in raw_files.items()
        if file.lines and not raw.obstacle(file) and (outside or _inside(file.path, paths.root))
    }
    if dry:
        by_day, refused = canonical.counts(params, paths, who)
        state["rows"] = {
            "events": sum(by_day.values()),
            "quarantine": sum(refused.values()),
            "raw": sum(file.rows for file in todo.values()),
        }
        days = [Removed("events", day, "rewritten", rows) for day, rows in by_day.items()]
        save([*days, *(Removed("raw files", str(file.path), "rewritten", file.rows) for file in todo.values())])
        return
    with scratch(paths) as folder:  # an ingest that began before they were listed may bring them until it ends
        by_day, refused = canonical.counts(params, paths, who)
        if by_day or refused or todo:
            save(_rewritten(params, paths, who, raw_files, todo, state, folder, by_day, refused))


def _rewritten(
    params: Params,
    paths: Paths,
    who: People,
    raw_files: dict[str, raw.Matches],
    todo: dict[str, raw.Matches],
    state: Any,
    folder: Path,
    by_day: dict[str, int],
    refused: dict[str, int],
) -> list[Removed]:
    before = {day: files.sha256(paths.events / day / "events.parquet") for day in by_day}
    was = {name: files.sha256(file.path) for name, file in todo.items()}
    things = []
    with started(params.ingest.memory_gb) as engine, ExitStack() as stack:
        ready = {name: stack.enter_context(raw.blanked(file)) for name, file in todo.items()}
        rewritten = {
            name: canonical.Rewritten(
                fresh.stat().st_size,
                ""
                if raw_files[name].uncounted or isinstance(raw_files[name].source.reader, Table)
                else files.sha256(fresh),
                raw_files[name].rows,
                sum(raw_files[name].lines.values()),
            )
            for name, fresh in ready.items()
        }
        if any(paths.events.glob("day=*/events.parquet")):
            rows_of = {name: file.new for name, file in raw_files.items()}
            gone, refusals = canonical.remove(params, paths, who, folder, engine, rows_of=rows_of, rewritten=rewritten)
            state["rows"]["events"] += gone
            state["rows"]["quarantine"] += refusals
            for day, rows in by_day.items():
                file = paths.events / day / "events.parquet"  # gone where all of the day was theirs
                now = files.sha256(file) if file.is_file() else ""
                things.append(Removed("events", day, "rewritten", rows, before[day], now))
            things += [Removed("quarantine", source, "rewritten", rows) for source, rows in refused.items()]
    for name, match in todo.items():
        state["rows"]["raw"] += match.rows
        now = files.sha256(match.path)
        things.append(Removed("raw files", str(match.path), "rewritten", match.rows, was[name], now))
    return things


def _objects(
    stores: list[objects.Store], doomed: dict[str, str], state: Any, home: Path, *, dry: bool
) -> list[Removed]:
    done = []
    if not dry:
        removed_objects.note(home, sorted(doomed), _now()[:10])
    state["objects"] = sorted({*state["objects"], *doomed})
    with console.progress("removing objects", max(1, len(stores) * len(doomed))) as advance:
        for store in stores:
            there = set(store.names())
            for name, why in sorted(doomed.items()):
                if name in there and (dry or store.remove(name)):
                    done.append(Removed(store.name, f"object {name}: {why}", "removed", 0, name))
                advance(1, store.name)
    return done


def _tested(paths: Paths, who: People) -> set[str]:
    """Units of the checkout whose test part they are in."""
    folders = (paths.root / "data/sequences").glob("*/test/sequences.parquet")
    return {file.parents[1].name for file in folders if holds(file, who)}


def _left(
    params: Params,
    paths: Paths,
    who: People,
    raw_files: dict[str, raw.Matches],
    unread: str,
    *,
    outside: bool,
    dry: bool,
) -> list[str]:
    """What still holds them, in places that are looked through once more; and raw files that are not ours to change."""
    left = [f"the source was not searched: {unread}"] if unread and params.source.kind != "simulator" else []
    for file in raw_files.values():
        if not file.lines:
            continue
        ours = outside or _inside(file.path, paths.root)
        if why := raw.obstacle(file) or (
            "" if ours else "it lies outside the repository (--rewrite-raw writes it too)"
        ):
            left.append(f"{file.path}, {_numbers(sorted(file.lines))}: {why}")
    if dry:
        return left
    databases = leftovers.unvacuumed(paths.home, who)
    left += [f"{place}: a database that names them" for place in databases]
    remaining = leftovers.remaining(params, paths, who)
    again = {place: why for place, why in remaining.items() if place not in databases}
    left += [f"{place}: {why}" for place, why in again.items()]
    folders = [paths.root / "data", paths.root / "reports", paths.root / "models"]
    known = {file.path for file in raw_files.values() if file.lines}
    said = {*known, *databases, *again}
    for folder in folders:
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if path not in said and path.is_file() and (named := looked_into(path, who)) is not False:
                left.append(f"{path.relative_to(paths.root)}: {'it names them still' if named else leftovers.CLOSED}")
    origin, _ = workspace.places(paths.root)
    if repository.is_checkout(origin) and (Path(origin) / ".git").exists():
        listed = set(filter(None, git(Path(origin), "ls-files", "-z").split("\0")))
        tracked = [f for f in known if _inside(f, Path(origin)) and str(f.relative_to(origin)) in listed]
        left += [f"{file}: git keeps its earlier versions; `git filter-repo` rewrites history" for file in tracked]
    return left


def _certificate(
    who: People,
    state: Any,
    done: list[Removed],
    marked: dict[str, list[int]],
    runs: list[str],
    unreached: list[str],
    *,
    dry: bool,
) -> dict[str, Any]:
    steps = ["dvc repro && dvc push: the stores and models are made again, without them; then commit dvc.lock"]
    steps += ["clickflow promote: until a model trained without them is champion, `clickflow status` says so"] * bool(
        marked
    )
    clean = [_plain(thing, who) for thing in done]
    return {
        "people": [person.name for person in who.persons],
        "started": state["started"],
        "finished": _now(),
        "dry_run": dry,
        "rows": state["rows"],
        "removed": clean,
        "models": marked,
        "runs": runs,
        "notes": _notes(who),
        "unreached": [who.hidden(text.encode()).decode() for text in unreached],
        "next": steps,
    }


def _notes(who: People) -> list[str]:
    """What was not looked for, and why."""
    if not who.plain:
        return []
    are = "id of theirs is a number, a word" if who.plain == 1 else "ids of theirs are numbers, words"
    return [
        f"{who.plain} {are} or short: a row that can be read is theirs where an id column says so, other files where "
        f"they are copies of raw rows ({forgotten.SHORT} letters and more)"
    ]


def _plain(thing: Removed, who: People) -> dict[str, Any]:
    """As JSON; a file's name may hold an id."""
    return {**asdict(thing), "thing": who.hidden(thing.thing.encode()).decode()}


def _numbers(lines: list[int]) -> str:
    shown = ", ".join(map(str, lines[:20]))
    return f"line {shown}" + (f" and {len(lines) - 20:,} more" if len(lines) > 20 else "")


def _inside(path: Path, root: Path) -> bool:
    return path.resolve().is_relative_to(root.resolve())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _listed(file: Path) -> Iterator[str]:
    """The ids of a file, one a line."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--file {file} cannot be read: {error}", kept=NOT_CHANGED, next_step="one id a line"
        ) from error
    yield from filter(None, map(str.strip, text.splitlines()))


def _pending(home: Path) -> dict[str, Any]:
    what = "what a `clickflow forget` that was cut short has still to do"
    return files.read_record(home / PENDING, what, kept=NOT_CHANGED, why="it names who is not removed everywhere yet")


def _save(home: Path, state: dict[str, Any]) -> None:
    """On disk, and readable to this user alone: it names them."""
    files.write_record(home / PENDING, state, mode=0o600)


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """One forget at a time in a home. Raises ClickflowError where another one is at work."""
    refusal = ClickflowError(
        f"another `clickflow forget` is at work in {home}",
        kept=NOT_CHANGED,
        next_step="wait for it to end, then run this one",
    )
    with locks.held(home / "forget.lock", refusal):
        yield
