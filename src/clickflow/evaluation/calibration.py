"""Whether a probability of 0.7 comes true seven times out of ten."""

from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 15
"""Equal-width bins of confidence, as in Guo et al. 2017."""
Values = npt.NDArray[np.float64]


def bin_of(confidence: Values) -> npt.NDArray[np.int64]:
    """The bin of each confidence in [0, 1]; 1 belongs to the last."""
    return np.clip((confidence * BINS).astype(np.int64), 0, BINS - 1)


def error(count: Values, totals: Values) -> Values:
    """Expected calibration error [R] of totals [R, 2 x BINS] over `count` [R] predictions: the mean over predictions
    of |mean confidence - share that came true| in their bin. Totals hold, per bin, the sum of confidences, then, per
    bin, how many came true.
    """
    with np.errstate(all="ignore"):
        gap: Values = np.abs(totals[:, :BINS] - totals[:, BINS:]).sum(axis=1) / count
    return gap


def curve(confidence: Values, correct: npt.NDArray[np.bool_]) -> list[dict[str, Any]]:
    """The reliability curve: per bin its bounds, how many, their mean confidence and the share that came true."""
    bins = bin_of(confidence)
    count = np.bincount(bins, minlength=BINS)
    expected, came = np.bincount(bins, confidence, BINS), np.bincount(bins, correct.astype(np.float64), BINS)
    return [
        {
            "from": round(i / BINS, 4),
            "to": round((i + 1) / BINS, 4),
            "n": int(count[i]),
            "confidence": round(float(expected[i] / count[i]), 6) if count[i] else None,
            "accuracy": round(float(came[i] / count[i]), 6) if count[i] else None,
        }
        for i in range(BINS)
    ]
