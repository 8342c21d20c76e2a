"""The stage `export`: a trained network to the artefact that ships, checked against the network it came from.

The graph is traced (torch.onnx with dynamo=False): for these networks it equals what the dynamo exporter makes, in
0.5 s instead of 10 to 20, and its batch, length and number of questions stay free. What is written is checked on real
sequences in several shapes: equal to torch, and no answer changed by later steps.
"""

import io
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clickflow.artefact import asking
from clickflow.artefact.artefact import (
    CARD,
    CATEGORIES,
    HASHES,
    MODEL,
    VERSION,
    VOCABULARY,
    Artefact,
    described,
    load,
    open_session,
)
from clickflow.artefact.windows import Questions, Translation, batch, blocks, questions
from clickflow.models.ensemble import Ensemble
from clickflow.models.network import Network
from clickflow.models.saved import CARD as TRAINED_CARD
from clickflow.models.saved import WEIGHTS, load_trained
from clickflow.params.schema import Params
from clickflow.sequences.card import iso
from clickflow.sequences.features import FEATURES
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.sequences.store import Card, PackedSplit, open_split, read_card
from clickflow.system import integrity
from clickflow.system.console import emit, progress, say
from clickflow.system.errors import ClickflowError, DataError, UsageError
from clickflow.system.files import read_json, replacing, sha256, write_json
from clickflow.system.paths import Paths

OPSET = 17
"""ONNX opset; 17 has everything used here and is read by every onnxruntime since 1.12."""
CHECKED = 96
"""Sequences on which the artefact is held against the network."""
WARM_UP, ROUNDS, REQUESTS = 30, 5, 60
"""Latency: requests before the first measured one, rounds, and requests in each."""


def run(params: Params, paths: Paths, name: str) -> None:
    """Write `models/<name>/exported`; raises UsageError where nothing was trained, DataError where store and model do
    not belong together, ClickflowError where the artefact is not equal to what was trained.
    """
    trained, folder = paths.trained(name), paths.sequences(params.model(name).unit)
    if not (trained / TRAINED_CARD).is_file():
        raise UsageError(f"there is no trained model in {trained}", next_step=f"run `clickflow train {name}`")
    integrity.verify(trained, folder, home=paths.home)
    EXPORTERS[params.model(name).kind](params, paths, name)


def export_network(params: Params, paths: Paths, name: str) -> None:
    """`run` for the kind `network`."""
    trained, folder = paths.trained(name), paths.sequences(params.model(name).unit)
    model_card, store = read_json(trained / TRAINED_CARD), read_card(folder)
    _same_data(trained, model_card, folder, store)
    network = load_trained(trained)
    with replacing(paths.exported(name), seal=integrity.seal) as fresh:
        (fresh / MODEL).write_bytes(to_onnx(network))
        _vocabulary(folder, store, fresh)
        card = {
            "version": VERSION,
            "model": name,
            "opset": OPSET,
            "inputs": {column: FEATURES[column].tensor for column in network.inputs},
            "outputs": network.answers,
            "heads": described(network.answers, network.sizes),
            "known": network.sizes.known,
            "actions": list(network.sizes.actions),
            "max_length": network.spec.budget.max_length,
            "size_bytes": (fresh / MODEL).stat().st_size,
            "parameters": model_card["parameters"],
            "spec": model_card["spec"],
            "weights_sha256": sha256(trained / WEIGHTS),
            "data_sha256": store.sha256,
            "seen_until": iso(store.boundaries["test"]),
            "source": dict(store.settings.get("source") or {}),
            **{entry: sha256(fresh / file) for entry, file in HASHES.items()},
        }
        write_json(fresh / CARD, card)
        artefact = load(fresh)
        split, asked = _real(folder, store, network.spec.budget.max_length)
        card["parity"] = _digits(parity(network, artefact, split, asked, params.export.tolerance))
        causality(artefact, split, asked, params.export.tolerance)
        p95 = latency(artefact, split, asked, params.export.latency_batch)
        card["latency_ms_p95_class"], card["latency_batch"] = ladder(p95), params.export.latency_batch
        write_json(fresh / CARD, card)
    emit(
        {"model": name, "size_bytes": card["size_bytes"], "parity": card["parity"], "latency_ms_p95": round(p95, 3)},
        as_json=False,
        text=lambda: (
            f"{name}: {card['size_bytes'] / 1e6:,.1f} MB, equal to the trained network within {card['parity']:g}, "
            f"p95 {p95:.2f} ms for {params.export.latency_batch} session(s) on one CPU thread"
        ),
    )


EXPORTERS: dict[str, Callable[[Params, Paths, str], None]] = {"network": export_network}
"""By kind of model (`clickflow.models.kinds`): write models/<name>/exported, from folders whose bytes were verified."""


class _Positional(nn.Module):
    """A network that takes its inputs in order and returns its answers in order, as an ONNX graph does."""

    def __init__(self, network: Network | Ensemble) -> None:
        super().__init__()
        self.network = network

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        *columns, row, column = tensors
        found = self.network(dict(zip(self.network.inputs, columns, strict=True)), row, column)
        return tuple(found[name] for name in self.network.answers)


def to_onnx(network: Network | Ensemble) -> bytes:
    """The network as an ONNX model with free batch, length and number of questions; the same weights give the same
    bytes. Raises ClickflowError where torch cannot export it.
    """
    import onnx

    steps = {name: torch.ones(2, 3, dtype=getattr(torch, FEATURES[name].tensor)) for name in network.inputs}
    asked = {"row": torch.tensor([0, 1, 1]), "column": torch.tensor([0, 1, 2])}
    outputs = network.answers
    free = {name: {0: "B", 1: "T"} for name in steps} | {name: {0: "N"} for name in (*asked, *outputs)}
    written = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # that the tracing exporter is deprecated, and that a batch of 2 was traced
            torch.onnx.export(
                _Positional(network).eval(),
                (*steps.values(), *asked.values()),
                written,  # type: ignore[arg-type]
                input_names=[*steps, *asked],
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


def parity(
    network: Network | Ensemble, artefact: Artefact, split: PackedSplit, asked: Questions, tolerance: float
) -> float:
    """The largest difference of a log-probability between network and artefact, over blocks of several shapes.

    Raises ClickflowError where it is above `tolerance`, or no number.
    """
    worst = 0.0
    one_to_one = _identity(split)
    for size in (1, 5, 64, 512):
        for chosen in list(blocks(asked, size))[:: max(1, len(asked) // size // 4)]:
            found = asking.answers(artefact, split, asked, chosen, one_to_one)
            inputs, rows, columns = batch(split, asked, chosen, network.inputs, one_to_one)
            with torch.no_grad():
                tensors = {name: torch.from_numpy(values) for name, values in inputs.items()}
                expected = network(tensors, torch.from_numpy(rows), torch.from_numpy(columns))
            for name, values in found.items():
                difference = float(np.abs(values - expected[name].numpy()).max())
                if not difference <= tolerance:
                    raise ClickflowError(
                        f"the exported model is not the trained one: {name} differs by {difference:.3g} in "
                        f"{list(inputs['item'].shape)} steps and {len(rows)} questions; "
                        f"export.tolerance is {tolerance:g}",
                        kept="the trained network; the exported folder is as it was",
                        next_step="if the difference is acceptable raise export.tolerance in params.yaml",
                    )
                worst = max(worst, difference)
    return worst


def causality(artefact: Artefact, split: PackedSplit, asked: Questions, tolerance: float) -> None:
    """Hold answers in the middle of a sequence against those of the sequence cut off there.

    Raises ClickflowError where a later step changed an answer: every metric would be worthless.
    """
    one_to_one = _identity(split)
    inner = np.flatnonzero(asked.column + 1 < asked.window)
    for k in inner[:: max(1, len(inner) // 16)]:
        step, end = int(asked.column[k]) + 1, int(asked.event[k]) + 1
        ended = split.with_columns(**{name: values[:end] for name, values in split.columns.items()})
        short = replace(asked, window=np.minimum(asked.window, asked.column + 1))
        whole = asking.answers(artefact, split, asked, np.array([k]), one_to_one)
        before = asking.answers(artefact, ended, short, np.array([k]), one_to_one)
        for name, values in whole.items():
            difference = float(np.abs(values - before[name]).max())
            if not difference <= tolerance:
                raise ClickflowError(
                    f"the exported model looks ahead: {name} at step {step} of {asked.window[k]} changes by "
                    f"{difference:.3g} when the later steps are taken away",
                    kept="the trained network; the exported folder is as it was",
                    next_step="make the encoder causal",
                )


def latency(artefact: Artefact, split: PackedSplit, asked: Questions, sessions: int) -> float:
    """Milliseconds of processor time within which 95% of requests are answered on one thread, after a warm-up; the
    quickest of several rounds. A request is the latest step of `sessions` sessions. On an idle machine this is the
    time that passes; on a busy one that would measure the neighbours.
    """
    single = Artefact(
        artefact.folder,
        artefact.card,
        open_session((artefact.folder / MODEL).read_bytes(), threads=1, where=artefact.folder / MODEL),
    )
    one_to_one = _identity(split)
    last = np.flatnonzero(asked.position + 1 == asked.length)
    requests = [
        batch(split, asked, np.resize(last[start:], sessions), single.inputs, one_to_one)
        for start in range(min(len(last), REQUESTS))
    ]
    taken = []
    with progress("latency", WARM_UP + ROUNDS * REQUESTS) as advance:
        for k in range(WARM_UP + ROUNDS * REQUESTS):
            inputs, rows, columns = requests[k % len(requests)]
            started = time.thread_time()
            single.scores(inputs, rows, columns)
            taken.append((time.thread_time() - started) * 1000)
            advance()
    return float(np.quantile(np.reshape(taken[WARM_UP:], (ROUNDS, REQUESTS)), 0.95, axis=1).min())


def ladder(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, 50 … that is not smaller: a class that two measurements agree on."""
    power = 10.0 ** math.floor(math.log10(max(value, 1.0)))
    return next(step * power for step in (1.0, 2.0, 5.0, 10.0) if value <= step * power)


def _digits(value: float) -> float:
    """One digit, rounded up: a claim that holds."""
    if value == 0:
        return 0.0
    power = math.floor(math.log10(value))
    return float(f"{math.ceil(value / 10.0**power)}e{power}")


def _identity(split: PackedSplit) -> Translation:
    """The store's own vocabulary is the model's; the graph itself reads what it does not know as unknown."""
    return Translation(
        item=np.arange(int(split.item.max(initial=1)) + 1),
        action=np.arange(256),
        category=np.arange(int(split.category.max(initial=1)) + 1),
    )


def _real(folder: Path, store: Card, max_length: int) -> tuple[PackedSplit, Questions]:
    """Sequences of the validation part (training, where that is empty): spread over time, and the longest."""
    split = open_split(folder, "valid")
    if split.n_sequences == 0:
        say("the validation part is empty: the artefact is checked on sequences of the training part")
        split = open_split(folder, "train")
    if split.n_sequences == 0:
        raise DataError(f"the store {folder} holds no sequences", next_step=f"run `clickflow sequences {store.unit}`")
    spread = np.linspace(0, split.n_sequences - 1, min(CHECKED, split.n_sequences)).astype(np.int64)
    longest = np.argsort(-split.lengths, kind="stable")[:4]
    return split, questions(split.offsets, np.unique(np.concatenate([spread, longest])), max_length)


def _same_data(trained: Path, card: dict[str, Any], folder: Path, store: Card) -> None:
    """Refuse a store that the model was not trained on, and weights that its card does not speak of."""
    if card["known"] != store.known or card.get("data_sha256", store.sha256) != store.sha256:
        raise DataError(
            f"{trained} was trained on other data than {folder} holds now",
            next_step="run `dvc repro`, which trains again, or `dvc checkout` for the data it was trained on",
        )
    if card.get("weights_sha256", found := sha256(trained / WEIGHTS)) != found:
        raise DataError(
            f"{trained / WEIGHTS} is not the file its card speaks of", next_step="run `dvc checkout`, or train again"
        )


def _vocabulary(folder: Path, store: Card, fresh: Path) -> None:
    """The items that the model knows, and the categories, as they stand in the store."""
    from pyarrow import parquet

    from clickflow.sequences.writer import categories_schema, vocabulary_schema, write_table

    items = parquet.read_table(folder / VOCABULARY).slice(0, store.known - FIRST_ITEM)
    write_table(fresh / VOCABULARY, [items], vocabulary_schema())
    write_table(fresh / CATEGORIES, [parquet.read_table(folder / CATEGORIES)], categories_schema())
