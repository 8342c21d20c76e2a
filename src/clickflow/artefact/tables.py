"""A trained model of hand-made features to the artefact that ships."""

from typing import Any

import numpy.typing as npt

from clickflow.artefact import asking, checks
from clickflow.artefact.artefact import described
from clickflow.artefact.windows import Ints, Questions
from clickflow.models import tabular
from clickflow.models.estimators.graph import OPSET
from clickflow.models.saved import CARD
from clickflow.params.schema import Params
from clickflow.sequences.store import PackedSplit, read_card
from clickflow.system.files import read_json
from clickflow.system.paths import Paths

LONGEST = 50
"""Steps of a window, in which an evaluation's baselines read; the features know the whole sequence."""


def export_tabular(params: Params, paths: Paths, name: str) -> None:
    """Write models/<name>/exported of a model that reads hand-made features."""
    trained, folder = paths.trained(name), paths.sequences(params.model(name).unit)
    trained_card, store = read_json(trained / CARD), read_card(folder)
    checks.same_data(trained, trained_card, folder, store)
    model = tabular.load(trained)
    about = {
        "model": name,
        "opset": OPSET,
        "unit": model.unit,
        "inputs": {},
        "features": list(model.features),
        "outputs": model.answers,
        "heads": described(model.answers, store),
        "known": store.known,
        "actions": list(store.actions),
        "max_length": LONGEST,
        "parameters": trained_card["parameters"],
        "spec": trained_card["spec"],
        "weights_sha256": trained_card["weights_sha256"],
    }

    def expected(split: PackedSplit, asked: Questions, chosen: Ints) -> dict[str, npt.NDArray[Any]]:
        table = asking.hand_made(model.unit, model.features, split, asked, chosen, store)
        return model.predict(table)

    checks.write(paths.exported(name), model.onnx(), about, folder, store, expected, params.export)
