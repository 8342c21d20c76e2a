"""Pages of a run are in MLflow, under a link that stays, before anybody decides; without a server it says why not."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from registry_workspace import MODEL, candidate, workspace
from typer.testing import CliRunner

from clickflow import cli
from clickflow.system.errors import UsageError
from clickflow.system.paths import Paths


def publish(*words: str) -> dict[str, Any]:
    result = CliRunner().invoke(cli.app, ["publish", *words, "--json"])
    if result.exception:
        raise result.exception
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


@pytest.fixture
def here(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.chdir(tmp_path)
    paths = workspace(tmp_path, root)
    candidate(paths, "one")
    return paths


def test_without_a_server_there_is_no_page_and_it_says_so(here: Paths) -> None:
    answer = publish(f"{MODEL}/report.html={here.evaluation(MODEL)}/report.html")
    assert answer["links"] == {}
    assert answer["why"] == f"sqlite:///{here.home / 'mlflow.db'} is no server with pages"
    assert not (here.home / "mlflow.db").exists(), "nothing is opened for it"


@pytest.mark.parametrize("word", ["report.html", "a/report.html=nowhere.html", "a/report.html=params.yaml"])
def test_a_page_that_is_none_is_named(here: Paths, word: str) -> None:
    with pytest.raises(UsageError, match="names no page"):
        publish(word)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """An MLflow server of the test's own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    words += ["--backend-store-uri", f"sqlite:///{tmp_path}/served.db", "--default-artifact-root", f"{tmp_path}/kept"]
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    child = subprocess.Popen([sys.executable, "-m", *words], env=env, cwd=tmp_path, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 120
        while not _answers(f"{url}/health"):
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield url
    finally:
        os.killpg(child.pid, 15)
        child.wait(30)


@pytest.mark.platform
def test_a_page_stays_under_its_link_and_a_second_attempt_replaces_it(
    here: Paths, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("CLICKFLOW_RUN_ID", "manual__1")
    monkeypatch.setenv("CLICKFLOW_MLFLOW_UI", "https://models.example.org/")
    docs = here.root / "reports/data_docs"
    docs.mkdir(parents=True)
    (docs / "index.html").write_text("<p>docs")
    report = here.evaluation(MODEL) / "report.html"
    words = [f"{MODEL}/report.html={report}", f"data_docs={docs}"]
    links = publish(*words)["links"]
    report.write_text("<p>anew")
    assert publish(*words)["links"] == links
    address = urlsplit(links[f"{MODEL}/report.html"])
    assert f"{address.scheme}://{address.netloc}" == "https://models.example.org"
    experiment, run = address.fragment.split("/")[2:5:2]
    assert address.fragment == f"/experiments/{experiment}/runs/{run}/artifacts/{MODEL}/report.html"
    assert links["data_docs"].endswith(f"/{run}/artifacts/data_docs/index.html")
    for file, content in ((f"{MODEL}/report.html", "<p>anew"), ("data_docs/index.html", "<p>docs")):
        with urllib.request.urlopen(f"{server}/get-artifact?path={file}&run_uuid={run}") as answer:
            assert answer.read().decode() == content


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
