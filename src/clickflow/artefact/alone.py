"""One answer of an artefact without the others: the part of its graph that this one hangs on."""

import hashlib

from clickflow.artefact.artefact import MODEL, Artefact, open_session
from clickflow.system.errors import DataError


def alone(artefact: Artefact, output: str) -> Artefact:
    """An artefact that gives the answer `output` as `artefact` does, and no other. It has only those `inputs` and
    `features` that this answer is made of, so that a network that also ranks all items need not do so.

    Raises DataError where the model's file is no longer the one that the card describes.
    """
    if len(artefact.outputs) == 1:
        return artefact
    import onnx
    from onnx.utils import Extractor

    path = artefact.folder / MODEL
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != artefact.card["model_sha256"]:
        raise DataError(
            f"{path} has changed since it was loaded",
            kept="nothing was measured",
            next_step="run `dvc checkout` to put the recorded file back",
        )
    whole = onnx.load_from_string(content)
    part = Extractor(whole).extract_model([each.name for each in whole.graph.input], [output])
    read = {name for node in part.graph.node for name in node.input}
    inputs = [each for each in part.graph.input if each.name in read]
    del part.graph.input[:]
    part.graph.input.extend(inputs)
    card = {
        **artefact.card,
        "outputs": [output],
        "inputs": {name: kind for name, kind in artefact.card["inputs"].items() if name in read},
        "features": list(artefact.features) if "features" in read else [],
    }
    return Artefact(artefact.folder, card, open_session(part.SerializeToString(), where=path))
