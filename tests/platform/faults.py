"""What goes wrong on a running platform, done to it from outside, and what must hold after each fault."""

import contextlib
import json
import os
import signal
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from platform_client import Platform

LONG = {
    "models.next_step.budget.epochs": 16,
    "models.next_step.budget.patience": 1000,
    "models.next_step.budget.batch_tokens": 256,
    "models.next_step.budget.checkpoint_seconds": 0.5,
    "gate.champion.margin": 0.9,
    "gate.max_slice_drop": 0.9,
}
"""Params with which a training takes ten seconds and more, with a checkpoint to go on from after the first one; and the
gate promotes every candidate, for the test part is too small to tell two models apart."""

PATIENCE = 420.0
"""Seconds for whatever is waited for: how long it takes is measured and never judged, for machines differ."""

TRAINING = "clickflow train next_step"
PROMOTING = "clickflow promote"

Recovery = Callable[[str], contextlib.AbstractContextManager[None]]
"""`with recovery("fault"):` the fault, and the wait until its work goes on; see conftest.py."""

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def another(platform: Platform, rate: float, **more: Any) -> str:
    """Start a run of `retrain` whose model is another one than those before: its learning rate is `rate`."""
    return platform.trigger("retrain", {"overrides": {"models.next_step.optimiser.learning_rate": rate, **more}})


def clear(platform: Platform, run: str, task: str = "") -> None:
    """What a person does when the cause is mended: clear the failed tasks, or one, and those after it."""
    body = {"dry_run": False, "dag_run_id": run, "reset_dag_runs": True}
    which = {"task_ids": [task], "only_failed": False, "include_downstream": True} if task else {"only_failed": True}
    path = "/dags/retrain/clearTaskInstances"
    platform.until(lambda: platform.request("POST", path, body | which)[0] == 200, PATIENCE, pause=2)
    platform.until(lambda: platform.run("retrain", run)["state"] not in ("success", "failed"), PATIENCE)


def ends_well(platform: Platform, run: str) -> None:
    """The run succeeds; or it has failed with words that say what to do, and succeeds when that is done.

    A server that takes minutes to come back, on a slow machine, is longer than a task tries.
    """
    if platform.wait("retrain", run, timeout=PATIENCE) == "failed":
        tasks = platform.tasks("retrain", run)
        for name, task in tasks.items():
            if task["state"] == "failed":
                log = platform.log("retrain", run, name, int(task["try_number"]))
                assert "next: " in log or "No space left" in log, log
        platform.until(lambda: all(s["healthy"] for s in platform.services().values()), PATIENCE, platform.services)
        clear(platform, run)
    assert platform.wait("retrain", run, timeout=PATIENCE) == "success", platform.states("retrain", run)


# Processes


def command(process: int) -> str:
    """The command line of a process; empty where it has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def alive(process: int) -> bool:
    """Whether a process is there and no zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def doing(platform: Platform, what: str) -> list[int]:
    """The platform's processes that do a verb: the interpreter that runs it, not the shell or leash above it."""
    ids = []
    for process in platform.processes():
        program, _, verb = command(process).partition(" ")
        folder, _, verb = verb.partition("/clickflow ")
        if "python" in program and " " not in folder and f"clickflow {verb}".startswith(what) and alive(process):
            ids.append(process)
    return ids


def wait_for(platform: Platform, what: str, *, besides: int = 0, run: str = "") -> int:
    """The process that does a verb, as soon as there is one; never two at once."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        ids = doing(platform, what)
        assert len(ids) < 2, f"{what} runs twice: {[(process, command(process)) for process in ids]}"
        if ids and ids != [besides]:
            return ids[0]
        time.sleep(0.1)
    raise AssertionError(f"no process does `{what}`" + (f": {platform.states('retrain', run)}" if run else ""))


def in_training(platform: Platform, run: str, *, besides: int = 0) -> int:
    """The process of a training that has a checkpoint to go on from."""
    process = wait_for(platform, TRAINING, besides=besides, run=run)
    began = time.time()
    files = platform.home.glob
    platform.until(
        lambda: not alive(process) or any(f.stat().st_mtime > began for f in files("checkpoints/*/step-*.json")),
        PATIENCE,
        pause=0.02,
    )
    assert alive(process), "the training was over before it could be hit: give it more epochs"
    return process


def task_of(process: int) -> int:
    """The task's own process, which waits for the stage that `process` is."""
    while process > 1:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{process}/cmdline").read_bytes().startswith(b"airflow worker -- "):
                return process
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    raise AssertionError("no task waits for it")


def gone(process: int, within: float = 30) -> None:
    """A process ends by itself: nothing trains on for nobody."""
    deadline = time.monotonic() + within
    while alive(process):
        assert time.monotonic() < deadline, f"it goes on without its task: {command(process)}"
        time.sleep(0.05)


def strays(platform: Platform) -> list[str]:
    """What tasks have started and what still runs; the platform must be at rest."""
    commands = []
    for process in platform.processes():
        with contextlib.suppress(OSError):
            if b"\0CLICKFLOW_RUN_ID=" in Path(f"/proc/{process}/environ").read_bytes() and alive(process):
                commands.append(command(process))
    return commands


def healthy(platform: Platform, service: str, besides: int) -> None:
    """Wait until a service does its work again, in another process."""

    def again() -> bool:
        now = platform.services()[service]
        return bool(now["healthy"] and now["process"] not in (0, besides))

    platform.until(again, PATIENCE, lambda: platform.services())


def moment(holds: Callable[[], Any]) -> None:
    """Wait, looking often, until something is so: now is the time for the fault."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "the moment never came"
        time.sleep(0.002)


def end(process: int) -> None:
    """kill -9, of a process that may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


# The registry


def ledger(platform: Platform) -> list[dict[str, Any]]:
    """The lines of the ledger."""
    file = platform.home / "ledger.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def aliases(platform: Platform) -> dict[str, int]:
    """Who is champion and who was, asked of MLflow."""
    versions = {}
    for alias in ("champion", "previous"):
        query = urllib.parse.urlencode({"name": "next_step", "alias": alias})
        with contextlib.suppress(urllib.error.HTTPError):
            url = f"{platform.mlflow}/api/2.0/mlflow/registered-models/alias?{query}"
            with _OPENER.open(platform.mlflow_request(url), timeout=60) as answer:
                versions[alias] = int(json.load(answer)["model_version"]["version"])
    return versions


def promotions(platform: Platform) -> int:
    """How many promotions the ledger has."""
    return sum(line["action"] == "promote" for line in ledger(platform))


def registry_is_whole(platform: Platform, *, promotions: int) -> None:
    """So many promotions there were, each once; ledger, MLflow and `clickflow status` name the same champion."""
    lines = [line for line in ledger(platform) if line["action"] == "promote"]
    assert [line["version"] for line in lines] == sorted({line["version"] for line in lines}), "promoted twice"
    assert len({line["facts"]["decision_sha256"] for line in lines}) == len(lines) == promotions
    if not lines:
        assert aliases(platform) == {}
        return
    status = json.loads(platform.command("status", "--json").stdout)["models"]["next_step"]
    assert status["champion"]["version"] == lines[-1]["champion"]
    expected = {"champion": lines[-1]["champion"], "previous": lines[-1]["previous"]}
    assert aliases(platform) == {name: version for name, version in expected.items() if version}
