"""FAB in the place of Airflow's simple manager: people with roles, as docs/howto/containers.md says."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from servers import answering, port

pytestmark = [pytest.mark.platform, pytest.mark.timeout(900)]
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
PASSWORD = "letters-enough"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An API server under FAB, with ada (Admin) and eve (Viewer)."""
    folder, number = tmp_path_factory.mktemp("airflow"), port()
    (folder / "dags").mkdir()
    env = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    env |= {
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__AUTH_MANAGER": "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(number),
        "AIRFLOW__API__SECRET_KEY": "s" * 32,
        "AIRFLOW__API_AUTH__JWT_SECRET": "j" * 64,
    }
    subprocess.run(
        [sys.executable, "-m", "clickflow.airflow.prepare", "--pool", "gpu=1"],
        env=env,
        check=True,
        capture_output=True,
    )
    for user, role in {"ada": "Admin", "eve": "Viewer"}.items():
        words = ["users", "create", "--username", user, "--role", role, "--email", f"{user}@localhost"]
        words += ["--firstname", user, "--lastname", user]
        said = f"{PASSWORD}\n{PASSWORD}\n"  # as docker/entrypoint gives it
        subprocess.run(
            [sys.executable, "-m", "airflow", *words], env=env, input=said, text=True, check=True, capture_output=True
        )
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "airflow", "api-server", "--workers", "1"], env=env, stdout=out, stderr=out
        )
    try:
        answering(f"http://127.0.0.1:{number}/api/v2/monitor/health", process, log)
        yield f"http://127.0.0.1:{number}"
    finally:
        process.terminate()
        process.wait(60)


def ask(url: str, method: str, path: str, body: Any = None, token: str = "") -> tuple[int, Any]:
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    data = None if body is None else json.dumps(body).encode()
    try:
        with OPENER.open(urllib.request.Request(url + path, data, headers, method=method), timeout=60) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, None


def test_roles_hold_and_a_wrong_password_opens_nothing(server: str) -> None:
    for user, (connections, pools) in {"ada": (200, 201), "eve": (403, 403)}.items():
        status, said = ask(server, "POST", "/auth/token", {"username": user, "password": PASSWORD})
        assert status == 201, user
        token = said["access_token"]
        assert ask(server, "GET", "/api/v2/dags", token=token)[0] == 200, user
        assert ask(server, "GET", "/api/v2/connections", token=token)[0] == connections, user
        assert ask(server, "POST", "/api/v2/pools", {"name": user, "slots": 1}, token)[0] == pools, user
    assert ask(server, "POST", "/auth/token", {"username": "eve", "password": "wrong"})[0] == 401
    assert ask(server, "GET", "/api/v2/dags")[0] == 401
