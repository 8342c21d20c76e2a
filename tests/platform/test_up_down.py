"""`clickflow up` and `down`: all of it healthy, on loopback, within its memory; harmless twice; nothing left."""

import json
import stat
from pathlib import Path

import pytest
from platform_client import Platform

pytestmark = [pytest.mark.platform, pytest.mark.timeout(1200)]

SERVICES = {"api-server", "scheduler", "dag-processor", "triggerer", "worker-gpu", "mlflow"}


def test_every_service_is_healthy_and_within_its_memory(platform: Platform, capsys: pytest.CaptureFixture[str]) -> None:
    services = platform.services()
    assert services.keys() >= SERVICES
    assert all(service["healthy"] for service in services.values()), services
    used = {name: service["memory"] / 2**20 for name, service in services.items()}
    with capsys.disabled():
        print(
            f"\nmemory, MB: {', '.join(f'{name} {size:.0f}' for name, size in used.items())}: {sum(used.values()):.0f}"
        )
    assert sum(used.values()) < 4096
    assert all(used[name] > 10 for name in SERVICES), "memory was not measured"


def test_everything_listens_on_loopback_alone(platform: Platform) -> None:
    sockets: dict[str, str] = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            parts = line.split()
            if parts[3] == "0A":
                sockets[f"socket:[{parts[9]}]"] = parts[1].rpartition(":")[0]
    listening = set()
    for process in platform.processes():
        try:
            targets = [str(link.readlink()) for link in Path(f"/proc/{process}/fd").iterdir()]
        except OSError:
            continue  # it has ended meanwhile
        listening |= {sockets[target] for target in targets if target in sockets}
    assert listening == {"0100007F"}


def test_secrets_are_private_and_are_not_said(platform: Platform) -> None:
    folder = platform.home / "platform"
    configured = ("supervisord.conf", "airflow/airflow.cfg", "workers/worker-gpu/airflow.cfg", "mlflow.ini")
    for name in ("passwords.json", "secrets.json", "jwt.pem", "mlflow.json", *configured):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600, name
    secrets = [*json.loads((folder / "secrets.json").read_text()).values(), platform.password()]
    said = "".join(file.read_text(errors="replace") for file in (platform.home / "logs/platform").glob("*"))
    shown = platform.command("ps")
    for secret in secrets:
        assert secret not in said + shown.stdout + shown.stderr
    environments = b"".join(Path(f"/proc/{process}/environ").read_bytes() for process in platform.processes())
    assert not any(secret.encode() in environments for secret in secrets)


def test_a_run_trains_on_the_edge_worker_and_promotes(platform: Platform) -> None:
    run = platform.trigger("retrain")
    assert platform.wait("retrain", run, timeout=900) == "success"
    tasks = platform.tasks("retrain", run)
    assert tasks["train.next_step"]["queue"] == "gpu"
    assert "EdgeExecutor" in tasks["train.next_step"]["executor"]
    assert not any("EdgeExecutor" in (task["executor"] or "") for name, task in tasks.items() if "train" not in name)
    assert platform.log("retrain", run, "train.next_step")
    # By hand, without a server, the same registry.
    status = json.loads(platform.command("status", "--json").stdout)
    assert status["models"]["next_step"]["champion"]["version"] == 1


def test_up_again_changes_nothing(platform: Platform) -> None:
    before = {name: platform.services()[name]["process"] for name in SERVICES}
    platform.up()
    assert {name: platform.services()[name]["process"] for name in SERVICES} == before


def test_what_was_killed_comes_back_by_itself(platform: Platform) -> None:
    for service in sorted(SERVICES):
        was = platform.kill(service)
        platform.until(
            lambda name=service, old=was: (  # type: ignore[misc]
                (now := platform.services()[name])["healthy"] and now["process"] not in (0, old)
            ),
            240,
            platform.services,
        )


def test_down_ends_a_run_in_mid_training_and_up_goes_on(platform: Platform) -> None:
    run = platform.trigger("retrain", {"overrides": {"seed": 5, "models.next_step.budget.epochs": 40}})
    platform.until(lambda: platform.stage("train next_step"), 600, lambda: platform.states("retrain", run))
    platform.down()
    assert not platform.command("down").returncode
    for name in ("supervisord.pid", "supervisor.sock", "state.json"):
        assert not (platform.home / "platform" / name).exists()
    platform.up()
    platform.wait_for_task("retrain", run, "train.next_step", "running", timeout=600)
    platform.request("PATCH", f"/dags/retrain/dagRuns/{run.replace('+', '%2B')}", {"state": "failed"})
