"""The GRU that forecasts series: it answers by numpy what torch says, reads nothing ahead, and is mixed where asked."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from clickflow.forecasting import ensemble, forecaster, gru
from clickflow.forecasting.forecaster import Forecaster
from clickflow.forecasting.lags import lags
from clickflow.forecasting.panel import Panel

HORIZON = 3


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("STEPS", 4), ("UNITS", 6), ("BATCH", 16), ("LEAST_SERIES", 8)):
        monkeypatch.setattr(gru, name, value)


@pytest.fixture(scope="module")
def known() -> Panel:
    draw = np.random.default_rng(0)
    values = draw.poisson(draw.lognormal(1, 1, 12)[:, None], (12, 70)).astype(float)
    values[-3:, :40] = np.nan
    price = np.where(np.isnan(values), np.nan, draw.uniform(1, 5, values.shape))
    return Panel(values, "day", np.datetime64("2025-01-01"), price=price)


def test_numpy_answers_what_torch_says_to_the_last_digits(known: Panel) -> None:
    import torch

    model = gru.fit(known, HORIZON)
    assert model is not None
    held, rows = lags(known.as_fitted(model.shared)), np.arange(12)
    past, ahead = gru.read(held, rows, np.full(12, 70), HORIZON)
    recurrent = {}
    for name, inputs in (("encoder", past), ("decoder", ahead)):
        recurrent[name] = torch.nn.GRU(inputs.shape[-1], gru.UNITS, batch_first=True).double()
        own = {key.removeprefix(f"{name}."): torch.tensor(each) for key, each in model.weights.items() if name in key}
        recurrent[name].load_state_dict(own)
    weights = {name: torch.tensor(each) for name, each in model.weights.items()}
    x, z = torch.tensor(past), torch.tensor(ahead)
    with torch.no_grad():
        states, _ = recurrent["decoder"](z, recurrent["encoder"](x)[1])
        hidden = torch.relu(torch.cat([states, z], -1) @ weights["hidden.weight"].T + weights["hidden.bias"])
        outputs = torch.nn.functional.softplus(hidden @ weights["out.weight"].T + weights["out.bias"])
        want = torch.relu(gru.answers(outputs)).numpy() * held.level(rows, np.full(12, 70))[:, None, None]
    np.testing.assert_allclose(model.forecast(known), want, rtol=1e-9, atol=1e-12)


def test_nothing_ahead_is_read_and_a_series_is_answered_alone_as_among_others(known: Panel) -> None:
    later = known.values.copy()
    later[:, 60:] = 999
    held = lags(known)  # how a series is smoothed is chosen over all that is trained on, as of the boosted trees
    changed = replace(lags(replace(known, values=later)), smoothed=held.smoothed)
    both = [gru.read(each, np.arange(12), np.full(12, 60), HORIZON) for each in (held, changed)]
    for one, other in zip(*both, strict=True):
        np.testing.assert_array_equal(one, other)
    model = gru.fit(known, HORIZON)
    assert model is not None
    alone = model.forecast(known.rows(np.array([4])))
    np.testing.assert_allclose(alone[0], model.forecast(known)[4], rtol=1e-12)
    assert gru.fit(known.rows(np.arange(7)), HORIZON) is None


def test_a_preset_with_a_network_is_numbers_that_answer_the_same_again(known: Panel) -> None:
    preset = ensemble.fit(known, HORIZON, network=True)
    assert preset.network is not None and preset.methods[-1] == "gru"
    content = Forecaster(preset, "day", "quantity").dumps()
    again = forecaster.loads(content)
    assert content == Forecaster(ensemble.fit(known, HORIZON, network=True), "day", "quantity").dumps() == again.dumps()
    answers: Any = preset.forecast(known)
    np.testing.assert_array_equal(again.preset.forecast(known), answers)
    assert (np.diff(answers[..., 1:], axis=-1) >= 0).all() and (answers >= 0).all()
    without = Forecaster(replace(preset, network=None), "day", "quantity")
    assert again.parameters > without.parameters and b'"gru": {' not in without.dumps()
