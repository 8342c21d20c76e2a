"""The form of a run: what each field becomes, and what is refused although Airflow would take it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clickflow.airflow import forms
from clickflow.orchestration import overrides
from clickflow.orchestration.variables import parse_yaml
from clickflow.params.file import check, load
from clickflow.params.schema import Params
from clickflow.system.errors import UsageError


@pytest.fixture
def params(root: Path) -> Params:
    """Those of the repository, with a second model."""
    one = load(root / "params.yaml")
    return replace(one, models={"next_step": one.models["next_step"], "other": one.models["next_step"]})


def fields(params: Params) -> dict[str, Any]:
    return {**forms.source(params), **forms.training(params)}


def defaults(params: Params) -> dict[str, Any]:
    return {name: field.value for name, field in fields(params).items()}


def test_a_form_that_nobody_filled_in_asks_for_nothing(params: Params) -> None:
    assert forms.read(defaults(params), params) == forms.Request({})
    assert forms.read({}, params) == forms.Request({})


def test_every_field_says_what_it_is_for_and_stands_in_a_section(params: Params) -> None:
    for name, field in fields(params).items():
        schema = field.schema
        assert schema["title"], name
        assert schema["section"] in (forms.DATA, forms.MODELS, forms.MORE), name
        assert len(field.description or schema["description_md"]) > 20, name
    assert fields(params)["models"].schema["examples"] == ["next_step", "other"]
    allowed = fields(params)["overrides"].schema["description_md"]
    assert all(f"`{pattern}`" in allowed for pattern in params.runs.overrides), "Markdown takes * for emphasis"


def test_what_is_filled_in_becomes_params_that_are_valid(root: Path, params: Params) -> None:
    form = {
        "source_kind": "files",
        "source_path": " data/raw/log.csv ",
        "preset": "rees46",
        "since": "2026-01-05T00:00:00+02:00",
        "until": "2026-02-01T00:00:00Z",
        "models": ["next_step"],
        "epochs": 3,
        "overrides": {"seed": 7},
        "note": "why",
    }
    request = forms.read({**defaults(params), **form}, params)
    assert request.values == {
        "source.kind": "files",
        "source.path": "data/raw/log.csv",
        "source.preset": "rees46",
        "sequences.since": "2026-01-04T22:00:00+00:00",
        "sequences.until": "2026-02-01T00:00:00+00:00",
        "models.next_step.budget.epochs": 3,
        "seed": 7,
    }
    assert (request.models, request.note) == (("next_step",), "why")
    changed = check(parse_yaml(overrides.apply((root / "params.yaml").read_text(), request.values)))
    assert changed.source.preset == "rees46"
    assert changed.models["next_step"].budget.epochs == 3
    assert changed.sequences.window[1].isoformat() == "2026-02-01T00:00:00+00:00"  # type: ignore[union-attr]


def test_epochs_are_those_of_the_chosen_models_or_of_all(params: Params) -> None:
    assert list(forms.read({"epochs": 2}, params).values) == [
        "models.next_step.budget.epochs",
        "models.other.budget.epochs",
    ]
    assert list(forms.read({"epochs": 2, "models": ["other"]}, params).values) == ["models.other.budget.epochs"]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"epochs": 2, "overrides": {"models.next_step.budget.epochs": 3}}, "set twice"),
        (
            {"epochs": 2, "overrides": {"models.next_step.budget": {"epochs": 3}}},
            "models.next_step.budget is set twice",
        ),
        ({"since": "2026-01-01T00:00:00Z", "overrides": {"sequences.since": None}}, "sequences.since is set twice"),
        ({"source_path": "data/raw/a.csv"}, "source_path would have no effect: the source is simulator"),
        ({"preset": "otto"}, "preset would have no effect"),
        ({"models": ["nxt_step"]}, "did you mean 'next_step'"),
        ({"models": "next_step"}, "not a list of names"),
        ({"overrides": ["seed=1"]}, "not a mapping"),
        ({"since": "yesterday"}, "since: 'yesterday' is not a date or time"),
    ],
)
def test_what_contradicts_or_does_nothing_is_refused(params: Params, said: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as refusal:
        forms.read({**defaults(params), **said}, params)
    assert refusal.value.kept == "nothing was run" or "no model" in refusal.value.what


@pytest.mark.parametrize(
    ("key", "hint", "next_step"),
    [
        ("epoch", "did you mean 'epochs'", "its fields are source_kind"),
        ("override", "did you mean 'overrides'", ""),
        ("simulator.events", "no field 'simulator.events'", "put it into overrides"),
    ],
)
def test_a_key_that_no_field_has_is_refused(params: Params, key: str, hint: str, next_step: str) -> None:
    with pytest.raises(UsageError, match=hint) as refusal:
        forms.check_keys({key: 1}, list(fields(params)))
    assert next_step in refusal.value.next_step


def test_the_window_of_several_events_covers_them_all() -> None:
    first = {"window": {"since": "2026-01-05", "until": "2026-01-06T00:00:00Z"}}
    second = {"window": {"since": "2026-01-06", "until": "2026-01-07T03:00:00+03:00"}}
    assert forms.window_of([first, second]) == {
        "since": "2026-01-05T00:00:00+00:00",
        "until": "2026-01-07T00:00:00+00:00",
    }
    assert forms.window_of([first, {"window": {"until": "2026-01-08"}}]) == {"until": "2026-01-08T00:00:00+00:00"}
    assert forms.window_of([first, {}]) == {}
    assert forms.window_of([None]) == {}


@pytest.mark.parametrize("window", [{"from": "2026-01-05"}, ["2026-01-05"], {"since": "soon"}])
def test_a_window_that_is_not_understood_is_refused(window: Any) -> None:
    with pytest.raises(UsageError, match="the event's window"):
        forms.window_of([{"window": window}])


def test_a_window_from_an_event_becomes_params(params: Params) -> None:
    request = forms.read(defaults(params), params, {"since": "2026-01-05T00:00:00+00:00", "until": None})
    assert request.values == {"sequences.since": "2026-01-05T00:00:00+00:00"}
    with pytest.raises(UsageError, match="since is given twice"):
        forms.read({"since": "2026-01-01"}, params, {"since": "2026-01-05"})


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "soon", 5])
def test_a_moment_that_is_none_is_refused(params: Params, moment: Any) -> None:
    with pytest.raises(UsageError, match=r"since: .* is not a date or time"):
        forms.read({"since": moment}, params)


@pytest.mark.parametrize("note", ["a\0b", "a\ud800", 5, ["a"]])
def test_a_note_that_git_cannot_keep_is_refused_before_the_work(params: Params, note: Any) -> None:
    with pytest.raises(UsageError, match="note: is not text"):
        forms.read({"note": note}, params)
