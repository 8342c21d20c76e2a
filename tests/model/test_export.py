"""What is exported equals what was trained, in every shape; what was tampered with is refused."""

import itertools
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import small_models
import torch

import forks
from clickflow.artefact import checks, export, networks
from clickflow.artefact.artefact import load, open_session
from clickflow.artefact.windows import Translation, batch, last, questions
from clickflow.heads import HEADS
from clickflow.sequences.card import write_card
from clickflow.sequences.store import open_split, read_card
from clickflow.system import integrity
from clickflow.system.errors import ClickflowError, DataError, UsageError
from clickflow.system.files import read_json, sha256, write_json
from clickflow.system.paths import Paths


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A workspace in which a model with every feature was exported: (its folder, params)."""
    paths, params = small_models.workspace(tmp_path_factory.mktemp("made"))
    params = replace(params, export=replace(params.export, tolerance=1e-4))
    export.run(params, paths, "next_step")
    return paths.root, params


@pytest.fixture
def workspace(exported, tmp_path):
    """A copy of it, to be spoilt: (paths, params)."""
    shutil.copytree(exported[0], tmp_path, dirs_exist_ok=True)
    return Paths(tmp_path), exported[1]


CASES = [
    *(  # half of all, in which any three of the choices meet in every way
        {"kind": kind, "layers": layers, "attention": attention, "copy": copy}
        for kind, layers, attention, copy in itertools.product(
            ["gru", "lstm"], [1, 2], ["none", "bilinear"], [True, False]
        )
        if ((kind == "gru") + layers + (attention == "none") + copy) % 2
    ),
    {"kind": "rnn", "layers": 2, "attention": "additive"},
    {"kind": "gru", "attention": "self", "attention_heads": 3},
    {"kind": "mingru", "layers": 2},
    {"kind": "transformer", "layers": 2, "attention": "none"},
    {"kind": "transformer", "positions": "learned"},
    {"kind": "attention", "attention": "self"},
    {"kind": "gru", "item": {"output": "separate", "loss": "bce"}},
    {"kind": "gru", "item": {"loss": "bpr_max"}, "item_features": ("category", "brand", "price", "popularity")},
    {"kind": "gru", "item": {"horizon": 3}},
    {"kind": "gru", "ensemble": ("gru", "transformer", "gru")},
    {"kind": "gru", "item": {"output": "separate"}, "item_features": ("popularity",), "copy": False},
]


def test_the_artefact_equals_the_network_where_times_differ_by_microseconds(tmp_path):
    """log(1 + 0.000001) in float32 is wrong by a twentieth, unless it is made with care."""
    store = tmp_path / "store"
    small_models.shop(store)
    card = read_card(store)
    write_card(store, replace(card, statistics=card.statistics | {"gap": {"mean": 1e-6, "std": 1e-6}}))
    network = small_models.trained(tmp_path / "trained", store, small_models.spec(features=("gap",)))
    session = open_session(networks.to_onnx(network), where=tmp_path)
    draw = np.random.default_rng(0)
    gap = (draw.integers(0, 9, (5, 7)) * 1e-6).astype(np.float32)
    inputs = {"item": draw.integers(0, small_models.ITEMS, (5, 7)), "gap": gap}
    row, column = np.arange(5), np.full(5, 6)
    (answers, *_) = session.run(None, {**inputs, "row": row, "column": column})
    with torch.no_grad():
        tensors = {name: torch.from_numpy(values) for name, values in inputs.items()}
        expected = network(tensors, torch.from_numpy(row), torch.from_numpy(column))["next_item"].numpy()
        (scaled,) = network.encoder.features({"gap": torch.from_numpy(gap)})
    assert np.abs(answers - expected).max() < 1e-4
    assert scaled[..., 0].numpy() == pytest.approx((np.log1p(gap.astype(np.float64)) - 1e-6) / 1e-6, abs=1e-4)


@pytest.mark.parametrize("choices", CASES, ids=str)
def test_the_artefact_equals_the_network_in_shapes_it_was_not_traced_with(tmp_path, choices):
    store = tmp_path / "store"
    small_models.shop(store)
    network = small_models.trained(tmp_path / "trained", store, small_models.spec(**choices))
    session = open_session(networks.to_onnx(network), where=tmp_path)
    draw = np.random.default_rng(0)
    for rows, steps, number in [(1, 1, 1), (1, 7, 3), (5, 2, 9), (3, 8, 1)]:
        inputs = {
            "item": draw.integers(0, small_models.ITEMS + 2, (rows, steps)),
            "action": draw.integers(0, 9, (rows, steps)),
            "hour": draw.integers(0, 24, (rows, steps)),
            "weekday": draw.integers(0, 7, (rows, steps)),
            "gap": draw.uniform(0, 1e5, (rows, steps)).astype(np.float32),
            "since_start": draw.uniform(0, 1e6, (rows, steps)).astype(np.float32),
            "price": draw.choice([0, 3.5, 900], (rows, steps)).astype(np.float32),
            "category": draw.integers(0, 6, (rows, steps)),
        }
        row, column = draw.integers(0, rows, number), draw.integers(0, steps, number)
        answers = session.run(None, {**inputs, "row": row, "column": column})
        with torch.no_grad():
            tensors = {name: torch.from_numpy(values) for name, values in inputs.items()}
            expected = network(tensors, torch.from_numpy(row), torch.from_numpy(column))
        assert [output.name for output in session.get_outputs()] == list(expected)
        for values, name in zip(answers, expected, strict=True):
            assert np.abs(values - expected[name].numpy()).max() < 1e-4, name
        assert np.exp(answers[0]).sum(1) == pytest.approx(1, abs=1e-4)
        assert (answers[0][:, :2] == -1e9).all()


def test_the_stage_writes_a_card_that_holds(exported):
    paths, params = Paths(exported[0]), exported[1]
    folder = paths.exported("next_step")
    assert sorted(path.name for path in folder.iterdir()) == [
        "_hashes.json",
        "card.json",
        "categories.parquet",
        "model.onnx",
        "popularity.parquet",
        "vocabulary.parquet",
    ]
    card = read_json(folder / "card.json")
    assert card["model_sha256"] == sha256(folder / "model.onnx")
    assert card["weights_sha256"] == sha256(paths.trained("next_step") / "weights.safetensors")
    assert card["size_bytes"] == (folder / "model.onnx").stat().st_size
    assert 0 < card["parity"] <= params.export.tolerance
    assert card["latency_ms_p95_class"] in {step * 10**power for step in (1, 2, 5) for power in range(5)}
    artefact = load(folder)
    assert artefact.known == small_models.KNOWN
    assert artefact.item_ids() == ["", "", *(str(index) for index in range(2, small_models.KNOWN))]
    assert artefact.max_length == small_models.MAX_LENGTH


def test_the_same_weights_give_the_same_bytes_in_another_process(exported, tmp_path):
    paths = Paths(exported[0])
    other = forks.context().Process(target=small_models.graph, args=(paths.trained("next_step"), tmp_path / "again"))
    other.start()
    other.join()
    again = (tmp_path / "again").read_bytes()
    assert again == (paths.exported("next_step") / "model.onnx").read_bytes()
    assert str(paths.root).encode() not in again
    assert b"site-packages" not in again
    assert b".py" not in again


def test_only_the_inputs_that_the_model_reads_are_asked_for(workspace):
    paths, params = workspace
    model = small_models.spec(features=(), heads=("next_action",))
    shutil.rmtree(paths.trained("next_step"))
    small_models.trained(paths.trained("next_step"), paths.sequences("session"), model)
    export.run(replace(params, models={"next_step": model}), paths, "next_step")
    artefact = load(paths.exported("next_step"))
    assert (artefact.inputs, artefact.outputs) == (("item",), ("next_action",))
    (head,) = artefact.heads.values()
    assert (head.kind, head.outputs, head.classes) == ("classes", ("next_action",), (*artefact.card["actions"], "exit"))
    answers = artefact.scores({"item": np.array([[2, 3]])}, np.array([0, 0]), np.array([0, 1]))
    assert answers["next_action"].shape == (2, 10)


def test_the_card_of_an_earlier_version_names_its_heads_by_their_outputs(workspace):
    paths, _ = workspace
    artefact = load(paths.exported("next_step"))
    earlier = {key: value for key, value in artefact.card.items() if key != "heads"}
    assert replace(artefact, card=earlier).heads == artefact.heads
    assert list(artefact.heads) == ["next_item", "next_action"]
    longer = replace(artefact, card=earlier | {"outputs": ["next_item", "next_items", "next_action"]})
    assert longer.heads["next_item"].outputs == ("next_item", "next_items")


def test_a_model_with_a_head_that_nobody_has_here_is_not_loaded(workspace, monkeypatch):
    paths, _ = workspace
    monkeypatch.delitem(HEADS, "next_action")
    with pytest.raises(DataError, match=r"card\.json: the model answers next_action, and no head here is called so"):
        load(paths.exported("next_step"))


def test_a_difference_above_the_tolerance_ends_the_export_and_keeps_the_last_one(workspace):
    paths, params = workspace
    before = {path.name: sha256(path) for path in paths.exported("next_step").iterdir()}
    with pytest.raises(ClickflowError, match=r"(?s)is not the trained one.*tolerance is 1e-12"):
        export.run(replace(params, export=replace(params.export, tolerance=1e-12)), paths, "next_step")
    assert {path.name: sha256(path) for path in paths.exported("next_step").iterdir()} == before
    assert [path.name for path in paths.exported("next_step").parent.iterdir() if path.name.startswith(".")] == []


def test_a_model_that_looks_ahead_is_found_out(exported):
    store = Paths(exported[0]).sequences("session")
    split = open_split(store, "valid")
    positions = questions(split.offsets, np.arange(10), 8)

    def scores(inputs, rows, columns):
        ahead = inputs["item"].sum(axis=1)[rows]
        return {"next_item": np.stack([ahead, ahead], axis=1).astype(np.float32)}

    run = SimpleNamespace(run=lambda _, given: [scores(*given)["next_item"]])
    cheat = SimpleNamespace(
        inputs=("item",),
        features=(),
        forecasts=False,
        outputs=("next_item",),
        feed=lambda *given: given,
        session=run,
    )
    with pytest.raises(ClickflowError, match="looks ahead"):
        checks.causality(cheat, read_card(store), split, positions, 1e-4)


@pytest.mark.parametrize("name", ["model.onnx", "vocabulary.parquet", "categories.parquet", "popularity.parquet"])
def test_a_tampered_file_is_refused(workspace, name):
    paths, _ = workspace
    path = paths.exported("next_step") / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{name} is not the file that its card describes") as caught:
        load(paths.exported("next_step"))
    assert caught.value.next_step


def test_a_missing_or_foreign_artefact_is_refused(tmp_path, workspace):
    with pytest.raises(DataError, match="there is no exported model"):
        load(tmp_path / "nowhere")
    folder = workspace[0].exported("next_step")
    card = read_json(folder / "card.json")
    write_json(folder / "card.json", card | {"version": 99})
    with pytest.raises(DataError, match="version 99"):
        load(folder)
    write_json(folder / "card.json", {"version": 1})
    with pytest.raises(DataError, match="lacks"):
        load(folder)
    (folder / "card.json").write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        load(folder)
    write_json(folder / "card.json", card)
    (folder / "model.onnx").unlink()
    with pytest.raises(DataError, match=r"has no model\.onnx"):
        load(folder)


def test_wrong_shapes_are_named(exported):
    artefact = load(Paths(exported[0]).exported("next_step"))
    whole = {name: np.zeros((1, 2)) for name in artefact.inputs}
    with pytest.raises(DataError, match="hour not given"):
        artefact.scores({name: values for name, values in whole.items() if name != "hour"}, np.zeros(1), np.zeros(1))
    with pytest.raises(DataError, match=r"hour \[1, 3\]"):
        artefact.scores(whole | {"hour": np.zeros((1, 3))}, np.zeros(1), np.zeros(1))


def test_other_data_and_other_weights_are_refused(workspace):
    paths, params = workspace
    trained = paths.trained("next_step")
    card = read_json(trained / "model.json")
    write_json(trained / "model.json", card | {"weights_sha256": "0" * 64})
    integrity.seal(trained)
    with pytest.raises(DataError, match=r"weights\.safetensors is not the file"):
        export.run(params, paths, "next_step")
    write_json(trained / "model.json", card | {"data_sha256": "0" * 64})
    integrity.seal(trained)
    with pytest.raises(DataError, match="trained on other data"):
        export.run(params, paths, "next_step")
    (trained / "model.json").unlink()
    with pytest.raises(UsageError, match="no trained model") as caught:
        export.run(params, paths, "next_step")
    assert "clickflow train next_step" in caught.value.next_step


def test_latency_classes_round_up():
    given = [0.01, 1, 1.0001, 2, 4.9, 5.1, 10, 10.5, 49, 51, 101]
    assert [checks.ladder(value) for value in given] == [1, 1, 2, 2, 5, 10, 10, 20, 50, 100, 200]


def test_a_window_is_the_last_steps_and_holds_no_padding_before_them(tmp_path):
    small_models.shop(tmp_path / "store")
    split = open_split(tmp_path / "store", "test")
    positions = questions(split.offsets, np.arange(split.n_sequences), small_models.MAX_LENGTH)
    known = read_card(tmp_path / "store").known
    item = np.where(np.arange(small_models.ITEMS + 2) < known, np.arange(small_models.ITEMS + 2), 1)
    translation = Translation(item=item, action=np.arange(9), category=np.arange(9))
    inputs, rows, columns = batch(split, positions, np.arange(len(positions)), ("item", "price", "gap"), translation)
    assert not np.isnan(inputs["price"]).any()
    for k in range(len(positions)):
        first, event = int(split.offsets[positions.sequence[k]]), int(positions.event[k])
        first = max(first, event - small_models.MAX_LENGTH + 1)
        seen = inputs["item"][rows[k], : columns[k] + 1]
        assert seen.tolist() == item[split.item[first : event + 1]].tolist()
        assert inputs["gap"][rows[k], columns[k]] == split.gap[event]


def test_windows_are_the_same_whatever_the_order_of_questions(tmp_path):
    """Those that are in order, a window each, are not looked for."""
    small_models.shop(tmp_path / "store")
    split = open_split(tmp_path / "store", "test")
    positions, every = last(split, np.arange(split.n_sequences), small_models.MAX_LENGTH), np.arange(split.n_sequences)
    translation = Translation(item=np.arange(small_models.ITEMS + 2), action=np.arange(9), category=np.arange(9))
    names = ("item", "action", "price")
    ordered, rows, columns = batch(split, positions, every, names, translation)
    assert rows.tolist() == every.tolist()
    turned, at, places = batch(split, positions, every[::-1], names, translation)
    assert columns.tolist() == places[::-1].tolist()
    for name in names:
        assert np.array_equal(ordered[name][rows], turned[name][at[::-1]])
    twice, at, _ = batch(split, positions, np.array([2, 2, 3]), names, translation)
    assert (len(twice["item"]), at.tolist()) == (2, [0, 0, 1])
