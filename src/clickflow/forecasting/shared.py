"""What is decided once for all series of a panel, when a model is fitted: an answer must not depend on which other
series are asked about beside it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.forecasting import factor, lags, level, naive
from clickflow.forecasting.panel import Panel, Shared

Array = NDArray[Any]


def of(known: Panel) -> Shared:
    """That of a panel; what it says already where it says it."""
    if known.shared is not None:
        return known.shared
    together, of_factor = factor.usual(known)
    factors_of = {
        "window": naive.usual(known, naive.WINDOW),
        "short_window": naive.usual(known, naive.SHORT_WINDOW),
        "seasonal_level": level.usual(known),
        **of_factor,
    }
    return Shared(
        start=known.start,
        periods=known.periods,
        season=known.season,
        annual=lags.annual(known),
        priced=known.price is not None,
        factors={name: np.roll(factors, known.periods) for name, factors in factors_of.items()},
        level=together,
    )
