"""Which files a run may read, asked as a person with few rights would try it."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_shop import commit

from clickflow.events import origins, roots
from clickflow.orchestration import graph, overrides, runs
from clickflow.orchestration.workspace import Run
from clickflow.params.file import load
from clickflow.system.errors import UsageError
from clickflow.system.paths import Paths


def quiet(line: str) -> None:
    """Nobody is watching."""


@pytest.fixture
def logs(shop: Path) -> Path:
    """A folder that the commit names, beside one that it does not."""
    (shop.parent / "secret").mkdir()
    (shop.parent / "secret/passwords.csv").write_text("admin,1\n")
    folder = shop.parent / "logs"
    (folder / "may").mkdir(parents=True)
    (folder / "may/a.csv").write_text("view,1\n")
    home = shop.parent / "logs/home/platform"
    home.mkdir(parents=True)
    (home / "passwords.csv").write_text("admin,1\n")
    file = shop / "params.yaml"
    file.write_text(overrides.apply(file.read_text(), {"runs.sources": [str(folder)]}))
    commit(shop, "roots")
    return folder


def open_run(shop: Path, path: str, name: str = "few-rights") -> Run:
    home = shop.parent / "logs/home"
    return runs.open_run(shop, home, name, {"source.path": path}, compiled=graph.load(shop), say=quiet)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("{up}/secret", "lies outside the folders that a run"),
        ("{up}/secret/passwords.csv", "lies outside"),
        ("{up}/logs/../secret", "outside"),
        ("{up}/logs/may/../../secret", "outside"),
        ("{up}/Logs/may", "lies outside"),
        ("{up}/logs-of-others", "lies outside"),
        ("/etc/hostname", "lies outside"),
        ("/proc/self/environ", "outside"),
        ("/", "lies outside"),
        ("~", "lies outside"),
        ("../secret", "outside"),
        ("data/raw/../../../secret", "outside"),
        ("params.yaml", "lies outside"),
        (".dvc", "lies in the platform's own folder"),
        (".git/config", "lies in the platform's own folder"),
        ("{up}/logs/home/platform", "lies in the platform's own folder"),
        ("{up}/logs/may/../home/platform/passwords.csv", "lies in the platform's own folder"),
    ],
)
def test_a_source_elsewhere_is_refused_before_anything_is_read(shop: Path, logs: Path, path: str, why: str) -> None:
    with pytest.raises(UsageError, match=f"{why}|leads out of the repository") as refusal:
        open_run(shop, path.format(up=shop.parent))
    assert "admin" not in str(refusal.value)


def test_the_folders_of_the_commit_are_open(shop: Path, logs: Path) -> None:
    for number, path in enumerate([str(logs / "may"), str(logs / "may/a.csv"), "data/raw", "data/raw/raw.csv"]):
        assert open_run(shop, path, f"run-{number}").overrides["source.path"] == path


LINKS: dict[str, Callable[[Path], Any]] = {
    "a file": lambda up: (up / "logs/may/b.csv").symlink_to(up / "secret/passwords.csv"),
    "a folder": lambda up: (up / "logs/may/c").symlink_to(up / "secret"),
    "a link to a link": lambda up: (
        (up / "logs/d").symlink_to(up / "secret"),  # type: ignore[func-returns-value]
        (up / "logs/may/b.csv").symlink_to("../d/passwords.csv"),  # type: ignore[func-returns-value]
    ),
    "the home": lambda up: (up / "logs/may/b.csv").symlink_to("../home/platform/passwords.csv"),
}


@pytest.mark.parametrize("link", LINKS)
def test_a_link_that_comes_later_is_found_by_the_stage(shop: Path, logs: Path, link: str) -> None:
    run = open_run(shop, str(logs / "may"))
    LINKS[link](shop.parent)
    with pytest.raises(UsageError, match=r"/logs/may/[bc].* (leads outside|lies in the platform's own)"):
        runs.run_stage(run, "ingest", [], quiet)
    with pytest.raises(UsageError):
        open_run(shop, str(logs / "may"), "again")


def test_a_path_that_was_changed_on_the_way_is_refused_by_the_stage(shop: Path, logs: Path) -> None:
    run = open_run(shop, "data/raw")
    with pytest.raises(UsageError, match="lies outside"):
        runs.run_stage(replace(run, overrides={"source.path": str(shop.parent / "secret")}), "ingest", [], quiet)


def test_a_file_of_the_checkout_that_is_a_link_out_is_refused(shop: Path, logs: Path) -> None:
    (shop / "data/raw/link.csv").symlink_to(shop.parent / "secret/passwords.csv")
    run = open_run(shop, "data/raw")
    with pytest.raises(UsageError, match=r"link.csv leads outside"):
        runs.run_stage(run, "ingest", [], quiet)


def test_the_reader_itself_asks_each_file(
    shop: Path, logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (logs / "b.csv").symlink_to(shop.parent / "secret/passwords.csv")
    params = load(shop / "params.yaml")
    params = replace(params, source=replace(params.source, kind="files", path=str(logs), pattern="*"))
    by_hand = origins.raw_files(params, Paths(shop), tmp_path)[1]
    assert any("passwords" in os.path.realpath(path) for _, path in by_hand), "the owner's own matter"
    monkeypatch.setenv(roots.VARIABLE, f'["{logs}"]')
    with pytest.raises(UsageError, match="outside"):
        origins.raw_files(params, Paths(shop), tmp_path)
