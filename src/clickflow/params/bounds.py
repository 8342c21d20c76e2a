"""Checks of single values: a number must be one and within its bounds, a text must not be longer than any name.

Bounds stand beside each field (`params.meta`), values that must fit each other in `params.rules`.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import date
from types import UnionType
from typing import Any, Union, get_args, get_origin

from clickflow.params.meta import LONGEST_TEXT, Meta, hints, plain

NUMBERS, TEXTS = 1e12, 100_000
"""The largest number, and the most bytes of a text, of any param."""
NAME = 200
"""The most bytes of a name."""
YEARS = (1970, 2199)
SHOWN = 60
"""Letters of a value in a message."""
NO_META = Meta("")
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
"""Characters that no text of a param has."""


def beyond(value: Any, name: str = "") -> Iterator[str]:
    """A line for every value of a tree, as a file has it, that no param can have: asked before anything computes."""
    if isinstance(value, str):  # the most frequent first: to ask whether something is a mapping takes longest
        yield from _text(name, value)
    elif isinstance(value, float | int) and not isinstance(value, bool):
        if isinstance(value, float) and not math.isfinite(value):
            yield f"{name}: {value} is not a number that a param can have"
        elif not -NUMBERS <= value <= NUMBERS:
            yield f"{name}: {Meta('', ge=-NUMBERS, le=NUMBERS).fault(value)}"
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if len(str(key).encode("utf-8", "replace")) > NAME:
                yield f"{_dotted(name, str(key)[:SHOWN])} …: a name has at most {NAME} bytes"
            elif faults := list(_text(f"a name in {name}" if name else "a name", str(key))):
                yield from faults
            else:
                yield from beyond(inner, _dotted(name, key))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from beyond(inner, _dotted(name, number))
    elif isinstance(value, date) and not YEARS[0] <= value.year <= YEARS[1]:
        yield f"{name}: {value} is not between the years {YEARS[0]} and {YEARS[1]}"


def outside(value: Any, hint: Any, name: str = "", meta: Meta = NO_META) -> Iterator[str]:
    """A line for every number or text below `value`, which is of type `hint`, that its field does not allow."""
    hint, own = plain(hint)
    meta = own or meta
    if isinstance(value, str):
        size, most = len(value.encode()), int(meta.le or LONGEST_TEXT)
        if size > most:
            yield f"{name}: it has {size:,} bytes, at most {most:,} can be"
    elif isinstance(value, float | int) and not isinstance(value, bool):
        if fault := meta.fault(value):
            yield f"{name}: {fault}{f' ({meta.text})' if meta.text else ''}"
    elif is_dataclass(value):
        kind: Any = type(value)
        kinds = hints(kind)
        for each in fields(value):
            yield from outside(getattr(value, each.name), kinds[each.name], _dotted(name, each.name))
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from outside(inner, _inside(hint, Mapping), _dotted(name, key), meta)
    elif isinstance(value, tuple):
        if len(value) > meta.most:
            yield f"{name}: it has {len(value):,} entries, at most {meta.most:,} can be"
        for number, inner in enumerate(value):
            yield from outside(inner, _inside(hint, tuple), _dotted(name, number), meta)


def _inside(hint: Any, of: Any) -> Any:
    """The type of what a mapping or a tuple holds."""
    if get_origin(hint) in (Union, UnionType):
        hint = next((each for each in get_args(hint) if get_origin(each) in (of, Mapping, tuple)), Any)
    held = [each for each in get_args(hint) if each is not Ellipsis]
    return held[-1] if held else Any


def _dotted(name: str, key: Any) -> str:
    return f"{name}.{key}" if name else str(key)


def _text(name: str, value: str) -> Iterator[str]:
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        yield f"{name}: {ascii(value)[:SHOWN]} is not text"
        return
    if size > TEXTS:
        yield f"{name}: it has {size:,} bytes, at most {TEXTS:,} can be"
    elif CONTROL.search(value):
        yield f"{name}: {value[:SHOWN]!r} holds a control character"
