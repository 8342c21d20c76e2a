"""For a figure that breaks its bound: the number of rows concerned and a few examples, from DuckDB."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from clickflow.quality.figures import RowFigure
from clickflow.quality.log import EVERY_COLUMN, Log
from clickflow.quality.profile import Profile

EXAMPLES = 5
"""At most so many are shown."""

ROW = f"filename, file_row_number, {EVERY_COLUMN}"


@dataclass(frozen=True)
class Evidence:
    """`count` of `unit` (a plural) break the rule; `examples` are up to EXAMPLES of them, as column → value."""

    count: int
    unit: str
    examples: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Source:
    """What evidence is read from; `bound` is that of the rule, `card` reports/ingest.json."""

    figure: str
    bound: Mapping[str, Any]
    log: Log
    profile: Profile
    card: Mapping[str, Any]

    def counted(self, unit: str, examples: Sequence[Mapping[str, Any]], name: str = "") -> Evidence:
        """The profile's count of `name`, or of the figure itself."""
        return Evidence(int(self.profile.log[name or self.figure] or 0), unit, tuple(examples[:EXAMPLES]))


def of_figure(
    figure: str,
    bound: Mapping[str, Any],
    log: Log,
    profile: Profile,
    rows: Sequence[RowFigure],
    card: Mapping[str, Any],
) -> Evidence | None:
    """The evidence for a figure of the tables `log` and `drift`; None where no rows stand behind it.

    `card` is reports/ingest.json.
    """
    source = Source(figure, bound, log, profile, card)
    for row in rows:
        if figure in (row.name, f"{row.name}_share"):
            query = (
                f"SELECT {ROW} FROM events WHERE {row.predicate} ORDER BY filename, file_row_number LIMIT {EXAMPLES}"
            )
            return source.counted(row.unit, _rows(log, query), row.name)
    return FIGURES[figure](source) if figure in FIGURES else None


def _ties(source: Source) -> Evidence:
    unit = "steps at the instant of the step before; they stand in the order of the file: map source.columns.order"
    return source.counted(unit, _at(source.log, source.profile.tied_rows), "ties")


def _long_sessions(source: Source) -> Evidence:
    unit = "sessions with more events; clickflow sequences leaves out what sequences.robots names"
    return _sessions(source.log, f"events > {float(source.bound.get('max_value') or 0)}", unit)


def _short_sessions(source: Source) -> Evidence:
    return _sessions(source.log, "events = 1", "sessions of one event")


def _share_of_one(source: Source) -> Evidence:
    """Of one user, session or item."""
    kind = source.figure.removesuffix("_share")
    most = _rows(
        source.log,
        f"SELECT {kind}_id, count(*) AS events, min(event_time) AS first_event FROM events "
        f"WHERE {kind}_id IS NOT NULL GROUP BY {kind}_id ORDER BY events DESC, {kind}_id LIMIT {EXAMPLES}",
    )
    return Evidence(int(most[0]["events"]) if most else 0, f"events of one {kind}", most)


def _repeats(source: Source) -> Evidence:
    repeats = [
        {"file": file["source"], "repeats": file["reasons"].get("duplicate", 0), "read": file["read"]}
        for file in source.card["sources"]
    ]
    repeats = sorted((file for file in repeats if file["repeats"]), key=lambda file: -file["repeats"])
    return source.counted("rows that repeat another", repeats, "repeated")


def _unread(source: Source) -> Evidence:
    left: list[Mapping[str, Any]] = [
        {"column": column, "reason": reason, **seen}
        for column, reasons in source.card["unread"].items()
        for reason, seen in reasons.items()
    ]
    return Evidence(sum(each["count"] for each in left), "values left empty", tuple(left[:EXAMPLES]))


def _currencies(source: Source) -> Evidence:
    counts = source.card["currencies"]
    written = tuple({"currency": name, "prices": count} for name, count in counts.items())
    return Evidence(sum(counts.values()), "prices with a currency", written[:EXAMPLES])


def _quarantined(source: Source) -> Evidence:
    worst = sorted(source.card["reasons"].items(), key=lambda item: (-item[1], item[0]))
    return source.counted(
        "rows in quarantine", [{"reason": code, "rows": count} for code, count in worst], "quarantined"
    )


def _refused_files(source: Source) -> Evidence:
    whole = source.figure == "refused_files"
    files = [file for file in source.profile.refused_files if not whole or file["refused"] == file["read"]]
    return Evidence(len(files), "files", tuple(files[:EXAMPLES]))


def _unaccounted(source: Source) -> Evidence:
    names = ("read", "accepted", "quarantined", "ignored", "forgotten", "events")
    shown = {name: source.profile.log[name] for name in names}
    return Evidence(abs(int(source.profile.log[source.figure] or 0)), "rows", (shown,))


def _newest(source: Source) -> Evidence | None:
    if not source.profile.last_event:
        return None
    query = f"SELECT {ROW} FROM events ORDER BY event_time DESC NULLS LAST, filename, file_row_number LIMIT 1"
    return source.counted("events, the newest of which is old", _rows(source.log, query), "events")


def _newest_day(source: Source) -> Evidence | None:
    if not source.profile.newest_full_day:
        return None
    day = {"day": source.profile.newest_full_day.isoformat(), **source.profile.drift}
    day.pop("type_mix_distance")
    return Evidence(int(source.profile.drift["newest_day_events"] or 0), "events on the newest full day", (day,))


def _type_mix(source: Source) -> Evidence:
    types = source.profile.types
    moved = sorted(types, key=lambda t: -abs(t.get("share_newest", 0) - t.get("share_before", 0)))
    return Evidence(len(types), "event types", tuple(moved[:EXAMPLES]))


FIGURES: Mapping[str, Callable[[Source], Evidence | None]] = {
    "duplicates": lambda source: source.counted(
        "events that are there more than once", _twice(source.log, source.profile)
    ),
    "unsorted": lambda source: source.counted(
        "events earlier than the row above them", _at(source.log, source.profile.unsorted_rows)
    ),
    **dict.fromkeys(("ties", "tie_share"), _ties),
    "longest_session": _long_sessions,
    **dict.fromkeys(("single_event_sessions", "single_event_session_share"), _short_sessions),
    **dict.fromkeys(("user_share", "session_share", "item_share"), _share_of_one),
    "duplicate_share": _repeats,
    "unread_share": _unread,
    "currencies": _currencies,
    **dict.fromkeys(("quarantined", "quarantine_share"), _quarantined),
    **dict.fromkeys(("partly_refused_files", "refused_files"), _refused_files),
    **dict.fromkeys(("unaccounted_rows", "card_difference"), _unaccounted),
    "events": lambda source: source.counted("events in all", source.profile.days),
    "age_days": _newest,
    "volume_ratio": _newest_day,
    "type_mix_distance": _type_mix,
}


def of_table(result: Mapping[str, Any], name: str, table: Sequence[Mapping[str, Any]]) -> Evidence | None:
    """The evidence in a result of an expectation on rows of the table `name`; None where it judges it as a whole."""
    if result.get("unexpected_count") is None:
        return None
    places = result.get("partial_unexpected_index_list") or []
    examples = tuple(_plain(table[place]) for place in places[:EXAMPLES])
    return Evidence(int(result["unexpected_count"]), f"rows of the table {name}", examples)


def _twice(log: Log, profile: Profile) -> tuple[Mapping[str, Any], ...]:
    """Rows that are there more than once, from the first day that has some; `times` says how often."""
    examples: list[Mapping[str, Any]] = []
    for day in profile.duplicate_days:
        query = (
            f"SELECT min(filename) AS filename, min(file_row_number) AS file_row_number, {EVERY_COLUMN}, "
            f"count(*) AS times FROM events WHERE day = '{day}' GROUP BY {EVERY_COLUMN} HAVING count(*) > 1 "
            f"ORDER BY filename, file_row_number LIMIT {EXAMPLES}"
        )
        examples += _rows(log, query)
        if len(examples) >= EXAMPLES:
            break
    return tuple(examples[:EXAMPLES])


def _at(log: Log, places: Sequence[tuple[Path, int]]) -> tuple[Mapping[str, Any], ...]:
    """The events at rows of files."""
    chosen = " OR ".join(f"(filename = '{_quoted(file)}' AND file_row_number = {row})" for file, row in places)
    query = f"SELECT {ROW} FROM events WHERE {chosen or 'false'} ORDER BY filename, file_row_number LIMIT {EXAMPLES}"
    return _rows(log, query)


def _sessions(log: Log, condition: str, unit: str) -> Evidence:
    """Sessions (see `visits`) that a condition picks; the longest first."""
    (count,) = log.connection.execute(f"SELECT count(*) FROM visits WHERE {condition}").fetchone()
    ordered = "ORDER BY events DESC, first_event, session_id, user_id"
    columns = "session_id, user_id, events, first_event"
    return Evidence(
        count, unit, _rows(log, f"SELECT {columns} FROM visits WHERE {condition} {ordered} LIMIT {EXAMPLES}")
    )


def _rows(log: Log, query: str) -> tuple[Mapping[str, Any], ...]:
    """The rows of a query as column → value, without nulls; file and row number as `row`, day=…/events.parquet:7."""
    cursor = log.connection.execute(query)
    names = [column[0] for column in cursor.description]
    return tuple(_plain(dict(zip(names, row, strict=True))) for row in cursor.fetchall())


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    values = {key: value for key, value in row.items() if value is not None}
    if "filename" in values and "file_row_number" in values:
        file = Path(values.pop("filename"))
        values = {"row": f"{file.parent.name}/{file.name}:{values.pop('file_row_number') + 1}", **values}
    return {key: _value(value) for key, value in values.items()}


def _value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="microseconds").removesuffix("+00:00")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _quoted(file: Path) -> str:
    return str(file).replace("'", "''")
