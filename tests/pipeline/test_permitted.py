"""What a run may set beside its commit, asked as a person with few rights would try it."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_shop import commit

from clickflow.airflow import forms, operators
from clickflow.orchestration import graph, journal, overrides, permitted, runs, workspace
from clickflow.orchestration.workspace import Run
from clickflow.params.file import check, load
from clickflow.params.rules import COMMIT_ALONE
from clickflow.system.errors import UsageError

REFUSED: dict[str, Any] = {
    "gate.floors": {"recall@20": -1.0},
    "gate.beat_baselines": {},
    "gate.champion.margin": 5,
    "gate.champion": {"rule": "non_inferior", "margin": 5, "confidence": 0.95},
    "gate": {"primary": "mrr@20"},
    "promotion.approve": [],
    "promotion": {"approve": [], "wait_hours": 1},
    "registry.mlflow_uri": "http://10.0.0.1:5000",
    "champion.next_step": 0,
    "schedule.retrain": "* * * * *",
    "runs.overrides": ["*"],
    "runs.sources": ["/"],
    "source.sql_url_env": "HOME",
    "source.sql_query": "passwords",
    "evaluation.baselines": [],
    "sequences.series.plan": "other.csv",
    "quality.max_quarantine_share": 1.0,
    "source.path": "https://10.0.0.1/log.csv",
}


def quiet(line: str) -> None:
    """Nobody is watching."""


def open_run(shop: Path, values: dict[str, Any]) -> Run:
    return runs.open_run(shop, shop.parent / "home", "few-rights", values, compiled=graph.load(shop), say=quiet)


@pytest.mark.parametrize(("name", "value"), REFUSED.items(), ids=str)
def test_what_judges_a_run_is_not_its_own_to_set(root: Path, name: str, value: Any) -> None:
    text = (root / "tests/assets/params_long.yaml").read_text()
    with pytest.raises(UsageError, match="is not a run's to set") as refusal:
        permitted.check(text, {name: value})
    assert refusal.value.what.startswith(name)
    assert refusal.value.kept == "nothing was run"


@given(
    section=st.sampled_from(COMMIT_ALONE),
    case=st.sampled_from([str.lower, str.upper, str.title, " {} ".format]),
    rest=st.text("abc._@0*", max_size=12),
)
def test_no_list_opens_the_rules(section: str, case: Any, rest: str) -> None:
    assert not permitted.allows(["*", f"{section}.*"], f"{case(section)}.{rest}")


def test_a_section_set_as_a_whole_sets_all_that_is_in_it() -> None:
    params = "runs: {overrides: [source.path]}\nsource: {path: a, sql_url_env: URL}"
    permitted.check(params, {"source.path": "b"})
    with pytest.raises(UsageError, match=r"source.sql_url_env is not a run's to set"):
        permitted.check(params, {"source": {"path": "b"}})


def test_nothing_is_opened_and_the_error_names_key_and_list(shop: Path) -> None:
    with pytest.raises(UsageError, match=r"quality.min_events is not .* allows seed, source.kind, .*models\.\*"):
        open_run(shop, {"quality.min_events": 0})
    assert not (shop.parent / "home/workspaces").exists()


@pytest.mark.parametrize("smuggled", [{"gate.floors": {}}, {"promotion.approve": []}, {"quality.min_events": 0}])
def test_what_was_changed_on_the_way_is_refused_before_a_stage_runs(shop: Path, smuggled: dict[str, Any]) -> None:
    run = open_run(shop, {"simulator.events": 5})
    with pytest.raises(UsageError, match="is not a run's to set"):
        runs.run_stage(replace(run, overrides={**run.overrides, **smuggled}), "ingest", [], quiet)
    # the text of a commit message is what a reference of a run carries; it is never read as params
    assert run.overrides == {"simulator.events": 5}


@pytest.mark.parametrize(
    "changed",
    [
        *({"id": "../../../etc"}, {"id": "a/b"}, {"commit": "--upload-pack=x"}, {"id": ""}),
        *({"models": ["next_step", "--approve=fine"]}, {"models": [["next_step"]]}, {"models": "-x"}),
    ],
)
def test_a_run_that_is_none_goes_nowhere(shop: Path, changed: dict[str, str]) -> None:
    message = open_run(shop, {}).travelling()
    with pytest.raises(UsageError, match=r"names no run|names models that are none"):
        workspace.here({**message, **changed}, shop)


def test_who_writes_xcoms_changes_neither_the_run_nor_what_a_person_said(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLICKFLOW_HOME", str(shop.parent / "home"))
    run = open_run(shop, {"simulator.events": 5})
    (shop / "other").write_text("a commit that nobody has agreed to")
    commit(shop)
    other = runs.head(shop)

    def pulled(**changed: Any) -> Run:
        message = {**run.travelling(), **changed}
        ti = SimpleNamespace(xcom_pull=lambda task_ids: json.loads(json.dumps(message)))
        task = SimpleNamespace(repository=str(shop))
        return operators.pulled_run({"ti": ti, "task": task, "run_id": "few-rights"})

    assert pulled().travelling() == run.travelling()
    changes = {"commit": other, "person": "ada", "models": ["next_step"], "overrides": {}, "base": other}
    for name, value in changes.items():
        with pytest.raises(UsageError, match=f"is another run than was opened: its {name}"):
            pulled(**{name: value})
    with pytest.raises(UsageError, match="is the run another"):
        pulled(id="another")

    answer = {"answer": "approve", "by": "ada", "at": "2026-01-05T10:00:00+00:00", "reason": ""}
    with pytest.raises(UsageError, match=r"is not what approve\.next_step was answered"):
        journal.as_answered(run, "approve.next_step", answer)  # nobody was asked
    journal.answered(run, "approve.next_step", {**answer, "answer": "none"})
    with pytest.raises(UsageError, match="is not what"):
        journal.as_answered(run, "approve.next_step", answer)
    journal.answered(run, "approve.next_step", answer)
    assert journal.as_answered(run, "approve.next_step", answer) == answer

    opened = shop.parent / "home/logs/few-rights/run.json"
    whole, other_name = opened.read_bytes(), opened.read_bytes().replace(b'"person"', b'"persom"')
    for spoilt in (other_name, b"\xff" + whole[1:], whole[:-9]):
        opened.write_bytes(spoilt)
        assert journal.known(shop.parent / "home") == {"few-rights": {}}
        with pytest.raises(UsageError, match="another run than was opened: its person"):  # git has it, too
            pulled(person="ada")
    opened.write_bytes(whole)

    monkeypatch.setenv("CLICKFLOW_HOME", str(shop.parent / "another"))  # of another machine
    assert pulled().travelling() == run.travelling()
    with pytest.raises(UsageError, match="is another run than was opened: its person"):
        pulled(person="ada")
    with pytest.raises(UsageError, match=r"is not what approve\.next_step was answered"):
        journal.as_answered(pulled(), "approve.next_step", {**answer, "by": "eve"})
    assert journal.as_answered(pulled(), "approve.next_step", answer) == answer
    journal.forget_answer(pulled(), "approve.next_step")
    (shop.parent / "home/logs/few-rights/approve.next_step.answer.json").unlink()
    with pytest.raises(UsageError, match="is not what"):
        journal.as_answered(run, "approve.next_step", answer)


def test_the_commit_decides_what_is_open(shop: Path) -> None:
    file = shop / "params.yaml"
    committed = overrides.apply(file.read_text(), {"runs.overrides": ["quality.min_events"]})
    file.write_text(committed)
    with pytest.raises(UsageError, match="is not a run's"):  # a file that nobody has committed opens nothing
        open_run(shop, {"quality.min_events": 5})
    commit(shop)
    assert open_run(shop, {"quality.min_events": 5}).overrides == {"quality.min_events": 5}
    shown = forms.source(load(file))
    assert not shown, "a field that sets what no run may is not shown"


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("gate.*", "gate comes from the commit alone"), ("modls.*", "did you mean 'models'")],
)
def test_a_list_that_cannot_be_meant_is_an_error(raw_params: dict[str, Any], pattern: str, message: str) -> None:
    raw_params["runs"]["overrides"] = [pattern]
    with pytest.raises(UsageError, match=message):
        check(raw_params)
