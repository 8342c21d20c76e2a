"""Moments: microseconds since 1970 UTC, as stores, tables and records hold them."""

from datetime import UTC, datetime, timedelta

SECOND, MINUTE, HOUR, DAY = 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000
"""Microseconds."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso(moment: int) -> str:
    """A moment as ISO 8601 in UTC."""
    return (_EPOCH + timedelta(microseconds=moment)).isoformat(timespec="microseconds")


def of_iso(text: str) -> int:
    """The moment of a text of ISO 8601 that names its zone."""
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)
