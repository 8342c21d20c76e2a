"""Rounding of the numbers of a model that ships, to as many digits as they need."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

DIGITS = 6
"""Significant ones."""


def rounded(values: Array) -> Array:
    """To `DIGITS` significant digits, float64."""
    out = values.astype(np.float64)
    scale = 10.0 ** (DIGITS - 1 - np.floor(np.log10(np.maximum(np.abs(out), 1e-30))))
    return np.where(out == 0, 0.0, np.round(out * scale) / scale)
