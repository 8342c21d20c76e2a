"""Training of the kind of model that forecasts series: methods get their weights at the last origins of what is known,
and boosted trees learn from all of it.

What ships is fitted to the validation part, which holds the training part's days too. Probabilities that are read off
the forecast are calibrated: a forecaster that knows the training part alone is compared with the validation part.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from clickflow.forecasting import forecaster, planned, scores
from clickflow.forecasting.forecaster import AsOf, Forecaster
from clickflow.heads import HEADS
from clickflow.heads.head import NOTHING
from clickflow.models.saved import CARD
from clickflow.params.models import Model, own
from clickflow.params.schema import Params
from clickflow.sequences.store import Card, PackedSplit, open_split
from clickflow.system import console
from clickflow.system.errors import DataError
from clickflow.system.files import sha256, write_json
from clickflow.system.paths import Paths
from clickflow.training.tracker import Tracker, in_one_go

FILE = "forecast.json"
"""The forecaster, beside the card; `artefact.series` calls it so too."""


def train_forecaster(params: Params, paths: Paths, name: str, track: Callable[..., Tracker] | None) -> None:
    """Train the model of that name; write its folder. Raises DataError where the store has nothing to learn from."""
    spec = params.model(name)

    def write(trained: Trained, fresh: Path, card: Card) -> None:
        (fresh / FILE).write_bytes(trained.model.dumps())
        write_json(fresh / CARD, _card(spec, card, trained, fresh, params.seed))

    trained, seconds = in_one_go(
        params, paths, name, track, lambda folder, card: train(spec, folder, card, params.seed), write
    )
    console.say(
        f"{name}: {len(trained.model.preset.methods)} methods on {trained.series:,} series of {trained.periods:,} "
        f"{trained.model.step}s, trained in {seconds:,.0f} s; weighted quantile loss of what was learned: "
        f"{trained.record['train']['loss']:.4f}"
    )
    if trained.model.effects is not None:
        console.say(f"{name}: the plan: {planned.said(trained.model.effects.described())}")


@dataclass(frozen=True)
class Trained:
    """A fitted model, its line of the history, and what it was fitted to."""

    model: Forecaster
    record: dict[str, Any]
    series: int
    periods: int


def train(spec: Model, folder: Path, card: Card, seed: int, *, final: bool = True) -> Trained:
    """Fit to the validation part of the store in `folder`, or where that is empty to the training part; not `final`: to
    the training part alone, and say how it forecasts the validation part.
    """
    parts = ("valid", "train") if final else ("train",)
    split = next((each for each in (open_split(folder, part) for part in parts) if each.n_sequences), None)
    column = next((HEADS[name].column for name in spec.heads if HEADS[name].column), "quantity")
    step, horizon = card.own_settings.get("step", "day"), ahead(card, folder)
    if split is None or not horizon:
        raise DataError(
            f"the store {folder} holds no question to learn from", next_step=f"run `clickflow sequences {spec.unit}`"
        )
    model = forecaster.fit(split, column, step, horizon, seed, spec.forecast.gru)
    if final:
        model = replace(model, calibration=_calibration(spec, folder, card, model, seed))
    known = forecaster.whole(split, column, step)
    loss = _within(model, known, known.panel.periods - horizon, horizon)
    losses = {"train": loss} if final else {"train": loss, "valid": _ahead(model, open_split(folder, "valid"), horizon)}
    record = {"epoch": 1, **{part: {"loss": each, **dict.fromkeys(spec.heads, each)} for part, each in losses.items()}}
    return Trained(model, record, len(known.panel.values), known.panel.periods)


def _within(model: Forecaster, known: AsOf, origin: int, horizon: int) -> float:
    """The weighted quantile loss of the last horizon of what was learned; NaN where nothing lies before it."""
    rows = known.panel.running(origin) if origin > 0 else np.zeros(0, np.int64)
    if not len(rows):
        return float("nan")
    before, after = known.panel.before(origin), known.panel.following(origin, horizon)
    series = None if known.series is None else known.series[rows]
    of = model.plain(replace(known, sequences=known.sequences[rows], panel=before, series=series))
    scale = scores.naive_error(before.values, before.season)
    forecasts = of.put_on(model.preset.forecast(of.panel))
    return scores.summary(after, forecasts, scale)["weighted_quantile_loss"]


def _calibration(spec: Model, folder: Path, card: Card, model: Forecaster, seed: int) -> dict[str, tuple[float, float]]:
    """Of each head whose probability is read off the forecast how it is put right: as the validation part bears out
    what a forecaster says that knows the training part alone.
    """
    read = {name: HEADS[name].of_forecast for name in spec.heads if HEADS[name].of_forecast}
    train_part, valid = (open_split(folder, part) for part in ("train", "valid"))
    if not read or not train_part.n_sequences or not valid.n_sequences:
        return {}
    early = forecaster.fit(train_part, model.column, model.step, model.preset.horizon, seed, spec.forecast.gru)
    said: dict[str, list[tuple[Any, Any]]] = {name: [] for name in read}
    for known in forecaster.origins(valid, model.column, model.step):
        forecast = early.forecast(known)
        end, until = (np.asarray(each, np.int64)[known.sequences] for each in (valid.end, valid.until))
        for name, of_forecast in read.items():
            assert of_forecast is not None
            target = HEADS[name].targets(valid, end - 1, until, card)
            asks = target != NOTHING
            yes = of_forecast(known.panel.values[:, -forecast.shape[1] :], forecast)
            said[name].append((yes[asks], target[asks]))
    joined = {name: [np.concatenate(each) for each in zip(*pairs, strict=True)] for name, pairs in said.items()}
    return {name: forecaster.calibrate(yes, came) for name, (yes, came) in joined.items()}


def _ahead(model: Forecaster, split: PackedSplit, horizon: int) -> float:
    """The weighted quantile loss of all that a split asks."""
    actual, forecasts = [np.zeros((0, horizon))], [np.zeros((0, horizon, 4))]
    for known in forecaster.origins(split, model.column, model.step) if split.n_sequences else ():
        end = np.asarray(split.end)[known.sequences]
        actual.append(np.asarray(getattr(split, model.column)[end[:, None] + np.arange(horizon)], np.float64))
        forecasts.append(model.forecast(known))
    truth = np.concatenate(actual)
    return scores.summary(truth, np.concatenate(forecasts), np.ones(len(truth)))["weighted_quantile_loss"]


def ahead(card: Card, folder: Path) -> int:
    """Steps of a horizon of the store: how many answers its first question has."""
    said = card.own_settings.get("horizon")
    if said:
        return int(said)
    train_part = open_split(folder, "train")
    return int((train_part.until - train_part.end)[:1].max(initial=0))


def _card(spec: Model, card: Card, trained: Trained, folder: Path, seed: int) -> dict[str, Any]:
    return {
        "unit": spec.unit,
        "heads": [name for name in HEADS if name in spec.heads],
        "known": card.known,
        "actions": list(card.actions),
        "categories": card.categories,
        "parameters": trained.model.parameters,
        "weights_sha256": sha256(folder / FILE),
        "spec": own(spec),
        "seed": seed,
        "data_sha256": card.sha256,
        "series": trained.series,
    }
