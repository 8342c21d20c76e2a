"""For a figure that breaks its bound: the number of rows concerned and a few examples, from DuckDB."""

import math
from collections.abc import Mapping, Sequence
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
    for row in rows:
        if figure in (row.name, f"{row.name}_share"):
            query = (
                f"SELECT {ROW} FROM events WHERE {row.predicate} ORDER BY filename, file_row_number LIMIT {EXAMPLES}"
            )
            return Evidence(int(profile.log[row.name] or 0), row.unit, _rows(log, query))
    if figure == "duplicates":
        return Evidence(int(profile.log[figure] or 0), "events that are there more than once", _twice(log, profile))
    if figure == "unsorted":
        unit = "events earlier than the row above them"
        return Evidence(int(profile.log[figure] or 0), unit, _at(log, profile.unsorted_rows))
    if figure in ("ties", "tie_share"):
        unit = "steps at the instant of the step before; they stand in the order of the file: map source.columns.order"
        return Evidence(int(profile.log["ties"] or 0), unit, _at(log, profile.tied_rows))
    if figure == "longest_session":
        unit = "sessions with more events; clickflow sequences leaves out what sequences.robots names"
        return _sessions(log, f"events > {float(bound.get('max_value') or 0)}", unit)
    if figure in ("single_event_sessions", "single_event_session_share"):
        return _sessions(log, "events = 1", "sessions of one event")
    if figure in ("user_share", "session_share", "item_share"):
        column = f"{figure.removesuffix('_share')}_id"
        most = _rows(
            log,
            f"SELECT {column}, count(*) AS events, min(event_time) AS first_event FROM events "
            f"WHERE {column} IS NOT NULL GROUP BY {column} ORDER BY events DESC, {column} LIMIT {EXAMPLES}",
        )
        return Evidence(int(most[0]["events"]) if most else 0, f"events of one {figure.removesuffix('_share')}", most)
    if figure == "duplicate_share":
        repeats = [
            {"file": source["source"], "repeats": source["reasons"].get("duplicate", 0), "read": source["read"]}
            for source in card["sources"]
        ]
        repeats = sorted((file for file in repeats if file["repeats"]), key=lambda file: -file["repeats"])
        return Evidence(int(profile.log["repeated"] or 0), "rows that repeat another", tuple(repeats[:EXAMPLES]))
    if figure == "unread_share":
        left: list[Mapping[str, Any]] = [
            {"column": column, "reason": reason, **seen}
            for column, reasons in card["unread"].items()
            for reason, seen in reasons.items()
        ]
        return Evidence(sum(each["count"] for each in left), "values left empty", tuple(left[:EXAMPLES]))
    if figure == "currencies":
        written = tuple({"currency": name, "prices": count} for name, count in card["currencies"].items())
        return Evidence(sum(card["currencies"].values()), "prices with a currency", written[:EXAMPLES])
    if figure in ("quarantined", "quarantine_share"):
        worst = sorted(card["reasons"].items(), key=lambda item: (-item[1], item[0]))[:EXAMPLES]
        counted = tuple({"reason": code, "rows": count} for code, count in worst)
        return Evidence(int(profile.log["quarantined"] or 0), "rows in quarantine", counted)
    if figure in ("partly_refused_files", "refused_files"):
        whole = figure == "refused_files"
        files = [file for file in profile.refused_files if not whole or file["refused"] == file["read"]]
        return Evidence(len(files), "files", tuple(files[:EXAMPLES]))
    if figure in ("unaccounted_rows", "card_difference"):
        shown = {
            name: profile.log[name] for name in ("read", "accepted", "quarantined", "ignored", "forgotten", "events")
        }
        return Evidence(abs(int(profile.log[figure] or 0)), "rows", (shown,))
    if figure == "events":
        return Evidence(int(profile.log[figure] or 0), "events in all", profile.days[:EXAMPLES])
    if figure == "age_days" and profile.last_event:
        query = f"SELECT {ROW} FROM events ORDER BY event_time DESC NULLS LAST, filename, file_row_number LIMIT 1"
        return Evidence(int(profile.log["events"] or 0), "events, the newest of which is old", _rows(log, query))
    if figure == "volume_ratio" and profile.newest_full_day:
        day = {"day": profile.newest_full_day.isoformat(), **profile.drift}
        day.pop("type_mix_distance")
        return Evidence(int(profile.drift["newest_day_events"] or 0), "events on the newest full day", (day,))
    if figure == "type_mix_distance":
        moved = sorted(profile.types, key=lambda t: -abs(t.get("share_newest", 0) - t.get("share_before", 0)))
        return Evidence(len(profile.types), "event types", tuple(moved[:EXAMPLES]))
    return None


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
