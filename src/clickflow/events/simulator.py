"""`clickflow simulate`: a shop's log of any size, with the truth behind it.

The log is made in blocks of equal expected size that follow each other in time; a block has random numbers of its own.
Sessions that run on when a block ends leave their later events to the next block: memory does not grow with the log.
"""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, date, datetime
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow import console, files
from clickflow.errors import UsageError
from clickflow.events import choice, crowd, raw_log, shopper, truth_log
from clickflow.events import shop as shops
from clickflow.events.contract import EVENT_TYPES
from clickflow.events.dirt import Dirt
from clickflow.events.raw_log import Block, OpenSessions
from clickflow.events.rhythm import Clock
from clickflow.params import Simulator

BLOCK_EVENTS = 200_000
FORMATS = ("csv", "parquet")
GUEST_NUMBERS = 1 << 40
"""Guests' traits are those of numbers from here on: one for every session."""
DEFAULTS = Simulator(events=200_000, users=None, items=2000, categories=40, days=28, start=date(2026, 1, 5), dirt=0.0)
"""The shop of `clickflow simulate`."""


def run(events: int, seed: int, out: Path, fmt: str, dirt: float, as_json: bool) -> None:
    """The verb: simulate into the folder `out`, which appears only when all of it is written."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(
            f"--out {out} exists and is not an empty folder",
            kept="nothing was written",
            next_step="name a new folder, or empty this one",
        )
    began = time.perf_counter()
    settings = replace(DEFAULTS, events=events, dirt=dirt)
    with files.replacing(out) as fresh, console.progress("simulating", events) as progress:
        card = simulate(settings, fresh, seed=seed, fmt=fmt, progress=progress)
    seconds = time.perf_counter() - began
    summary = {
        name: card[name] for name in ("events", "rows", "sessions", "users", "first_event", "last_event", "dirt")
    }
    summary |= {"out": str(out), "files": len(card["files"]), "seconds": round(seconds, 2)}
    summary["events_per_second"] = round(card["events"] / seconds)
    console.emit(summary, as_json=as_json, text=lambda: _text(summary))


def _text(summary: dict[str, Any]) -> str:
    dirty = sum(summary["dirt"].values())
    return (
        f"{summary['events']:,} events of {summary['sessions']:,} sessions and {summary['users']:,} customers, "
        f"{summary['first_event']} to {summary['last_event']}"
        + (f"; {dirty:,} dirty rows" if dirty else "")
        + f"\n{summary['out']}: {summary['files']} file{'s' if summary['files'] > 1 else ''}, truth/; "
        f"{summary['seconds']} s, {summary['events_per_second']:,} events/s"
    )


def simulate(
    settings: Simulator,
    out: Path,
    *,
    seed: int = 0,
    fmt: str = "csv",
    truth: bool = True,
    progress: console.Advance | None = None,
) -> dict[str, Any]:
    """Write events-NNNNN.{csv,parquet} and truth/ into the existing folder `out`; returns the card (truth/card.json).

    The process makes at least `settings.events` events, and no more than the last session adds. The same settings and
    seed give the same bytes. `progress` is told events. Raises UsageError on settings that cannot be simulated.
    """
    _check(settings, fmt)
    shop = shops.build(settings, seed)
    tables = shopper.process()
    folder = out / "truth"
    dirt = Dirt(settings.dirt, seed, folder / "dirt.parquet")
    seen = np.zeros(crowd.customers(shop) + 2 * crowd.rogues(shop), np.bool_)
    counts = np.zeros(len(EVENT_TYPES), np.int64)
    started = total_sessions = 0
    first = last = 0
    folder_of_truth = folder if truth else None
    if settings.dirt and not truth:
        folder.mkdir()
    with truth_log.TruthLog(folder_of_truth) as truths, raw_log.RawLog(out, fmt, shop, dirt) as log:
        for block, sessions in _blocks(shop, tables, seed, truths):
            if not len(block.time):
                continue
            log.write(block, sessions)
            truths.events(block, sessions)
            counts += np.bincount(block.action, minlength=len(counts))
            users = sessions.user[block.session]
            seen[users[users >= 0]] = True
            total_sessions = max(total_sessions, int(sessions.number.max()) + 1)
            first, last = (first or int(block.time[0])), int(block.time[-1])
            started += len(block.time)
            if progress:
                progress(len(block.time))
    dirt.close()
    card = {
        "available": True,
        "source": "simulator",
        "seed": seed,
        "settings": {**asdict(settings), "start": settings.start.isoformat()},
        "fingerprint": shop.fingerprint(),
        "events": started,
        "events_by_type": dict(zip(EVENT_TYPES, counts.tolist(), strict=True)),
        "rows": sum(file["rows"] for file in log.files),
        "sessions": total_sessions,
        "users": int(seen.sum()),
        "customers": crowd.customers(shop),
        "first_event": _iso(first),
        "last_event": _iso(last),
        "files": log.files,
        "dirt": {kind: count for kind, count in dirt.counts.items() if count},
        "actions": list(shopper.ACTIONS),
        "intents": list(shopper.INTENTS),
        "kinds": list(crowd.KINDS),
        "epochs": shop.epochs,
    }
    if truth:
        card["churn"] = truth_log.write_tables(folder, shop, tables, total_sessions)
        files.write_json(folder / "card.json", card)
    return card


def _iso(time: int) -> str:
    return datetime.fromtimestamp(time / 1e6, UTC).isoformat(timespec="seconds")


def _check(settings: Simulator, fmt: str) -> None:
    faults = [
        f"{name}: {getattr(settings, name)} is not at least 1"
        for name in ("events", "items", "categories", "days")
        if getattr(settings, name) < 1
    ]
    if settings.users is not None and settings.users < 1:
        faults.append(f"users: {settings.users} is not at least 1")
    if not 0 <= settings.dirt <= 1:
        faults.append(f"dirt: {settings.dirt} is not between 0 and 1")
    if fmt not in FORMATS:
        faults.append(f"format: {fmt!r} is none of {', '.join(FORMATS)}")
    elif settings.dirt and fmt != "csv":
        faults.append(f"dirt: {settings.dirt} needs the format csv; {fmt} cannot hold broken rows")
    if faults:
        raise UsageError("the simulator cannot do this: " + "; ".join(faults), kept="nothing was written")


@dataclass
class _Pending:
    """Events made but not yet due, and their sessions."""

    block: Block
    sessions: OpenSessions


def _blocks(
    shop: shops.Shop, tables: shopper.Process, seed: int, truths: truth_log.TruthLog
) -> Iterator[tuple[Block, OpenSessions]]:
    """Events in time order, block by block."""
    target = shop.settings.events
    count = ceil(target / BLOCK_EVENTS)
    clock = Clock(shop.settings.start, shop.days)
    midnight = datetime.combine(shop.settings.start, datetime.min.time(), UTC)
    epoch_start = int(midnight.timestamp()) * 1_000_000
    made = sessions_made = 0
    mean = 8.0
    waiting: list[_Pending] = []
    for k in range(count):
        random = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, 2, k))))
        final = k == count - 1
        due = ceil(target * (k + 1) / count)
        while made < due:
            wanted = ceil((due - made) / mean * (1.03 if final else 1)) + (4 if final else 0)
            fresh = _sessions(shop, tables, random, clock, (k / count, (k + 1) / count), wanted, sessions_made,
                              due - made if final else 1 << 60, truths)  # fmt: skip
            waiting.append(fresh)
            made += len(fresh.block.time)
            sessions_made += len(fresh.sessions.number)
            mean = made / sessions_made
            if not final:
                break
        end = np.iinfo(np.int64).max if final else int(clock.time(np.array((k + 1) / count)))
        block, later = _due(_join(waiting), end)
        absolute = replace(block.block, time=block.block.time + epoch_start)
        yield absolute, block.sessions
        waiting = [later]


def _sessions(
    shop: shops.Shop,
    tables: shopper.Process,
    random: np.random.Generator,
    clock: Clock,
    span: tuple[float, float],
    count: int,
    number: int,
    at_most: int,
    truths: truth_log.TruthLog,
) -> _Pending:
    """`count` sessions that begin within the quantiles `span`; fewer if the first of them hold `at_most` events."""
    start = clock.time(span[0] + (span[1] - span[0]) * random.random(count))
    user = crowd.visitors(shop, random, start)
    kind = np.zeros(count, np.int8)
    draw = random.random(count)
    for code, low, share in ((crowd.BOT, 0.0, crowd.BOT_SHARE), (crowd.FRAUD, crowd.BOT_SHARE, crowd.FRAUD_SHARE)):
        who = np.flatnonzero((low <= draw) & (draw < low + share))
        kind[who] = code
        user[who] = (
            crowd.customers(shop) + (code - 1) * crowd.rogues(shop) + random.integers(0, crowd.rogues(shop), len(who))
        )
    price_class, tastes = crowd.character(shop, np.where(user < 0, GUEST_NUMBERS + number + np.arange(count), user))
    epoch = np.minimum(start * shop.epochs // (shop.days * crowd.DAY), shop.epochs - 1).astype(np.int32)

    first = shopper.start_state(kind, price_class)
    walks = shopper.walk(tables, random, first, price_class, shop.active[epoch], shop.response, at_most)
    kept = np.sort(walks.chosen)
    opened = OpenSessions(number + np.arange(len(kept)), user[kept])
    truths.sessions(opened, kind[kept], price_class[kept], epoch[kept], tastes[kept])

    of = walks.chosen
    about = choice.Sessions(start[of], epoch[of], price_class[of], tastes[of], kind[of])
    chosen = choice.choose(shop, walks, about, random)
    reduced = shop.promoted.ravel()[about.epoch[chosen.session].astype(np.int64) * shop.items + chosen.item]
    block = Block(
        time=chosen.time,
        session=of.astype(np.int32)[chosen.session],
        action=walks.action,
        item=chosen.item,
        reduced=reduced,
        focus=chosen.focus,
        quantity=chosen.quantity,
        campaign=walks.campaign,
        current=chosen.current,
        state=walks.state,
    )
    return _Pending(block, opened)


def _columns(block: Block) -> dict[str, NDArray[Any]]:
    return {field.name: getattr(block, field.name) for field in fields(block)}


def _join(parts: list[_Pending]) -> _Pending:
    if len(parts) == 1:
        return parts[0]
    shift = np.cumsum([0] + [len(part.sessions.number) for part in parts])
    moved = [replace(p.block, session=p.block.session + np.int32(s)) for p, s in zip(parts, shift, strict=False)]
    columns = {name: np.concatenate([getattr(block, name) for block in moved]) for name in _columns(moved[0])}
    sessions = OpenSessions(
        np.concatenate([p.sessions.number for p in parts]), np.concatenate([p.sessions.user for p in parts])
    )
    return _Pending(Block(**columns), sessions)


def _due(all_events: _Pending, end: int) -> tuple[_Pending, _Pending]:
    """What lies before `end`, in time order, and the rest with its sessions alone."""
    block, sessions = all_events.block, all_events.sessions
    order = _time_order(block.time)
    cut = int(np.searchsorted(block.time[order], end))
    columns = _columns(block)
    now = Block(**{name: column[order[:cut]] for name, column in columns.items()})
    later = {name: column[order[cut:]] for name, column in columns.items()}
    running, later["session"] = np.unique(later["session"], return_inverse=True)
    later["session"] = later["session"].astype(np.int32)
    left = OpenSessions(sessions.number[running], sessions.user[running])
    return _Pending(now, sessions), _Pending(Block(**later), left)


def _time_order(time: NDArray[np.int64]) -> NDArray[np.int64]:
    """A stable order by time: times and places packed into one number sort several times faster than an argsort."""
    if not len(time):
        return np.empty(0, np.int64)
    low, bits = int(time.min()), len(time).bit_length()
    if (int(time.max()) - low).bit_length() + bits > 63:
        return np.argsort(time, kind="stable")
    return np.sort((time - low) << bits | np.arange(len(time))) & ((1 << bits) - 1)
