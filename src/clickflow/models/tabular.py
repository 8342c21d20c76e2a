"""A model that reads hand-made features: an estimator a head (`models.estimators`), as files and as one ONNX model.

Shapes: N questions, F features, A answers of a head.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clickflow.heads import HEADS
from clickflow.models import estimators
from clickflow.models.estimators import Estimator
from clickflow.models.estimators.graph import INPUT, OUTPUT
from clickflow.models.saved import CARD
from clickflow.sequences.features import Array
from clickflow.system.errors import DataError
from clickflow.system.files import sha256, sha256_json

ESTIMATORS = "estimators"
"""The folder, below a trained model, with a folder a head."""


@dataclass(frozen=True)
class Tabular:
    """Estimators by head, in the order in which they are shown; all read the same `features` of one `unit`."""

    unit: str
    features: tuple[str, ...]
    heads: Mapping[str, Estimator]

    @property
    def answers(self) -> list[str]:
        """The names of its outputs, a head each."""
        return [name for name in HEADS if name in self.heads]

    @property
    def same_days(self) -> dict[str, int]:
        """By head that was weighed on no other days than it was fitted to, of how many questions that was."""
        return {name: self.heads[name].rows for name in self.answers if self.heads[name].other_days is False}

    def predict(self, x: Array) -> dict[str, Array]:
        """By head, float32 [N, A]; x float32 [N, F], NaN where a feature does not exist."""
        return {name: self.heads[name].predict(x) for name in self.answers}

    def onnx(self) -> bytes:
        """The same as one ONNX model: `features` [N, F] to an output a head; the same estimators, the same bytes."""
        import onnx

        parts = [_named(onnx.load_from_string(self.heads[name].onnx()), name) for name in self.answers]
        whole = parts[0]
        for part in parts[1:]:
            whole.graph.node.extend(part.graph.node)
            whole.graph.initializer.extend(part.graph.initializer)
            whole.graph.output.extend(part.graph.output)
        onnx.checker.check_model(whole)
        content: bytes = whole.SerializeToString(deterministic=True)
        return content


def _named(model: Any, head: str) -> Any:
    """An estimator's graph, with `head` as its output and in the names of all its values."""
    graph = model.graph

    def name(value: str) -> str:
        return value if value in ("", INPUT) else head if value == OUTPUT else f"{head}.{value}"

    for node in graph.node:
        node.input[:] = [name(value) for value in node.input]
        node.output[:] = [name(value) for value in node.output]
    for value in (*graph.initializer, *graph.output):
        value.name = name(value.name)
    return model


def parameters(model: bytes) -> int:
    """How many numbers an ONNX model of estimators holds: constants, thresholds and leaves."""
    import math

    import onnx

    graph = onnx.load_from_string(model).graph
    constants: int = sum(math.prod(tensor.dims) for tensor in graph.initializer)
    return constants + sum(len(attribute.floats) for node in graph.node for attribute in node.attribute)


def save(model: Tabular, folder: Path, card: Mapping[str, Any]) -> None:
    """Write model.json, with what `card` adds, and below `ESTIMATORS` an estimator a head."""
    for name, estimator in model.heads.items():
        estimator.save(folder / ESTIMATORS / name)
    content = {
        "unit": model.unit,
        "features": list(model.features),
        "heads": model.answers,
        "parameters": parameters(model.onnx()),
        "weights_sha256": digest(folder),
        **card,
    }
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / CARD).write_text(text + "\n", encoding="utf-8")


def load(folder: Path) -> Tabular:
    """What `save` wrote. Raises DataError where an estimator is not the one that model.json speaks of."""
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    if card["weights_sha256"] != digest(folder):
        raise DataError(
            f"{folder / ESTIMATORS} does not hold the estimators that its card describes",
            next_step="run `dvc checkout`, or train again",
        )
    heads: Sequence[str] = card["heads"]
    by_head = {name: estimators.load(folder / ESTIMATORS / name) for name in heads}
    return Tabular(card["unit"], tuple(card["features"]), by_head)


def digest(folder: Path) -> str:
    """One hash of all estimators of a trained model."""
    files = sorted(file for file in (folder / ESTIMATORS).rglob("*") if file.is_file())
    return sha256_json([[file.relative_to(folder).as_posix(), sha256(file)] for file in files])
