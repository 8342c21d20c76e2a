"""`clickflow simulate`: a shop's log of any size, with the truth behind it.

The process is described in docs/simulator.md, what is known beside the log in truth_log, how to ask for it in truth.
"""

import time
from dataclasses import asdict, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np

from clickflow.events.contract import EVENT_TYPES
from clickflow.params.simulator import Simulator
from clickflow.sources.simulator import crowd, raw_log, shopper, truth_log
from clickflow.sources.simulator import shop as shops
from clickflow.sources.simulator.dirt import Dirt
from clickflow.sources.simulator.stream import Stream
from clickflow.system import console, files
from clickflow.system.errors import ClickflowError, UsageError

FORMATS = ("csv", "parquet")
DEFAULTS = Simulator(events=200_000, users=None, items=2000, categories=40, days=28, start=date(2026, 1, 5), dirt=0.0)
"""The shop of `clickflow simulate`."""


def run(events: int, seed: int, out: Path, fmt: str, as_json: bool, **of_shop: Any) -> None:
    """The verb: simulate into the folder `out`, which appears only when all of it is written. `of_shop`: other params
    of the simulator than the defaults.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(
            f"--out {out} exists and is not an empty folder",
            kept="nothing was written",
            next_step="name a new folder, or empty this one",
        )
    began = time.perf_counter()
    settings = replace(DEFAULTS, events=events, **of_shop)
    try:
        with files.replacing(out) as fresh, console.progress("simulating", events) as progress:
            card = simulate(settings, fresh, seed=seed, fmt=fmt, progress=progress)
    except OSError as error:
        raise ClickflowError(
            f"cannot write to {out}: {error.strerror or error}",
            kept="nothing was put in place",
            next_step="make room, or name another folder",
        ) from error
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
    _check(settings, seed, fmt)
    shop = shops.build(settings, seed)
    tables = shopper.process()
    folder = out / "truth" if truth else None
    dirt = Dirt(settings.dirt, seed, folder / "dirt.parquet" if folder else None)
    seen = np.zeros(crowd.accounts(shop), np.bool_)
    counts = np.zeros(len(EVENT_TYPES), np.int64)
    first = last = 0
    with truth_log.TruthLog(folder) as truths, raw_log.RawLog(out, fmt, shop, dirt) as log:
        stream = Stream(shop, tables, seed, truths)
        for batch in stream.blocks():
            block, sessions = batch.block, batch.sessions
            if not len(block.time):
                continue
            log.write(block, sessions)
            truths.events(block, sessions)
            counts += np.bincount(block.action, minlength=len(counts))
            users = sessions.user[block.session]
            seen[users[users >= 0]] = True
            first, last = (first or int(block.time[0])), int(block.time[-1])
            if progress:
                progress(len(block.time))
    dirt.close()
    card = {
        "available": True,
        "source": "simulator",
        "seed": seed,
        "settings": {**asdict(settings), "start": settings.start.isoformat()},
        "fingerprint": shop.fingerprint(),
        "events": stream.events,
        "events_by_type": dict(zip(EVENT_TYPES, counts.tolist(), strict=True)),
        "rows": sum(file["rows"] for file in log.files),
        "sessions": stream.sessions,
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
    if folder:
        card["churn"] = truth_log.write_tables(folder, shop, tables, stream.sessions)
        files.write_json(folder / "card.json", card)
    return card


def _iso(time: int) -> str:
    return datetime.fromtimestamp(time / 1e6, UTC).isoformat(timespec="seconds")


def _check(settings: Simulator, seed: int, fmt: str) -> None:
    faults = [
        f"{name}: {getattr(settings, name)} is not at least 1"
        for name in ("events", "items", "categories", "days")
        if getattr(settings, name) < 1
    ]
    if settings.users is not None and settings.users < 1:
        faults.append(f"users: {settings.users} is not at least 1")
    if seed < 0:
        faults.append(f"seed: {seed} is below 0")
    if not 0 <= settings.dirt <= 1:
        faults.append(f"dirt: {settings.dirt} is not between 0 and 1")
    if not 0 <= settings.planted <= 0.5:
        faults.append(f"planted: {settings.planted} is not between 0 and 0.5")
    if fmt not in FORMATS:
        faults.append(f"format: {fmt!r} is none of {', '.join(FORMATS)}")
    elif settings.dirt and fmt != "csv":
        faults.append(f"dirt: {settings.dirt} needs the format csv; {fmt} cannot hold broken rows")
    if faults:
        raise UsageError("the simulator cannot do this: " + "; ".join(faults), kept="nothing was written")
