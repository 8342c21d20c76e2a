"""kill -9 of every part of the platform, a full disk, locks left behind: a crash costs time, and nothing else.

Each fault hits a run at work. The run ends right after recovery, or fails with a message that says what to do; no
training goes on for nobody; nothing is promoted twice or half. How long recovery takes is printed, and not judged.
docs/runbooks/ has a page for each.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import faults
import pytest
from faults import PATIENCE, PROMOTING, Recovery, another, end, in_training, wait_for
from platform_client import Platform

pytestmark = [pytest.mark.platform, pytest.mark.timeout(900)]

HOME_MB = 400
"""The home is a disk of its own, where the test may mount one, so that it can be filled."""


@pytest.fixture(scope="module")
def mounted() -> Iterator[list[Path]]:
    """Folders to unmount when the platform is down."""
    folders: list[Path] = []
    yield folders
    for folder in folders:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="module")
def shop(mounted: list[Path], start_platform: Callable[..., Platform]) -> Platform:
    """A platform with an Edge worker; its home has little room where this process may mount disks."""
    platform = start_platform(params=faults.LONG, up=False)
    platform.home.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={HOME_MB}m", "none", str(platform.home)]
    if os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0:
        mounted.append(platform.home)
    platform.up()
    return platform


def test_a_training_and_the_servers_are_killed(shop: Platform, recovery: Recovery) -> None:
    before = faults.promotions(shop)
    run = another(shop, 0.0031)
    first = in_training(shop, run)
    with recovery("kill -9 of the stage"):
        end(first)
        second = wait_for(shop, faults.TRAINING, besides=first, run=run)
    second = in_training(shop, run)
    with recovery("kill -9 of the task"):
        end(faults.task_of(second))
        faults.gone(second)
        third = wait_for(shop, faults.TRAINING, besides=second, run=run)
    for service in ("api-server", "mlflow", "scheduler"):
        with recovery(f"kill -9 of {service} in training"):
            was = shop.kill(service)
            faults.healthy(shop, service, besides=was)
    faults.ends_well(shop, run)
    faults.gone(third)
    assert shop.tasks("retrain", run)["train.next_step"]["try_number"] == 3, "the servers' end is not the training's"
    faults.clear(shop, run, "promote")  # any task may be, the last ones included
    assert shop.wait("retrain", run, timeout=PATIENCE) == "success", shop.states("retrain", run)
    assert "is champion already" in shop.log("retrain", run, "promote", 2)
    for attempt in (2, 3):
        assert "going on from there" in shop.log("retrain", run, "train.next_step", attempt)
    assert "was killed (Killed, signal 9)" in shop.log("retrain", run, "train.next_step", 1)
    faults.registry_is_whole(shop, promotions=before + 1)
    assert not faults.strays(shop)


def test_the_worker_is_killed_in_training_and_promote_in_the_middle(shop: Platform, recovery: Recovery) -> None:
    before = faults.promotions(shop)
    run = another(shop, 0.0032)
    training = in_training(shop, run)
    with recovery("kill -9 of the Edge worker"):
        was = shop.kill("worker-gpu")
        faults.healthy(shop, "worker-gpu", besides=was)
        assert len(faults.doing(shop, faults.TRAINING)) <= 1

    versions, lines = _versions(shop), len(faults.ledger(shop))
    promoting = wait_for(shop, PROMOTING, run=run)
    faults.moment(lambda: _versions(shop) > versions)
    with recovery("kill -9 of promote, the version registered"):
        end(promoting)
        assert len(faults.ledger(shop)) == lines, "it was hit too late"
        promoting = wait_for(shop, PROMOTING, besides=promoting, run=run)
    faults.moment(lambda: len(faults.ledger(shop)) > lines)
    with recovery("kill -9 of promote, the ledger's line written"):
        end(promoting)
        wait_for(shop, PROMOTING, besides=promoting, run=run)
    faults.ends_well(shop, run)
    assert not faults.alive(training)
    faults.registry_is_whole(shop, promotions=before + 1)
    assert _versions(shop) == versions + 1, "registered twice"
    assert not faults.strays(shop)


def test_servers_are_killed_while_a_person_decides_and_mlflow_while_promoting(
    shop: Platform, recovery: Recovery
) -> None:
    before = faults.promotions(shop)
    with shop.committed({"promotion.approve": ["next_step"]}):
        run = another(shop, 0.0033)
        shop.wait_for_task("retrain", run, "open", "success", timeout=PATIENCE)
    shop.wait_for_task("retrain", run, "approve.next_step", "awaiting_input", "deferred", timeout=PATIENCE)
    for service in ("triggerer", "dag-processor"):
        with recovery(f"kill -9 of {service} while a candidate waits"):
            was = shop.kill(service)
            faults.healthy(shop, service, besides=was)
    _leave_a_lock(shop, run)
    answer = {"chosen_options": ["Approve"], "params_input": {"reason": "I looked"}}
    path = f"/dags/retrain/dagRuns/{run.replace('+', '%2B')}/taskInstances/approve.next_step/-1/hitlDetails"
    status, content = shop.request("PATCH", path, answer)
    assert status == 200, content
    wait_for(shop, PROMOTING, run=run)
    with recovery("kill -9 of mlflow while promoting"):
        shop.kill("mlflow")
        faults.ends_well(shop, run)
    faults.registry_is_whole(shop, promotions=before + 1)
    assert "I looked" in json.dumps(faults.ledger(shop)[-1])
    assert not faults.strays(shop)


def test_the_disk_is_full(shop: Platform, recovery: Recovery) -> None:
    if not os.path.ismount(shop.home):
        pytest.skip("the disk cannot be filled: only root may mount one of its own")
    before = faults.promotions(shop)
    run = another(shop, 0.0034)
    in_training(shop, run)
    ballast = shop.home / "ballast"
    with pytest.raises(OSError, match="No space left"), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(2**18))
    shop.until(lambda: not faults.doing(shop, faults.TRAINING), PATIENCE)
    time.sleep(20)  # the training has ended, and its task stands before a full disk
    ballast.unlink()
    with recovery("a full disk, from the moment there is room"):
        shop.up()
        faults.ends_well(shop, run)
    faults.registry_is_whole(shop, promotions=before + 1)
    assert not faults.strays(shop)


def _versions(shop: Platform) -> int:
    """How many versions MLflow's database has."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(f"file:{shop.home / 'mlflow.db'}?mode=ro", uri=True, timeout=30)) as database:
        return int(database.execute("select count(*) from model_versions").fetchone()[0])


def _leave_a_lock(shop: Platform, run: str) -> None:
    """As a DVC that was killed while it laid a run's results out: half of them, and its locks."""
    (folder,) = [folder for folder in (shop.home / "runs").iterdir() if run[8:27].replace(":", "-") in folder.name]
    nobody = subprocess.Popen(["true"])
    nobody.wait()
    held = {"pid": nobody.pid, "cmd": "dvc pull"}
    temporary = folder / ".dvc/tmp"
    temporary.mkdir(exist_ok=True)
    (temporary / "rwlock").write_text(json.dumps({"write": {str(folder / "models/next_step/exported"): held}}))
    (temporary / "lock").write_text(f"{nobody.pid}\n")
    (folder / ".git/clickflow-results").unlink()
    for file in (folder / "models/next_step/exported").iterdir():
        file.unlink()
