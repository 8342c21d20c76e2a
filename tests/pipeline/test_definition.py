"""A DAG and its form are made from the commit that a run will use, whatever the checkout's files say meanwhile."""

import shutil
from pathlib import Path

import pytest
from small_shop import PIPELINE, commit, git

from clickflow.airflow import forms
from clickflow.orchestration import definition


def described(shop: Path) -> str:
    """What the form of retrain says of the source and the epochs."""
    read = definition.read(shop)
    fields = forms.warned({**forms.source(read.params), **forms.training(read.params)}, read.warning)
    return " ".join(fields[name].schema["description_md"] for name in ("source_kind", "epochs"))


def test_the_form_is_of_the_commit_and_says_so(shop: Path) -> None:
    before = described(shop)
    assert "params.yaml says **simulator**" in before
    assert "not committed" not in before
    params = shop / "params.yaml"
    params.write_text(params.read_text().replace("kind: simulator", "kind: files").replace("epochs: null", "epochs: 9"))
    during = described(shop)
    assert "params.yaml says **simulator**" in during
    assert "(next_step: as the validation part decides)" in during
    commit_now = git(shop, "rev-parse", "--short=10", "HEAD").strip()
    assert f"params.yaml has changes that are not committed: this form and its run are of commit {commit_now}" in during
    commit(shop, "other params")
    assert "params.yaml says **files**" in described(shop)
    assert "next_step: 9" in described(shop)
    assert "not committed" not in described(shop)


def test_a_file_that_is_broken_and_not_committed_breaks_no_dag(shop: Path) -> None:
    names = set(definition.read(shop).stages.stages)
    (shop / "params.yaml").write_text("models: [")
    (shop / "dvc.yaml").write_text(PIPELINE.replace("  check:", "  look:"))
    read = definition.read(shop)
    assert set(read.stages.stages) == names
    assert read.warning.startswith("dvc.yaml and params.yaml have changes that are not committed")


def test_files_named_by_vars_are_of_the_commit_too(shop: Path) -> None:
    (shop / "more").mkdir()
    (shop / "more/units.yaml").write_text("units: [session]\n")
    pipeline = PIPELINE + "  sequences: {foreach: '${units}', do: {cmd: 'echo ${item}'}}\n"
    (shop / "dvc.yaml").write_text("vars: [more/units.yaml]\n" + pipeline)
    commit(shop, "units")
    (shop / "more/units.yaml").write_text("units: [session, customer]\n")
    read = definition.read(shop)
    assert "sequences@session" in read.stages.stages
    assert "sequences@customer" not in read.stages.stages
    assert read.warning.startswith("more/units.yaml has changes")


def test_without_a_commit_here_the_files_are_what_there_is(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = shop / "params.yaml"
    params.write_text(params.read_text().replace("kind: simulator", "kind: files"))
    copy = Path(shutil.copytree(shop, tmp_path / "copy", ignore=shutil.ignore_patterns(".git")))
    assert definition.read(copy).params.source.kind == "files"
    # The bundle of a repository elsewhere is at the commit of the run already.
    monkeypatch.setenv("CLICKFLOW_REPOSITORY", "https://git.example.org/shop.git")
    monkeypatch.setenv("CLICKFLOW_HOME", str(tmp_path / "home"))
    assert definition.read(shop).params.source.kind == "files"
