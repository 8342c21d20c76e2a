"""Columns of text in Arrow arrays, looked at through their offsets instead of one by one.

What becomes of a value depends on that value alone, never on its neighbours in the column.
"""

import re
from collections.abc import Callable, Sequence
from decimal import Decimal

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

WHITE = (
    "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000" + "\u200b\u2060\ufeff"
)
"""What is trimmed: all that Unicode calls white space, and the three marks of no width that are copied along with texts
(zero width space, word joiner, byte order mark).
"""

EXACT = 2**53
"""Whole numbers below are exact in a double; from here on two of them may have become one."""

DIGITS = np.isin(np.arange(256), np.frombuffer(b"-0123456789", np.uint8))
POINTED = r"^(-?(?:0|[1-9][0-9]*))\.0*$"
"""A whole number that was written with a point, as pandas writes a column with a hole."""
EXPONENT = re.compile(r"(-?)([0-9])(?:[.,]([0-9]+))?[eE](\+?)([0-9]+)")
SCIENTIFIC = r"^-?[0-9](?:(?:[.,][0-9]+)?[eE]\+|\.[0-9]+[eE])[0-9]+$"
"""A number with an exponent, as programs write it: with a point, or with a sign (a spreadsheet, where a comma marks
decimals, `1,23457E+11`). `12e5` may be a code and stays one.
"""
SHOWN, KEPT = (6, 7), (15, 17)
"""Digits that spreadsheets and R show of a long number; that a spreadsheet and JavaScript keep of any."""
LONG = 12
"""From so many digits on a spreadsheet shows a number rounded."""


def _table(codes: Sequence[int]) -> NDArray[np.bool_]:
    return np.isin(np.arange(256), np.array(codes))


def _among(table: NDArray[np.bool_], codes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """`table[codes]`, several times as fast: numpy would make every byte an index of eight."""
    return np.frombuffer(codes.tobytes().translate(table.tobytes()), bool)


WHITE_FIRST = _table([mark.encode()[0] for mark in WHITE])
WHITE_LAST = _table([mark.encode()[-1] for mark in WHITE])
"""Bytes that a value with white space at its start, or at its end, begins or ends with; others may do so too."""


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
    sizes = np.diff(bounds(array))
    if array.null_count:
        sizes = np.where(valid(array), sizes, 0)
    return sizes


def valid(array: pa.Array) -> NDArray[np.bool_]:
    """Which values are not null."""
    if not array.null_count:
        return np.ones(len(array), bool)
    return np.asarray(array.is_valid().to_numpy(zero_copy_only=False), bool)


def cleaned(array: pa.Array | pa.ChunkedArray, nulls: Sequence[str]) -> pa.Array:
    """Without white space around the values; empty texts and `nulls` are null."""
    array = plain(array)
    long = lengths(array)
    some = np.flatnonzero(long)
    if not len(some):
        return pa.nulls(len(array), pa.string())
    ends, text = bounds(array), letters(array)
    full = len(some) == len(array)
    first = text[ends[:-1] if full else ends[some]]
    white = _among(WHITE_FIRST, first) | _among(WHITE_LAST, text[(ends[1:] if full else ends[some + 1]) - 1])
    if white.any():
        array = _replaced(array, some[white], lambda part: pc.utf8_trim(part, WHITE))
        long = lengths(array)
        some = np.flatnonzero(long)
        first = letters(array)[bounds(array)[some]]
    gone = long == 0
    names = [name.encode() for name in nulls if name]
    if names:
        # a value is looked at where a name has its first byte, and another (or the same) its length
        like = some[_among(_table([name[0] for name in names]), first)]
        like = like[_table([min(len(name), 255) for name in names])[np.minimum(long[like], 255)]]
        if len(like):
            named = pc.is_in(array.take(pa.array(like)), pa.array(list(nulls), pa.string()))
            gone[like[np.asarray(named.to_numpy(zero_copy_only=False), bool)]] = True
    return with_nulls(array, gone) if gone.any() else array


def identity(array: pa.Array) -> tuple[pa.Array, NDArray[np.bool_]]:
    """Cleaned texts in the one form that an identity has, and where a number has lost digits that would tell it apart.

    A whole number with a point or an exponent (`123.0`, `1.23E2`) becomes its digits, `-0` is 0. It is inexact where it
    is 2^53 or more, or where rounding may have taken digits (`1.23457e+06`). Everything else, leading zeros too, stays
    as it is.
    """
    inexact = np.zeros(len(array), bool)
    array = _without_sign(array)
    text = letters(array)
    if not ((text == ord(".")) | (text == ord("+"))).any():
        return array, inexact
    some = np.flatnonzero(lengths(array))
    some = some[DIGITS[text[bounds(array)[some]]]]
    values = array.take(pa.array(some))
    pointed = _where(pc.match_substring_regex(values, POINTED))
    exponents = ((text == ord("e")) | (text == ord("E"))).any()
    scientific = _where(pc.match_substring_regex(values, SCIENTIFIC)) if exponents else np.zeros(0, np.int64)
    if not len(pointed) + len(scientific):
        return array, inexact
    if len(pointed):
        array = _replaced(array, some[pointed], _without_point)
        long = array.take(pa.array(some[pointed]))
        for at in np.flatnonzero(pc.greater_equal(pc.binary_length(long), 16)):
            inexact[some[pointed[at]]] = abs(int(long[int(at)].as_py())) >= EXACT
    if len(scientific):
        coded = values.take(pa.array(scientific)).dictionary_encode()
        forms = [_digits_of(form) for form in coded.dictionary.to_pylist()]
        lost = np.array([form is None for form in forms])
        inexact[some[scientific]] = lost[coded.indices.to_numpy()]
        whole = pa.array([form or old for form, old in zip(forms, coded.dictionary.to_pylist(), strict=True)])
        array = _replaced(array, some[scientific], lambda _: whole.take(coded.indices))
    return array, inexact


def rounded(array: pa.Array) -> tuple[int, int, int, int]:
    """Of cleaned ids: how many are long numbers; how many of these end in zeros where a program keeps no digits
    (`KEPT`), or shows none (`SHOWN`); how many of those have a last digit there, so that it was cut off at that place
    and no other; and how many of them differ.

    All 0 where too few end in a zero for that.
    """
    sizes = lengths(array)
    some = np.flatnonzero((sizes >= LONG) & (sizes <= 2 * LONG))
    if not len(some):
        return 0, 0, 0, 0
    text, ends = letters(array), bounds(array)[1:][some]
    zeros = text[ends - 1] == ord("0")
    if zeros.mean() < 0.5:
        return len(some), 0, 0, 0
    values = array.take(pa.array(some[zeros]))
    cut = pc.extract_regex(values, r"^(?P<digits>[1-9][0-9]*?)(?P<zeros>0+)$").drop_null()
    if not len(cut):
        return len(some), 0, 0, 0
    digits = np.asarray(pc.binary_length(cut.field("digits")).to_numpy(zero_copy_only=False))
    long = digits + np.asarray(pc.binary_length(cut.field("zeros")).to_numpy(zero_copy_only=False))
    lost, sharp = digits <= max(SHOWN), np.isin(digits, SHOWN)
    for kept in KEPT:
        lost |= (long > kept) & (digits <= kept)
        sharp |= (long > kept) & (digits == kept)
    return len(some), int(lost.sum()), int(sharp.sum()), len(cut.field("digits").filter(pa.array(lost)).unique())


def structures(array: pa.Array) -> NDArray[np.bool_]:
    """Which cleaned texts are a list or an object: JSON, or as Python writes it."""
    marks = np.zeros(len(array), bool)
    text = letters(array)
    if not ((text == ord("[")) | (text == ord("{"))).any():
        return marks
    some = np.flatnonzero(lengths(array) >= 2)
    first = text[bounds(array)[some]]
    for at in some[(first == ord("[")) | (first == ord("{"))].tolist():
        marks[at] = _is_structure(array[at].as_py())
    return marks


def _is_structure(text: str) -> bool:
    if text[-1] != {"[": "]", "{": "}"}[text[0]]:
        return False
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return re.match(r"[\[{(\s]+['\"]", text) is not None
    return True


def _digits_of(text: str) -> str | None:
    """The whole number that a number with an exponent is, as digits; the text itself where it is none; None where
    digits may have been lost.
    """
    match = EXPONENT.fullmatch(text)
    assert match
    _, _, fraction, plus, exponent = match.groups()
    if len(exponent) > 3:
        return None
    value = Decimal(text.replace(",", "."))
    if value != value.to_integral_value():
        return text
    # with a sign the digits are as many as a format asked for: those shown must reach beyond the point
    if abs(value) >= EXACT or (plus and len(fraction or "") <= int(exponent)):
        return None
    return str(int(value))


def _without_sign(array: pa.Array) -> pa.Array:
    """With `0` for `-0`, which the formats that know numbers do not tell from it."""
    some = np.flatnonzero(lengths(array) == 2)
    if not len(some):
        return array
    text, start = letters(array), bounds(array)[some]
    zero = some[text[start] == ord("-")]
    zero = zero[text[bounds(array)[zero] + 1] == ord("0")]
    return _replaced(array, zero, lambda part: pa.array(["0"] * len(part), pa.string())) if len(zero) else array


def _without_point(array: pa.Array) -> pa.Array:
    whole = pc.replace_substring_regex(array, POINTED, r"\1")
    return pc.if_else(pc.equal(whole, "-0"), "0", whole)


def _where(mask: pa.BooleanArray) -> NDArray[np.int64]:
    return np.flatnonzero(np.asarray(mask.to_numpy(zero_copy_only=False), bool))


def _replaced(array: pa.Array, at: NDArray[np.int64], change: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """The values at some places changed, all others as they are."""
    if len(at) == len(array):
        return plain(change(array))
    mask = np.zeros(len(array), bool)
    mask[at] = True
    return plain(pc.replace_with_mask(array, pa.array(mask), change(array.take(pa.array(at)))))


def with_nulls(array: pa.Array, gone: NDArray[np.bool_]) -> pa.Array:
    """The same values, null where `gone`."""
    bits = np.packbits(~gone, bitorder="little")
    _, offsets, data = array.buffers()
    return pa.Array.from_buffers(array.type, len(array), [pa.py_buffer(bits), offsets, data])
