"""Smaller forms of a model: each equals its own weights, is measured, and ships only where it may."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models
import torch

from clickflow.artefact import asking, checks, compression, export, int8, networks, quality, rounding
from clickflow.artefact.artefact import load, open_session
from clickflow.artefact.windows import of_split
from clickflow.evaluation import headline
from clickflow.evaluation.answers import ranking
from clickflow.models.answers.ranking import Ranking
from clickflow.models.ensemble import Ensemble
from clickflow.models.network import Network
from clickflow.online import likeness
from clickflow.online.cut import Cut, opened
from clickflow.online.served import Served
from clickflow.params.export import Compression
from clickflow.params.gate import Gate
from clickflow.params.schema import Params
from clickflow.sequences.store import open_split, read_card
from clickflow.system.errors import ClickflowError
from clickflow.system.files import read_json, sha256
from clickflow.system.paths import Paths

EVERY: tuple[Compression, ...] = ("int8", "pruned", "int8_pruned")
CASES: list[dict[str, Any]] = [
    {},
    {"kind": "transformer", "layers": 2, "attention": "none"},
    {"ensemble": ("gru", "gru")},
    {"item": {"output": "separate", "loss": "bce"}},
    {"item": {"horizon": 3}, "item_features": ("category", "popularity")},
    {"copy": False, "item": {"associations": False}},
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store") / "store"
    small_models.shop(folder)
    return folder


@pytest.mark.parametrize("choices", CASES, ids=str)
def test_the_graph_in_int8_equals_the_network_with_its_weights(
    store: Path, tmp_path: Path, choices: dict[str, Any]
) -> None:
    network = small_models.trained(tmp_path / "trained", store, small_models.spec(**{"units": 48, **choices}))
    rounded = rounding.rounded(network)
    plain = networks.to_onnx(rounded)
    model = int8.narrowed(plain)
    assert model == int8.narrowed(plain)
    assert len(model) < 0.8 * len(plain)
    session = open_session(model, where=tmp_path)
    draw = np.random.default_rng(0)
    inputs: dict[str, Any] = {
        "item": draw.integers(0, small_models.ITEMS + 2, (5, 7)),
        "action": draw.integers(0, 9, (5, 7)),
        "hour": draw.integers(0, 24, (5, 7)),
        "weekday": draw.integers(0, 7, (5, 7)),
        "gap": draw.uniform(0, 1e5, (5, 7)).astype(np.float32),
        "since_start": draw.uniform(0, 1e6, (5, 7)).astype(np.float32),
        "price": draw.choice([0, 3.5, 900], (5, 7)).astype(np.float32),
        "category": draw.integers(0, 6, (5, 7)),
    }
    row, column = draw.integers(0, 5, 9), draw.integers(0, 7, 9)
    answers = dict(zip(network.answers, session.run(None, {**inputs, "row": row, "column": column}), strict=True))
    with torch.no_grad():
        tensors = {name: torch.from_numpy(values) for name, values in inputs.items()}
        expected = rounded(tensors, torch.from_numpy(row), torch.from_numpy(column))
    assert list(answers) == list(expected)
    for name, values in answers.items():
        assert np.exp(values).sum(1) == pytest.approx(1, abs=1e-4)
        bound = 1e-4 if name == "next_action" else int8.TOLERANCE
        assert np.abs(values - expected[name].numpy()).max() < bound, name

    def served(name: str, content: bytes) -> Any:
        (tmp_path / name).write_bytes(content)
        card = {"model_sha256": sha256(tmp_path / name), "known": small_models.KNOWN}
        return opened(tmp_path / name, card)

    cut, whole = served("narrow", model), served("plain", plain)
    assert isinstance(cut, Cut) == isinstance(whole, Cut), "servers take it apart as any"
    if isinstance(cut, Cut):
        for values, name in zip(cut.run(None, {**inputs, "row": row, "column": column}), answers, strict=True):
            assert np.abs(values - expected[name].numpy()).max() < 1e-4, name

    alone = session.run(None, {**inputs, "row": row[4:5], "column": column[4:5]})
    for values, name in zip(alone, answers, strict=True):
        assert np.abs(values[0] - answers[name][4]).max() < 1e-5, "an answer depends on what is asked beside it"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Params]:
    """A workspace with a trained model, and params that allow every form, however bad."""
    root = tmp_path_factory.mktemp("made")
    _, params = small_models.workspace(root, units=48)
    allowed = replace(params.export, compression=EVERY, max_quality_loss=0.9, min_compression=1.0)
    return root, replace(params, export=allowed)


_variants, _forms = networks.variants, dict[str, compression.Variant]()


@pytest.fixture
def _forms_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smaller forms of the network of `exported` are made once: to make one takes longer than to measure it."""

    def variants(network: Any, store: Any, export: Any) -> Iterator[compression.Variant]:
        for name in export.compression:
            if name not in _forms:
                (_forms[name],) = _variants(network, store, replace(export, compression=(name,)))
            yield _forms[name]

    monkeypatch.setattr(networks, "variants", variants)


@pytest.fixture(scope="module")
def plain(exported: tuple[Path, Params], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace with the model exported as it was trained: for reading."""
    root, params = exported
    folder = tmp_path_factory.mktemp("plain")
    card_of(root, replace(params, export=replace(params.export, compression=())), folder)
    return folder


def card_of(root: Path, params: Params, into: Path) -> dict[str, Any]:
    """What the export says, in a copy of the workspace."""
    shutil.copytree(root, into, dirs_exist_ok=True)
    export.run(params, Paths(into), "next_step")
    card: dict[str, Any] = read_json(Paths(into).exported("next_step") / "card.json")
    return card


@pytest.mark.usefixtures("_forms_once")
def test_every_form_is_measured_and_the_best_within_the_budgets_ships(
    exported: tuple[Path, Params], plain: Path, tmp_path: Path
) -> None:
    root, params = exported
    card = card_of(root, params, tmp_path / "free")
    rows = card["compression"]["variants"]
    assert set(rows) == {"none", *EVERY}
    assert rows["none"]["quality_loss"] == 0
    assert rows["int8"]["size_bytes"] < rows["none"]["size_bytes"] > rows["pruned"]["size_bytes"]
    assert rows["int8_pruned"]["size_bytes"] == min(row["size_bytes"] for row in rows.values())
    best = min(rows, key=lambda name: (rows[name]["primary_loss"], rows[name]["size_bytes"]))
    assert rows["pruned"]["primary_loss"] == pytest.approx(
        1 - rows["pruned"]["quality"]["mrr@20"] / rows["none"]["quality"]["mrr@20"], abs=1e-4
    )
    assert card["compression"]["chosen"] == best
    assert [name for name, row in rows.items() if not row["why"]] == [best]
    for row in rows.values():
        assert set(row["quality"]) == {"mrr@20", "next_action.log_loss"}
        assert 0 < row["latency_ms_p50_class"] <= row["latency_ms_p99_class"]
    assert rows["pruned"]["parity"] <= params.export.tolerance < rows["int8"]["tolerance"] == int8.TOLERANCE
    assert rows["int8"]["parity"] <= int8.TOLERANCE
    assert rows["int8"]["apart"] >= rows["int8"]["parity"]

    figures = headline.short({"artefact": {"compression": card["compression"]}})
    assert figures["int8.size_mb"] < figures["none.size_mb"]  # type: ignore[operator]
    assert figures["int8.valid.mrr@20"] == rows["int8"]["quality"]["mrr@20"]

    smallest = replace(params, export=replace(params.export, compression=("int8_pruned",)))
    tight = replace(smallest, gate=replace(params.gate, max_size_mb=(rows["int8_pruned"]["size_bytes"] + 1) / 1e6))
    card = card_of(root, tight, tmp_path / "tight")
    folder = Paths(tmp_path / "tight").exported("next_step")
    assert card["compression"]["chosen"] == "int8_pruned"
    assert card["size_bytes"] == rows["int8_pruned"]["size_bytes"] == (folder / "model.onnx").stat().st_size
    assert card["model_sha256"] == sha256(folder / "model.onnx")
    assert card["parity"] == rows["int8_pruned"]["parity"]
    assert "above gate.max_size_mb" in card["compression"]["variants"]["none"]["why"]

    served = Served.of("next_step", 1, folder)
    vectors = likeness.vectors(served)
    assert vectors is not None, "items have neighbours by their bytes"
    first = likeness.vectors(Served.of("next_step", 1, Paths(plain).exported("next_step")))
    assert first is not None
    assert np.abs(vectors @ vectors.T - first @ first.T).max() < 0.1


def test_without_it_the_card_is_as_it_was(plain: Path) -> None:
    assert "compression" not in read_json(Paths(plain).exported("next_step") / "card.json")


@pytest.mark.usefixtures("_forms_once")
def test_a_form_that_loses_or_gains_too_little_is_off_and_the_card_says_why(
    exported: tuple[Path, Params], tmp_path: Path
) -> None:
    root, params = exported
    alone = replace(params.export, compression=("int8",))
    strict = {
        "off: loses": replace(alone, max_quality_loss=-1.0),
        "export.min_compression is 900": replace(alone, min_compression=900.0),
    }
    for why, settings in strict.items():
        card = card_of(root, replace(params, export=settings), tmp_path / why[:4])
        assert card["compression"]["chosen"] == "none"
        assert why in card["compression"]["variants"]["int8"]["why"]
    nothing = replace(params, export=alone, gate=replace(params.gate, max_size_mb=1e-6))
    card = card_of(root, nothing, tmp_path / "nothing")
    assert card["compression"]["chosen"] == "none"
    assert "the gate judges it" in card["compression"]["variants"]["none"]["why"]


@pytest.mark.usefixtures("_forms_once")
def test_a_form_that_is_not_its_own_network_stops_the_export(
    exported: tuple[Path, Params], plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params, paths = exported[1], Paths(shutil.copytree(plain, tmp_path / "plain"))
    card = paths.exported("next_step") / "card.json"
    held = sha256(card)

    def wrong(network: Any, store: Any, export: Any) -> Any:
        for variant in networks_variants(network, store, export):
            yield replace(variant, expected=networks.expected_of(rounding.pruned(network, 0.9), store))

    networks_variants = networks.variants
    monkeypatch.setattr(networks, "variants", wrong)
    smaller = replace(params, export=replace(params.export, compression=("int8",)))
    with pytest.raises(ClickflowError, match="is not the trained one"):
        export.run(smaller, paths, "next_step")
    assert sha256(card) == held


def test_quality_is_that_of_the_evaluation(plain: Path) -> None:
    artefact = load(Paths(plain).exported("next_step"))
    folder = Paths(plain).sequences("session")
    card, split = read_card(folder), open_split(folder, "valid")
    positions = of_split(split, np.arange(split.n_sequences), artefact.max_length)
    wanted = quality.metrics(artefact.outputs, Gate())
    assert wanted == {"next_item": "mrr@20", "next_action": "log_loss"}
    assert quality.metrics(artefact.outputs, Gate(primary="recall@10"))["next_item"] == "recall@10"
    measured = quality.measure(artefact, split, positions, card, checks.identity(split, card), wanted)
    target = np.asarray(split.item)[np.minimum(positions.event + 1, split.n_events - 1)]
    there = np.flatnonzero(positions.has_next)
    answers = asking.answers(artefact, split, positions, there, checks.identity(split, card))
    gains = ranking.gains(ranking.ranks(answers["next_item"], target[there]), [20])
    assert measured["next_item"] == pytest.approx(gains[:, 1].mean())
    assert quality.loss(
        measured, {"next_item": 0.9 * measured["next_item"], "next_action": 0.0}, wanted
    ) == pytest.approx(0.1)
    assert quality.loss(measured, {**measured, "next_action": 2 * measured["next_action"]}, wanted) == pytest.approx(1)


def _table(network: Network | Ensemble) -> dict[str, torch.Tensor]:
    head = network.heads["next_item"]
    assert isinstance(head, Ranking)
    assert head.associations is not None
    return head.associations.table


def test_a_pruned_network_is_one_whose_items_have_fewer_neighbours(store: Path, tmp_path: Path) -> None:
    network = small_models.trained(tmp_path / "trained", store, small_models.spec())
    table, fewer = (_table(each) for each in (network, rounding.pruned(network, 0.75)))
    kept = fewer["items"].shape[1]
    assert kept == round(table["items"].shape[1] / 4)
    assert torch.equal(fewer["items"], table["items"][:, :kept])
    assert torch.equal(fewer["support"], table["support"])
    assert compression.NONE not in EVERY
