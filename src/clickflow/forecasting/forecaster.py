"""The fitted preset as it ships: it forecasts all series of a packed split as of an origin, together. It is one JSON
file of numbers and of LightGBM's own text; the same file gives the same answers, and nothing in it is code.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.forecasting import ensemble, planned
from clickflow.forecasting.boosting import Boosting
from clickflow.forecasting.counts import Counts
from clickflow.forecasting.ensemble import LEVEL, Preset
from clickflow.forecasting.groups import GROUPS, SHORT, groups
from clickflow.forecasting.gru import Gru
from clickflow.forecasting.level import LEAST_FACTOR
from clickflow.forecasting.linear import Linear
from clickflow.forecasting.panel import Panel, Shared, Step
from clickflow.forecasting.planned import Effects, Plain, Plan
from clickflow.forecasting.scores import naive_error
from clickflow.sequences import plan as of_days
from clickflow.system.moments import DAY

Array = NDArray[Any]

DAYS: Mapping[str, int] = {"day": 1, "week": 7}
"""In a step of a packed store."""
VERSION, PLANNED = 2, 3
"""Of the file; the second of one that reads a plan, which an earlier clickflow would not put on."""
SUREST = 1 - 1e-4
"""No probability is larger."""
FEW = 10
"""Answers that weigh as much as that nothing is to be put right."""
NEVER_CHANGED = 1.0
"""What errors of a series are divided by that was always the same before an origin: a piece."""


@dataclass(frozen=True)
class AsOf:
    """The series of a split as of one origin: which sequences, ascending [s], and what is known of them.

    `parent` int64 [s]: the category that each was sold in last; 0: none. `days`: what is planned of them, by the
    numbers `series` [s]; None: nothing.
    """

    sequences: Array
    panel: Panel
    parent: Array
    days: of_days.Plan | None = None
    series: Array | None = None

    def plan(self, horizon: int) -> Plan | None:
        """Of its periods and so many ahead."""
        if self.days is None or self.series is None:
            return None
        return planned.of_panel(self.panel, horizon, self.days, self.series)


def origins(split: Any, column: str, step: Step, chosen: Array | None = None) -> Iterator[AsOf]:
    """The series of a packed split, an origin after the other; with `chosen`, of the origins of those sequences, all
    series of each.
    """
    day = origin_of(split, step)
    for origin in np.unique(day if chosen is None else day[chosen]):
        yield _at(split, np.flatnonzero(day == origin), split.end, int(origin), column, step)


def origin_of(split: Any, step: Step) -> Array:
    """The first day that each sequence of a split is asked about, days since 1970 [n]: after its last step."""
    day: Array = np.asarray(split.time)[np.asarray(split.end) - 1] // DAY + DAYS[step]
    return day


def whole(split: Any, column: str, step: Step) -> AsOf:
    """The series that the last origin of a split asks about, up to the end of its answers."""
    cut_off = np.asarray(split.cut_off)
    last = np.flatnonzero(cut_off == cut_off.max())
    ahead = int((split.until[last] - split.end[last]).max(initial=0))
    origin = int(origin_of(split, step)[last[0]])
    return _at(split, last, split.until, origin + ahead * DAYS[step], column, step)


def _at(split: Any, sequences: Array, ends: Array, origin: int, column: str, step: Step) -> AsOf:
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
        np.datetime64(origin - width * DAYS[step], "D"),
        price=None if np.isnan(price).all() else price,
    )
    series = None if split.plan is None else split.plan.numbers(split, sequences)
    return AsOf(sequences, panel, np.asarray(split.category[end - 1], np.int64), split.plan, series)


def facts(split: Any, sequences: Array, column: str, step: Step) -> tuple[Array, Array]:
    """Of some sequences [n]: what MASE divides their errors by, and their group, an index of `GROUPS`."""
    scale, group = np.ones(split.n_sequences), np.zeros(split.n_sequences, np.int64)
    for each in origins(split, column, step, sequences):
        error = naive_error(each.panel.values, each.panel.season)
        scale[each.sequences] = np.where(np.isnan(error), NEVER_CHANGED, error)
        group[each.sequences] = groups(each.panel)
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
    kin: Mapping[int, Array] = field(default_factory=dict)
    """By category what its older series were to sell a period when this was fitted, without the season, [4]."""
    effects: Effects | None = None
    """What a plan does, as was learned; None: there was none, and none is read."""

    def plain(self, known: AsOf) -> Plain:
        """Series without what their plan did; what they have no plan of was as usual."""
        horizon = self.preset.horizon
        plan = known.plan(horizon) if self.effects is not None else None
        return planned.plain(known.panel, horizon, self.effects, plan, whole=self.preset.whole)

    def calibrated(self, head: str, yes: Array) -> Array:
        """Probabilities [n] of a head as later days bore them out."""
        shift, slope = self.calibration.get(head, (0.0, 1.0))
        probability: Array = 1 / (1 + np.exp(-(shift + slope * odds(yes))))
        return probability

    def reads(self, said: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Of a store whose card says this of its plan: `columns` that are read, those that were `learned` and the store
        lacks, those that were `not_learned`, and the last day that is planned; None: neither has a plan.
        """
        learned, there = self.effects.names if self.effects else (), tuple((said or {}).get("columns", ()))
        if not learned and not there:
            return None
        return {
            "columns": [name for name in learned if name in there],
            "lacking": [name for name in learned if name not in there],
            "not_learned": [name for name in there if name not in learned],
            "until": (said or {}).get("last"),
        }

    def forecast(self, known: AsOf) -> Array:
        """Forecasts [s, h, 4] of series as of an origin; young ones drawn to what was known of their category. What is
        planned is taken off before and put on after.
        """
        of = self.plain(known)
        return of.put_on(young(self.preset, of.panel, known.parent, self.preset.forecast(of.panel), self.kin))

    def dumps(self) -> bytes:
        """As JSON; the same forecaster, the same bytes."""
        preset = self.preset
        content = {
            "version": VERSION if self.effects is None else PLANNED,
            "step": self.step,
            "column": self.column,
            "horizon": preset.horizon,
            "methods": list(preset.methods),
            "weights": {name: each.tolist() for name, each in preset.weights.items()},
            "spread": {name: each.tolist() for name, each in preset.spread.items()},
            "whole": preset.whole,
            "unit": preset.unit,
            "least": dict(preset.least),
            "shared": {
                **vars(preset.shared),
                "start": str(preset.shared.start),
                "factors": {name: each.tolist() for name, each in preset.shared.factors.items()},
                "level": preset.shared.level.tolist(),
            },
            "kin": {str(of): each.tolist() for of, each in self.kin.items()},
            "boosting": None if preset.model is None else list(preset.model.texts),
            "calibration": {name: list(pair) for name, pair in self.calibration.items()},
        }
        if self.effects is not None:
            numbers = {name: getattr(self.effects, name).tolist() for name in ("believed", "seen", "error")}
            content["effects"] = {"names": list(self.effects.names), **numbers}
        for of, weights in self._numbers.items():
            content[of] = {name: each.tolist() for name, each in weights.items()}
        return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()

    @property
    def _numbers(self) -> dict[str, Mapping[str, Array]]:
        """The weights of what learned from all series, and is numbers alone."""
        preset = self.preset
        models = ((ensemble.GRU, preset.network), (ensemble.LINEAR, preset.linear), (ensemble.COUNTS, preset.counts))
        return {name: model.weights for name, model in models if model}

    @property
    def parameters(self) -> int:
        """Numbers in it: weights, factors, and the leaves and thresholds of trees."""
        texts = self.preset.model.texts if self.preset.model else ()
        lines = (line for text in texts for line in text.splitlines())
        trees = sum(line.count(" ") + 1 for line in lines if line.startswith(("leaf_value=", "threshold=")))
        arrays = (self.preset.weights, self.preset.spread, *self._numbers.values())
        return trees + sum(each.size for part in arrays for each in part.values())


def loads(content: bytes) -> Forecaster:
    """What `dumps` wrote. Raises ValueError, KeyError or TypeError where it is something else."""
    raw = json.loads(content)
    if (
        raw["version"] != (PLANNED if "effects" in raw else VERSION)
        or set(raw["weights"]) != set(GROUPS)
        or set(raw["spread"]) != set(GROUPS)
    ):
        raise ValueError("it is not a forecaster of this version")
    methods, horizon = tuple(raw["methods"]), int(raw["horizon"])
    if unknown := set(methods) - {*ensemble.PARTS, *ensemble.LEARNED, ensemble.COUNTS}:
        raise ValueError(f"it mixes {', '.join(sorted(unknown))}, which this clickflow does not know")
    shared = Shared(**_read(raw["shared"]))
    model = Boosting(tuple(raw["boosting"]), horizon, shared) if raw["boosting"] else None
    weights, spread = (
        {name: np.array(each, np.float64) for name, each in raw[part].items()} for part in ("weights", "spread")
    )
    gru, line, about = (
        {name: np.array(each, np.float64) for name, each in raw.get(of, {}).items()}
        for of in (ensemble.GRU, ensemble.LINEAR, ensemble.COUNTS)
    )
    network, linear = Gru(gru, horizon, shared) if gru else None, Linear(line, horizon, shared) if line else None
    counts = Counts(about, shared) if about else None
    preset = Preset(
        methods,
        weights,
        spread,
        model,
        horizon,
        shared,
        bool(raw["whole"]),
        network,
        linear,
        counts,
        float(raw.get("unit", 1.0)),
        {str(group): float(mean) for group, mean in raw.get("least", {}).items()},
    )
    calibration = {name: (float(shift), float(slope)) for name, (shift, slope) in raw["calibration"].items()}
    kin = {int(of): np.array(each, np.float64) for of, each in raw["kin"].items()}
    return Forecaster(preset, raw["step"], str(raw["column"]), calibration, kin, _effects(raw.get("effects")))


def _effects(raw: Mapping[str, Any] | None) -> Effects | None:
    if raw is None:
        return None
    believed, seen, error = (np.array(raw[name], np.float64) for name in ("believed", "seen", "error"))
    return Effects(tuple(map(str, raw["names"])), believed, seen, error)


def _read(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `Shared`."""
    return {
        **raw,
        "start": np.datetime64(raw["start"], "D"),
        "factors": {name: np.array(each, np.float64) for name, each in raw["factors"].items()},
        "level": np.array(raw.get("level", [1.0]), np.float64),
    }


def fit(split: Any, column: str, step: Step, horizon: int, seed: int, network: bool = False) -> Forecaster:
    """Choose weights and train on all that a split holds, without what its plan did; a `network` too, or not."""
    from threadpoolctl import threadpool_limits

    known = whole(split, column, step)
    fitted = planned.fit(known.panel, horizon, known.plan(horizon), seed=seed, network=network)
    preset, panel = fitted.preset, fitted.plain.panel
    with threadpool_limits(1):  # the same digits on every machine
        of = kin(preset, panel, known.parent, preset.forecast(panel))
    return Forecaster(preset, step, column, kin=of, effects=fitted.effects)


def odds(yes: Array) -> Array:
    """The log-odds of probabilities, none surer than `SUREST`."""
    kept = np.clip(yes, 1 - SUREST, SUREST)
    log_odds: Array = np.log(kept / (1 - kept))
    return log_odds


def calibrate(yes: Array, came: Array) -> tuple[float, float]:
    """Shift and slope of the log-odds of `yes` [n] under which the answers `came` [n], 0 or 1, are likeliest (Platt
    1999), drawn to no change as if by `FEW` answers; Newton's method.
    """
    said = np.stack([np.ones(len(yes)), odds(yes)], 1)
    pair, start = np.zeros(2), np.array([0.0, 1.0])  # from even odds the steps do not overshoot
    for _ in range(30):
        probability = 1 / (1 + np.exp(-said @ pair))
        slope = said.T @ (probability - came) + FEW * (pair - start)
        curve = (said * (probability * (1 - probability))[:, None]).T @ said + FEW * np.eye(2)
        pair = pair - np.linalg.solve(curve, slope)
    return round(float(pair[0]), 9), round(float(pair[1]), 9)


def kin(preset: Preset, panel: Panel, parent: Array, forecasts: Array) -> dict[Any, Array]:
    """By `parent` [s] the mean forecast a period [4] of its series that are not young, without the season, of forecasts
    [s, h, 4]; a parent that is empty, or 0, is none.
    """
    old = panel.periods - panel.first >= SHORT[panel.step]
    plain = forecasts / _season(preset, panel, forecasts.shape[1])
    return {of: plain[old & (parent == of)].mean((0, 1)) for of in np.unique(parent[old]).tolist() if of}


def young(preset: Preset, panel: Panel, parent: Array, forecasts: Array, of: Mapping[Any, Array]) -> Array:
    """Forecasts [s, h, 4] of young series drawn to their kin's, `of` their `parent` [s], the more so the younger."""
    age, out, least = panel.periods - panel.first, forecasts.copy(), SHORT[panel.step]
    season = _season(preset, panel, forecasts.shape[1])
    for row in np.flatnonzero(age < least):
        level = of.get(parent[row].item())
        if level is not None:
            share = age[row] / (age[row] + least)
            out[row] = share * forecasts[row] + (1 - share) * level * season
    return out


def _season(preset: Preset, panel: Panel, horizon: int) -> Array:
    """The factors of the steps after a panel, as all series had them, [h, 1]."""
    factors = panel.as_fitted(preset.shared).usual(LEVEL)
    assert factors is not None
    usual: Array = np.maximum(factors / factors.mean(), LEAST_FACTOR)
    return usual[np.arange(horizon) % len(usual), None]
