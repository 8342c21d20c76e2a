"""Arrow values as Python values; those that Python has no type for as texts."""

from typing import Any

import pyarrow as pa

BEYOND = (OverflowError, ValueError, UnicodeError, pa.ArrowException)
"""What Arrow raises for values that Python's types do not hold: years beyond 9999, nanoseconds, text that is none."""


def listed(array: pa.Array) -> list[Any]:
    """The values of a column."""
    try:
        return list(array.to_pylist())
    except BEYOND:
        return [as_python(scalar) for scalar in array]


def as_python(scalar: pa.Scalar) -> Any:
    """One value; a number with its type where it is a time that no calendar has, text escaped where it is none."""
    if not scalar.is_valid:
        return None
    try:
        return scalar.as_py()
    except BEYOND:
        kind = scalar.type
    if isinstance(scalar, pa.ExtensionScalar):
        return as_python(scalar.value)
    if isinstance(scalar, pa.DictionaryScalar):
        return as_python(scalar.value)
    if pa.types.is_struct(kind):
        return {field.name: as_python(scalar[at]) for at, field in enumerate(kind)}
    if pa.types.is_nested(kind):
        return [as_python(each) for each in scalar.values]
    if hasattr(scalar, "as_buffer"):
        return scalar.as_buffer().to_pybytes().decode("utf-8", "backslashreplace")
    return f"{scalar.value} {kind}"
