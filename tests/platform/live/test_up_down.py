"""`clickflow up` and `down`: all of it healthy, on loopback, within its memory; harmless twice; nothing left.

The folder's last module: what it kills and takes down is the platform of all.
"""

import json
import stat
from pathlib import Path

import pytest
from platform_client import Platform

from live import records

pytestmark = [pytest.mark.platform, pytest.mark.timeout(1200)]

SERVICES = {"api-server", "scheduler", "dag-processor", "triggerer", "worker-gpu", "mlflow", "serving"}
BELOW = {"scheduler", "dag-processor", "triggerer"}
"""Those that nobody asks."""


def test_every_service_is_healthy_and_within_its_memory(shop: Platform, capsys: pytest.CaptureFixture[str]) -> None:
    services = shop.services()
    assert services.keys() >= SERVICES
    assert all(service["healthy"] for service in services.values()), services
    used = {name: service["memory"] / 2**20 for name, service in services.items()}
    with capsys.disabled():
        print(
            f"\nmemory, MB: {', '.join(f'{name} {size:.0f}' for name, size in used.items())}: {sum(used.values()):.0f}"
        )
    assert sum(used.values()) < 4096
    assert all(used[name] > 10 for name in SERVICES), "memory was not measured"


def test_everything_listens_on_loopback_alone(shop: Platform) -> None:
    sockets: dict[str, str] = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            parts = line.split()
            if parts[3] == "0A":
                sockets[f"socket:[{parts[9]}]"] = parts[1].rpartition(":")[0]
    listening = set()
    for process in shop.processes():
        try:
            targets = [str(link.readlink()) for link in Path(f"/proc/{process}/fd").iterdir()]
        except OSError:
            continue  # it has ended meanwhile
        listening |= {sockets[target] for target in targets if target in sockets}
    assert listening == {"0100007F"}


def test_secrets_are_private_and_are_not_said(shop: Platform) -> None:
    folder = shop.home / "platform"
    configured = ("supervisord.conf", "airflow/airflow.cfg", "workers/worker-gpu/airflow.cfg", "mlflow.ini")
    for name in ("passwords.json", "secrets.json", "jwt.pem", "mlflow.json", *configured):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600, name
    secrets = [*json.loads((folder / "secrets.json").read_text()).values(), shop.password()]
    logs = "".join(file.read_text(errors="replace") for file in (shop.home / "logs/platform").glob("*"))
    shown = shop.command("ps")
    for secret in secrets:
        assert secret not in logs + shown.stdout + shown.stderr
    environments = b"".join(Path(f"/proc/{process}/environ").read_bytes() for process in shop.processes())
    assert not any(secret.encode() in environments for secret in secrets)


def test_a_run_trains_on_the_edge_worker_and_promotes(shop: Platform, first: str) -> None:
    tasks = shop.tasks("retrain", first)
    assert tasks["train.next_step"]["queue"] == "gpu"
    assert "EdgeExecutor" in tasks["train.next_step"]["executor"]
    assert not any("EdgeExecutor" in (task["executor"] or "") for name, task in tasks.items() if "train" not in name)
    assert shop.log("retrain", first, "train.next_step")
    # By hand, without a server, the same registry.
    (promoted,) = [line for line in records.ledger(shop) if line["facts"].get("dag_run") == f"retrain/{first}"]
    assert (promoted["action"], promoted["version"]) == ("promote", 1)
    assert records.champion(shop)["version"] >= 1


def processes(shop: Platform) -> dict[str, int]:
    """The process of each service."""
    services = shop.services()
    return {name: services[name]["process"] for name in SERVICES}


def test_up_again_changes_nothing(shop: Platform) -> None:
    before = processes(shop)
    shop.up()
    assert processes(shop) == before


@pytest.mark.parametrize("killed", [SERVICES - BELOW, BELOW], ids=["those that others ask", "the others"])
def test_what_was_killed_comes_back_by_itself(shop: Platform, killed: set[str]) -> None:
    """Several at once: each alone is killed in test_crashes.py, with a run at work."""
    was = {service: shop.kill(service) for service in sorted(killed)}

    def back() -> bool:
        now = shop.services()
        return all(now[name]["healthy"] and now[name]["process"] not in (0, old) for name, old in was.items())

    shop.until(back, 240, shop.services)


def test_down_ends_a_run_in_mid_training_and_up_goes_on(shop: Platform) -> None:
    run = shop.trigger("retrain", {"overrides": {"seed": 5, "models.next_step.budget.epochs": 40}})
    shop.until(lambda: shop.stage("train next_step"), 600, lambda: shop.states("retrain", run))
    shop.down()
    assert not shop.command("down").returncode
    for name in ("supervisord.pid", "supervisor.sock", "state.json"):
        assert not (shop.home / "platform" / name).exists()
    shop.up()
    shop.wait_for_task("retrain", run, "train.next_step", "running", timeout=600)
    shop.request("PATCH", f"/dags/retrain/dagRuns/{run.replace('+', '%2B')}", {"state": "failed"})
