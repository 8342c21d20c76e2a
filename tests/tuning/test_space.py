"""A space is held against the model before any trial starts, and a patch changes its values and nothing else."""

import difflib
from dataclasses import replace

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from clickflow.params import patch
from clickflow.params.file import check, load
from clickflow.system.errors import ClickflowError, UsageError
from clickflow.tuning import space

WRONG = [
    ({"encoder.units": {"low": 0, "high": 10}}, "encoder.units: 0 is refused: .*0 is not between 1 and"),
    ({"encoder.kind": {"choices": ["gru", "gruu"]}}, "encoder.kind: 'gruu' is refused"),
    ({"encoder.dropout": {"low": 0.0, "high": 1.0}}, "encoder.dropout: 1.0 is refused"),
    ({"encoder.attention_heads": {"choices": [None, 3]}}, "encoder.attention_heads: 3 is refused"),
    ({"heads.next_item.calibration": {"low": 0.1, "high": 0.9}}, "calibration: 0.1 is refused: .*only loss bce"),
    ({"heads.next_item.loss": {"choices": ["full", "bce"]}}, "bce is no likelihood, .* mrr@20 can"),
    ({"optimiser.learning_rate": {"choices": ["fast"]}}, "'fast' is refused"),
]


@pytest.mark.parametrize(("tuned", "says"), WRONG)
def test_what_the_model_refuses_is_named_with_its_place(raw_params, tuned, says):
    raw_params["tuning"]["space"] = {"next_step": tuned}
    params = check(raw_params)
    with pytest.raises(UsageError, match=r"tuning\.space\.next_step\.[\s\S]*" + says) as caught:
        space.check(params, space.of(params, "next_step"))
    assert caught.value.kept == "no trial was started"


def test_a_value_that_fits_with_another_choice_is_taken(raw_params):
    raw_params["tuning"]["space"] = {
        "*": {
            "encoder.kind": {"choices": ["gru", "transformer"]},
            "encoder.units": {"choices": [96]},
            "encoder.attention_heads": {"choices": [None, 3]},
        }
    }
    params = check(raw_params)
    space.check(params, space.of(params, "next_step"))


def test_a_head_that_is_not_there_cannot_judge_or_be_tuned(raw_params):
    raw_params["models"]["next_step"]["heads"].pop("next_item")
    raw_params["tuning"]["space"] = {"*": {"heads.next_item.negatives": {"choices": [8]}}}
    params = check(raw_params)
    with pytest.raises(UsageError) as caught:
        space.check(params, space.of(params, "next_step"))
    assert "tuning.objective: next_item is of the head next_item" in caught.value.what
    assert "heads.next_item.negatives: 8 is refused: " in caught.value.what


def test_the_space_that_is_shipped_fits_every_model_that_is(root):
    shipped = load(root / "params.yaml")
    for name, model in shipped.models.items():
        head = next(iter(model.heads))
        params = replace(shipped, tuning=replace(shipped.tuning, objective=head))
        own = space.of(params, name)
        space.check(params, own)
        assert set(space.current(params, own)) == set(own.tuned)


def test_a_model_without_a_space_is_told_what_to_write(raw_params):
    raw_params["tuning"]["space"] = {}
    with pytest.raises(UsageError, match="there is nothing to tune"):
        space.of(check(raw_params), "next_step")


VALUES = {
    "models.next_step.encoder.units": st.integers(1, 500),
    "models.next_step.encoder.attention": st.sampled_from(["none", "bilinear", "additive", "self"]),
    "models.next_step.encoder.features": st.lists(st.sampled_from(["action", "hour", "gap"]), unique=True),
    "models.next_step.heads.next_item.copy": st.booleans(),
    "models.next_step.heads.next_item.regularisation": st.none(),
    "models.next_step.optimiser.learning_rate": st.floats(1e-9, 10),
}


@settings(max_examples=12, deadline=None)
@given(values=st.fixed_dictionaries({}, optional=VALUES))
def test_a_patch_changes_its_values_and_nothing_else(root, values):
    text = (root / "tests/assets/params_long.yaml").read_text(encoding="utf-8")
    changed = patch.apply(text, values)
    expected = yaml.safe_load(text)
    for name, value in values.items():
        *path, last = name.split(".")
        place = expected
        for part in path:
            place = place[part]
        place[last] = value
    assert yaml.safe_load(changed) == expected
    check(yaml.safe_load(changed))
    before, after = text.splitlines(), changed.splitlines()
    assert len(before) == len(after)
    differing = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert len(differing) <= len(values)
    for old, new in differing:
        assert old.partition("#")[2] == new.partition("#")[2], "comments stay"
    assert all(line[0] in " -+@" for line in difflib.unified_diff(before, after, lineterm=""))


def test_comments_keep_their_column_where_there_is_room(root):
    text = (root / "tests/assets/params_long.yaml").read_text(encoding="utf-8")
    changed = patch.apply(text, {"models.next_step.encoder.units": 64, "models.next_step.encoder.kind": "transformer"})
    old = next(line for line in text.splitlines() if line.startswith("      kind: gru"))
    new = next(line for line in changed.splitlines() if line.startswith("      kind: transformer"))
    assert new.index("#") == old.index("#")


def test_a_value_over_several_lines_is_left_to_the_person(root):
    text = (root / "tests/assets/params_long.yaml").read_text(encoding="utf-8")
    features = next(line for line in text.splitlines() if line.startswith("      features:"))
    block = text.replace(features, "      features:\n        - action\n        - hour")
    with pytest.raises(ClickflowError, match="not on one line") as caught:
        patch.apply(block, {"models.next_step.encoder.features": ["gap"]})
    assert caught.value.next_step == "set `features: [gap]` there"


@settings(max_examples=12, deadline=None)
@given(values=st.fixed_dictionaries({}, optional=VALUES))
def test_what_the_file_does_not_name_is_added_and_nothing_else_changed(root, values):
    text = (root / "params.yaml").read_text(encoding="utf-8")
    changed = patch.apply(text, values)
    model = check(yaml.safe_load(changed)).model("next_step")
    for name, value in values.items():
        node = model
        for part in name.removeprefix("models.next_step.").split("."):
            node = node[part] if isinstance(node, dict) else getattr(node, part)
        assert node == (tuple(value) if isinstance(value, list) else value)
    kept = {line.strip() for line in changed.splitlines()}
    assert {line.strip() for line in text.splitlines()} - kept <= {"units: 128", "next_item: {}"}


@pytest.mark.parametrize(
    ("text", "name", "value", "expected"),
    [
        ("a:\n  b: 1   # one\n\n# of c\nc: 2\n", "a.d", 3, "a:\n  b: 1   # one\n  d: 3\n\n# of c\nc: 2\n"),
        ("a: {}\n", "a.b", [1], "a: {b: [1]}\n"),
        ("a: {b: 1}   # some\n", "a.c.d", 2, "a: {b: 1, c: {d: 2}}   # some\n"),
        ("a:\n  # b: 1\nc: 2\n", "a.b", 3, "a:\n  b: 3\n  # b: 1\nc: 2\n"),
        ("a:\n  b:\n    - x\n    - y", "a.c.d", 1, "a:\n  b:\n    - x\n    - y\n  c:\n    d: 1\n"),
        ("a:\n  b: |\n    text\nc: 2\n", "a.d", 1, "a:\n  b: |\n    text\n  d: 1\nc: 2\n"),
        ("a: 1\n", "b.c", 2, "a: 1\nb:\n  c: 2\n"),
    ],
)
def test_a_param_is_added_at_the_end_of_its_section(monkeypatch, text, name, value, expected):
    monkeypatch.setattr(patch, "check", lambda *_: None)  # a text of any shape
    assert patch.apply(text, {name: value}) == expected
