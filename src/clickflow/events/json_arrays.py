"""A file that is one JSON array: its elements, as if each stood on a line of its own.

An element that is not valid JSON is quarantined alone where its end is clear: its brackets and quotes close, or the
next element begins on a line of its own with the same indentation. Otherwise the file is refused: the elements that
follow cannot be told apart.
"""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path

from clickflow.events.storage import UNTOUCHED, Storage, opened, read_text
from clickflow.events.text_blocks import TextBlock
from clickflow.system.errors import DataError

MAX_ELEMENT = 64 << 20
"""Characters; what is longer is no event."""

TOKEN = re.compile(r'"(?:[^"\\\r\n]|\\[^\r\n])*"|["\[\]{},]')
"""A whole text, a quote that begins none, or what parts values."""
OPENED = {"]": "[", "}": "{"}

SPACE = re.compile(r"[ \t\r\n]*")
DECODER = json.JSONDecoder(parse_int=str, parse_float=str)
"""Numbers are left alone: only the ends of elements are looked for."""


def is_array(head: bytes) -> bool:
    """Whether a text that begins with `head` is an array."""
    return head.lstrip(b" \t\r\n").startswith(b"[")


def sample(head: bytes, count: int) -> list[bytes]:
    """The first elements, as far as `head` holds them whole."""
    text = head.decode("utf-8", "surrogateescape")
    elements, _, _ = _split(text, text.index("[") + 1, final=False)
    return [_line(element) for element in elements[:count]]


def read_elements(path: Path, skip: int, size: int, storage: Storage) -> Iterator[TextBlock]:
    """The elements of the array that begins after byte `skip`, one a line, in blocks; lines count the elements from 1.

    Raises DataError where the array is no JSON, or is cut off: half a file is not taken for a whole one.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    number, done, begun = 1, False, False
    with opened(path, storage) as (source, file):
        read_text(source, skip, path)
        text = ""
        final = False
        while not final:
            chunk = read_text(source, size, path)
            final = not chunk
            text += decoder.decode(chunk, final)
            if not begun:
                at = text.find("[")
                if at < 0:
                    continue
                text, begun = text[at + 1 :], True
            if not done:
                try:
                    elements, at, done = _split(text, 0, final=final)
                except (ValueError, RecursionError) as error:
                    raise _broken(path, number, str(error)) from error
                text = text[at:]
                if elements:
                    data = b"\n".join(map(_line, elements)) + b"\n"
                    stop = number + len(elements)
                    yield TextBlock(data, number, stop, (), False, file.tell(), storage.transcoded)
                    number = stop
            if done and text.strip():
                raise _broken(path, number, "more stands after the end of the array")
            if len(text) > MAX_ELEMENT:
                raise _broken(path, number, f"it does not end within {MAX_ELEMENT >> 20} MB, or is no JSON")
    if not done:
        raise _broken(path, number, "the file ends before the array does")


def _split(text: str, at: int, *, final: bool) -> tuple[list[str], int, bool]:
    """The whole elements from a place on, where the rest begins, and whether the array ends there.

    Raises ValueError where there is no more text, and the rest is no JSON and cannot be told apart.
    """
    elements: list[str] = []
    while True:
        gap = SPACE.match(text, at)[0]  # type: ignore[index]
        before, at = at, at + len(gap)
        if at == len(text):
            return elements, before, False
        if text[at] in ",]":
            at += 1
            if text[at - 1] == "]":
                return elements, at, True
            continue
        try:
            _, end = DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            broken = _end_of_broken(text, at, gap.rpartition("\n")[2].strip("\r"), final=final)
            if broken is None:
                if final:
                    raise
                return elements, before, False
            end = broken
        if end == len(text) and not final:
            return elements, before, False
        elements.append(text[at:end].rstrip())
        at = end


def _end_of_broken(text: str, at: int, indent: str, *, final: bool) -> int | None:
    """Where an element ends that could not be read; None where that is not known, or not yet. `indent`: how far in it
    begins.
    """
    open_: list[str] = []
    for token in TOKEN.finditer(text, at):
        sign = token[0]
        if sign in OPENED and not open_ and sign == "]":
            return token.start()
        if sign == "," and not open_:
            return token.start()
        if sign == '"':
            # a text that does not end on its line: more of it may come, or it never will
            if not final and text.find("\n", token.start()) < 0:
                return None
            break
        if sign in "[{":
            open_.append(sign)
        elif sign in OPENED and (not open_ or open_.pop() != OPENED[sign]):
            break
    else:
        if not final:
            return None
    following = re.compile(r",[ \t]*\r?\n" + re.escape(indent) + r"(?=\{)").search(text, at)
    return following.start() if following else None


def _line(element: str) -> bytes:
    """An element on one line: outside of texts, where line ends may stand, they mean nothing."""
    return element.replace("\r", " ").replace("\n", " ").encode("utf-8", "surrogateescape")


def _broken(path: Path, number: int, why: str) -> DataError:
    return DataError(
        f"{path}: its JSON array cannot be read from element {number} on ({why})",
        kept=UNTOUCHED,
        next_step="fetch or write the file again; `python -m json.tool` says where it is broken",
    )
