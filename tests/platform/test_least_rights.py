"""What each part of a running platform holds opens what it needs and no more: tried with the secrets it really has."""

import configparser
import json
import os
import stat
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from platform_client import Platform

pytestmark = [pytest.mark.platform, pytest.mark.timeout(1200)]


def environment(platform: Platform, service: str) -> dict[str, str]:
    """What a service's process sees."""
    process = platform.services()[service]["process"]
    entries = Path(f"/proc/{process}/environ").read_bytes().decode().rstrip("\0").split("\0")
    return dict(entry.split("=", 1) for entry in entries)


def held(env: dict[str, str]) -> dict[str, str]:
    """Every value that a process has by its variables and its configuration, by name."""
    read = configparser.RawConfigParser()
    read.read(Path(env["AIRFLOW_HOME"]) / "airflow.cfg")
    configured = {f"{section}.{name}": value for section in read.sections() for name, value in read.items(section)}
    return {**env, **configured}


def accepted(platform: Platform, token: str) -> int:
    """The status of what only an admin may ask."""
    return platform._send("GET", "/api/v2/connections", None, token)[0]


def claims(platform: Platform) -> dict[str, Any]:
    """Those of a true admin's token, fresh."""
    own: dict[str, Any] = jwt.decode(platform.token(), options={"verify_signature": False})
    now = int(time.time())
    return {**own, "iat": now, "nbf": now, "exp": now + 600, "jti": "forged"}


@pytest.mark.filterwarnings("ignore:The HMAC key")
def test_a_worker_cannot_make_itself_admin(platform: Platform) -> None:
    own, head = claims(platform), jwt.get_unverified_header(platform.token())
    key = (platform.home / "platform/jwt.pem").read_bytes()
    true = jwt.encode(own, key, algorithm="EdDSA", headers={"kid": head["kid"]})
    assert accepted(platform, true) == 200, "else this test shows nothing"

    mine = held(environment(platform, "worker-gpu"))
    secrets = json.loads((platform.home / "platform/secrets.json").read_text())
    assert mine["api_auth.jwt_secret"] == secrets["jwt"], "what it signs with at the Edge API"
    for name in ("core.fernet_key", "api.secret_key", "api_auth.jwt_private_key_path", "database.sql_alchemy_conn"):
        assert name not in mine, name
    passwords = json.loads((platform.home / "platform/passwords.json").read_text()).values()
    others = [secrets["fernet"], secrets["session"], *passwords, platform.mlflow_password("promoter")]
    assert not {value for value in mine.values() for other in others if other in value}
    for value in {value for value in mine.values() if len(value) >= 8}:
        for algorithm in ("HS256", "HS384", "HS512"):
            for extra in ({}, {"kid": head["kid"]}):
                forged = jwt.encode(own, value, algorithm=algorithm, headers=extra)
                assert accepted(platform, forged) in (401, 403)
    public = jwt.encode(own, None, algorithm="none", headers={"kid": head["kid"]})  # type: ignore[arg-type]
    assert accepted(platform, public) in (401, 403)


def test_a_worker_logs_runs_and_moves_no_model(platform: Platform) -> None:
    env = environment(platform, "worker-gpu")
    assert env["MLFLOW_TRACKING_USERNAME"] == "writer"
    scheduler = environment(platform, "scheduler")
    assert scheduler["MLFLOW_TRACKING_USERNAME"] == "writer", "stages run below it"
    for service in ("api-server", "dag-processor", "triggerer"):
        assert "MLFLOW_TRACKING_PASSWORD" not in environment(platform, service)
    file = platform.home / "platform/mlflow.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    logs = "".join(log.read_text(errors="replace") for log in (platform.home / "logs/platform").glob("*"))
    for password in json.loads(file.read_text()).values():
        assert password not in logs + platform.command("ps").stdout
    assert os.environ.get("MLFLOW_TRACKING_PASSWORD") is None
