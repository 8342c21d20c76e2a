"""The figures of a log, aggregated in the engine: small tables that Great Expectations then judges.

Counts are exact. Nothing here decides; the bounds stand in expectations/ and in params.yaml.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa

from clickflow.quality import visits
from clickflow.quality.figures import RowFigure
from clickflow.quality.log import EVERY_COLUMN, Log

SAMPLE_ROWS = 10_000
"""About so many events, evenly spread over every file, are the table `sample`."""

MAX_DAYS = 36_525
"""A longer log (a century) gets no rows for days without events."""

ROWS_AT_ONCE = 250_000
"""Days are searched for events that are there twice together, up to about so many events: a query costs as
much as thousands of them.
"""

WHY_UNKNOWN = {
    "after_as_of": "source.as_of is null",
    "age_days": "the log has no event with a time, or an order and no clock",
    "duplicates": "ingest.duplicates is keep",
    "tie_share": "the log has no step: no event with an item",
    "volume_ratio": "the log has no full day that comes after another",
    "type_mix_distance": "the log is a single moment",
}
"""Why a figure can be None."""


@dataclass(frozen=True)
class Profile:
    """What a log looks like.

    `log` and `drift` are one row each (figure → value; None where it cannot be known); `days` one row a day between the
    first and the last, those without events too; `types` one row an event type. `unsorted_rows`, `tied_rows`,
    `duplicate_days` and `refused_files` say where to look for examples.
    """

    log: Mapping[str, int | float | None]
    drift: Mapping[str, int | float | None]
    days: tuple[Mapping[str, Any], ...]
    types: tuple[Mapping[str, Any], ...]
    first_event: datetime | None
    last_event: datetime | None
    newest_full_day: date | None
    unsorted_rows: tuple[tuple[Path, int], ...]
    tied_rows: tuple[tuple[Path, int], ...]
    duplicate_days: tuple[date, ...]
    refused_files: tuple[Mapping[str, Any], ...]


def measure(
    log: Log, rows: tuple[RowFigure, ...], card: Mapping[str, Any], now: datetime | None, advance: Callable[[], Any]
) -> Profile:
    """All figures of `log`.

    `card` holds what ingest says: read, accepted, quarantined, ignored, forgotten, and the files of which too much was
    refused. The age of the newest event is taken at `now`, or left None. `advance` is called after each day.
    """
    connection = log.connection
    counted = ", ".join(f"count(*) FILTER ({figure.predicate})" for figure in rows)
    first, last, events, steps, *counts = _one(
        log,
        f"SELECT min(event_time), max(event_time), count(*), count(*) FILTER ({visits.STEP}), {counted} FROM events",
    )
    figures: dict[str, int | float | None] = {"events": events}
    figures |= {figure.name: count for figure, count in zip(rows, counts, strict=True)}
    figures.setdefault("after_as_of", None)
    figures["no_user_share"] = _share(figures["no_user"], events)

    kept_twice = card.get("duplicates") == "keep"
    by_day = _by_day(log.files)
    unsorted_rows: list[tuple[Path, int]] = []
    tied_rows: list[tuple[Path, int]] = []
    unsorted = tied = 0
    counted_days = dict(connection.execute("SELECT day, count(*) FROM events GROUP BY day").fetchall())
    repeats = {} if kept_twice else _repeats(log, counted_days)
    for files in by_day.values():
        for file in files:
            times = visits.times(file)
            if times is None:
                continue
            places = np.flatnonzero(np.diff(times) < 0) + 1
            unsorted += len(places)
            unsorted_rows += [(file, int(place)) for place in places[:5]]
            places = visits.ties(file, times)
            tied += len(places)
            tied_rows += [(file, int(place)) for place in places[:5]]
        advance()
    figures |= {"duplicates": None if kept_twice else sum(repeats.values()), "unsorted": unsorted}

    sessions, single, longest = visits.create(log)
    figures |= {"sessions": sessions, "single_event_sessions": single, "longest_session": longest}
    figures |= {"ties": tied, "tie_share": _share(tied, steps)}
    figures["single_event_session_share"] = _share(single, sessions)
    figures["session_share"] = _share(longest, events)
    for name in ("user", "item"):
        column = f"{name}_id"
        most = f"SELECT count(*) AS n FROM events WHERE {column} IS NOT NULL GROUP BY {column} ORDER BY n DESC LIMIT 1"
        figures[f"{name}_share"] = _share(_one(log, f"SELECT coalesce(max(n), 0) FROM ({most})")[0], events)

    figures |= _of_ingest(card, events)
    figures["age_days"] = round((now - last) / timedelta(days=1), 3) if now and last else None

    full_day, volume = _volume(counted_days, last)
    types, distance = _type_mix(log, first, last)
    return Profile(
        log=figures,
        drift={**volume, "type_mix_distance": distance},
        days=tuple(_every_day(dict.fromkeys(by_day, 0) | counted_days)),
        types=tuple(types),
        first_event=first,
        last_event=last,
        newest_full_day=full_day,
        unsorted_rows=tuple(unsorted_rows[:5]),
        tied_rows=tuple(tied_rows[:5]),
        duplicate_days=tuple(repeats),
        refused_files=tuple(card.get("refused_files", ())),
    )


def _of_ingest(card: Mapping[str, Any], events: int) -> dict[str, int | float | None]:
    """What ingest counted, held against the events that there are."""
    figures = {name: card[name] for name in ("read", "accepted", "quarantined")}
    wanted = card["read"] - card.get("ignored", 0) - card.get("forgotten", 0)
    figures["repeated"] = card.get("reasons", {}).get("duplicate", 0)
    figures["quarantine_share"] = _share(card["quarantined"] - figures["repeated"], wanted)
    figures["duplicate_share"] = _share(figures["repeated"], wanted)
    unread = [sum(seen["count"] for seen in reasons.values()) for reasons in card.get("unread", {}).values()]
    figures["unread_share"] = _share(max(unread, default=0), card["accepted"])
    figures["currencies"] = len(card.get("currencies", {}))
    refused = card.get("refused_files", ())
    figures["partly_refused_files"] = len(refused)
    figures["refused_files"] = sum(file["refused"] == file["read"] for file in refused)
    figures |= {name: card.get(name, 0) for name in ("ignored", "forgotten")}
    figures["unaccounted_rows"] = wanted - card["accepted"] - card["quarantined"]
    figures["card_difference"] = card["accepted"] - events
    return figures


def sample(log: Log, events: int) -> pa.Table:
    """About SAMPLE_ROWS events in their order: every n-th row of each file, so always the same ones."""
    step = max(1, -(-events // SAMPLE_ROWS))
    result: pa.Table = log.connection.sql(
        f"SELECT {EVERY_COLUMN} FROM events WHERE file_row_number % {step} = 0 ORDER BY filename, file_row_number"
    ).to_arrow_table()
    return result


def _one(log: Log, query: str) -> tuple[Any, ...]:
    row: tuple[Any, ...] = log.connection.execute(query).fetchone()
    return row


def _share(part: int | float | None, whole: int | float) -> float | None:
    return None if part is None or not whole else part / whole


def _by_day(files: tuple[Path, ...]) -> dict[date, list[Path]]:
    days: dict[date, list[Path]] = {}
    for file in files:
        days.setdefault(date.fromisoformat(file.parent.name[4:]), []).append(file)
    return days


def _repeats(log: Log, days: Mapping[date, int]) -> dict[date, int]:
    """How many events of a day equal another, for the days that have some, in order; `days` says how many it has."""
    repeats: dict[date, int] = {}
    ordered = sorted(days)
    together = np.cumsum([days[day] for day in ordered]) // ROWS_AT_ONCE
    for number in np.unique(together):
        first, last = np.flatnonzero(together == number)[[0, -1]].tolist()
        repeats |= log.connection.execute(
            f"SELECT day, count(*) - count(DISTINCT hash({EVERY_COLUMN})) AS more FROM events "
            f"WHERE day BETWEEN '{ordered[first]}' AND '{ordered[last]}' GROUP BY day HAVING more > 0 ORDER BY day"
        ).fetchall()
    return repeats


def _volume(days: Mapping[date, int], last: datetime | None) -> tuple[date | None, dict[str, int | float | None]]:
    """The newest full day against the median of the days before it.

    The last day is full if its newest event lies in its last hour; else the day before it (with events) is taken.
    """
    ordered = sorted(days)
    if last is not None and ordered and not (last.date() == ordered[-1] and last.hour == 23):
        ordered = ordered[:-1]
    if len(ordered) < 2:
        return None, {"newest_day_events": None, "median_day_events": None, "volume_ratio": None}
    newest, usual = days[ordered[-1]], median(days[day] for day in ordered[:-1])
    return ordered[-1], {
        "newest_day_events": newest,
        "median_day_events": usual,
        "volume_ratio": round(newest / usual, 6),
    }


def _type_mix(log: Log, first: datetime | None, last: datetime | None) -> tuple[list[dict[str, Any]], float | None]:
    """Shares of the event types before and in the newest tenth of the log's time, and their total variation distance:
    half the sum of the absolute differences, 0 (the same mix) to 1 (nothing in common).
    """
    cut = last - (last - first) / 10 if first and last and first < last else datetime.max.replace(tzinfo=UTC)
    rows = log.connection.execute(
        "SELECT event_type, count(*), count(*) FILTER (event_time >= ?) FROM events GROUP BY ALL ORDER BY 1 NULLS LAST",
        [cut],
    ).fetchall()
    total, newest = sum(row[1] for row in rows), sum(row[2] for row in rows)
    types: list[dict[str, Any]] = [{"event_type": name, "events": count} for name, count, _ in rows]
    if not newest or newest == total:
        return types, None
    for row, (_, count, new) in zip(types, rows, strict=True):
        row |= {"share_before": round((count - new) / (total - newest), 6), "share_newest": round(new / newest, 6)}
    exact = sum(abs((count - new) / (total - newest) - new / newest) for _, count, new in rows) / 2
    return types, round(exact, 6)


def _every_day(days: Mapping[date, int]) -> list[dict[str, Any]]:
    """One row a day from the first to the last, with 0 where there are no events."""
    ordered = sorted(days)
    if (ordered[-1] - ordered[0]).days < MAX_DAYS:
        ordered = [ordered[0] + timedelta(days=i) for i in range((ordered[-1] - ordered[0]).days + 1)]
    return [{"day": day.isoformat(), "events": days.get(day, 0)} for day in ordered]
