"""params.yaml is checked before any work starts, and a fault names its place."""

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickflow.params.file import check, load
from clickflow.system.errors import UsageError


def test_the_repository_s_params_are_valid(root):
    params = load(root / "params.yaml")
    assert params.model("next_step").unit == "session"


def leaves(tree: dict[str, Any], at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for key, value in tree.items():
        found += leaves(value, (*at, key)) if isinstance(value, dict) and value else [(*at, key)]
    return found


def changed(tree: dict[str, Any], at: tuple[str, ...], value: Any) -> dict[str, Any]:
    tree = copy.deepcopy(tree)
    place = tree
    for key in at[:-1]:
        place = place[key]
    place[at[-1]] = value
    return tree


def test_every_key_is_needed_or_named_as_missing(raw_params):
    # mappings of any names
    free = (
        "source.columns",
        "source.event_types",
        "source.nulls",
        "gate.floors",
        "gate.beat_baselines",
        "watch.max_metric_drop",
        "tuning.space",
    )
    for at in leaves(raw_params):
        name = ".".join(at)
        if name.startswith(free):
            continue
        broken = copy.deepcopy(raw_params)
        place: Any = broken
        for key in at[:-1]:
            place = place[key]
        del place[at[-1]]
        with pytest.raises(UsageError, match=name):
            check(broken)


@pytest.mark.parametrize(
    ("at", "value", "says"),
    [
        ("sequences.sesion", {}, "did you mean 'session'"),
        ("models.next_step.encoder.unit", 3, "did you mean 'units'"),
        ("models.next_step.heads.next_itm", {}, "did you mean 'next_item'"),
        ("seed", "x", "seed: input should be a valid integer"),
        ("models.next_step.encoder.kind", "gruu", "models.next_step.encoder.kind: input should be 'rnn', 'gru'"),
        ("sequences.valid_share", 1.5, "sequences.valid_share: 1.5 is not between 0 and 1"),
        ("sequences.test_share", 0.95, "leave nothing to train on"),
        ("sequences.session.min_length", 1, "a sequence needs two steps"),
        ("watch.breaches", 6, "watch.breaches: 6 is not from 1 to watch.windows, 5"),
        ("watch.confidence", 1.0, "watch.confidence: 1.0 is not from 0.5"),
        ("watch.min_sequences", 1, "noise cannot be told from fewer"),
        ("watch.window_days", 0, "watch.window_days: 0.0 is not above 0"),
        ("watch.max_drift.hour", 1.5, "watch.max_drift.hour: 1.5 is not between 0 and 1"),
        ("watch.max_drift.hours", 0.1, "did you mean 'hour'"),
        ("watch.max_metric_drop", {"recall@7": 0.1}, "no metric 'recall@7' is measured"),
        ("models.next_step.heads", {}, "needs at least one head"),
        ("models.next_step.encoder.dropout", 1.0, "not in \\[0, 1\\)"),
        ("models.next_step.augmentation.mask", 1.0, "augmentation.mask: 1.0 is not in \\[0, 1\\)"),
        ("models.next_step.budget.epochs", 0, "budget.epochs: 0 is less than 1"),
        ("models.next_step.optimiser.learning_rate", 0.0, "learning_rate: 0.0 is not above 0"),
        ("tuning.epochs", 0, "tuning.epochs: 0 is less than 1"),
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
        ("tuning.space", {"*": {"encoder.kind": {"low": 1, "high": 2}}}, "is no number; give choices"),
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
    import yaml

    raw = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
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
