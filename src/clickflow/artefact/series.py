"""The inference session of an artefact that forecasts series, in place of an onnxruntime session.

An origin's series are forecast together and once, which is quicker: answers are kept as long as the split is that they
are about. Each is what it would be alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from clickflow.forecasting import forecaster
from clickflow.forecasting.forecaster import AsOf, Forecaster
from clickflow.heads import named
from clickflow.system.errors import DataError

FORECAST = "forecast.json"
"""The file in the place of an ONNX model."""
LEAST = 1e-6
"""A probability is no smaller, and no larger than 1 less it."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Forecasting:
    """A forecaster, ready to answer."""

    forecaster: Forecaster
    _kept: "WeakKeyDictionary[Any, dict[int, tuple[Array, dict[str, Array]]]]" = field(
        default_factory=WeakKeyDictionary, repr=False
    )

    @staticmethod
    def read(content: bytes, where: Path) -> "Forecasting":
        """From the bytes of a file. Raises DataError where they are of something else."""
        try:
            return Forecasting(forecaster.loads(content))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{where} is not a forecaster of this version of clickflow: {error}",
                kept="nothing was loaded",
                next_step="train the model again, then export it (`clickflow train MODEL`, `clickflow export MODEL`)",
            ) from error

    def answers(
        self,
        split: Any,
        sequences: Array,
        heads: Sequence[str],
        *,
        step: str | None = None,
        categories: Array | None = None,
    ) -> dict[str, npt.NDArray[np.float32]]:
        """By head its answers [n, A] about n sequences of a split, each as of its origin: of kind forecast [n, horizon
        x 4], step by step the expected value and its quantiles; of others what follows from the forecast.

        `step`: of the split, where it says so; DataError where it is not the forecaster's. `categories`: from its
        categories to those of training; None: they are the same.
        """
        own = self.forecaster
        if step not in (None, own.step):
            raise DataError(
                f"the model forecasts {own.step}s, and the store holds {step}s",
                kept="nothing was answered",
                next_step="train the model again, or take its champion down (`clickflow rollback MODEL --to 0`)",
            )
        kept = self._kept.setdefault(split, {})
        origin = forecaster.origin_of(split, own.step)
        new = np.array([row for row in sequences if int(origin[row]) not in kept], np.int64)
        for known in forecaster.origins(split, own.column, own.step, new) if len(new) else ():
            own_names = known if categories is None else replace(known, parent=categories[known.parent])
            kept[int(origin[known.sequences[0]])] = known.sequences, self._all(own_names, heads)
        answers: dict[str, npt.NDArray[np.float32]] = {}
        for moment in np.unique(origin[sequences]).tolist():
            rows = np.flatnonzero(origin[sequences] == moment)
            place = np.searchsorted(kept[moment][0], sequences[rows])
            for name in heads:
                values = kept[moment][1][name]
                answers.setdefault(name, np.empty((len(sequences), values.shape[1]), np.float32))[rows] = values[place]
        return answers

    def _all(self, known: AsOf, heads: Sequence[str]) -> dict[str, Array]:
        """The answers about all series of an origin."""
        forecast = self.forecaster.forecast(known)
        before = known.panel.values[:, -forecast.shape[1] :]
        answers: dict[str, Array] = {}
        for name in heads:
            read = named(name).of_forecast
            if read is None:
                answers[name] = forecast.reshape(len(forecast), -1).astype(np.float32)
            else:
                yes = np.clip(self.forecaster.calibrated(name, read(before, forecast)), LEAST, 1 - LEAST)
                answers[name] = np.log(np.stack([1 - yes, yes], 1)).astype(np.float32)
        return answers
