"""Export of a trained model of series. It is no ONNX model, which cannot hold methods that search their parameters
series by series, but numbers and LightGBM's own text (docs/decisions/0018-forecasts-that-ship.md).
"""

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from clickflow.artefact import checks
from clickflow.artefact.artefact import described
from clickflow.artefact.series import FORECAST, Forecasting
from clickflow.artefact.windows import Ints, Questions
from clickflow.models.saved import CARD
from clickflow.params.schema import Params
from clickflow.sequences.store import PackedSplit, read_card
from clickflow.system.files import read_json
from clickflow.system.paths import Paths

LONGEST = 1_000_000
"""Steps that are read: all."""


def export_forecaster(params: Params, paths: Paths, name: str) -> None:
    """Write models/<name>/exported of a model of series: the very file that was trained."""
    trained, folder = paths.trained(name), paths.sequences(params.model(name).unit)
    trained_card, store = read_json(trained / CARD), read_card(folder)
    checks.same_data(trained, trained_card, folder, store)
    checks.weights(trained / FORECAST, trained_card["weights_sha256"])
    content = (trained / FORECAST).read_bytes()
    own = Forecasting.read(content, trained / FORECAST)
    about = {
        "model": name,
        "file": FORECAST,
        "unit": trained_card["unit"],
        "inputs": {},
        "outputs": trained_card["heads"],
        "heads": described(trained_card["heads"], store),
        "known": store.known,
        "actions": list(store.actions),
        "max_length": LONGEST,
        "horizon": own.forecaster.preset.horizon,
        "step": own.forecaster.step,
        "parameters": trained_card["parameters"],
        "spec": trained_card["spec"],
        "weights_sha256": trained_card["weights_sha256"],
    }

    def expected(split: PackedSplit, questions: Questions, chosen: Ints) -> Mapping[str, npt.NDArray[Any]]:
        return own.answers(split, questions.sequence[chosen], trained_card["heads"])

    checks.write(paths.exported(name), content, about, folder, store, expected, params.export)
