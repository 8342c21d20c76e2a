"""Odd visits: surprise step by step is the model's, signs do not depend on length, and what is planted comes first."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet
from small_models import workspace

from clickflow.anomalies import planted, rules, search, signs, surprise
from clickflow.artefact import asking, export
from clickflow.artefact.artefact import Artefact, load
from clickflow.artefact.windows import questions
from clickflow.evaluation import vocabularies
from clickflow.heads import HEADS
from clickflow.params.file import load as load_params
from clickflow.params.gate import AnomaliesRule
from clickflow.sequences.store import open_split, read_card
from clickflow.system.errors import DataError, UsageError
from clickflow.system.files import sha256_folder
from clickflow.system.paths import Paths

MODEL = "next_step"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Artefact, Paths]:
    """An artefact with random weights, and the paths of its shop."""
    paths, params = workspace(tmp_path_factory.mktemp("shop"))
    export.run(params, paths, MODEL)
    return load(paths.exported(MODEL), threads=1), paths


def of_test(exported: tuple[Artefact, Paths], chosen: Any) -> tuple[surprise.Surprise, Any]:
    artefact, paths = exported
    store = paths.sequences("session")
    card, split = read_card(store), open_split(store, "test")
    translation = vocabularies.translation(store, card, artefact)
    return surprise.of(artefact, split, card, translation, np.asarray(chosen), lambda _: None), split


def test_the_surprise_of_a_step_is_what_the_model_thought_of_it_before(exported: tuple[Artefact, Paths]) -> None:
    own, split = of_test(exported, [3, 7])
    artefact, paths = exported
    store = paths.sequences("session")
    translation = vocabularies.translation(store, read_card(store), artefact)
    positions = questions(split.offsets, np.array([3, 7]), artefact.max_length)
    answers = asking.answers(artefact, split, positions, np.arange(len(positions)), translation)
    for row in range(len(positions)):
        after = int(positions.event[row]) + 1
        for head in surprise.heads(artefact):
            channel, logs = own.channels[head.name], answers[head.name][row].astype(np.float64)
            if head.kind == "ranking":
                came = int(translation.item[split.item[after]]) if positions.has_next[row] else 1
                assert np.isnan(channel.surprise[row]) == (came <= 1)
            else:
                came = int(split.action[after]) if positions.has_next[row] else logs.shape[0] - 1
                assert channel.came is not None and channel.came[row] == came
            if came > 1 or head.kind == "classes":
                p = np.exp(logs)
                assert channel.surprise[row] == pytest.approx(-logs[came], rel=1e-5)
                assert channel.mean[row] == pytest.approx(-(p * logs).sum(), rel=1e-4)
                variance = (p * logs**2).sum() - (p * logs).sum() ** 2
                assert channel.variance[row] == pytest.approx(variance, rel=1e-3, abs=1e-4)


def true_process(lengths: np.ndarray, draw: np.random.Generator, rate: float = 0.2) -> tuple[surprise.Surprise, Any]:
    """Steps of two kinds, yes with .2, as a model that is right sees them; `rate`: how they come."""
    steps = int(lengths.sum())
    p = np.tile(np.array([0.8, 0.2], np.float32), (steps, 1))
    came = (draw.random(steps) < rate).astype(np.int64)
    logs = np.log(p.astype(np.float64))
    mean, second = -(p * logs).sum(axis=1), (p * logs**2).sum(axis=1)
    channel = surprise.Channel(-logs[np.arange(steps), came], mean, second - mean**2, ("no", "yes"), p, came)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return surprise.Surprise(questions(offsets, np.arange(len(lengths)), 1000), {"kind": channel}), offsets


def test_signs_are_of_one_size_at_every_length_and_grow_where_the_process_is_another() -> None:
    draw = np.random.default_rng(0)
    for length in (8, 30, 120):
        own, _ = true_process(np.full(800, length), draw)
        measured = signs.of(own, None, None)
        assert measured.names == ("kind=no", "kind=yes")
        assert np.abs(measured.value.mean(axis=0)).max() < 0.15 and 0.7 < measured.value.std() < 1.15
        other, _ = true_process(np.full(200, length), draw, rate=0.6)
        assert signs.of(other, None, None).score.mean() > (2 if length < 20 else 5) * measured.score.mean()
    assert measured.observed[:, 1].mean() == pytest.approx(24, abs=1) and measured.expected[0, 1] == pytest.approx(24)


def test_times_are_too_fast_too_even_or_as_usual() -> None:
    draw = np.random.default_rng(1)
    gaps = [np.exp(draw.normal(3, 1, 20)) for _ in range(400)]
    gaps += [np.full(20, 20.0), np.exp(draw.normal(0.5, 1, 20))]
    flat = np.concatenate([np.concatenate([[0], own]) for own in gaps])
    offsets = np.arange(len(gaps) + 1) * 21
    split = SimpleNamespace(offsets=offsets, gap=flat, action=np.zeros(len(flat), np.uint8), item=np.zeros(len(flat)))
    pace = surprise.pace(SimpleNamespace(**{**vars(split), "offsets": offsets}), 1)
    own = surprise.Surprise(questions(offsets, np.arange(len(gaps)), 100), {})
    measured = signs.of(own, pace, split)
    place = {name: k for k, name in enumerate(measured.names)}
    assert set(place) == {surprise.PACE, signs.EVENNESS}
    assert np.argmax(measured.score) == 401 and 400 in np.argsort(-measured.score)[:10]
    assert measured.value[400, place["evenness"]] > 2.5 and measured.value[401, place["pace"]] < -6
    text = signs.words(
        "pace", *(float(x[401, place["pace"]]) for x in (measured.value, measured.observed, measured.expected))
    )
    assert text.startswith("faster than usual") and "20 s are usual" in text


def test_a_customer_is_as_odd_as_their_visits_together_or_as_the_oddest() -> None:
    value = np.array([[2.0, 0], [2.0, 0], [2.0, 0], [2.0, 0], [5.0, 0], [-3.0, 0], [9.0, 9]])
    own = signs.Signs(("a", "b"), value, value, value)
    score, worst = signs.customers(own, np.array([0, 0, 0, 0, 1, 1, -1]))
    assert score.tolist() == [16.0, 25.0] and worst.tolist() == [0, 4]


def test_the_oddest_visits_are_told_and_written_the_same_twice(
    exported: tuple[Artefact, Paths], root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artefact, paths = exported
    params = load_params(root / "params.yaml")
    how: dict[str, Any] = {"top": 3, "every": False, "exported": True, "as_json": True}
    for name in ("a", "b"):
        search.run(params, paths, MODEL, out=tmp_path / name, **how)
    assert '"cases"' in capsys.readouterr().out
    assert sha256_folder(tmp_path / "a") == sha256_folder(tmp_path / "b")
    table = parquet.read_table(tmp_path / "a" / "visits.parquet")
    assert table.num_rows == 60 and {"score", "sign_pace", "steps"} <= set(table.column_names)
    cases = json.loads((tmp_path / "a" / "cases.json").read_text())
    score = np.sort(table["score"].to_numpy())[::-1]
    assert [case["score"] for case in cases] == pytest.approx(score[:3].round(2).tolist(), abs=0.011)
    assert all(set(case["steps"][1]["surprise"]) == {head.name for head in surprise.heads(artefact)} for case in cases)
    assert "<circle" in (tmp_path / "a" / "anomalies.html").read_text()
    findings = search.find(artefact, paths.sequences("session"), ("valid", "test"))
    assert len(findings.session) == 100 and findings.rank.max() <= 1
    assert findings.known is not None and 0.5 < findings.known < 1 and search.notes(findings, 0) == []
    few = replace(findings, known=0.1)
    assert [note.split(":")[0][:30] for note in search.notes(few, 7, 3)] == [
        "the model knows the items of 1",
        "7 visits were left out of the ",
        "3 visits of too few steps are ",
    ]
    store, newest = paths.sequences("session"), int(findings.end.max())
    odd = search.beside(params, paths, MODEL)(artefact, store, newest)
    assert len(odd["odd_visits.parquet"]) == int((findings.end == newest).sum()) and not len(
        odd["odd_customers.parquet"]
    )
    assert odd["odd_visits.parquet"]["score"].to_pylist() == pytest.approx(
        findings.signs.score[findings.end == newest].tolist(), abs=1e-5
    )
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds no anomalies"):
        search.run(params, paths, MODEL, out=tmp_path / "mine", **how)


def test_planted_visits_stand_behind_the_shops_own_and_behave_as_their_kind(exported: tuple[Artefact, Paths]) -> None:
    store = exported[1].sequences("session")
    card, train, test = read_card(store), open_split(store, "train"), open_split(store, "test")
    cases = planted.plant(train, test, card, 0)
    count, split = int((cases.kind == "").sum()), cases.split
    assert count == test.n_sequences and set(cases.kind[count:]) == set(planted.KINDS) and "" not in cases.kind[count:]
    for name, column in test.columns.items():  # what is genuine is as it was, to the last bit
        own = split.columns[name]
        assert own.dtype == column.dtype
        assert np.array_equal(own[: test.n_events], column, equal_nan=own.dtype.kind == "f")
    again = planted.plant(train, test, card, 0).split
    assert all(
        np.array_equal(again.columns[name], split.columns[name], equal_nan=name == "price")
        for name in ("item", "time", "price")
    )
    for row in range(count, split.n_sequences):
        steps = slice(int(split.offsets[row]), int(split.offsets[row + 1]))
        item, gap = split.item[steps], split.gap[steps][1:]
        if cases.kind[row] == "scraper":
            assert (
                len(set(item.tolist())) == len(item)
                and gap.std() < 0.1 * gap.mean()
                and (split.action[steps] == 0).all()
            )
        if cases.kind[row] == "card_testing":
            dear = np.nanquantile(train.price, 0.75)
            assert gap.max() <= 11 and not (split.price[steps] > dear).any()
        assert (gap > 0).all() and ((item >= 2) & (item < 42)).all()


def test_the_gate_holds_a_list_that_rules_beat_or_another_training_would_not_give(
    exported: tuple[Artefact, Paths], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artefact, paths = exported
    store = paths.sequences("session")
    shown = planted.judge(artefact, store, 0, artefact)
    assert set(shown["average_precision"]) == {"surprise", *rules.RULES} and shown["stability"]["spearman"] == 1.0
    assert shown == planted.judge(artefact, store, 0, artefact) and "Spearman" in planted.credibility(shown)
    less = {
        **shown,
        "more_than_best_rule": {"low": -0.2, "high": -0.1},
        "stability": {"spearman": 0.3, "common_top": 0},
    }
    assert planted.refused(AnomaliesRule(), less) == [] and len(planted.notes(AnomaliesRule(), less)) == 1
    monkeypatch.setattr(planted, "judge", lambda *_: less)
    params = load_params(root / "params.yaml")
    how: dict[str, Any] = {"top": 3, "every": False, "exported": True, "as_json": True}
    for rule, said in (
        (AnomaliesRule(worse_than_rules="hold"), "finds planted cases better"),
        (AnomaliesRule(min_stability=0.5), r"Spearman 0\.30, gate\.anomalies\.min_stability 0\.5"),
    ):
        own = replace(params, gate=replace(params.gate, anomalies=rule))
        with pytest.raises(DataError, match=f"the list of odd visits is held: .*{said}"):
            search.run(own, paths, MODEL, out=tmp_path / "held", **how)
        assert not (tmp_path / "held").exists()
        assert search.beside(own, paths, MODEL)(artefact, store, None) == {}
    fine = replace(params, gate=replace(params.gate, anomalies=AnomaliesRule(min_stability=-1.0)))
    assert set(search.beside(fine, paths, MODEL)(artefact, store, None)) == {
        "odd_visits.parquet",
        "odd_customers.parquet",
    }


def test_a_better_ranking_of_planted_cases_is_told_from_a_worse_one() -> None:
    assert planted.agreement(np.arange(40.0), np.arange(40.0)) == {"spearman": 1.0, "common_top": 1.0}
    assert planted.agreement(np.arange(40.0), -np.arange(40.0)) == {"spearman": -1.0, "common_top": 0.0}
    alone = {"stability": None, "more_than_best_rule": {"low": 0.1, "high": 0.2}}
    assert planted.refused(AnomaliesRule(min_stability=0.9, worse_than_rules="hold"), alone) == []
    assert "not judged" in planted.notes(AnomaliesRule(min_stability=0.9), alone)[0]


def test_heads_that_do_not_say_what_the_next_step_is_do_not_surprise() -> None:
    artefact: Any = SimpleNamespace(heads=dict.fromkeys(HEADS))
    own = {head.name for head in surprise.heads(artefact)}
    assert own and all(HEADS[name].kind != "probability" for name in own)


def test_rules_find_many_and_fast_steps() -> None:
    from clickflow import features

    names = features.names("session")
    draw = np.random.default_rng(2)
    usual = np.abs(draw.normal(5, 2, (500, len(names))))
    usual[:, names.index("since_start")] = draw.uniform(200, 900, 500)
    table = usual[:20].copy()
    table[7] = 90
    for rule in rules.RULES.values():
        assert int(np.argmax(rule(usual, table))) == 7
    table = usual[:20].copy()
    table[5, names.index("since_start")] = 1
    assert int(np.argmax(rules.rates(usual, table))) == 5
