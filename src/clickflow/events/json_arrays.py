"""A file that is one JSON array: its elements, as if each stood on a line of its own."""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path

from clickflow.errors import DataError
from clickflow.events.storage import UNTOUCHED, Storage, opened, read_text
from clickflow.events.text_blocks import TextBlock

MAX_ELEMENT = 64 << 20
"""Characters; what is longer is no event."""

SPACE = re.compile(r"[ \t\r\n]*")
DECODER = json.JSONDecoder(parse_int=str, parse_float=str)
"""Numbers are left alone: only the ends of elements are looked for."""


def is_array(head: bytes) -> bool:
    """Whether a text that begins with `head` is an array."""
    return head.lstrip(b" \t\r\n").startswith(b"[")


def sample(head: bytes, count: int) -> list[bytes]:
    """The first elements, as far as `head` holds them whole."""
    text = head.decode("utf-8", "surrogateescape")
    found, _, _ = _split(text, text.index("[") + 1, final=False)
    return [_line(element) for element in found[:count]]


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
                    found, at, done = _split(text, 0, final=final)
                except (ValueError, RecursionError) as error:
                    raise _broken(path, number, str(error)) from error
                text = text[at:]
                if found:
                    data = b"\n".join(map(_line, found)) + b"\n"
                    stop = number + len(found)
                    yield TextBlock(data, number, stop, (), False, file.tell(), storage.transcoded)
                    number = stop
            if done and text.strip():
                raise _broken(path, number, f"after the end of the array stands {text.strip()[:40]!r}")
            if len(text) > MAX_ELEMENT:
                raise _broken(path, number, f"it does not end within {MAX_ELEMENT >> 20} MB, or is no JSON")
    if not done:
        raise _broken(path, number, "the file ends before the array does")


def _split(text: str, at: int, *, final: bool) -> tuple[list[str], int, bool]:
    """The whole elements from a place on, where the rest begins, and whether the array ends there.

    Raises ValueError where there is no more text and the rest is no JSON.
    """
    found: list[str] = []
    while True:
        at = SPACE.match(text, at).end()  # type: ignore[union-attr]
        if at == len(text):
            return found, at, False
        if text[at] in ",]":
            at += 1
            if text[at - 1] == "]":
                return found, at, True
            continue
        try:
            _, end = DECODER.raw_decode(text, at)
        except json.JSONDecodeError:
            if final:
                raise
            return found, at, False
        if end == len(text) and not final:
            return found, at, False
        found.append(text[at:end])
        at = end


def _line(element: str) -> bytes:
    """An element on one line: outside of texts, where line ends may stand, they mean nothing."""
    return element.replace("\r", " ").replace("\n", " ").encode("utf-8", "surrogateescape")


def _broken(path: Path, number: int, why: str) -> DataError:
    return DataError(
        f"{path}: its JSON array cannot be read from element {number} on ({why})",
        kept=UNTOUCHED,
        next_step="fetch or write the file again; `python -m json.tool` says where it is broken",
    )
