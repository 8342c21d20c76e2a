"""params.yaml is checked before any work starts, and a fault names its place."""

import copy
import json
from dataclasses import MISSING, fields, replace
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from clickflow.cli import app
from clickflow.gate import resolved
from clickflow.heads import outputs
from clickflow.params import show
from clickflow.params.bounds import NO_META, outside
from clickflow.params.file import check, load, with_values
from clickflow.params.meta import default_of
from clickflow.params.schema import Params, every
from clickflow.params.sequences import Sequences
from clickflow.params.training import Training
from clickflow.system.errors import UsageError
from clickflow.system.paths import Paths


def test_the_repository_s_params_are_valid(root):
    params = load(root / "params.yaml")
    assert params.model("next_step").unit == "session"


def leaves(tree: dict[str, Any], at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    names = []
    for key, value in tree.items():
        names += leaves(value, (*at, key)) if isinstance(value, dict) and value else [(*at, key)]
    return names


def changed(tree: dict[str, Any], at: tuple[str, ...], value: Any) -> dict[str, Any]:
    tree = copy.deepcopy(tree)
    place = tree
    for key in at[:-1]:
        place = place[key]
    place[at[-1]] = value
    return tree


FREE = (
    *("source.columns", "source.event_types", "source.nulls", "gate.floors", "gate.beat_baselines"),
    *("watch.max_metric_drop", "tuning.space"),
)
"""Mappings of any names: each has a default as a whole."""


def without(tree: dict[str, Any], at: tuple[str, ...]) -> dict[str, Any]:
    tree = copy.deepcopy(tree)
    place = tree
    for key in at[:-1]:
        place = place[key]
    del place[at[-1]]
    return tree


@pytest.mark.parametrize("name", ["all_heads_uci.yaml", "all_heads_simulator.yaml"])
def test_the_params_of_the_benchmarks_are_valid(root, name):
    assert len(load(root / "benchmarks" / name).models) > 3


def test_what_dvc_yaml_names_has_to_stand_in_the_file(root, raw_params):
    """DVC ends with an error of its own where a stage's `params` are not there."""
    stages = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    named = {name for stage in stages.values() for name in stage.get("do", stage)["params"]}
    assert {name.partition(".")[0] for name in named} == {
        each.name for each in fields(Params) if default_of(each) is MISSING
    }
    assert {name for name in named if "." in name} == {"models.${key}", "champion.${key}"}
    for section in (*named - {"models.${key}", "champion.${key}"}, "models", "champion"):
        with pytest.raises(UsageError, match=f"{section}: is missing, and dvc.yaml"):
            check(without(raw_params, (section,)))
    for at in (("source", "path"), ("models", "next_step", "unit"), ("champion", "next_step")):
        with pytest.raises(UsageError, match=rf"{'.'.join(at)}: is missing"):
            check(without(raw_params, at))


OF_HEADS = (
    *(("evaluation", "baselines"), ("evaluation", "action_baselines")),
    *(("gate", "primary"), ("gate", "floors"), ("gate", "beat_baselines"), ("watch", "max_metric_drop")),
)
"""What every head has of its own where params.yaml does not say; the file of every key says it in the old form."""


def without_heads(tree: dict[str, Any]) -> dict[str, Any]:
    for at in OF_HEADS:
        tree = without(tree, at)
    return tree


def session_alone(params: Params) -> Params:
    """As if there were no other unit, and no model of one."""
    models = {name: model for name, model in params.models.items() if model.unit == "session"}
    return replace(
        params,
        units=("session",),
        models=models,
        champion={name: params.champion[name] for name in models},
        sequences=replace(params.sequences, customer=Sequences().customer),
    )


def bare_of_heads(params: Params) -> Params:
    return replace(
        params,
        evaluation=replace(params.evaluation, baselines={}, action_baselines=None),
        gate=replace(params.gate, primary={}, floors=None, beat_baselines=None),
        watch=replace(params.watch, max_metric_drop={}),
    )


def test_what_heads_have_of_their_own_is_what_the_old_form_says(raw_params):
    """Baselines in a list for the ranking and one for the classes, and the gate's metrics of both heads."""
    old, new = check(raw_params), check(without_heads(raw_params))
    for output in outputs.every():
        assert outputs.baselines(old.evaluation, output.head)[0] == outputs.baselines(new.evaluation, output.head)[0]
    for names in (["next_item"], ["next_item", "next_items", "next_action"]):
        then, now = resolved.of(old.gate, names), resolved.of(new.gate, names)
        assert (then.primary, dict(then.floors)) == (now.primary, dict(now.floors))
        mine = [name for name in then.beat_baselines if then.place_of(name)[0] in names]
        assert {name: then.beat_baselines[name] for name in mine} == now.beat_baselines
    only = resolved.of(old.gate, ["next_action"])
    assert (only.primary, only.output, only.key) == ("next_action.log_loss", "next_action", "log_loss")
    by_head = changed(without_heads(raw_params), ("gate", "primary"), {"next_action": "accuracy"})
    assert resolved.of(check(by_head).gate, ["next_action"]).primary == "next_action.accuracy"
    assert resolved.of(check(by_head).gate, ["next_item", "next_action"]).primary == "mrr@20"
    named = changed(without_heads(raw_params), ("evaluation", "baselines"), {"next_action": ["majority"]})
    heads = {output.name: outputs.baselines(check(named).evaluation, output.head)[0] for output in outputs.every()}
    assert heads["next_action"] == ("majority",)
    assert heads["next_item"] == ("popularity", "repeat", "markov", "vsknn")
    for wrong, says in (
        ({"next_actoin": []}, r"evaluation.baselines.next_actoin: no head .*did you mean 'next_action'"),
        ({"next_item": ["majority"]}, r"evaluation.baselines.next_item: no baseline 'majority'"),
    ):
        with pytest.raises(UsageError, match=says):
            check(changed(raw_params, ("evaluation", "baselines"), wrong))


@pytest.mark.parametrize(
    ("gate", "floors", "beaten"),
    [
        ({}, {"recall@20": 0.05}, True),
        ({"primary": "recall@20"}, {"recall@20": 0.05}, True),
        ({"floors": {"mrr@20": 0.1}}, {"recall@20": 0.05, "mrr@20": 0.1}, True),
        ({"floors": {"recall@10": 0.1}}, {"recall@10": 0.1}, True),
        ({"floors": {"next_item.recall@20": 0}}, {"next_item.recall@20": 0}, True),
        ({"floors": {}}, {"recall@20": 0.05}, True),
        ({"beat_baselines": {"next_action.accuracy": "warn"}}, {"recall@20": 0.05}, True),
        ({"beat_baselines": {"mrr@10": "warn"}}, {"recall@20": 0.05}, False),
        ({"beat_baselines": {}}, {"recall@20": 0.05}, False),
    ],
)
def test_a_head_keeps_what_params_do_not_replace(raw_params, gate, floors, beaten):
    """Its own floor of every other metric, and its own baselines to beat, wherever else the gate names it."""
    rules = resolved.of(check(without_heads(raw_params) | {"gate": gate}).gate, ["next_item", "next_action"])
    assert rules.floors == floors
    assert ("recall@20" in rules.beat_baselines) is beaten


def test_a_floor_that_a_head_has_and_nobody_measures_is_said_before_anything_runs(raw_params):
    params = changed(without_heads(raw_params), ("evaluation", "cutoffs"), [10])
    with pytest.raises(UsageError, match=r"gate.floors: next_item has recall@20 of its own.*such as recall@10"):
        check(params)
    assert check(params | {"gate": {"primary": "mrr@10", "floors": {"recall@10": 0.1}, "beat_baselines": {}}})


def test_every_other_param_has_a_default(raw_params):
    """The file of every key says what the schema says where it says nothing."""
    raw_params = without_heads(raw_params)
    full = check(raw_params)
    needed = {("seed",), ("source", "path"), ("models", "next_step", "unit"), ("champion", "next_step")}
    for at in leaves(raw_params):
        if at not in needed and not ".".join(at).startswith(FREE):
            assert check(without(raw_params, at)) == full, at
    for at in (("source", "nulls"), ("tuning", "space")):
        assert check(without(raw_params, at)) == full, at


def test_a_default_is_of_the_type_that_a_file_would_give(raw_params):
    """5 and 5.0 are equal, and their hashes are not."""
    raw_params = without_heads(raw_params)
    needed = ("seed", "source", "models", "champion")
    bare = {name: {} for name in raw_params if name not in needed} | {name: raw_params[name] for name in needed}
    bare["source"] = {"path": raw_params["source"]["path"]}
    bare["models"] = {"next_step": {name: raw_params["models"]["next_step"][name] for name in ("unit", "heads")}}
    assert repr(check(bare)) == repr(check(raw_params))


def test_every_param_says_what_it_does_and_fits_its_own_bounds():
    for each in every():
        assert each.meta is not None, each.name
        assert each.meta.text, each.name
        if each.default is not MISSING:
            assert list(outside(each.default, each.kind, each.name, each.meta or NO_META)) == []


def test_a_section_whose_lines_are_comments_chooses_nothing(raw_params):
    assert check(raw_params | {"quality": None}) == check(raw_params)


def test_the_file_of_every_key_as_it_once_was_means_the_same(root):
    notes: list[str] = []
    long = load(root / "tests/assets/params_long.yaml", notes.append)
    since_then = with_values(load(root / "params.yaml"), "next_step", {"encoder.hand_made": False})
    assert repr(bare_of_heads(long)) == repr(bare_of_heads(session_alone(since_then)))
    assert notes == [
        "params_long.yaml: sequences.engine does nothing any more (DuckDB is the only engine); its line can go",
        "params_long.yaml: units is not named, and dvc.yaml reads it there: write `units: [session]`",
    ]


@pytest.mark.parametrize(
    ("at", "value", "says"),
    [
        ("sequences.sesion", {}, "did you mean 'session'"),
        ("models.next_step.encoder.unit", 3, "did you mean 'units'"),
        ("models.next_step.heads.next_itm", {}, "did you mean 'next_item'"),
        ("seed", "x", "seed: input should be a valid integer"),
        ("seed", True, "seed: true is not a number"),
        ("gate.floors", {"recall@20": False}, "gate.floors.recall@20: false is not a number"),
        ("gate.champion.margin", True, "gate.champion.margin: true is not a number"),
        ("models.next_step.budget.epochs", True, "models.next_step.budget.epochs: true is not a number"),
        ("tuning.space", {"*": {"encoder.units": {"low": True, "high": 9}}}, "low: true is not a number"),
        ("models.next_step.encoder.kind", "gruu", "models.next_step.encoder.kind: input should be 'rnn', 'gru'"),
        ("sequences.valid_share", 1.5, "sequences.valid_share: 1.5 is not between 0 and 1"),
        ("sequences.test_share", 0.95, "leave nothing to train on"),
        ("sequences.session.min_length", 1, "min_length: 1 is not at least 2 \\(sequences of fewer steps"),
        ("watch.breaches", 6, "watch.breaches: 6 is not from 1 to watch.windows, 5"),
        ("watch.confidence", 1.0, "watch.confidence: 1.0 is not from 0.5"),
        ("watch.min_sequences", 1, "noise cannot be told from fewer"),
        ("watch.window_days", 0, "watch.window_days: 0.0 is not above 0"),
        ("watch.max_drift.hour", 1.5, "watch.max_drift.hour: 1.5 is not between 0 and 1"),
        ("watch.max_drift.hours", 0.1, "did you mean 'hour'"),
        ("evaluation.costs", {"purchase": {"value": 5}}, "evaluation.costs.purchase.act_on: is missing"),
        ("evaluation.costs", {"purchse": {"act_on": "no", "value": 5}}, "did you mean 'purchase'"),
        ("evaluation.costs", {"next_item": {"act_on": "no", "value": 5}}, "no head of kind probability or amount"),
        ("evaluation.costs", {"spend": {"act_on": "no", "value": 5}}, "costs.spend.act_on: an amount is acted on"),
        ("evaluation.costs", {"purchase": {"act_on": "no", "value": 5, "contact": 6}}, "acting never pays"),
        ("evaluation.language", "de", "language"),
        ("watch.max_metric_drop", {"recall@7": 0.1}, "no metric 'recall@7' is measured"),
        ("models.next_step.heads", {}, "needs at least one head"),
        ("models.next_step.encoder.dropout", 1.0, "encoder.dropout: 1.0 is not from 0 to below 1"),
        ("models.next_step.augmentation.mask", 1.0, "augmentation.mask: 1.0 is not from 0 to below 1"),
        ("models.next_step.budget.epochs", 0, "budget.epochs: 0 is not between 1 and 1,000,000"),
        ("models.next_step.optimiser.learning_rate", 0.0, "learning_rate: 0.0 is not above 0"),
        ("tuning.epochs", 0, "tuning.epochs: 0 is not at least 1"),
        ("tuning.space.nxt_step", {}, "tuning.space.nxt_step: no such model; did you mean 'next_step'"),
        ("tuning.space", {"*": {"encoder.unit": {"low": 1, "high": 2}}}, "did you mean 'encoder.units'"),
        ("tuning.space", {"*": {"encoder": {"choices": [1]}}}, r"\*\.encoder: a model has no such param"),
        ("tuning.space", {"*": {"encoder.units": {"low": 9}}}, r"encoder\.units\.high: is missing"),
        (
            "tuning.space",
            {"*": {"encoder.units": {"low": 9, "high": 9}}},
            r"units\.low: 9.* is not below high",
        ),
        ("tuning.space", {"*": {"encoder.units": {"low": 9, "high": 10.5}}}, "are whole numbers, as the param is"),
        ("tuning.space", {"*": {"encoder.units": {"low": 0, "high": 9, "log": True}}}, "not above 0, as log needs"),
        ("tuning.space", {"*": {"encoder.units": {"low": 9, "choices": [9]}}}, "choices stand alone"),
        ("tuning.space", {"*": {"encoder.units": {"choices": []}}}, r"choices: there is none"),
        ("tuning.space", {"*": {"encoder.kind": {"low": 1, "high": 2}}}, "is not a number; give choices"),
        ("tuning.space", {"*": {"encoder.units": {"lo": 1, "high": 2}}}, "unknown key"),
        ("champion", {}, "champion.next_step: is missing"),
        ("champion.other", 1, "champion.other: no such model"),
        ("source.kind", "sql", "source.sql_query: a table or a SELECT"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(raw_params, at, value, says):
    with pytest.raises(UsageError, match=says):
        check(changed(raw_params, tuple(at.split(".")), value))


def test_all_faults_are_named_at_once(raw_params):
    raw_params["seed"] = "x"
    raw_params["sequences"]["gap"] = 1
    with pytest.raises(UsageError) as caught:
        check(raw_params)
    assert "2 faults" in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(
    value=st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), st.lists, max_leaves=3),
    data=st.data(),
)
def test_no_value_anywhere_ends_in_anything_but_a_usage_error(root, value, data):
    raw = yaml.safe_load((root / "tests/assets/params_long.yaml").read_text(encoding="utf-8"))
    at = data.draw(st.sampled_from(leaves(raw)))
    try:
        check(changed(raw, at, value))
    except UsageError as error:
        assert at[0] in str(error)


def test_a_missing_or_broken_file_is_said(tmp_path):
    with pytest.raises(UsageError, match=r"there is no params\.yaml"):
        load(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("a: [1")
    with pytest.raises(UsageError, match="not valid YAML"):
        load(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("just text")
    with pytest.raises(UsageError):
        load(tmp_path / "params.yaml")


def test_params_are_frozen(root):
    params = load(root / "params.yaml")
    with pytest.raises(AttributeError):
        params.seed = 1  # type: ignore[misc]


def test_a_substitute_must_be_known_from_somewhere(raw_params):
    model: Any = raw_params["models"]["next_step"]
    model["augmentation"]["substitute"] = 0.1
    check(raw_params)
    model["heads"]["next_item"]["associations"] = False
    with pytest.raises(UsageError, match=r"augmentation.substitute: takes items from the associations of a head"):
        check(raw_params)


def shown(root: Any, *words: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["params", *words, "--json"], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_the_verb_shows_all_that_holds_and_what_was_chosen(root, monkeypatch):
    monkeypatch.chdir(root)
    every_one = shown(root)
    assert set(shown(root, "training")) == {f"training.{each.name}" for each in fields(Training)}
    assert every_one["training.device"]["chosen"]
    assert not every_one["training.threads"]["chosen"]
    assert every_one["training.threads"]["value"] == 1
    assert every_one["gate.floors"] | {"text": ""} == {
        "value": {"recall@20": 0.05},
        "chosen": True,
        "unit": "",
        "range": "",
        "text": "",
    }
    assert set(shown(root, "models.next_step.heads.next_action")) == {"models.next_step.heads.next_action.weight"}
    page = CliRunner().invoke(app, ["params", "training"]).stdout
    assert "* training.device: auto " in page
    assert "  training.threads: 1 " in page
    with pytest.raises(UsageError, match=r"no param 'trainin'; did you mean 'training'"):
        show.run(load(root / "params.yaml"), Paths(root), "trainin", as_json=True)


def test_a_list_without_end_is_said_at_once_and_not_repeated(raw_params):
    for name, least in (("cutoffs", 20), ("baselines", 1000)):
        value = [1] * 30_000 if name == "cutoffs" else ["popularity"] * 30_000
        section = {**raw_params["evaluation"], name: value}
        with pytest.raises(UsageError, match=rf"evaluation.{name}: it has 30,000 entries, at most {least:,}") as caught:
            check({**raw_params, "evaluation": section})
        assert len(str(caught.value)) < 5000
