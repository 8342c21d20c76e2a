"""Export of a trained model of hand-made features."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.artefact import asking, checks
from clickflow.artefact.artefact import described
from clickflow.artefact.windows import Ints, Questions, of_split
from clickflow.models import tabular
from clickflow.models.estimators.graph import OPSET
from clickflow.models.saved import CARD
from clickflow.params.schema import Params
from clickflow.sequences.store import Card, PackedSplit, open_split, read_card
from clickflow.system.files import read_json
from clickflow.system.paths import Paths

LONGEST = 50
"""Steps of a window, in which an evaluation's baselines read; the features know the whole sequence."""
TYPICAL_OF = 4000
"""Questions of the training part whose median is typical of a feature, at most."""


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
        "typical": typical(model, folder, store),
        "outputs": model.answers,
        "heads": described(model.answers, store),
        "same_days": model.same_days,
        "known": store.known,
        "actions": list(store.actions),
        "max_length": LONGEST,
        "parameters": trained_card["parameters"],
        "spec": trained_card["spec"],
        "weights_sha256": trained_card["weights_sha256"],
    }

    def expected(split: PackedSplit, questions: Questions, chosen: Ints) -> dict[str, npt.NDArray[Any]]:
        table = asking.hand_made(model.unit, model.features, split, questions, chosen, store)
        return model.predict(table)

    checks.write(paths.exported(name), model.onnx(), about, folder, store, expected, params.export)


def typical(model: tabular.Tabular, folder: Path, store: Card) -> list[float | None]:
    """The median of each feature over questions of the training part, None where most have no such value: what an
    explanation holds a question against. Medians of the shop, and nobody's row.
    """
    split = open_split(folder, "train")
    sequences = np.unique(np.linspace(0, split.n_sequences - 1, min(split.n_sequences, TYPICAL_OF)).astype(np.int64))
    questions = of_split(split, sequences, LONGEST)
    chosen = np.unique(np.linspace(0, len(questions) - 1, min(len(questions), TYPICAL_OF)).astype(np.int64))
    table = asking.hand_made(model.unit, model.features, split, questions, chosen, store)
    # missing values come last: of a column with as many of them, the middle one is missing
    middle = np.sort(table, axis=0)[(len(table) - 1) // 2]
    return [None if np.isnan(value) else round(float(value), 6) for value in middle]
