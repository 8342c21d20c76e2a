"""One answer of an artefact without the others: the part of its graph that this one hangs on."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.artefact.artefact import MODEL, Artefact, open_session
from clickflow.system.errors import DataError

FEATURES = "features"
"""The input [N, F] of hand-made features."""


def alone(artefact: Artefact, output: str) -> Artefact:
    """An artefact that gives the answer `output` as `artefact` does, and no other. It has only those `inputs` and
    `features` that this answer is made of, so that a network that also ranks all items need not do so.

    Raises DataError where the model's file is no longer the one that the card describes.
    """
    if len(artefact.outputs) == 1:
        return artefact
    part = _graph(artefact, output)
    read = {each.name for each in part.graph.input}
    card = {
        **artefact.card,
        "outputs": [output],
        "inputs": {name: kind for name, kind in artefact.card["inputs"].items() if name in read},
        "features": list(artefact.features) if FEATURES in read else [],
    }
    return Artefact(artefact.folder, card, open_session(part.SerializeToString(), where=artefact.folder / MODEL))


def by_features(
    artefact: Artefact, output: str, feed: Mapping[str, npt.NDArray[Any]]
) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    """From hand-made features [N, F] to the answer `output` to questions that are else those of `feed`, which
    `Artefact.feed` gave: what of the graph does not hang on features is run once. Raises as `alone` does.
    """
    from onnx import shape_inference
    from onnx.utils import Extractor

    whole = shape_inference.infer_shapes(_graph(artefact, output))
    given, held = {each.name for each in whole.graph.input}, {each.name for each in whole.graph.initializer}
    after = {FEATURES}
    border: dict[str, None] = {}
    for node in whole.graph.node:
        if after.intersection(node.input):
            border |= dict.fromkeys(name for name in node.input if name and name not in after | held)
            after.update(node.output)
    made = [name for name in border if name not in given]
    parts = Extractor(whole)
    where = artefact.folder / MODEL
    steps = {name: feed[name] for name in given if name != FEATURES}
    if made:
        before = parts.extract_model(list(steps), made)
        steps |= zip(made, open_session(before.SerializeToString(), where=where).run(made, steps), strict=True)
    session = open_session(parts.extract_model([*border, FEATURES], [output]).SerializeToString(), where=where)
    known = {name: steps[name] for name in border}

    def answer(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        (said,) = session.run([output], {**known, FEATURES: features})
        return np.asarray(said)

    return answer


def _graph(artefact: Artefact, output: str) -> Any:
    """The part of the artefact's graph that an output hangs on."""
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
    return part
