"""Other values for a run: the rest of the file stays; a wrong one is refused with the reason and the nearest name."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickflow.orchestration import overrides
from clickflow.orchestration.variables import parse_yaml
from clickflow.params import patch
from clickflow.params.file import check, load
from clickflow.params.meta import leaves
from clickflow.params.source import Source
from clickflow.system.errors import ClickflowError, UsageError

TEXT = (Path(__file__).resolve().parents[2] / "tests/assets/params_long.yaml").read_text(encoding="utf-8")


def test_values_are_read_as_yaml() -> None:
    words = ["seed=3", "a.b=true", "c=null", "d=[view, cart]", "e=x=y", "f=", "g=2026-01-05", "h=no"]
    assert overrides.parse(words) == {
        "seed": 3,
        "a.b": True,
        "c": None,
        "d": ["view", "cart"],
        "e": "x=y",
        "f": None,
        "g": "2026-01-05",
        "h": "no",
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [(["seed"], "'seed' sets nothing"), (["seed=1", "seed=2"], "seed is set twice"), (["seed=[1"], "not a YAML value")],
)
def test_what_is_no_setting_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        overrides.parse(words)


ANCHORED = """\
seed: 0
source: {kind: simulator, path: data/raw}
simulator: {}
ingest: {}
quality: {}
sequences: {}
training: {}
export: {}
evaluation: {}
gate: {}
promotion: {}
units: [session]
models:
  a: {unit: session, encoder: &both {kind: gru, units: 16}, heads: {next_item: {}}}
  b: {unit: session, encoder: *both, heads: {next_item: {}}}
  c: {unit: session, encoder: {<<: *both, units: 8}, heads: {next_item: {}}}
champion: {a: 0, b: 0, c: 0}
"""


@pytest.mark.parametrize("name", ["models.a.encoder.units", "models.a.encoder.dropout", "models.b.encoder.kind"])
def test_what_an_anchor_shares_is_no_run_s_to_set(name: str) -> None:
    """Who may set one model's params set another's with it, of which nobody was told."""
    value = {"units": 32, "dropout": 0.5, "kind": "lstm"}[name.rpartition(".")[2]]
    for apply in (overrides.apply, patch.apply):
        try:
            changed = apply(ANCHORED, {name: value})
        except ClickflowError as error:
            assert "in one (`&name`, `*name`)" in error.what
        else:  # where it is written beside what is shared
            before, after = parse_yaml(ANCHORED), parse_yaml(changed)
            assert patch.moved(before, after, [name]) == []
    assert parse_yaml(overrides.apply(ANCHORED, {"models.c.encoder.units": 4}))["models"]["a"]["encoder"]["units"] == 16


def test_a_text_that_yaml_reads_as_another_is_refused() -> None:
    with pytest.raises(UsageError, match=r"source\.path: YAML reads another value than was given"):
        overrides.apply(TEXT, {"source.path": "a\u0085b"})
    assert overrides.apply(TEXT, {"source": {"kind": "files"}, "source.path": "x"})


def test_only_the_lines_that_are_set_change() -> None:
    values: dict[str, Any] = {
        "simulator.events": 500,
        "simulator.users": 10,
        "simulator.start": "2026-02-01",
        "models.next_step.encoder.features": ["action"],
        "source.columns": {"item_id": "sku"},
        "source.path": "a folder: with signs #1",
    }
    changed = overrides.apply(TEXT, values).splitlines()
    different = [line.split()[0] for line, was in zip(changed, TEXT.splitlines(), strict=True) if line != was]
    assert sorted(different) == ["columns:", "events:", "features:", "path:", "start:", "users:"]
    assert all("#" in line for line in changed if line.strip().startswith("users:"))
    document = parse_yaml("\n".join(changed))
    for name, value in values.items():
        node = document
        for part in name.split("."):
            node = node[part]
        assert node == value


@settings(max_examples=15, deadline=None)
@given(
    events=st.integers(1, 10**11),
    rate=st.floats(1e-9, 1e3, allow_nan=False),
    path=st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1),
)
def test_what_is_set_is_what_dvc_and_clickflow_read(
    tmp_path_factory: pytest.TempPathFactory, events: int, rate: float, path: str
) -> None:
    from dvc.utils.serialize import load_yaml

    values = {"simulator.events": events, "models.next_step.optimiser.learning_rate": rate, "source.path": path}
    file = tmp_path_factory.mktemp("params") / "params.yaml"
    file.write_text(overrides.apply(TEXT, values), encoding="utf-8")
    params = load(file)
    assert (params.simulator.events, params.source.path) == (events, path)
    assert params.models["next_step"].optimiser.learning_rate == rate
    theirs = load_yaml(str(file))
    assert theirs["source"]["path"] == path
    assert theirs["models"]["next_step"]["optimiser"]["learning_rate"] == rate


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("simulator.evnts", 1, "simulator.evnts: unknown key; did you mean 'events'"),
        ("simulatr.events", 1, "simulatr.events: unknown key 'simulatr'; did you mean 'simulator'"),
        ("models.next_stp.unit", "session", "did you mean 'next_step'"),
        ("seed.deeper", 1, "seed is one value and has nothing below it"),
        ("simulator.events", "many", "simulator.events: input should be a valid integer"),
        ("models.next_step.encoder.kind", "lst", "input should be 'rnn', 'gru', 'lstm', .*, not 'lst'"),
        ("sequences.valid_share", 0.95, "leave nothing to train on"),
        ("champion.other", 1, "champion.other: no such model"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name(name: str, value: object, message: str) -> None:
    with pytest.raises(UsageError, match=message) as refusal:
        overrides.apply(TEXT, {name: value})
    assert refusal.value.kept == "nothing was run"


@pytest.mark.parametrize("depth", [40, 150, 400, 3000])
def test_what_no_param_can_be_is_refused_in_words_however_it_is_sent(depth: int) -> None:
    """By the REST API a run's values are any JSON: half a letter, a number without end, a nest of mappings."""
    nest: dict[str, Any] = {}
    for _ in range(depth):
        nest = {"a": nest}
    for value in (nest, "\ud800", {"\ud800": 1}, 10**400, "a" * 200_000):
        with pytest.raises(UsageError):
            overrides.apply(TEXT, {"source.path": value})


SHORT = (Path(__file__).resolve().parents[2] / "params.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("training.threads", 2),
        ("models.next_step.budget.epochs", 3),
        ("models.next_step.optimiser.learning_rate", 0.01),
        ("models.next_step.heads.next_item.copy", False),
        ("source.columns", {"item_id": "sku"}),
        ("sequences.robots.max_session_steps", None),
        ("export.latency_batch", 4),
        ("watch.max_drift.hour", None),
    ],
)
def test_what_the_file_does_not_name_is_written_in_its_section(name: str, value: Any) -> None:
    changed = overrides.apply(SHORT, {name: value})
    node = parse_yaml(changed)
    for part in name.split("."):
        node = node[part]
    assert node == value
    kept = [line for line in SHORT.splitlines() if line not in changed.splitlines()]
    assert all(line.rstrip().endswith("{}") for line in kept), "only an empty mapping has another line"
    after = list(leaves(check(parse_yaml(changed))))
    one = [line for line in leaves(check(parse_yaml(SHORT))) if line not in after]
    assert [each[0] for each in one] == [name]


def test_a_part_of_a_mapping_that_is_not_in_the_file_keeps_the_rest_of_its_default() -> None:
    nulls = check(parse_yaml(overrides.apply(SHORT, {"source.nulls.user_id": ["0"]}))).source.nulls
    assert nulls == {**Source(path="").nulls, "user_id": ("0",)}


def test_a_section_of_comments_takes_what_is_set() -> None:
    text = SHORT.replace("  device: auto", "  # device: auto")
    assert check(parse_yaml(overrides.apply(text, {"training.threads": 2}))).training.threads == 2
