"""Prices and quantities, from text as shops and spreadsheets write it and from the numbers of typed sources."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from clickflow.events import texts, times

NAN = ("nan", "NaN")
"""What stands for nothing elsewhere, but as a number is none."""

SPACE = r"[\s\p{Zs}]"

CODES = (
    "AED|ARS|AUD|BGN|BRL|CAD|CHF|CLP|CNY|COP|CZK|DKK|EGP|EUR|GBP|HKD|HRK|HUF|IDR|ILS|INR|ISK|JPY|KES|KRW|MAD|MXN|MYR|"
    "NGN|NOK|NZD|PEN|PHP|PKR|PLN|RON|RSD|RUB|SAR|SEK|SGD|THB|TRY|TWD|UAH|USD|VND|ZAR"
)
"""Of ISO 4217, those that a price is likely to be written with."""
SAME = {"€": "EUR", "£": "GBP", "US$": "USD", "₹": "INR", "₺": "TRY", "₽": "RUB", "zł": "PLN", "₩": "KRW", "₴": "UAH"}
"""Signs of one currency alone; `$`, `¥` and `kr` are several countries'."""

Amounts = tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]
"""Values, which rows have one, and which have something that is none."""


def of_text(column: pa.Array, con: Any) -> Amounts:
    """Cleaned texts, in the plain form."""
    value, known = times.numbers(column, con)
    lost = np.flatnonzero(texts.valid(column) & ~known)
    if len(lost) and pc.any(pc.ends_with(column.take(pa.array(lost)), "-")).as_py():
        value[lost], known[lost] = times.numbers(_sign_first(column.take(pa.array(lost))), con)
    return value, known, texts.valid(column) & ~known


def _sign_first(column: pa.Array) -> pa.Array:
    """With the minus before that stands behind, as SAP writes it: `12.50-`."""
    return pc.replace_substring_regex(column, r"^([^-]*[0-9][^-]*)-$", r"-\1")


def of_numbers(column: pa.Array) -> Amounts:
    """Integers, floats and decimals. NaN is how typed tables say that there is nothing."""
    column = column.cast(pa.float64(), safe=False)
    value = column.fill_null(np.nan).to_numpy(zero_copy_only=False).copy()
    known = np.isfinite(value)
    value[~known] = 0
    missing = ~texts.valid(column) | np.asarray(pc.is_nan(column).fill_null(True).to_numpy(zero_copy_only=False), bool)
    return value, known, ~known & ~missing


def currencies(column: pa.Array, named: Sequence[str]) -> pa.Array:
    """The currency that stands before or behind each number, `€` and `EUR` as one; null where none is seen.

    One is a sign of a currency, with up to two letters before it, a code of `CODES`, or one of `named`.
    """
    own = [re.escape(text) for text in sorted(named, key=len, reverse=True)]
    sign = "|".join([*own, r"[A-Z]{0,2}\p{Sc}", CODES])
    form = rf"^[+-]?(?P<before>{sign})?{SPACE}*[+-]?[0-9.,][^A-Za-z\p{{Sc}}]*?{SPACE}*(?P<after>{sign})?$"
    groups = pc.extract_regex(column, form)
    seen = [pc.struct_field(groups, name) for name in ("before", "after")]
    one = pc.if_else(pc.equal(seen[0], ""), seen[1], seen[0]).dictionary_encode()
    names = pa.array([SAME.get(name, name) or None for name in one.dictionary.to_pylist()], pa.string())
    return names.take(one.indices)


def plain(column: pa.Array, decimal: str, thousands: str | None, currency: Sequence[str]) -> pa.Array:
    """Cleaned texts such as `1.299,00 €` in the plain form, `1299.00`; what does not keep to the form becomes `?`.

    Groups of `thousands` are of three digits. A currency may stand before and after the number.
    """
    if decimal == "." and thousands is None and not currency:
        return column
    column = _sign_first(column)
    group = "" if thousands is None else SPACE if thousands.isspace() else re.escape(thousands)
    whole = rf"[0-9]{{1,3}}(?:{group}[0-9]{{3}})+|[0-9]+" if group else "[0-9]+"
    mark = re.escape(decimal)
    number = rf"(?:(?:{whole})(?:{mark}[0-9]*)?|{mark}[0-9]+)(?:[eE][+-]?[0-9]+)?"
    sign = "|".join(re.escape(text) for text in sorted(currency, key=len, reverse=True))
    before = rf"(?:(?:{sign}){SPACE}*)?" if sign else ""
    after = rf"(?:{SPACE}*(?:{sign}))?" if sign else ""
    form = rf"^(?:([+-]?){before}|{before}([+-]))({number}){after}$"
    numbers = pc.replace_substring_regex(column, form, r"\1\2\3")
    if group:
        numbers = pc.replace_substring_regex(numbers, group, "")
    if decimal != ".":
        numbers = pc.replace_substring(numbers, decimal, ".")
    return pc.if_else(pc.match_substring_regex(column, form), numbers, "?")
