"""Export of a trained model of counts (`models.counts`): an ONNX graph, as of a network."""

from clickflow.artefact import checks
from clickflow.artefact.artefact import described
from clickflow.artefact.networks import OPSET, expected_of, to_onnx
from clickflow.models import counts
from clickflow.models.saved import CARD, WEIGHTS
from clickflow.params.schema import Params
from clickflow.sequences.features import FEATURES
from clickflow.sequences.store import read_card
from clickflow.system.files import read_json
from clickflow.system.paths import Paths


def export_counts(params: Params, paths: Paths, name: str) -> None:
    """Write models/<name>/exported of a model of counts."""
    trained, folder = paths.trained(name), paths.sequences(params.model(name).unit)
    trained_card, store = read_json(trained / CARD), read_card(folder)
    checks.same_data(trained, trained_card, folder, store)
    checks.weights(trained / WEIGHTS, trained_card["weights_sha256"])
    model = counts.load(trained)
    about = {
        "model": name,
        "opset": OPSET,
        "unit": model.spec.unit,
        "inputs": {column: FEATURES[column].tensor for column in model.inputs},
        "features": list(model.sizes.hand_made),
        "outputs": model.answers,
        "heads": described(model.answers, store),
        "known": model.known,
        "actions": list(model.sizes.actions),
        "max_length": counts.MAX_LENGTH,
        "parameters": trained_card["parameters"],
        "spec": trained_card["spec"],
        "weights_sha256": trained_card["weights_sha256"],
    }
    checks.write(paths.exported(name), to_onnx(model), about, folder, store, expected_of(model, store), params.export)
