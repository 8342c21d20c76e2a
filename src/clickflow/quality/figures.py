"""Figures that count rows: one predicate each, used to count them and, where a bound is broken, to show them."""

from dataclasses import dataclass
from datetime import UTC, datetime

from clickflow.events.contract import EVENT_TYPES, NEEDS_ITEM


@dataclass(frozen=True)
class RowFigure:
    """A figure of the table `log`: the number of events for which `predicate` (SQL over the view `events`) holds.

    `unit` says what is counted, in the plural.
    """

    name: str
    predicate: str
    unit: str


def _strings(values: tuple[str, ...]) -> str:
    return ", ".join(f"'{value}'" for value in values)


def row_figures(latest: datetime | None) -> tuple[RowFigure, ...]:
    """Every figure that counts rows; `after_as_of` only where `latest`, the last moment an event may have, is given."""
    figures = [
        RowFigure("no_time", "event_time IS NULL", "events without a time"),
        RowFigure(
            "unknown_type",
            f"event_type IS NULL OR event_type NOT IN ({_strings(EVENT_TYPES)})",
            "events of an unknown type",
        ),
        RowFigure("before_2000", "event_time < TIMESTAMPTZ '2000-01-01 00:00:00+00'", "events before the year 2000"),
        # four times as fast as event_time::DATE <> day: the folder's day is cast once a file, not the time of every row
        RowFigure(
            "other_day",
            "event_time < day::TIMESTAMPTZ OR event_time >= (day + 1)::TIMESTAMPTZ",
            "events that lie in another day's folder",
        ),
        RowFigure("no_user", "user_id IS NULL", "events without a user"),
        RowFigure("nobody", "user_id IS NULL AND session_id IS NULL", "events without a user and a session"),
        RowFigure(
            "no_item",
            f"item_id IS NULL AND event_type IN ({_strings(NEEDS_ITEM)})",
            "events that need an item and have none",
        ),
        RowFigure("bad_price", "price < 0 OR NOT isfinite(price)", "events with a price below zero or not finite"),
        RowFigure("bad_quantity", "quantity < 1", "events with a quantity below one"),
    ]
    if latest is not None:
        moment = latest.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")
        figures.append(RowFigure("after_as_of", f"event_time > TIMESTAMPTZ '{moment}'", "events after source.as_of"))
    return tuple(figures)
