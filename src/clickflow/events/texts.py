"""Columns of text in Arrow arrays, looked at through their offsets instead of one by one."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

NULLS = ("null", "NULL", "None", "\\N")
"""Texts that stand for nothing, beside the empty one: what databases write."""
NAN = ("nan", "NaN")
"""What pandas writes for it; as a price or quantity it is no number, elsewhere it is nothing."""

SPACE = 32
"""Bytes up to this one are white space or control characters."""


def plain(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One string array without an offset."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if array.type != pa.string():
        array = array.cast(pa.string())
    return array if array.offset == 0 else pa.concat_arrays([array.slice(0, 0), array])


def bounds(array: pa.Array) -> NDArray[np.int32]:
    """The offsets of a plain string array: value i is bytes [i] to [i+1]."""
    buffer = array.buffers()[1]
    if buffer is None or buffer.size == 0:
        return np.zeros(len(array) + 1, np.int32)
    return np.frombuffer(buffer, np.int32)[: len(array) + 1]


def letters(array: pa.Array) -> NDArray[np.uint8]:
    """The bytes of all values of a plain string array, one after the other."""
    buffer = array.buffers()[2]
    return np.frombuffer(buffer, np.uint8) if buffer is not None else np.zeros(0, np.uint8)


def lengths(array: pa.Array) -> NDArray[np.int32]:
    """Bytes of every value; 0 for nulls."""
    found = np.diff(bounds(array))
    if array.null_count:
        found = np.where(valid(array), found, 0)
    return found


def valid(array: pa.Array) -> NDArray[np.bool_]:
    """Which values are not null."""
    if not array.null_count:
        return np.ones(len(array), bool)
    return np.asarray(array.is_valid().to_numpy(zero_copy_only=False), bool)


def cleaned(array: pa.Array | pa.ChunkedArray, nulls: tuple[str, ...] = NULLS + NAN) -> pa.Array:
    """Without white space around the values; empty texts and `nulls` are null."""
    array = plain(array)
    long = lengths(array)
    some = np.flatnonzero(long)
    if not len(some):
        return pa.nulls(len(array), pa.string())
    ends = bounds(array)
    text = letters(array)
    if (text[ends[some]] <= SPACE).any() or (text[ends[some + 1] - 1] <= SPACE).any():
        array = plain(pc.utf8_trim_whitespace(array))
        long = lengths(array)
    gone = long == 0
    short = np.flatnonzero((long > 0) & (long <= 4))
    if len(short):
        named = pc.is_in(array.take(pa.array(short)), pa.array(nulls)).to_numpy(zero_copy_only=False)
        gone[short[np.asarray(named, bool)]] = True
    if gone.any():
        array = with_nulls(array, gone)
    return array


def with_nulls(array: pa.Array, gone: NDArray[np.bool_]) -> pa.Array:
    """The same values, null where `gone`."""
    bits = np.packbits(~gone, bitorder="little")
    _, offsets, data = array.buffers()
    return pa.Array.from_buffers(array.type, len(array), [pa.py_buffer(bits), offsets, data])
