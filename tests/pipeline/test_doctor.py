"""`clickflow doctor`: each thing that can be wrong on a machine is named, with what mends it."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_shop import commit

from clickflow.orchestration.doctor.services import FAMILIES, VARIABLES

pytestmark = pytest.mark.timeout(200)


@pytest.fixture
def checkout(shop: Path, root: Path) -> Path:
    (shop / "constraints.txt").write_text((root / "constraints.txt").read_text())
    commit(shop, "constraints")
    return shop


def doctor(shop: Path, **env: str) -> tuple[int, dict[str, list[dict[str, str]]]]:
    """Exit code, and the findings by what they are about."""
    known = {
        "CLICKFLOW_HOME": os.environ["CLICKFLOW_HOME"],
        "CLICKFLOW_PORT_AIRFLOW": "0",
        "CLICKFLOW_PORT_MLFLOW": "0",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CLICKFLOW_", "MLFLOW_"))}
    done = subprocess.run(
        [sys.executable, "-m", "clickflow.cli", "doctor", "--json"],
        cwd=shop,
        env={**kept, **known, **env},
        capture_output=True,
        text=True,
        timeout=190,
    )
    assert done.stdout, done.stderr
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in json.loads(done.stdout)["findings"]:
        found.setdefault(finding["about"], []).append(finding)
    for finding in (finding for findings in found.values() for finding in findings):
        assert (finding["state"] == "ok") == (not finding["mend"]), finding
    return done.returncode, found


@pytest.mark.slow
def test_a_machine_that_is_well_has_no_fault_and_keeps_no_trace(checkout: Path) -> None:
    remote = checkout.parent / "remote"
    code, found = doctor(checkout, CLICKFLOW_DVC_REMOTE=str(remote))
    assert code == 0, found
    assert {"python", "home", "memory", "clock", "gpu", "commit", "dvc remote", "mlflow", "platform"} <= found.keys()
    assert str(remote) in found["dvc remote"][0]["words"]
    assert not [path for path in remote.rglob("*") if path.is_file()]
    assert not any(path.is_file() for path in Path(os.environ["CLICKFLOW_HOME"]).rglob("*"))


@pytest.mark.slow
def test_each_fault_is_named_with_what_mends_it(checkout: Path) -> None:
    (checkout / "more.txt").write_text("not committed\n")
    (checkout / "blocked").write_text("a file where a folder should be\n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, found = doctor(
            checkout,
            CLICKFLOW_DVC_REMOTE=str(checkout / "blocked"),
            CLICKFLOW_PORT_AIRFLOW=port,
            CLICKFLOW_HOMME="/somewhere",
            CLICKFLOW_NOTICES="nonsense",
            MLFLOW_TRACKING_URI="http://127.0.0.1:9",
        )
    assert code == 1

    def only(about: str) -> dict[str, str]:
        (finding,) = found[about]
        return finding

    assert only("commit")["state"] == "warning"
    assert "more.txt" in only("commit")["words"]
    assert only("dvc remote")["state"] == "fault"
    assert "CLICKFLOW_DVC_REMOTE" in only("dvc remote")["mend"]
    assert only("ports")["state"] == "warning"
    assert f"{port} is in use" in only("ports")["words"]
    assert f"(process {os.getpid()})" in only("ports")["words"]
    assert only("variables")["mend"] == "did you mean CLICKFLOW_HOME?"
    assert only("notices")["state"] == "fault"
    assert "nonsense" not in json.dumps(found), "an address of notices is a secret"
    assert only("mlflow")["state"] == "fault"
    assert "http://127.0.0.1:9" in only("mlflow")["words"]


@pytest.mark.slow
def test_wrong_params_and_a_home_that_cannot_be_written_are_faults(checkout: Path) -> None:
    params = checkout / "params.yaml"
    params.write_text(params.read_text().replace("seed: 0", "sede: 0"))
    code, found = doctor(checkout, CLICKFLOW_HOME="/proc/clickflow", CLICKFLOW_EXECUTOR="kubernetes")
    assert code == 1
    assert found["params.yaml"][0]["state"] == "fault"
    assert found["home"][0]["state"] == "fault"
    assert "CLICKFLOW_HOME" in found["home"][0]["mend"]
    assert "edge, local, celery" in found["variables"][0]["words"]


def test_every_variable_that_is_read_is_known(root: Path) -> None:
    read = set()
    for file in (root / "src").rglob("*.py"):
        read |= set(re.findall(r"\bCLICKFLOW_[A-Z_]*[A-Z]\b", file.read_text(encoding="utf-8")))
    unknown = {name for name in read if name not in VARIABLES and not re.fullmatch(FAMILIES, name)}
    assert unknown == set()
    assert not {name for name in VARIABLES if name not in read}, "nothing reads these"
