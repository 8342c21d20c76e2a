"""What an export is to a test: files, and what must come of them; and how such files are written."""

import io
import json
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

ROWS = 60
START = datetime(2026, 1, 5, 9, tzinfo=UTC)


def at(n: int, minutes: int = 7) -> datetime:
    return START + timedelta(minutes=minutes * n)


def users(n: int) -> int:
    return n // 4 % 9


def items(n: int) -> int:
    return n * 7 % 11


def table(head: str, line: str, mark: str = ",", end: str = "\n", **more: Any) -> str:
    """A header and rows of a format string that knows n, u, i, t, day and more functions of n."""
    names = {"u": users, "i": items, "t": at} | more
    lines = [line.format(n=n, **{name: value(n) for name, value in names.items()}) for n in range(ROWS)]
    return end.join([*([head.replace(",", mark)] if head else []), *(each.replace("|", mark) for each in lines)]) + end


def jsonl(row: Any) -> bytes:
    return b"".join(json.dumps(row(n)).encode() + b"\n" for n in range(ROWS))


def zipped(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, data)
    return out.getvalue()


@dataclass(frozen=True, kw_only=True)
class Export:
    """Files, what `inspect --write` must leave in `source`, what it must say; and of the ingest: how many are accepted,
    the first event (time, user's or session's presence aside: type and item), reasons, or the error that stops it.
    """

    files: dict[str, bytes]
    source: dict[str, Any] = field(default_factory=dict)
    says: tuple[str, ...] = ()
    accepted: int | None = ROWS
    first: tuple[str, str, str] | None = None
    counts: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    stops: str = ""
    given: dict[str, Any] = field(default_factory=dict)
    """What a person sets in `source` after reading what inspect says."""


def plain(t: datetime, kind: str, item: str) -> tuple[str, str, str]:
    return t.strftime("%Y-%m-%d %H:%M:%S"), kind, item


ISO = "{t:%Y-%m-%d %H:%M:%S}"
LOG = "event_time,event_type,user_id,item_id"


def swap(n: int) -> str:
    """Day by day: a month and more."""
    return f"{START + timedelta(days=n):%d/%m/%Y %H:%M}"


def ids(form: str, count: int = 30) -> str:
    """A log whose users are written in a form."""
    return table(LOG, f"{ISO}|view|{form}|p{{i}}", x=lambda n: 100_000 + n % count * 7)
