"""An ONNX file without its large constants, and where these stand in it: a model is taken apart without reading it
whole into memory.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

LARGE = 1 << 20
"""Bytes from which on a constant is left out."""
GRAPH, NODE, INITIALIZER = 7, 1, 5
"""Fields of ONNX's messages (onnx.proto): of a model, of a graph."""
OUTPUT, OPERATOR, ATTRIBUTE, TENSOR = 2, 4, 5, 5
"""Of a node, and of an attribute."""
DIMS, KIND, NAME, RAW = 1, 2, 8, 9
"""Of a tensor."""
ELSEWHERE = b"\x6a\x10\x0a\x08location\x12\x04held\x70\x01"
"""Of a tensor: that its numbers are not in the message (`external_data`, `data_location`)."""
TYPES = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8"}
"""Of ONNX's numbers of types those that numpy has."""


def light(file: Path) -> tuple[bytes, dict[str, Array]]:
    """The model in `file` without its large constants, all of them now tensors of its graph, and these by name, mapped.
    Raises ValueError where it is none.
    """
    with file.open("rb") as opened:
        data = memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))
    held: dict[str, Array] = {}
    parts: list[bytes] = []
    for number, start, body, end in _fields(data, 0, len(data)):
        parts.append(_field(GRAPH, _graph(data, body, end, held)) if number == GRAPH else bytes(data[start:end]))
    return b"".join(parts), held


def _graph(data: memoryview, at: int, end: int, held: dict[str, Array]) -> bytes:
    parts: list[bytes] = []
    for number, start, body, stop in _fields(data, at, end):
        own = None
        if stop - body >= LARGE and number == INITIALIZER:
            own = _tensor(data, body, stop, held)
        elif stop - body >= LARGE and number == NODE:
            own = _constant(data, body, stop, held)
        parts.append(bytes(data[start:stop]) if own is None else _field(INITIALIZER, own))
    return b"".join(parts)


def _constant(data: memoryview, at: int, end: int, held: dict[str, Array]) -> bytes | None:
    """A node that is a constant as a tensor of a graph; None where it is another one."""
    fields = {number: (body, stop) for number, _, body, stop in _fields(data, at, end)}
    if not {OUTPUT, OPERATOR, ATTRIBUTE} <= fields.keys() or bytes(data[slice(*fields[OPERATOR])]) != b"Constant":
        return None
    name = bytes(data[slice(*fields[OUTPUT])]).decode()
    for number, _, body, stop in _fields(data, *fields[ATTRIBUTE]):
        if number == TENSOR:
            return _tensor(data, body, stop, held, name)
    return None


def _tensor(data: memoryview, at: int, end: int, held: dict[str, Array], name: str = "") -> bytes | None:
    """A tensor without its numbers, called `name`, if one is given; None where these are not to be taken out."""
    shape: list[int] = []
    kind, raw, kept = 0, (0, 0), list[bytes]()
    for number, start, body, stop in _fields(data, at, end):
        if number == DIMS:
            while body < stop:  # one, or several packed
                size, body = _varint(data, body)
                shape.append(size)
        elif number == KIND:
            kind = _varint(data, body)[0]
        elif number == NAME:
            name = name or bytes(data[body:stop]).decode()
            continue
        elif number == RAW:
            raw = body, stop
            continue
        kept.append(bytes(data[start:stop]))
    if kind not in TYPES or raw[1] - raw[0] < LARGE:
        return None
    held[name] = np.frombuffer(data[raw[0] : raw[1]], TYPES[kind]).reshape(shape)
    return b"".join([*kept, _field(NAME, name.encode()), ELSEWHERE])


def _fields(data: memoryview, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Of each field of a message its number, where it starts, where its content does, and where it ends."""
    while at < end:
        start = at
        tag, at = _varint(data, at)
        wire, body = tag & 7, at
        if wire == 0:
            _, at = _varint(data, at)
        elif wire == 2:
            size, body = _varint(data, at)
            at = body + size
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise ValueError(f"no message: wire type {wire}")
        if at > end:
            raise ValueError("no message: a field goes beyond its end")
        yield tag >> 3, start, body, at


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("no message: a number without an end")
        byte = data[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7


def _field(number: int, content: bytes) -> bytes:
    head, size = [number << 3 | 2], len(content)
    while True:
        head.append(size & 127 | (128 if size > 127 else 0))
        size >>= 7
        if not size:
            return bytes(head) + content
