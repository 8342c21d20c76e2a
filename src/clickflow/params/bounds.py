"""What no param can be: a number that is none, or beyond all sense, and a text that is longer than any name.

Tighter bounds, and values that must fit each other, stand in `params.rules`.
"""

import math
from collections.abc import Iterator, Mapping
from datetime import date
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

CENTURY = 36_525
"""Days."""

NUMBERS: tuple[tuple[str, float, float], ...] = (
    ("seed", 0, 2**32 - 1),
    ("simulator.events", 0, 1e11),
    ("simulator.users", 0, 1e9),
    ("simulator.items", 0, 1e8),
    ("simulator.categories", 0, 1e6),
    ("simulator.days", 0, CENTURY),
    ("training.threads", 0, 1024),
    ("training.processes", 0, 1024),
    ("models.*.encoder.units", 0, 65_536),
    ("models.*.encoder.layers", 0, 100),
    ("models.*.encoder.attention_heads", 0, 65_536),
    ("models.*.heads.*.negatives", 0, 1e6),
    ("models.*.heads.*.horizon", 0, 1000),
    ("models.*.budget.epochs", 0, 1e6),
    ("tuning.space.*", -1e12, 1e12),
    ("gate.floors.*", -1e12, 1e12),
    ("champion.*", 0, 1e9),
    ("evaluation.cutoffs.*", 1, 1e6),
    ("evaluation.bootstrap", 0, 1e6),
    ("*.max_length", 0, 1e6),
    ("*_length", 0, 1 << 20),
    ("*_gb", 0, 1e5),
    ("*_seconds", 0, CENTURY * 86_400),
    ("*_minutes", 0, CENTURY * 1440),
    ("*_hours", 0, CENTURY * 24),
    ("*_days", 0, CENTURY),
    ("*", 0, 1e12),
)
"""The name of a param, as a pattern, and from where to where its numbers go: the first that fits."""

TEXTS: tuple[tuple[str, int], ...] = (("source.sql_query", 100_000), ("source.path", 4095), ("*", 1000))
"""Likewise the most bytes of a text."""
NAME = 200
"""The most bytes of a name."""
PART = 255
"""The most bytes of one part of a path."""
YEARS = (1970, 2199)

SHOWN = 60
"""Letters of a value in a message."""


def beyond(value: Any, name: str = "") -> Iterator[str]:
    """A line for every value of a tree of params that no param can have."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if len(str(key).encode("utf-8", "replace")) > NAME:
                yield f"{_dotted(name, str(key)[:SHOWN])} …: a name has at most {NAME} bytes"
            else:
                yield from beyond(inner, _dotted(name, key))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from beyond(inner, _dotted(name, number))
    elif isinstance(value, float | int) and not isinstance(value, bool):
        yield from _number(name, value)
    elif isinstance(value, str):
        yield from _text(name, value)
    elif isinstance(value, date) and not YEARS[0] <= value.year <= YEARS[1]:
        yield f"{name}: {value} is not between the years {YEARS[0]} and {YEARS[1]}"


def _dotted(name: str, key: Any) -> str:
    return f"{name}.{key}" if name else str(key)


@cache
def _range(name: str) -> tuple[float, float]:
    return next((low, high) for pattern, low, high in NUMBERS if fnmatchcase(name, pattern))


def _number(name: str, value: float) -> Iterator[str]:
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{name}: {value} is no number that a param can have"
        return
    low, high = _range(name)
    if not low <= value <= high:
        text = str(value) if abs(value) < 1e18 else f"{value:.3e}" if abs(value) < 1e300 else "it"
        yield f"{name}: {text} is not between {low:,.0f} and {high:,.0f}"


def _text(name: str, value: str) -> Iterator[str]:
    most = next(most for pattern, most in TEXTS if fnmatchcase(name, pattern))
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        yield f"{name}: {ascii(value)[:SHOWN]} is no text"
        return
    if size > most:
        yield f"{name}: it has {size:,} bytes, at most {most:,} can be"
    elif any(ord(letter) < 32 and letter not in "\t\n\r" for letter in value):
        yield f"{name}: {value[:SHOWN]!r} holds a control character"
    elif name == "source.path" and any(len(part.encode()) > PART for part in value.split("/")):
        yield f"{name}: a part of the path has more than {PART} bytes"
