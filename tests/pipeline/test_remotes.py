"""Workers that share nothing but git and the DVC remote make one run."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import s3
import ssh
from small_shop import commit, dvc, git

from clickflow.orchestration import dvc_storage, fragments, graph, runs, workspace
from clickflow.orchestration.workspace import Run
from clickflow.system.errors import UsageError

pytestmark = pytest.mark.timeout(900)


def quiet(line: str) -> None:
    """Nobody is watching."""


@pytest.fixture
def url(shop: Path, tmp_path: Path) -> str:
    """The shop as a bare repository behind a URL; its raw file is kept by git."""
    git(shop, "add", "--force", "data/raw/raw.csv")
    commit(shop, "raw file")
    git(tmp_path, "clone", "--quiet", "--bare", str(shop), str(tmp_path / "shop.git"))
    return (tmp_path / "shop.git").as_uri()


class Worker:
    """A machine of its own: its home, its cache, and the run as it came through XCom."""

    def __init__(self, home: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home, self.url, self.monkeypatch = home, url, monkeypatch

    def open(self, plan: graph.Graph, name: str, values: Mapping[str, Any] | None = None, **more: Any) -> str:
        run = runs.open_run(self.url, self.home, name, values or {}, compiled=plan, say=quiet, **more)
        return json.dumps(run.travelling())

    def here(self, message: str) -> Run:
        self.monkeypatch.setenv("CLICKFLOW_REPOSITORY", self.url)
        self.monkeypatch.setenv("CLICKFLOW_HOME", str(self.home))
        return workspace.here(json.loads(message))

    def stage(self, message: str, stage: str, parts: list[fragments.Fragments]) -> fragments.Fragments:
        ended = runs.run_stage(self.here(message), stage, parts, quiet)
        return json.loads(json.dumps(ended))  # type: ignore[no-any-return]


@pytest.fixture(params=["folder", *(pytest.param(kind, marks=pytest.mark.platform) for kind in ("s3", "ssh"))])
def remote(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """`CLICKFLOW_DVC_REMOTE` is a folder, a bucket, or on another host; what it keeps lies in the folder given."""
    if request.param == "folder":
        monkeypatch.setenv("CLICKFLOW_DVC_REMOTE", str(tmp_path / "store"))
        yield tmp_path / "store"
        return
    if request.param == "ssh":
        with ssh.served(tmp_path / "ssh") as home:
            monkeypatch.setenv("HOME", str(home))
            monkeypatch.setenv("CLICKFLOW_DVC_REMOTE", f"ssh://storage{tmp_path}/store")
            yield tmp_path / "store"
        return
    with s3.served(tmp_path / "buckets", "shop") as variables:
        for name, value in {**variables, "CLICKFLOW_DVC_REMOTE": "s3://shop/clickflow"}.items():
            monkeypatch.setenv(name, value)
        yield tmp_path / "buckets/shop/clickflow"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_workers_with_nothing_in_common_but_git_and_the_remote_make_one_run(
    shop: Path, url: str, remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (Worker(tmp_path / name, url, monkeypatch) for name in ("one", "two"))
    plan = graph.load(shop)
    message = one.open(plan, "spread", {"simulator.events": 77}, note="two machines", reason="by hand")
    assert str(tmp_path) not in message
    ingest = one.stage(message, "ingest", [])
    check = two.stage(message, "check", [ingest])
    train = one.stage(message, "train@next_step", [ingest, check])
    recorded = runs.record(two.here(message), [ingest, check, train], quiet)

    bare = tmp_path / "shop.git"
    assert git(bare, "rev-parse", "refs/runs/spread").strip() == recorded
    results = runs.results(one.here(message), quiet)
    assert results.is_relative_to(one.home)
    assert (results / "models/next_step/weights").is_file()
    assert any((remote / "files/md5").iterdir())
    for worker in (one, two):
        assert (worker.home / "dvc-cache").is_dir()
        assert not (worker.home / "dvc-remote").exists()

    workspace.set_params(shop, {"simulator.events": 77})
    dvc(shop, "repro", "--quiet")
    assert git(bare, "show", "refs/runs/spread:dvc.lock") == (shop / "dvc.lock").read_text()


def test_a_commit_that_came_later_is_fetched(
    shop: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLICKFLOW_DVC_REMOTE", str(tmp_path / "store"))
    one, two = (Worker(tmp_path / name, url, monkeypatch) for name in ("one", "two"))
    plan = graph.load(shop)
    first = one.open(plan, "first")
    two.here(first)
    two.stage(first, "ingest", [])
    (shop / "data/raw/raw.csv").write_text("view,9\n")
    commit(shop, "other raw file")
    git(shop, "push", "--quiet", url, "HEAD")
    second = one.open(plan, "second")
    assert json.loads(second)["commit"] == git(shop, "rev-parse", "HEAD").strip()
    assert two.stage(second, "ingest", []) != two.stage(first, "ingest", [])


def test_raw_files_that_only_a_checkout_has_are_refused_with_what_to_do(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "clone", "--quiet", "--bare", str(shop), str(tmp_path / "shop.git"))
    worker = Worker(tmp_path / "home", (tmp_path / "shop.git").as_uri(), monkeypatch)
    with pytest.raises(
        UsageError, match=r"source.path: data/raw is relative, and file://.* holds no file below it"
    ) as no:
        worker.open(graph.load(shop), "raw", {"source.kind": "files"})
    assert "absolute path" in no.value.next_step


def test_a_repository_that_does_not_answer_is_named_without_its_password(shop: Path, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="cannot be fetched") as fault:
        runs.open_run("http://me:secret@127.0.0.1:9/none.git", tmp_path / "home", "none", {}, compiled=None, say=quiet)
    assert "secret" not in str(fault.value)


def test_a_relative_remote_is_refused(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKFLOW_DVC_REMOTE", "store")
    with pytest.raises(UsageError, match="CLICKFLOW_DVC_REMOTE: store is a relative folder"):
        runs.open_run(shop, shop.parent / "home", "none", {}, compiled=None, say=quiet)


@pytest.mark.parametrize("url", ["ssh://me@10.0.0.7:2222/srv/clickflow", "s3://bucket/folder", "/mnt/shared"])
def test_the_remote_of_the_clones_is_the_one_that_the_variable_names(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("CLICKFLOW_DVC_REMOTE", url)
    dvc_storage.configure(shop, str(shop), tmp_path / "home")
    assert dvc(shop, "config", "core.remote").strip() == dvc_storage.REMOTE
    assert dvc(shop, "config", f"remote.{dvc_storage.REMOTE}.url").strip() == url
