"""The quick way to the best items gives what the straightforward one gives: all scores, sorted."""

import asyncio
import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import online_shop
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from clickflow.artefact.artefact import load
from clickflow.online import cut, laid, narrow, ranking, table, waiting, weights
from clickflow.online import engine as engines
from clickflow.online import served as serving
from clickflow.online.engine import Engine
from clickflow.online.history import Question, Step
from clickflow.online.http.server import not_as_chosen
from clickflow.online.ranking import Rules, recommend
from clickflow.online.served import Served
from clickflow.online.table import Table
from clickflow.online.waiting import Waiting
from clickflow.params.serve import Serve
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.system import process

KINDS: list[dict[str, Any]] = [
    {},
    {"item": {"horizon": 3}},
    {"item": {"output": "separate"}, "copy": False},
    {"item": {"loss": "bpr_max"}, "item_features": ("category", "brand", "price", "popularity")},
    {"ensemble": ("gru", "transformer")},
]


@pytest.mark.parametrize("loudness", [0.0, 0.01, 1.0, 10.0, 60.0])
def test_a_table_has_the_best_rows_and_the_weight_of_all(loudness: float) -> None:
    draw = np.random.default_rng(7)
    vectors = draw.standard_normal((20_011, 48)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[5000:5200] = vectors[4000:4200] * 1.0001  # near ties, which eight bits cannot tell apart
    vectors[6000] = 0
    queries = draw.standard_normal((6, 48)).astype(np.float32)
    queries *= loudness / np.linalg.norm(queries, axis=1, keepdims=True)
    queries[1] = loudness * vectors[4100]
    rows, scores, total = Table(vectors, FIRST_ITEM).best(queries, 20)
    exact = queries.astype(np.float64) @ vectors.astype(np.float64).T
    exact[:, :FIRST_ITEM] = -np.inf
    for k, row in enumerate(exact):
        least = np.sort(row)[-20]
        assert len(set(rows[k].tolist())) == len(rows[k])
        assert set(np.flatnonzero(row > least + 1e-4).tolist()) <= set(rows[k].tolist())
        assert np.sort(scores[k])[-20] == pytest.approx(least, abs=1e-4)
        assert np.allclose(scores[k], row[rows[k]], atol=1e-4)
        assert total[k] == pytest.approx(np.logaddexp.reduce(row), abs=5e-4)


@pytest.mark.parametrize("count", [1, 9])
def test_a_table_of_large_entries_side_by_side_is_scored_rightly_on_any_processor(count: int) -> None:
    """Without VNNI two products of such bytes do not fit into the 16 bits in which they are added."""
    draw = np.random.default_rng(3)
    vectors = draw.uniform(0.9, 1, (20_000, 128)) * draw.choice([-1, 1], (20_000, 1)) / 12
    vectors[:, 64:] *= draw.choice([-1, 1], (20_000, 64))
    queries = (draw.uniform(0.9, 1, (count, 128)) / 4).astype(np.float32)
    one = Table(np.asarray(vectors, np.float32), FIRST_ITEM)
    (rows, _, total), (right, _, weight) = one.best(queries, 20), one.exact(queries, 20)
    for own, each in zip(rows, right, strict=True):
        assert set(own.tolist()) == set(each.tolist())
    np.testing.assert_allclose(total, weight, atol=5e-4)


def test_products_are_those_of_each_query_with_its_own_rows() -> None:
    draw = np.random.default_rng(0)
    queries = draw.standard_normal((3, 16)).astype(np.float32)
    for rows in (draw.standard_normal((50, 16)).astype(np.float32), draw.standard_normal((50, 4, 16), np.float32)):
        index, ends = draw.integers(0, 50, 9), [0, 4, 4, 9]
        own = np.repeat(queries, [4, 0, 5], axis=0).reshape(9, *[1] * (rows.ndim - 2), 16)
        assert (table.products(rows, index, queries, ends) == np.vecdot(rows[index], own)).all()
    assert table.products(rows, index[:0], queries[:0], [0]).shape == (0, 4)


@pytest.mark.parametrize("kind", ["any", "ties", "odd"])
def test_the_items_of_each_question_stand_the_likeliest_first_and_equal_ones_as_they_came(kind: str) -> None:
    draw = np.random.default_rng(len(kind))
    for _ in range(200):
        counts = draw.integers(0, 40, draw.integers(1, 33))
        starts = np.concatenate([[0], np.cumsum(counts)])
        row, items = np.repeat(np.arange(len(counts)), counts), draw.integers(2, 1000, starts[-1])
        logs = draw.normal(0, 3, len(row)).astype(np.float32)
        if kind == "ties":
            logs = np.round(logs)
        if kind == "odd":
            odd = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, cut.NEVER, 1e-42], np.float32)
            logs = np.where(draw.random(len(row)) < 0.3, draw.choice(odd, len(row)), logs)
        order = np.lexsort((-logs, row))
        for k, each in enumerate(cut._ranked(items, logs, row, starts, counts)):
            own = order[starts[k] : starts[k + 1]]
            np.testing.assert_array_equal(each.items, items[own])
            np.testing.assert_array_equal(each.logs, logs[own])
            assert each.sure == counts[k]


def test_items_are_scored_block_by_block(tmp_path: Path) -> None:
    """onnxruntime first made the weights of all blocks, and kept their scores until it looked for maxima."""
    vectors = np.random.default_rng(0).standard_normal((3 * table.BLOCK, 8)).astype(np.float32)
    held: dict[str, Any] = {}
    graph = table.eight_bits(vectors, FIRST_ITEM, "t", lambda name, *how: held.setdefault(name, np.empty(*how)))
    blocks = dict(table._blocks(held["t.rows"], held["t.step"]))
    options = table._session(graph, blocks, 1).get_session_options()
    options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "run")
    options.add_external_initializers(
        list(blocks), [onnxruntime.OrtValue.ortvalue_from_numpy(each) for each in blocks.values()]
    )
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    session.run(None, {"query": np.ones((2, 8), np.uint8), "scale": np.ones((2, 1, 1), np.float32)})
    nodes = [each for each in json.loads(Path(session.end_profiling()).read_text()) if each["cat"] == "Node"]
    run = [each["args"]["op_name"] for each in sorted(nodes, key=lambda each: each["ts"]) if "kernel" in each["name"]]
    products = [place for place, name in enumerate(run) if name == "MatMulIntegerToFloat"]
    assert max(run.index("Exp"), run.index("ReduceMax")) < products[1]


@pytest.mark.parametrize("choices", KINDS)
@pytest.mark.parametrize("bits", [32, 8])
def test_a_cut_network_answers_as_the_whole_one(
    choices: dict[str, Any], bits: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = 1e-5
    if bits == 8:  # of a few items in few dimensions the weights are rougher than of many
        monkeypatch.setattr(table, "SMALL", 1)
        monkeypatch.setattr(table, "GROUP", 4)
        near = 1e-2
    served = online_shop.exported(tmp_path, **choices)
    assert isinstance(served.artefact.session, cut.Cut)
    assert served.artefact.session.of_one_step
    whole = load(served.artefact.folder)
    plain = Served(served.model, served.version, whole, served.items)
    questions = [Question(online_shop.history(tmp_path, served, k)) for k in range(20)]
    right, own = plain.answers(questions), served.answers(questions)
    for name, values in right.items():
        assert np.allclose(own[name], values, atol=1e-5), name
    quick = [output.name for output in served.outputs if served.quick([output.name])]
    assert quick == [output.name for output in served.outputs if output.kind == "ranking"]
    if quick:
        most = {name: [5] * 20 for name in quick}
        others, best = served.best(questions, most, [np.array([FIRST_ITEM, FIRST_ITEM + 3])] * 20)
        for name, values in others.items():
            assert np.allclose(values, right[name], atol=1e-5)
        for name in quick:
            for row, ranked in zip(right[name], best[name], strict=True):
                assert np.allclose(ranked.logs, row[ranked.items], atol=near)
                first = np.sort(row)[::-1][: ranked.sure]
                assert np.allclose(row[ranked.items[: ranked.sure]], first, atol=near)
                assert {FIRST_ITEM, FIRST_ITEM + 3} <= set(ranked.items.tolist())


@pytest.mark.parametrize("scored", [4096, 0])
def test_what_is_asked_together_is_answered_as_if_alone(
    scored: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "RARE", 0)
    monkeypatch.setattr(serving, "FEW", scored)  # 0: items of a category are found among the best of all
    monkeypatch.setattr(engines, "WIDE", 60)
    served = online_shop.with_categories(online_shop.exported(tmp_path))
    items, sizes = served.items, list[int]()
    steps = [online_shop.history(tmp_path, served, k) for k in range(16)]
    some = frozenset(items.ids[FIRST_ITEM : FIRST_ITEM + 9])
    rules = [
        Rules(k=5),
        Rules(k=5, exclude_seen=True),
        Rules(k=5, exclude=some),
        Rules(k=5, only=some),
        Rules(k=3, only=some, exclude_seen=True),
        Rules(k=9, candidates=tuple(some)),
        Rules(k=5, per_category=1),
        Rules(k=4, diversity=0.6),
        Rules(k=5, categories=frozenset(items.categories[2:4])),
        Rules(k=5, price=(0.0, 50.0)),
        Rules(k=5, price=(2.5, None), exclude_seen=True),
        Rules(k=3, categories=frozenset(items.categories[2:4]), price=(None, 3.0), only=some),
        Rules(k=6, categories=frozenset(["no such"])),
        Rules(k=4, price=(2.0, 4.0), per_category=2, exclude=some),
        Rules(k=len(items)),
        Rules(k=5, only=frozenset()),
    ]
    questions = [(Question(steps[k]), each) for k, each in enumerate(rules)]
    questions += [(Question(()), Rules(k=4)), (Question((Step("nowhere"),)), Rules(k=4, exclude=some))]
    engine = Engine({served.model: served})
    engine.together = sizes.append

    async def together() -> list[Any]:
        return await asyncio.gather(*(engine.ask(served.model, question, each) for question, each in questions))

    assert all(ranking.needed(served, question, each) for question, each in questions), "no rule asks for all items"
    answers = asyncio.run(together())
    assert max(sizes) > 1
    for answer, (question, each) in zip(answers, questions, strict=True):
        right = recommend(served, question, each)
        own = answer.rankings["next_item"]
        assert own.items == right.items
        assert own.fallback == right.fallback
        assert np.allclose(own.scores, right.scores, rtol=1e-4)
        alone = engine.answer(served.model, question, each)
        assert alone.rankings["next_item"].items == right.items
        for name, values in alone.values.items():
            assert np.allclose(answer.values[name], values, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("kind", ["lstm", "mingru", "transformer", "attention"])
def test_a_graph_of_one_step_is_held_against_the_whole(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = online_shop.exported(tmp_path, kind=kind, attention="additive")
    plain, session = load(served.artefact.folder), served.artefact.session
    questions = [Question(online_shop.history(tmp_path, served, k)) for k in range(12)]
    right = Served(served.model, 1, plain, served.items).answers(questions)
    assert session.of_one_step
    for name, values in served.answers(questions).items():
        assert np.allclose(values, right[name], atol=1e-5)
    feed = served._feed(questions[:4])
    several = feed | {"row": np.array([1, 0, 3, 3]), "column": np.zeros(4, np.int64)}  # any step may still be asked
    for output, same in zip(session.run(None, several), plain.session.run(None, several), strict=True):
        assert np.allclose(output, same, atol=1e-5)

    def spoilt(model: bytes, shapes: Any) -> bytes | None:
        graph = onnx.load_from_string(last_step(model, shapes) or b"")
        held = max(graph.graph.initializer, key=lambda each: len(each.raw_data))
        held.raw_data = (numpy_helper.to_array(held) * np.float32(1.5)).tobytes()
        return bytes(graph.SerializeToString())

    last_step = narrow.last
    for wrong in (spoilt, lambda *_: b"no graph", lambda *_: None):
        monkeypatch.setattr(narrow, "last", wrong)
        assert not Served.of("m", 2, served.artefact.folder).artefact.session.of_one_step


def test_processes_map_the_same_files_of_a_large_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laid, "LEAST", 1)
    served = online_shop.exported(tmp_path)
    folder = served.artefact.folder
    (kept,) = folder.parent.glob(".cut-*-*")

    def table_of(version: int) -> Any:
        return Served.of("m", version, folder).artefact.session.tables[0]

    (mapped,) = served.artefact.session.tables
    assert isinstance(mapped, np.memmap)
    table, inode = np.array(mapped), kept.stat().st_ino
    assert isinstance(table_of(2), np.memmap)
    assert kept.stat().st_ino == inode
    for file in (kept / "0.npy", kept / "plan"):  # what is spoilt is made anew
        content = file.read_bytes()
        file.write_bytes(content[:-4] + b"\0\0\0\1")
        assert np.array_equal(table_of(3), table)
        assert file.read_bytes() == content
    shutil.rmtree(kept)
    monkeypatch.setattr(process, "run", lambda *_, **__: process.Finished(1, ("error: No space left on device",)))
    apart = Served.of("m", 4, folder)
    (alone,) = apart.artefact.session.tables
    assert np.array_equal(alone, table)
    assert apart.unshared
    assert not served.unshared
    unshared = {workers: not_as_chosen(Engine({"m": apart}), Serve(workers=workers)) for workers in (1, 2)}
    assert (list(unshared[1]), list(unshared[2])) == ([], ["memory of m"])  # health says it


def test_a_model_is_read_without_its_large_constants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "LARGE", 256)
    file = online_shop.exported(tmp_path, ensemble=("gru", "transformer")).artefact.folder / "model.onnx"
    light, held = weights.light(file)
    whole, rest = onnx.load(str(file)).graph, onnx.load_from_string(light).graph
    right = {each.name: numpy_helper.to_array(each) for each in whole.initializer}
    constants = {node.output[0]: node.attribute[0].t for node in whole.node if node.op_type == "Constant"}
    right |= {name: numpy_helper.to_array(each) for name, each in constants.items() if name in held}
    assert constants.keys() & held.keys()
    assert [*rest.node] == [node for node in whole.node if node.output[0] not in held]
    assert {each.name for each in rest.initializer} == right.keys()
    for each in rest.initializer:
        value = held[each.name] if each.name in held else numpy_helper.to_array(each)
        assert np.array_equal(value, right[each.name])
        assert (tuple(each.dims), each.data_type) == (value.shape, onnx.helper.np_dtype_to_tensor_dtype(value.dtype))
    for content in (b"", b"\xff" * 40, file.read_bytes()[:-9]):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"message|empty"):
            weights.light(file)


def test_an_error_is_told_to_who_asked_for_it_alone(tmp_path: Path) -> None:
    served = online_shop.exported(tmp_path)
    engine = Engine({served.model: served})
    good, bad = Question((Step("5"),)), Question((Step("5"),))

    async def together() -> list[Any]:
        asks = [(good, Rules(k=3)), (bad, Rules(k=3, output="no_such")), (good, Rules(k=2))]
        return await asyncio.gather(
            *(engine.ask(served.model, question, rules) for question, rules in asks), return_exceptions=True
        )

    first, wrong, last = asyncio.run(together())
    assert isinstance(wrong, Exception)
    assert len(first.rankings["next_item"].items) == 3
    assert len(last.rankings["next_item"].items) == 2


@pytest.mark.parametrize("late", [False, True])
def test_a_second_thread_comes_in_where_many_wait_or_long_and_too_many_are_refused(
    late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "LATE", 3600.0)
    queue = Waiting[int](together=3, most=4, seconds=60)
    assert all(queue.put(each) for each in range(4)) and not queue.put(4)
    assert queue.take() == [0, 1, 2]
    taken: list[list[int]] = []
    other = threading.Thread(target=lambda: taken.append(queue.take()))
    other.start()
    other.join(0.2)
    assert not taken, "few that wait are left to who is at work"
    if late:
        monkeypatch.setattr(waiting, "LATE", 0.0)
    assert queue.put(5) and (late or queue.put(6))
    other.join(30)
    assert taken == [[3, 5] if late else [3, 5, 6]]
    assert queue.put(7)
    queue.done()
    queue.done()
    assert queue.take() == [7]


def test_where_the_first_has_waited_too_long_no_more_come_in() -> None:
    queue = Waiting[int](together=1, most=4, seconds=0)
    assert queue.put(1)
    time.sleep(0.002)
    assert not queue.put(2)
    assert queue.take() == [1]
    assert queue.put(3)
