"""numpy columns as Arrow arrays, straight from their buffers.

`pyarrow.array` would do, but it imports pandas where that is installed: half a second for a short command.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def numbers(values: NDArray[Any], kind: pa.DataType | None = None, valid: NDArray[np.bool_] | None = None) -> pa.Array:
    """[n] whole or floating numbers; `kind` where it is another Arrow type of the same width (a time stamp, say)."""
    kind = kind or pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [_bitmap(valid), pa.py_buffer(np.ascontiguousarray(values))])


def letters(text: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None) -> pa.Array:
    """[n, width] ASCII codes as n strings of that width."""
    count, width = text.shape
    ends = np.arange(count + 1, dtype=np.int32) * width
    buffers = [_bitmap(valid), pa.py_buffer(ends), pa.py_buffer(np.ascontiguousarray(text))]
    return pa.Array.from_buffers(pa.string(), count, buffers)


def texts(values: Sequence[str]) -> pa.Array:
    """Some strings; few, or once."""
    coded = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, coded)], dtype=np.int32)
    return pa.Array.from_buffers(pa.string(), len(coded), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(coded))])


def named(codes: NDArray[Any], names: Sequence[str] | pa.Array, valid: NDArray[np.bool_] | None = None) -> pa.Array:
    """Strings by their codes, kept as a dictionary."""
    dictionary = names if isinstance(names, pa.Array) else texts(names)
    return pa.DictionaryArray.from_arrays(numbers(codes, valid=valid), dictionary)


def _bitmap(valid: NDArray[np.bool_] | None) -> pa.Buffer | None:
    return None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
