"""A clone on a machine with nothing but Python, make and git: one command, and there is a champion."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.platform


@pytest.mark.timeout(1800)
def test_make_demo_is_all_that_a_bare_clone_needs(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], pytestconfig: pytest.Config
) -> None:
    clone = (pytestconfig.getoption("--demo") or tmp_path) / "clone"
    subprocess.run(["git", "clone", "--quiet", str(root), str(clone)], check=True)
    ours = {"VIRTUAL_ENV", "PYTHONPATH", "MAKEFLAGS", "CLICKFLOW_HOME"}
    env = {name: value for name, value in os.environ.items() if name not in ours}

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(words, cwd=clone, env=env, capture_output=True, text=True)

    started = time.monotonic()
    demo = run("make", "demo")
    with capsys.disabled():
        print(f"\n{demo.stdout}{demo.stderr}make demo from a bare clone: {time.monotonic() - started:.0f} s")
    assert demo.returncode == 0
    assert "environment: ready after" in demo.stdout
    assert run("git", "status", "--porcelain").stdout == ""

    status = json.loads(run(".venv/bin/clickflow", "status", "--json").stdout)
    assert status["models"]
    for model, state in status["models"].items():
        assert state["champion"]["version"] == 1
        (report,) = clone.glob(f".clickflow/runs/*/reports/{model}/evaluation/report.html")
        assert "<html" in report.read_text(encoding="utf-8")

    again = run("make", "environment")
    assert again.returncode == 0
    assert "environment: " not in again.stdout, "built twice"
    check = run(".venv/bin/uv", "pip", "check", "--python", ".venv/bin/python")
    assert check.returncode == 0, check.stderr

    # What the run made is there for the checkout too, without making it again.
    run("git", "fetch", "--quiet", ".", run("git", "for-each-ref", "--format=%(refname)", "refs/runs").stdout.strip())
    run("git", "checkout", "FETCH_HEAD", "--", "dvc.lock", "params.yaml")
    assert run(".venv/bin/dvc", "checkout", "--quiet").returncode == 0
    assert "up to date" in run(".venv/bin/dvc", "status").stdout
