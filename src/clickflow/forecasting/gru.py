"""A GRU encoder and decoder over all series (Cho et al. 2014; as DeepAR and MQ-RNN, Wen et al. 2017, but of quantiles a
step): the encoder reads the last periods, the decoder the calendar ahead, each divided by the series' level.

Trained by torch on the quantile loss in units; what ships are its numbers, and it answers by numpy alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.forecasting import shared
from clickflow.forecasting.digits import rounded
from clickflow.forecasting.lags import LEVEL, Lags, lags
from clickflow.forecasting.panel import LEVELS, Panel, Shared

Array = NDArray[Any]

CONTEXT = {"day": 56, "week": 26, "month": 30}
"""Periods that the encoder reads."""
UNITS, STEPS, BATCH, RATE = 40, 500, 192, 6e-3
LEAST_SERIES = 100
"""With fewer there is no network: it knows nothing that they do not say."""
LARGEST = 30.0
"""Values more times the level than this are cut off in training."""
BELOW = 0.2
"""The lowest quantile may reach so far below 0 before it is cut off there, so that it can be 0."""
MEAN = 0.05
"""Weight of the mean's squared error beside the quantile loss."""


@dataclass(frozen=True)
class Gru:
    """Its numbers, by torch's names, and what it was trained with."""

    weights: Mapping[str, Array]
    horizon: int
    shared: Shared

    def forecast(self, known: Panel, held: Lags | None = None) -> Array:
        """Forecasts [s, h, 4] of all series of `known`; `held`: its lags as fitted, where they are there."""
        held = held or lags(known.as_fitted(self.shared))
        known, series = held.panel, len(held.panel.values)
        rows, origins = np.arange(series), np.full(series, known.periods)
        past, ahead = read(held, rows, origins, self.horizon)
        state = self._run("encoder", past, np.zeros((series, UNITS)))[-1]
        states = np.stack(self._run("decoder", ahead, state), 1)
        hidden = np.maximum(self._layer("hidden", np.concatenate([states, ahead], -1)), 0)
        over = answers(np.logaddexp(0, self._layer("out", hidden)))
        units: Array = np.maximum(over, 0) * held.level(rows, origins)[:, None, None]
        units[..., 1:] = np.sort(units[..., 1:], -1)
        return units

    def _layer(self, name: str, values: Array) -> Array:
        out: Array = np.einsum("...i,oi->...o", values, self.weights[f"{name}.weight"]) + self.weights[f"{name}.bias"]
        return out

    def _run(self, name: str, values: Array, state: Array) -> list[Array]:
        """The state after each step of `values` [s, t, f]."""
        w, u, b, c = (self.weights[f"{name}.{part}_l0"] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        states = []
        for t in range(values.shape[1]):
            own = np.split(np.einsum("si,oi->so", values[:, t], w) + b, 3, 1)
            past = np.split(np.einsum("si,oi->so", state, u) + c, 3, 1)
            reset, keep = (1 / (1 + np.exp(-(own[k] + past[k]))) for k in (0, 1))
            state = (1 - keep) * np.tanh(own[2] + reset * past[2]) + keep * state
            states.append(state)
        return states


def answers(positive: Any) -> Any:
    """Mean and quantiles [..., 4] over the level, before they are cut off at 0, of positive numbers [..., 4]."""
    out = positive.copy() if isinstance(positive, np.ndarray) else positive.clone()
    out[..., 1] = positive[..., 1] - BELOW
    out[..., 2] = out[..., 1] + positive[..., 2]
    out[..., 3] = out[..., 2] + positive[..., 3]
    return out


def read(held: Lags, rows: Array, origins: Array, horizon: int) -> tuple[Array, Array]:
    """What the encoder [n, c, f] and the decoder [n, h, g] read of series as of these origins, float64: nothing but
    the calendar is of a later period.
    """
    panel, level = held.panel, held.level(rows, origins)[:, None]
    width, row = CONTEXT[panel.step], rows[:, None]
    at = origins[:, None] + np.arange(-width, 0)
    there = at >= held.first[row]
    units = np.where(there, panel.values[row, np.maximum(at, 0)], 0.0)
    empty = there & (units == 0)
    past = [np.log1p(units / level), there, empty]
    if panel.price is not None:
        price = np.where(there, panel.price[row, np.maximum(at, 0)], np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):  # what cost nothing has no ratio
            ratio = np.log(price / price[:, -1:])
        past.append(np.clip(np.where(np.isfinite(ratio), ratio, 0.0), -2, 2))
    steps = np.arange(1, horizon + 1)
    target = origins[:, None] + steps - 1
    share = empty.sum(1) / np.maximum(there.sum(1), 1)
    alike = [np.log(level[:, 0]) / 5, share, np.log1p(origins - held.first[rows]) / 5]
    ahead = [np.broadcast_to(each, target.shape) for each in (np.log1p(steps) / 3, *(each[:, None] for each in alike))]
    for back in (0, 1) if panel.season > 1 else ():
        before = target - (-(-steps // panel.season) + back) * panel.season
        inside = before >= held.first[row]
        ahead += [np.log1p(np.where(inside, panel.values[row, np.maximum(before, 0)], 0.0) / level), inside]
    flat = (np.repeat(rows, horizon), np.repeat(origins, horizon), np.tile(steps, len(rows)))
    smooth = held.smoothed.ahead(*flat).reshape(target.shape) / level
    ahead.append(np.log1p(np.maximum(smooth, 0)))
    return tuple(
        np.concatenate([np.stack(columns, -1).astype(np.float64), _calendar(panel, times)], -1)
        for columns, times in ((past, at), (ahead, target))
    )  # type: ignore[return-value]


def _calendar(panel: Panel, at: Array) -> Array:
    days = panel.dates(at)
    year = (days - days.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.int64) / 365.25 * 2 * np.pi
    parts = [wave(k * year) for k in (1, 2) for wave in (np.sin, np.cos)]
    if panel.step == "day":
        parts += [(days.astype(np.int64) + 3) % 7 == weekday for weekday in range(7)]
    return np.stack(parts, -1).astype(np.float64)


def fit(known: Panel, horizon: int, *, seed: int = 0) -> Gru | None:
    """Train on all that `known` holds, on one thread; None where that is too little."""
    least = known.first + max(6, LEVEL[known.step] // 4)
    count = np.maximum(known.periods - least, 0)  # origins with at least one answer
    if (count > 0).sum() < LEAST_SERIES:
        return None
    import torch

    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    try:
        weights = _train(lags(known), count, horizon, np.random.default_rng(seed))
    finally:
        torch.set_num_threads(threads)
        torch.random.set_rng_state(state)
    return Gru(weights, horizon, shared.of(known))


def _train(held: Lags, count: Array, horizon: int, rng: np.random.Generator) -> dict[str, Array]:
    """Weights by Adam under one cycle of the rate, of origins of which recent ones are drawn more often."""
    import torch
    from torch import nn

    panel = held.panel
    past, ahead = read(held, np.arange(1), np.array([panel.periods]), horizon)
    net = nn.ModuleDict(
        {
            "encoder": nn.GRU(past.shape[-1], UNITS, batch_first=True),
            "decoder": nn.GRU(ahead.shape[-1], UNITS, batch_first=True),
            "hidden": nn.Linear(UNITS + ahead.shape[-1], UNITS),
            "out": nn.Linear(UNITS, 4),
        }
    )
    optimiser = torch.optim.Adam(net.parameters(), RATE / 2, weight_decay=1e-5)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, STEPS)
    quantiles = torch.tensor(LEVELS)
    usual = float(held.level(np.arange(len(count)), np.full(len(count), panel.periods)).mean())
    values = np.pad(np.nan_to_num(panel.values), ((0, 0), (0, horizon)))
    for _ in range(STEPS):
        rows = rng.choice(len(count), BATCH, p=count / count.sum())
        origins = panel.periods - 1 - (rng.random(BATCH) ** 1.3 * count[rows]).astype(np.int64)
        level, target = held.level(rows, origins)[:, None], origins[:, None] + np.arange(horizon)
        weight = level / usual * (target < panel.periods)
        truth = np.minimum(values[rows[:, None], target] / level, LARGEST)
        drawn = (*read(held, rows, origins, horizon), truth, weight)
        x, z, y, w = (torch.tensor(each, dtype=torch.float32) for each in drawn)
        states, _ = net["decoder"](z, net["encoder"](x)[1])
        hidden = nn.functional.dropout(torch.relu(net["hidden"](torch.cat([states, z], -1))), 0.1)
        forecast = answers(nn.functional.softplus(net["out"](hidden)))
        cut = torch.relu(forecast[..., 1:]) + 0.01 * torch.clamp(forecast[..., 1:], max=0)
        over = y[..., None] - cut
        loss = torch.maximum(quantiles * over, (quantiles - 1) * over).mean(-1)
        loss = loss + MEAN * ((y - forecast[..., 0]) ** 2).clamp(max=100)
        optimiser.zero_grad()
        ((loss * w).sum() / (w > 0).sum()).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        rate.step()
    return {name: rounded(each.numpy()) for name, each in net.state_dict().items()}
