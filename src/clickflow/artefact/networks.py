"""Export of a trained network to ONNX.

The graph is traced (torch.onnx with dynamo=False): for these networks it equals what the dynamo exporter makes, in
0.5 s instead of 10 to 20, and its batch, length and number of questions stay free.
"""

import io
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from clickflow.artefact import asking, checks, compression, int8, rounding
from clickflow.artefact.artefact import described
from clickflow.artefact.windows import Ints, Questions, batch
from clickflow.models.counts import Counts
from clickflow.models.ensemble import Ensemble
from clickflow.models.network import Network
from clickflow.models.saved import CARD, WEIGHTS, load_trained
from clickflow.params.export import Export
from clickflow.params.schema import Params
from clickflow.sequences.features import FEATURES
from clickflow.sequences.store import Card, PackedSplit, read_card
from clickflow.system.errors import ClickflowError
from clickflow.system.files import read_json
from clickflow.system.paths import Paths

OPSET = 17
"""ONNX opset; 17 has everything used here and is read by every onnxruntime since 1.12."""


def export_network(params: Params, paths: Paths, name: str) -> None:
    """Write models/<name>/exported of a network."""
    trained, folder = paths.trained(name), paths.sequences(params.model(name).unit)
    trained_card, store = read_json(trained / CARD), read_card(folder)
    checks.same_data(trained, trained_card, folder, store)
    weights = checks.weights(trained / WEIGHTS, trained_card.get("weights_sha256"))
    network = load_trained(trained)
    about = {
        "model": name,
        "opset": OPSET,
        "inputs": {column: FEATURES[column].tensor for column in network.inputs},
        "outputs": network.answers,
        "heads": described(network.answers, network.sizes),
        "known": network.sizes.known,
        "actions": list(network.sizes.actions),
        "max_length": network.spec.budget.max_length,
        "parameters": trained_card["parameters"],
        "spec": trained_card["spec"],
        "weights_sha256": weights,
    }
    hand_made = network.sizes.hand_made
    if hand_made:
        about |= {"unit": network.spec.unit, "features": list(hand_made)}

    smaller = None
    if params.export.compression:
        smaller = partial(compression.smaller, variants(network, store, params.export), params.export, params.gate)
    checks.write(
        paths.exported(name),
        to_onnx(network),
        about,
        folder,
        store,
        expected_of(network, store),
        params.export,
        smaller,
    )


def variants(network: Network | Ensemble, store: Card, export: Export) -> Iterator[compression.Variant]:
    """The smaller forms of a network that params.yaml asks for, each with the network that it must equal."""
    for name in export.compression:
        smaller = network
        if "pruned" in name:
            smaller = rounding.pruned(smaller, export.sparsity)
        if "int8" in name:
            smaller = rounding.rounded(smaller)
        model = to_onnx(smaller)
        yield compression.Variant(
            name,
            int8.narrowed(model) if "int8" in name else model,
            expected_of(smaller, store),
            max(export.tolerance, int8.TOLERANCE if "int8" in name else 0.0),
        )


def expected_of(network: Network | Ensemble | Counts, store: Card) -> checks.Expected:
    """What a network answers to questions about a split of the store with that card."""
    hand_made = network.sizes.hand_made

    def expected(split: PackedSplit, questions: Questions, chosen: Ints) -> dict[str, npt.NDArray[Any]]:
        inputs, rows, columns = batch(split, questions, chosen, network.inputs, checks.identity(split, store))
        tensors = {name: torch.from_numpy(values) for name, values in inputs.items()}
        features = None
        if hand_made:
            table = asking.hand_made(network.spec.unit, hand_made, split, questions, chosen, store)
            features = torch.from_numpy(table)
        with torch.no_grad():
            answers = network(tensors, torch.from_numpy(rows), torch.from_numpy(columns), features)
        return {name: values.numpy() for name, values in answers.items()}

    return expected


class _Positional(nn.Module):
    """A network that takes its inputs in order and returns its answers in order, as an ONNX graph does."""

    def __init__(self, network: Network | Ensemble | Counts) -> None:
        super().__init__()
        self.network = network

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        size = len(self.network.inputs)
        columns, (row, column, *more) = tensors[:size], tensors[size:]
        features = more[0] if more else None
        answers = self.network(dict(zip(self.network.inputs, columns, strict=True)), row, column, features)
        return tuple(answers[name] for name in self.network.answers)


def to_onnx(network: Network | Ensemble | Counts) -> bytes:
    """The network as an ONNX model with free batch, length and number of questions; the same weights give the same
    bytes. Raises ClickflowError where torch cannot export it.
    """
    import onnx

    steps = {name: torch.ones(2, 3, dtype=getattr(torch, FEATURES[name].tensor)) for name in network.inputs}
    questions = {"row": torch.tensor([0, 1, 1]), "column": torch.tensor([0, 1, 2])}
    if hand_made := network.sizes.hand_made:
        questions["features"] = torch.zeros(3, len(hand_made))
    outputs = network.answers
    free = {name: {0: "B", 1: "T"} for name in steps} | {name: {0: "N"} for name in (*questions, *outputs)}
    written = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # that the tracing exporter is deprecated, and that a batch of 2 was traced
            torch.onnx.export(
                _Positional(network).eval(),
                (*steps.values(), *questions.values()),
                written,  # type: ignore[arg-type]
                input_names=[*steps, *questions],
                output_names=outputs,
                dynamic_axes=free,
                opset_version=OPSET,
                dynamo=False,
            )
    except Exception as error:
        raise ClickflowError(f"torch cannot export this network: {error}", kept="the trained network") from error
    graph = onnx.load_from_string(written.getvalue())
    for node in graph.graph.node:
        node.ClearField("doc_string")  # holds paths of this machine
        del node.metadata_props[:]
    del graph.metadata_props[:], graph.graph.value_info[:], graph.graph.metadata_props[:]
    graph.ClearField("doc_string")
    onnx.checker.check_model(graph, full_check=True)
    data: bytes = graph.SerializeToString(deterministic=True)
    return data
