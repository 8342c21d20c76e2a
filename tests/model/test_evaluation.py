"""An evaluation is of the artefact, fair to the champion, and does not depend on how it was computed."""

import io
import shutil
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import small_models

from clickflow.artefact import export
from clickflow.artefact.artefact import load
from clickflow.artefact.vectors import vectors
from clickflow.baselines import CLASSES, RANKING
from clickflow.evaluation import (
    customers,
    evaluate,
    examples,
    headline,
    held_out,
    overall,
    report,
    scoring,
    vocabularies,
)
from clickflow.heads import outputs
from clickflow.sequences.from_arrays import write_store
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.sequences.store import open_split, read_card
from clickflow.system import integrity
from clickflow.system.errors import DataError
from clickflow.system.files import read_json, sha256_folder, write_json
from clickflow.system.moments import iso
from clickflow.system.paths import Paths


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A workspace with an exported model: (paths, params)."""
    paths, params = small_models.workspace(tmp_path_factory.mktemp("shop"))
    params = replace(params, evaluation=replace(params.evaluation, bootstrap=100))
    export.run(params, paths, "next_step")
    return paths, params


@pytest.fixture(scope="module")
def evaluated(shop):
    """The same after the stage: (paths, params, metrics.json)."""
    paths, params = shop
    evaluate.run(params, paths, "next_step")
    return paths, params, read_json(paths.measured("next_step"))


def lean(params):
    """Its evaluation, for a test that is not about baselines: to fit boosted trees takes half a second."""
    return replace(params.evaluation, baselines=("popularity",), action_baselines=("majority",))


def test_every_position_is_asked_once(evaluated):
    paths, _, metrics = evaluated
    split = open_split(paths.sequences("session"), "test")
    rows = pq.read_table(paths.evaluation("next_step") / "predictions.parquet").to_pandas()
    steps = pq.read_table(paths.evaluation("next_step") / "actions.parquet").to_pandas()
    assert metrics["positions"] == len(steps) == split.n_events
    assert metrics["predictions"] == len(rows) == split.n_events - split.n_sequences
    assert metrics["sequences"] == split.n_sequences
    pairs = {(s, p) for s in range(split.n_sequences) for p in range(int(split.lengths[s]) - 1)}
    assert set(zip(rows.sequence, rows.position, strict=True)) == pairs
    at = split.offsets[rows.sequence] + rows.position
    assert (rows.target == split.item[at + 1]).all()
    assert (rows.length == split.lengths[rows.sequence]).all()
    last = steps[steps.position == split.lengths[steps.sequence] - 1]
    assert (last.target == 9).all()
    assert (steps.target == 9).sum() == split.n_sequences


def test_the_artefact_is_ranked_as_a_plain_loop_would(evaluated):
    paths, _, metrics = evaluated
    store, artefact = paths.sequences("session"), load(paths.exported("next_step"))
    split, known = open_split(store, "test"), read_card(store).known
    rows = pq.read_table(paths.evaluation("next_step") / "predictions.parquet").to_pandas()
    chosen = rows.sample(60, random_state=0)
    for row in chosen.itertuples():
        end = int(split.offsets[row.sequence]) + row.position + 1
        start = max(int(split.offsets[row.sequence]), end - small_models.MAX_LENGTH)
        inputs = {name: np.nan_to_num(np.asarray(getattr(split, name)[start:end]))[None] for name in artefact.inputs}
        inputs["item"] = np.where(inputs["item"] < known, inputs["item"], 1)
        scores = artefact.scores(inputs, np.zeros(1), np.array([end - start - 1]))["next_item"][0]
        expected = int((scores[2:] >= scores[row.target]).sum()) if row.target < known else 0
        assert row.rank_candidate == expected
    cells = metrics["next_item"]["candidate"]
    assert cells["recall@20"]["value"] == pytest.approx((rows.rank_candidate.between(1, 20)).mean(), abs=1e-6)
    assert cells["recall@20"]["low"] <= cells["recall@20"]["value"] <= cells["recall@20"]["high"]
    assert metrics["coverage"] == pytest.approx((rows.target < known).mean(), abs=1e-6)
    assert metrics["coverage"] < 1


@pytest.mark.usefixtures("undrawn")
def test_a_list_for_several_steps_is_asked_for_each_of_their_items(shop, tmp_path):
    old, params = shop
    model, paths = small_models.spec(item={"horizon": 3}), Paths(tmp_path)
    shutil.copytree(old.sequences("session"), paths.sequences("session"))
    small_models.trained(paths.trained("next_step"), paths.sequences("session"), model)
    floors = {"recall@20": 0.0, "next_items.recall@20": 0.999}
    quick = replace(params.evaluation, action_baselines=("majority",))
    gate = replace(params.gate, floors=floors)
    params = replace(params, models={"next_step": model}, gate=gate, evaluation=quick)
    export.run(params, paths, "next_step")
    evaluate.run(params, paths, "next_step")
    metrics, artefact = read_json(paths.measured("next_step")), load(paths.exported("next_step"))
    split, known = open_split(paths.sequences("session"), "test"), artefact.known

    hits: dict[str, list[bool]] = {"candidate": [], "one_step": []}
    for sequence in range(split.n_sequences):
        begin, end = split.offsets[sequence], split.offsets[sequence + 1]
        for last in range(begin, end - 1):
            first = max(begin, last + 1 - small_models.MAX_LENGTH)
            inputs = {name: np.nan_to_num(getattr(split, name)[first : last + 1])[None] for name in artefact.inputs}
            inputs["item"] = np.where(inputs["item"] < known, inputs["item"], 1)
            scores = artefact.scores(inputs, np.zeros(1), np.array([last - first]))
            for item in split.item[last + 1 : min(last + 4, end)]:
                for system, name in (("candidate", "next_items"), ("one_step", "next_item")):
                    row = scores[name][0]
                    hits[system].append(item < known and (row[2:] >= row[item]).sum() <= 10)
    assert len(hits["candidate"]) > metrics["predictions"]
    for system, shares in hits.items():
        assert metrics["next_items"][system]["recall@10"]["value"] == pytest.approx(np.mean(shares), abs=1e-6)
    assert set(metrics["next_items"]) == {
        "candidate",
        "champion",
        "one_step",
        *outputs.baselines(params.evaluation, outputs.head("next_item"))[0],
    }
    assert metrics["next_item"].keys() == {
        "candidate",
        "champion",
        *outputs.baselines(params.evaluation, outputs.head("next_item"))[0],
    }
    assert "Several steps ahead" in (paths.evaluation("next_step") / "report.html").read_text(encoding="utf-8")

    from clickflow.gate import stage
    from clickflow.registry import try_log

    stage.run(params, paths, "next_step", try_log.record)
    rules = {rule["rule"]: rule for rule in read_json(paths.gate("next_step") / "decision.json")["rules"]}
    assert rules["floor: next_items.recall@20"]["verdict"] == "failed"
    assert rules["floor: recall@20"]["verdict"] == "passed"


def test_what_later_stages_read_is_there(evaluated):
    paths, params, metrics = evaluated
    assert set(metrics["next_item"]) == {
        "candidate",
        "champion",
        *outputs.baselines(params.evaluation, outputs.head("next_item"))[0],
    }
    assert set(metrics["next_action"]) == {
        "candidate",
        "champion",
        *outputs.baselines(params.evaluation, outputs.head("next_action"))[0],
    }
    assert metrics["next_item"]["champion"] is metrics["next_action"]["champion"] is metrics["oracle"] is None
    assert metrics["champion_version"] == 0
    assert metrics["next_items"] is None
    assert metrics["data_sha256"] == read_card(paths.sequences("session")).sha256
    assert metrics["artefact"]["model_sha256"] == load(paths.exported("next_step")).card["model_sha256"]
    wanted = {
        f"{kind}@{k}{end}" for kind in ("recall", "mrr", "ndcg") for k in (1, 5, 10, 20) for end in ("", "_known")
    }
    assert set(metrics["next_item"]["candidate"]) == wanted
    assert set(metrics["next_action"]["candidate"]) == {
        *("accuracy", "precision", "recall", "f1", "roc_auc", "log_loss", "ece")
    }
    columns = pq.read_schema(paths.evaluation("next_step") / "predictions.parquet").names
    assert columns == [
        *("sequence", "customer", "position", "target", "rank_candidate", "rank_champion"),
        *(f"rank_{name}" for name in outputs.baselines(params.evaluation, outputs.head("next_item"))[0]),
        *("tied", "length", "day", "hour", "popularity"),
    ]


def test_the_gate_reads_it(evaluated):
    from clickflow.gate import stage
    from clickflow.registry import try_log

    paths, params, _ = evaluated
    stage.run(params, paths, "next_step", try_log.record)
    assert read_json(paths.gate("next_step") / "decision.json")["decision"] in ("promote", "hold", "reject")


def test_the_same_bytes_again(evaluated, tmp_path):
    paths, params, _ = evaluated
    copy = Paths(tmp_path / "copy")
    shutil.copytree(paths.root, copy.root)
    shutil.rmtree(copy.root / "reports")
    evaluate.run(params, copy, "next_step")
    assert sha256_folder(copy.root / "reports/next_step/evaluation") == sha256_folder(paths.evaluation("next_step"))
    assert copy.measured("next_step").read_bytes() == paths.measured("next_step").read_bytes()


def questions(test):
    """What both heads ask."""
    return [test.question(outputs.head(name)) for name in ("next_item", "next_action")]


@pytest.mark.parametrize("block", [1, 7, 4096])
def test_blocks_do_not_change_answers(shop, block):
    paths, _ = shop
    artefact, store = load(paths.exported("next_step")), paths.sequences("session")
    test = held_out.latest(store, read_card(store), open_split(store, "test"), 12, artefact.max_length)
    by_head = questions(test)
    whole = scoring.answer(test, artefact, by_head, lambda *_: None)
    cut = scoring.answer(test, artefact, by_head, lambda *_: None, block=block)
    assert np.array_equal(cut["next_item"], whole["next_item"])
    assert cut["next_action"] == pytest.approx(whole["next_action"], abs=1e-5)


def test_only_the_latest_sequences_are_asked(shop):
    paths, _ = shop
    store = paths.sequences("session")
    split = open_split(store, "test")
    test = held_out.latest(store, read_card(store), split, 5, 8)
    assert set(test.questions.sequence) == set(range(split.n_sequences - 5, split.n_sequences))


def renumbered(store, folder):
    """The same store with other item and category numbers, and one more item that the first one lacks."""
    card = read_card(store)
    draw = np.random.default_rng(5)
    ids = pq.read_table(store / "vocabulary.parquet")["item_id"].to_pylist()
    known = card.known
    order = np.concatenate([draw.permutation(known - 2), np.arange(known - 2, len(ids))])
    item = np.concatenate([[0, 1], np.empty(len(ids), np.int64)]).astype(np.int64)
    item[2 + order] = np.arange(len(ids)) + 2
    parts = {}
    for name in ("train", "valid", "test"):
        split = open_split(store, name)
        columns = {column: np.asarray(getattr(split, column)) for column in ("time", "action", "price", "category")}
        parts[name] = columns | {"offsets": np.asarray(split.offsets), "item": item[split.item].astype(np.int32)}
    write_store(folder, parts, known=known, items=[ids[k] for k in order])
    return item


def test_a_champion_with_another_numbering_has_the_same_ranks(shop, tmp_path):
    """The champion's own vocabulary is permuted in its weights and its files: nothing else may change."""
    import torch

    paths, params = shop
    store = paths.sequences("session")
    item = renumbered(store, tmp_path / "store" / "session")
    other = Paths(tmp_path / "other")
    shutil.copytree(tmp_path / "store" / "session", other.sequences("session"))
    permuted = small_models.trained(other.trained("next_step"), other.sequences("session"), params.models["next_step"])
    original = small_models.trained(tmp_path / "original", store, params.models["next_step"])
    with torch.no_grad():
        permuted.items[torch.from_numpy(item[: permuted.sizes.known])] = original.items.detach()
    shutil.rmtree(other.trained("next_step"))
    other.trained("next_step").mkdir()
    from clickflow.models.saved import save

    save(permuted, other.trained("next_step"), {})
    integrity.seal(other.trained("next_step"))
    export.run(params, other, "next_step")
    champion = load(other.exported("next_step"))
    assert champion.item_ids() != load(paths.exported("next_step")).item_ids()
    measured = evaluate.evaluate(
        load(paths.exported("next_step")), store, lean(params), 0, champion=champion, truth=None
    )
    ranks, actions = (measured.answers[name].systems for name in ("next_item", "next_action"))
    answered = measured.metrics["champion_fit"]["answered"]
    assert answered["champion"] == answered["candidate"] == dict.fromkeys(champion.outputs, 1)
    assert np.array_equal(ranks["champion"], ranks["candidate"])
    assert actions["champion"] == pytest.approx(actions["candidate"], abs=1e-5)
    assert measured.metrics["next_item"]["champion"] == measured.metrics["next_item"]["candidate"]


def test_a_champion_is_ranked_among_its_own_items(shop, tmp_path):
    """An item that only the champion knows is its hit; one that it lacks is its miss."""
    paths, params = shop
    store = paths.sequences("session")
    ids = pq.read_table(store / "vocabulary.parquet")["item_id"].to_pylist()
    folder = tmp_path / "champion"
    shutil.copytree(paths.exported("next_step"), folder)
    # the champion's vocabulary: the candidate's first item is missing, one the candidate does not know is in its place
    table = pq.read_table(folder / "vocabulary.parquet")
    own = [ids[small_models.KNOWN - 2], *table["item_id"].to_pylist()[1:]]
    pq.write_table(table.set_column(0, table.schema.field(0), pa.array(own)), folder / "vocabulary.parquet")
    card = read_json(folder / "card.json")
    from clickflow.system.files import sha256

    write_json(folder / "card.json", card | {"vocabulary_sha256": sha256(folder / "vocabulary.parquet")})
    measured = evaluate.evaluate(load(paths.exported("next_step")), store, lean(params), 0, champion=load(folder))
    ranks, targets = measured.answers["next_item"].systems, measured.answers["next_item"].target
    assert (ranks["champion"][targets == 2] == 0).all()
    assert (ranks["candidate"][targets == 2] > 0).all()
    assert (ranks["champion"][targets == small_models.KNOWN] > 0).all()
    assert (ranks["candidate"][targets == small_models.KNOWN] == 0).all()


def test_baselines_are_fitted_on_the_training_part_alone(shop, tmp_path):
    paths, params = shop
    other = tmp_path / "session"
    parts = {name: small_models.split(n, seed, start) for name, n, seed, start in [("train", 300, 0, 0)]}
    parts["valid"] = small_models.split(9, 77, 80 * small_models.HOUR)
    parts["test"] = small_models.split(60, 2, 160 * small_models.HOUR)
    write_store(other, parts, known=small_models.KNOWN)
    artefact = load(paths.exported("next_step"))
    changed = replace(artefact, card={**artefact.card, "data_sha256": read_card(other).sha256})
    every = replace(params.evaluation, baselines=tuple(RANKING), action_baselines=tuple(CLASSES))
    here = evaluate.evaluate(artefact, paths.sequences("session"), every, 0)
    there = evaluate.evaluate(changed, other, every, 0)
    for head, names in (("next_item", RANKING), ("next_action", CLASSES)):
        for name in names:
            answers = [each.answers[head].systems[name] for each in (here, there)]
            assert np.array_equal(*answers), name


def test_no_system_reads_what_comes_after_the_question(shop, tmp_path):
    """Every step after a position is changed; its ranks of a fixed answer must not change."""
    paths, _ = shop
    store = paths.sequences("session")
    card, split, artefact = read_card(store), open_split(store, "test"), load(paths.exported("next_step"))
    test = held_out.latest(store, card, split, 8, artefact.max_length)
    by_head = questions(test)
    followed = by_head[0].at
    before = scoring.answer(test, artefact, by_head, lambda *_: None)
    for first, after in pairwise(range(7)):
        item = np.asarray(split.item).copy()
        later = np.zeros(len(item), bool)
        later[test.questions.event[test.questions.position >= after]] = True
        item[later] = 2 + (item[later] + 11) % (card.known - 2)
        spoilt = replace(test, split=split.with_columns(item=item))
        now = scoring.answer(spoilt, artefact, by_head, lambda *_: None)
        early = test.questions.position <= first
        assert np.abs(now["next_action"][early] - before["next_action"][early]).max() < 1e-5
        rows = early[followed]
        assert np.array_equal(now["next_item"][rows], before["next_item"][rows])
        assert not np.array_equal(now["next_item"][~rows], before["next_item"][~rows])


@pytest.mark.usefixtures("undrawn")
def test_a_model_of_one_head_is_evaluated(shop, tmp_path):
    _, params = shop
    for head, other in (("next_item", "next_action"), ("next_action", "next_item")):
        paths, alone = small_models.workspace(tmp_path / head, test=20, features=("price",), heads=(head,))
        alone = replace(alone, evaluation=lean(params))
        export.run(alone, paths, "next_step")
        evaluate.run(alone, paths, "next_step")
        metrics = read_json(paths.measured("next_step"))
        assert metrics[head]["candidate"]
        assert metrics[other] is None
        assert list(metrics["slices"]) == [head]
        page = (paths.evaluation("next_step") / "report.html").read_text()
        assert '<h2 id="items"' in page if head == "next_item" else '<h2 id="actions"' in page


@pytest.mark.usefixtures("undrawn")
def test_on_simulated_data_nobody_is_better_than_the_truth(shop, tmp_path):
    from clickflow.events import ingest
    from clickflow.sequences import prepare

    _, params = shop
    params = replace(params, simulator=replace(params.simulator, events=6000, items=200))
    paths, model = Paths(tmp_path), params.models["next_step"]
    ingest.run(params, paths)
    prepare.run(params, paths, "session")
    small_models.trained(paths.trained("next_step"), paths.sequences("session"), model)
    export.run(params, paths, "next_step")
    evaluate.run(params, paths, "next_step")
    metrics = read_json(paths.measured("next_step"))
    best = metrics["oracle"]
    assert best["unanswered"] == 0
    for name, cells in metrics["next_item"].items():
        assert cells is None or cells["mrr@20"]["value"] < best["next_item"]["mrr@20"]["value"], name
    for name, cells in metrics["next_action"].items():
        assert cells is None or cells["log_loss"]["value"] > best["next_action"]["log_loss"]["value"], name
    assert "rank_oracle" in pq.read_schema(paths.evaluation("next_step") / "predictions.parquet").names
    assert "best possible" in (paths.evaluation("next_step") / "report.html").read_text()


def test_foreign_and_empty_data_are_refused(shop, tmp_path):
    paths, params = shop
    artefact = load(paths.exported("next_step"))
    small_models.shop(tmp_path / "session", test=7)
    with pytest.raises(DataError, match="made from other data"):
        evaluate.evaluate(artefact, tmp_path / "session", params.evaluation, 0)
    small = small_models.split(300, 0)
    write_store(tmp_path / "none", {"train": small}, known=small_models.KNOWN)
    artefact = replace(artefact, card={**artefact.card, "data_sha256": read_card(tmp_path / "none").sha256})
    with pytest.raises(DataError, match=r"test part of .* is empty"):
        evaluate.evaluate(artefact, tmp_path / "none", params.evaluation, 0)


def test_two_figures_are_named_where_known_items_and_all_differ(evaluated):
    paths, _, metrics = evaluated
    short = read_json(paths.metrics("next_step"))
    assert len(short) <= 16
    assert all(isinstance(figure, int | float) for figure in short.values())
    own = metrics["next_item"]["candidate"]
    for name in ("recall@20", "recall@20_known", "mrr@20", "mrr@20_known"):
        assert short[name] == own[name]["value"]
    assert short["coverage"] == metrics["coverage"] < 1
    page = (paths.evaluation("next_step") / "report.html").read_text(encoding="utf-8")
    hundred = f"{100 * own['recall@20']['value']:.0f}"
    assert f"Of 100 next clicks, the model has {hundred} among its 20 suggestions" in page
    assert "recall@20_known" in page.split("</table>")[0]
    table = capture(report.console_table(metrics))
    assert table.split("candidate")[0].count("known") == 3
    assert f"{metrics['coverage']:.1%} of the next items are known" in table
    assert not [line for line in headline.warnings(metrics) if "next items" in line]
    assert "only 18% of the next items" in headline.warnings(metrics | {"coverage": 0.18})[0]
    assert "only 0.40% of" in headline.warnings(metrics | {"coverage": 0.004})[0]
    same = metrics["next_item"] | {"candidate": own | {"recall@20_known": own["recall@20"]}}
    assert not headline.apart(metrics | {"next_item": same})


def test_the_report_shows_sessions_that_were_drawn_with_what_came_and_what_was_expected(evaluated):
    paths, params, _ = evaluated
    store, artefact = paths.sequences("session"), load(paths.exported("next_step"))
    measured = evaluate.evaluate(artefact, store, lean(params), params.seed)
    again = evaluate.evaluate(artefact, store, lean(params), params.seed)
    shown = measured.examples
    assert (shown, measured.overall) == (again.examples, again.overall)
    assert len(shown) == examples.SESSIONS
    page = (paths.evaluation("next_step") / "report.html").read_text(encoding="utf-8")
    split, steps = open_split(store, "test"), []
    for sequence in range(split.n_sequences):
        items = split.item[split.offsets[sequence] : split.offsets[sequence + 1]]
        steps += [tuple(map(str, items[max(0, end - 5) : end + 2])) for end in range(1, len(items) - 1)]
    for each in shown:
        assert (*(item.id for _, item in each.steps), each.came.id) in steps
        assert f"<code>{each.came.id}</code>" in page
        for system, answers in each.answers.items():
            assert len({item.id for item in answers}) == examples.ANSWERS
            if 1 <= each.ranks[system] <= examples.ANSWERS:
                assert each.came in answers[: each.ranks[system]]


def test_the_report_says_what_the_model_goes_by_and_which_items_it_takes_for_alike(evaluated):
    paths, params, _ = evaluated
    store, artefact = paths.sequences("session"), load(paths.exported("next_step"))
    whole = evaluate.evaluate(artefact, store, lean(params), params.seed).overall
    assert set(whole.weights) == {"next_item", "next_action"}
    for each in whole.weights.values():
        assert {weight.name for weight in each.heaviest} == set(artefact.inputs)
        assert [weight.rise for weight in each.heaviest] == sorted((w.rise for w in each.heaviest), reverse=True)
        assert each.questions > 100
    first = whole.weights["next_item"].heaviest[0]
    assert first.name == "item"
    assert first.rise > first.error, "without the items seen the next one is guessed worse"
    table = vectors(artefact)
    assert table is not None
    own = table @ table[FIRST_ITEM]
    own[[*range(FIRST_ITEM), FIRST_ITEM]] = -1
    (item, near), *_ = whole.alike[0].others
    assert near == pytest.approx(own.max(), abs=1e-6)
    assert len(whole.alike) == overall.ITEMS
    page = (paths.evaluation("next_step") / "report.html").read_text(encoding="utf-8")
    assert "What the model goes by" in page
    assert f"<code>{item.id}</code>" in page.split('id="alike"')[1]


def test_what_a_champion_of_other_data_fits(shop, tmp_path):
    paths, _ = shop
    store, artefact = paths.sequences("session"), load(paths.exported("next_step"))
    card, target = read_card(store), np.asarray(open_split(store, "test").item)
    own = vocabularies.fit(store, card, artefact, target)
    assert own["items_here"] == 1
    assert own["targets_known"] == pytest.approx((target < card.known).mean(), abs=1e-6)
    assert own["same_key"] is None
    parts = {name: small_models.split(50, i) for i, name in enumerate(("train", "valid", "test"))}
    names = [f"sku-{i}" for i in range(small_models.ITEMS)]
    names[0] = artefact.item_ids()[2]
    other = write_store(tmp_path / "session", parts, items=names)
    keyed = replace(other, settings={"source": {"key": "a"}})
    its = replace(artefact, card=artefact.card | {"source": {"key": "b"}})
    fit = vocabularies.fit(tmp_path / "session", keyed, its, parts["test"]["item"])
    assert fit["items_here"] == pytest.approx(1 / (artefact.known - 2), abs=1e-6)
    assert fit["targets_known"] < 0.1
    assert fit["same_key"] is False
    source = {**keyed.settings["source"], "former_keys": [its.card["source"]["key"]]}
    rotated = replace(keyed, settings={**keyed.settings, "source": source})
    assert vocabularies.fit(tmp_path / "session", rotated, its, parts["test"]["item"])["same_key"] is True


def test_what_a_champion_may_have_learned_from_is_marked_by_time(shop, tmp_path):
    """Its validation part reaches into this test part: rows until there are marked, and no others."""
    paths, params = shop
    store, candidate = paths.sequences("session"), load(paths.exported("next_step"))
    assert candidate.card["seen_until"] == iso(read_card(store).boundaries["test"])

    def marked(**card):
        champion = replace(candidate, card={**candidate.card, **card})
        measured = evaluate.evaluate(candidate, store, lean(params), 0, champion=champion)
        rows = evaluate.rows(measured, "next_item")["seen_champion"].to_numpy(zero_copy_only=False)
        return rows, measured.metrics["seen"]["champion"]

    rows, seen = marked()
    assert not rows.any()
    assert seen["share"] == 0
    split = open_split(store, "test")
    answers = np.concatenate([split.time[a + 1 : b] for a, b in pairwise(split.offsets)])
    end = int(np.median(answers))
    rows, seen = marked(seen_until=iso(end), data_sha256="another")
    assert np.array_equal(rows, answers <= end)
    assert seen == {"until": iso(end), "share": round(float((answers <= end).mean()), 6)}
    rows, seen = marked(seen_until=None, data_sha256="another")
    assert all(each is None for each in rows)
    assert seen == {"until": None, "share": None}


def test_rows_are_their_customers_and_where_nobody_is_known_their_sessions(tmp_path):
    (tmp_path / "test").mkdir()
    rows = {"user_id": ["b", None, "a", "b", None, None], "session_id": ["1", "2", "3", "4", "2", "5"]}
    pq.write_table(pa.table(rows), tmp_path / "test" / "sequences.parquet")
    codes = customers.of(tmp_path, "test")
    assert [codes[0] == codes[3], codes[1] == codes[4], len(set(codes.tolist()))] == [True, True, 4]
    assert [int(code) >= 0 for code in codes] == [user is not None for user in rows["user_id"]]
    assert customers.count(codes) == {"customers": 2, "sessions": 2}
    assert customers.named(customers.count(codes)) == "2 customers and 2 sessions whose customer is not known"


def capture(table):
    from rich.console import Console

    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def test_a_baseline_that_has_not_converged_is_named_and_raises_no_raw_warning(evaluated, monkeypatch, recwarn):
    paths, params, metrics = evaluated
    assert metrics["not_converged"] == []
    monkeypatch.setattr("clickflow.baselines.tables.ITERATIONS", 1)
    once = replace(params, evaluation=replace(params.evaluation, action_baselines=("majority", "logistic")))
    card, settings = load(paths.exported("next_step")), once.evaluation
    again = evaluate.evaluate(card, paths.sequences("session"), settings, 0).metrics
    assert again["not_converged"] == ["logistic"]
    assert not [each for each in recwarn if "Convergence" in each.category.__name__]
