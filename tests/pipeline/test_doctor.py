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
import yaml
from small_shop import commit

from clickflow.doctor import machine, shop_log
from clickflow.doctor.services import FAMILIES, VARIABLES
from clickflow.events.ingest import ingest
from clickflow.params.file import check
from clickflow.system.paths import Paths

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
        "CLICKFLOW_PORT_SERVING": "0",
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
    by_subject: dict[str, list[dict[str, Any]]] = {}
    for finding in json.loads(done.stdout)["findings"]:
        by_subject.setdefault(finding["about"], []).append(finding)
    for finding in (finding for findings in by_subject.values() for finding in findings):
        assert (finding["state"] == "ok") == (not finding["mend"]), finding
    return done.returncode, by_subject


@pytest.mark.slow
def test_a_machine_that_is_well_has_no_fault_and_keeps_no_trace(checkout: Path) -> None:
    remote = checkout.parent / "remote"
    code, findings = doctor(checkout, CLICKFLOW_DVC_REMOTE=str(remote))
    assert code == 0, findings
    assert {"python", "home", "memory", "clock", "gpu", "commit", "dvc remote", "mlflow", "platform"} <= findings.keys()
    assert str(remote) in findings["dvc remote"][0]["words"]
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
        code, findings = doctor(
            checkout,
            CLICKFLOW_DVC_REMOTE=str(checkout / "blocked"),
            CLICKFLOW_PORT_AIRFLOW=port,
            CLICKFLOW_HOMME="/somewhere",
            CLICKFLOW_NOTICES="nonsense",
            MLFLOW_TRACKING_URI="http://127.0.0.1:9",
        )
    assert code == 1

    def only(about: str) -> dict[str, str]:
        (finding,) = findings[about]
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
    assert "nonsense" not in json.dumps(findings), "an address of notices is a secret"
    assert only("mlflow")["state"] == "fault"
    assert "http://127.0.0.1:9" in only("mlflow")["words"]


def test_an_environment_of_an_older_checkout_is_named(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert machine.packages(Paths(root))[0].state != "fault"
    old = tmp_path / "clickflow-0.0.1.dist-info"
    old.mkdir()
    (old / "METADATA").write_text("Metadata-Version: 2.1\nName: clickflow\nVersion: 0.0.1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (finding,) = machine.packages(Paths(root))
    assert finding.state == "fault"
    assert "does not find the plugin" in finding.words
    assert finding.mend == "make environment"


@pytest.mark.slow
def test_wrong_params_and_a_home_that_cannot_be_written_are_faults(checkout: Path) -> None:
    params = checkout / "params.yaml"
    params.write_text(params.read_text().replace("seed: 0", "sede: 0"))
    code, findings = doctor(checkout, CLICKFLOW_HOME="/proc/clickflow", CLICKFLOW_EXECUTOR="kubernetes")
    assert code == 1
    assert findings["params.yaml"][0]["state"] == "fault"
    assert findings["home"][0]["state"] == "fault"
    assert "CLICKFLOW_HOME" in findings["home"][0]["mend"]
    assert "edge, local, celery" in findings["variables"][0]["words"]


HEADER = "event_time,event_type,user_id,session_id,item_id\n"


@pytest.mark.parametrize(
    ("name", "text", "settings", "state", "words"),
    [
        ("a.csv", HEADER + "2026-01-05 10:00:00,view,u1,s1,i1\n", {}, "ok", "1 file, 0.0 MB"),
        ("a.csv", "when,what\n2026-01-05,view\n", {}, "fault", "a.csv"),
        ("", "", {"path": "nowhere"}, "fault", "there is no file or folder"),
        ("", "", {"pattern": "*.csv"}, "fault", "no file in"),
        ("", "", {"kind": "sql", "sql_query": "orders"}, "fault", "CLICKFLOW_SQL_URL is not set"),
        ("", "", {"kind": "simulator"}, "ok", "a simulated log"),
    ],
)
def test_the_log_is_looked_at_before_an_ingest_stumbles(
    tmp_path: Path, raw_params: Any, name: str, text: str, settings: dict[str, str], state: str, words: str
) -> None:
    (tmp_path / "log").mkdir()
    if name:
        (tmp_path / "log" / name).write_text(text)
    raw_params["source"] |= {"kind": "files", "path": "log"} | settings
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw_params))
    (finding,) = shop_log.source(Paths(tmp_path))
    assert (finding.state, words in finding.words) == (state, True), finding
    assert bool(finding.mend) == (state != "ok")


def test_a_machine_that_works_for_a_repository_elsewhere_need_not_have_the_log(
    tmp_path: Path, raw_params: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLICKFLOW_REPOSITORY", "ssh://git@example.org/shop.git")
    raw_params["source"] |= {"kind": "files", "path": "nowhere"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw_params))
    assert [finding.state for finding in shop_log.source(Paths(tmp_path))] == ["warning"]


def test_a_key_that_is_lost_is_named_before_everybody_has_another_pseudonym(
    tmp_path: Path, raw_params: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = Paths(tmp_path)
    assert shop_log.key(paths) == [], "no events yet"
    (tmp_path / "log").mkdir()
    (tmp_path / "log/a.csv").write_text(HEADER + "2026-01-05 10:00:00,view,u1,s1,i1\n")
    raw_params["source"] |= {"kind": "files", "path": "log"}
    ingest(check(raw_params), paths)
    assert [finding.state for finding in shop_log.key(paths)] == ["ok"]
    monkeypatch.setenv("CLICKFLOW_PSEUDONYM_KEY", "another key, long enough")
    assert "made other events" in shop_log.key(paths)[0].words
    monkeypatch.delenv("CLICKFLOW_PSEUDONYM_KEY")
    (paths.home / "pseudonym.key").unlink()
    assert shop_log.key(paths)[0].state == "fault"
    assert not (paths.home / "pseudonym.key").exists(), "looking makes no key"


def test_every_variable_that_is_read_is_known(root: Path) -> None:
    read = set()
    for file in (root / "src").rglob("*.py"):
        read |= set(re.findall(r"\bCLICKFLOW_[A-Z_]*[A-Z]\b", file.read_text(encoding="utf-8")))
    unknown = {name for name in read if name not in VARIABLES and not re.fullmatch(FAMILIES, name)}
    assert unknown == set()
    assert not {name for name in VARIABLES if name not in read}, "nothing reads these"
