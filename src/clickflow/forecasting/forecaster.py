"""What ships of the preset: it reads the series of a packed split as of an origin, all of them together, and is one
JSON file of numbers and of LightGBM's own text. The same file gives the same answers; nothing in it is code.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.forecasting import ensemble
from clickflow.forecasting.boosting import Boosting
from clickflow.forecasting.ensemble import GROUPS, SHORT, Preset
from clickflow.forecasting.panel import Panel, Step
from clickflow.forecasting.scores import naive_error

Array = NDArray[Any]

DAY = 86_400_000_000
"""Microseconds."""
DAYS: Mapping[str, int] = {"day": 1, "week": 7}
"""In a step of a packed store."""
VERSION = 1
SUREST = 1 - 1e-4
"""No probability is larger."""
FEW = 10
"""Answers that weigh as much as that nothing is to be put right."""
NEVER_CHANGED = 1.0
"""What errors of a series are divided by that was always the same before an origin: a piece."""


@dataclass(frozen=True)
class AsOf:
    """The series of a split as of one origin: which sequences, ascending [s], and what is known of them.

    `parent` int64 [s]: the category that each was sold in last; 0: none.
    """

    sequences: Array
    panel: Panel
    parent: Array


def origins(split: Any, column: str, step: Step, chosen: Array | None = None) -> Iterator[AsOf]:
    """The series of a packed split, an origin after the other; with `chosen`, of the origins of those sequences, all
    series of each.
    """
    cut_off = np.asarray(split.cut_off)
    for moment in np.unique(cut_off if chosen is None else cut_off[chosen]):
        yield _at(split, np.flatnonzero(cut_off == moment), split.end, int(moment), column, step)


def whole(split: Any, column: str, step: Step) -> AsOf:
    """The series that the last origin of a split asks about, up to the end of its answers."""
    cut_off = np.asarray(split.cut_off)
    last = np.flatnonzero(cut_off == cut_off.max())
    ahead = int((split.until[last] - split.end[last]).max(initial=0))
    return _at(split, last, split.until, int(cut_off.max()) + ahead * DAYS[step] * DAY, column, step)


def _at(split: Any, sequences: Array, ends: Array, moment: int, column: str, step: Step) -> AsOf:
    begin, end = (np.asarray(each)[sequences].astype(np.int64) for each in (split.begin, ends))
    width = int((end - begin).max(initial=1))
    at = end[:, None] - width + np.arange(width)
    inside = at >= begin[:, None]
    place = np.where(inside, at, begin[:, None])
    values = np.where(inside, np.asarray(getattr(split, column)[place], np.float64), np.nan)
    paid = np.asarray(split.price[place], np.float64)
    price = np.where(inside & (paid > 0), paid, np.nan)  # what was given away has no price
    panel = Panel(
        values,
        step,
        np.datetime64(moment // DAY - width * DAYS[step], "D"),
        price=None if np.isnan(price).all() else price,
    )
    return AsOf(sequences, panel, np.asarray(split.category[end - 1], np.int64))


def facts(split: Any, sequences: Array, column: str, step: Step) -> tuple[Array, Array]:
    """Of some sequences [n]: what MASE divides their errors by, and their group, an index of `ensemble.GROUPS`."""
    scale, group = np.ones(split.n_sequences), np.zeros(split.n_sequences, np.int64)
    for each in origins(split, column, step, sequences):
        found = naive_error(each.panel.values, each.panel.season)
        scale[each.sequences] = np.where(np.isnan(found), NEVER_CHANGED, found)
        group[each.sequences] = ensemble.groups(each.panel)
    return scale[sequences], group[sequences]


@dataclass(frozen=True)
class Forecaster:
    """The preset, fitted, and what it reads."""

    preset: Preset
    step: Step
    column: str
    calibration: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Of heads whose probability is read off the forecast: what is added to its log-odds, and what they are taken
    times; a head that is not named is not changed.
    """

    def calibrated(self, head: str, yes: Array) -> Array:
        """Probabilities [n] of a head as later days bore them out."""
        shift, slope = self.calibration.get(head, (0.0, 1.0))
        made: Array = 1 / (1 + np.exp(-(shift + slope * odds(yes))))
        return made

    def forecast(self, known: AsOf) -> Array:
        """Forecasts [s, h, 4] of all series as of an origin; young ones drawn to those of their category."""
        return young(known.panel, known.parent, self.preset.forecast(known.panel), SHORT[self.step])

    def dumps(self) -> bytes:
        """As JSON; the same forecaster, the same bytes."""
        preset = self.preset
        content = {
            "version": VERSION,
            "step": self.step,
            "column": self.column,
            "horizon": preset.horizon,
            "methods": list(preset.methods),
            "weights": {name: each.tolist() for name, each in preset.weights.items()},
            "spread": {name: each.tolist() for name, each in preset.spread.items()},
            "whole": preset.whole,
            "boosting": None if preset.model is None else list(preset.model.texts),
            "calibration": {name: list(pair) for name, pair in self.calibration.items()},
        }
        return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()

    @property
    def parameters(self) -> int:
        """Numbers in it: weights, factors, and the leaves and thresholds of trees."""
        texts = self.preset.model.texts if self.preset.model else ()
        lines = (line for text in texts for line in text.splitlines())
        trees = sum(line.count(" ") + 1 for line in lines if line.startswith(("leaf_value=", "threshold=")))
        return trees + sum(each.size for part in (self.preset.weights, self.preset.spread) for each in part.values())


def loads(content: bytes) -> Forecaster:
    """What `dumps` wrote. Raises ValueError, KeyError or TypeError where it is something else."""
    raw = json.loads(content)
    if raw["version"] != VERSION or set(raw["weights"]) != set(GROUPS) or set(raw["spread"]) != set(GROUPS):
        raise ValueError("it is no forecaster of this version")
    methods, horizon = tuple(raw["methods"]), int(raw["horizon"])
    if unknown := set(methods) - {*ensemble.PARTS, ensemble.BOOSTING}:
        raise ValueError(f"it mixes {', '.join(sorted(unknown))}, which this clickflow does not know")
    model = Boosting(tuple(raw["boosting"]), horizon) if raw["boosting"] else None
    weights, spread = (
        {name: np.array(each, np.float64) for name, each in raw[part].items()} for part in ("weights", "spread")
    )
    preset = Preset(methods, weights, spread, model, horizon, bool(raw["whole"]))
    calibration = {name: (float(shift), float(slope)) for name, (shift, slope) in raw["calibration"].items()}
    return Forecaster(preset, raw["step"], str(raw["column"]), calibration)


def fit(split: Any, column: str, step: Step, horizon: int, seed: int) -> Forecaster:
    """Choose weights and train on all that a split holds."""
    return Forecaster(ensemble.fit(whole(split, column, step).panel, horizon, seed=seed), step, column)


def odds(yes: Array) -> Array:
    """The log-odds of probabilities, none surer than `SUREST`."""
    kept = np.clip(yes, 1 - SUREST, SUREST)
    found: Array = np.log(kept / (1 - kept))
    return found


def calibrate(yes: Array, came: Array) -> tuple[float, float]:
    """Shift and slope of the log-odds of `yes` [n] under which the answers `came` [n], 0 or 1, are likeliest (Platt
    1999), drawn to no change as if by `FEW` answers; Newton's method.
    """
    said = np.stack([np.ones(len(yes)), odds(yes)], 1)
    pair, start = np.zeros(2), np.array([0.0, 1.0])  # from even odds the steps do not overshoot
    for _ in range(30):
        made = 1 / (1 + np.exp(-said @ pair))
        slope = said.T @ (made - came) + FEW * (pair - start)
        curve = (said * (made * (1 - made))[:, None]).T @ said + FEW * np.eye(2)
        pair = pair - np.linalg.solve(curve, slope)
    return round(float(pair[0]), 9), round(float(pair[1]), 9)


def young(panel: Panel, parent: Array, made: Array, least: int) -> Array:
    """Forecasts [s, h, 4] of series younger than `least` periods drawn to the mean forecast of the older ones of the
    same `parent` [s], the more so the younger they are; a parent that is empty, or 0, is none.
    """
    age = panel.periods - panel.first
    out, old = made.copy(), age >= least
    for of in np.unique(parent[~old]):
        like = old & (parent == of)
        if of and like.any():
            rows = np.flatnonzero(~old & (parent == of))
            share = (age[rows] / (age[rows] + least))[:, None, None]
            out[rows] = share * made[rows] + (1 - share) * made[like].mean(0)
    return out
