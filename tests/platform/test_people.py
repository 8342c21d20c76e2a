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
ROLES = {"ada": "Admin", "olga": "Op", "ulf": "User", "eve": "Viewer"}
NAMES = {"first_name": "x", "last_name": "x", "password": PASSWORD}
ITSELF = "/auth/fab/v1/users/{me}?update_mask=roles"
REQUESTS: dict[str, tuple[str, str, Any, tuple[int, ...]]] = {
    "look at DAGs": ("GET", "/api/v2/dags", None, (200, 200, 200, 200)),
    "read connections": ("GET", "/api/v2/connections", None, (200, 200, 403, 403)),
    "read variables": ("GET", "/api/v2/variables", None, (200, 200, 403, 403)),
    "make a pool": ("POST", "/api/v2/pools", {"name": "{me}", "slots": 1}, (201, 201, 403, 403)),
    "read the configuration": ("GET", "/api/v2/config", None, (403, 403, 403, 403)),
    "read people": ("GET", "/auth/fab/v1/users", None, (200, 403, 403, 403)),
    "become admin": ("PATCH", ITSELF, {"roles": [{"name": "Admin"}]}, (200, 403, 403, 403)),
    "make an admin": (
        "POST",
        "/auth/fab/v1/users",
        {"username": "{me}-2", "email": "{me}-2@localhost", "roles": [{"name": "Admin"}], **NAMES},
        (200, 403, 403, 403),
    ),
    "make a role": ("POST", "/auth/fab/v1/roles", {"name": "{me}", "actions": []}, (200, 403, 403, 403)),
}  # fmt: skip
"""Method, path, body, and the status that Admin, Op, User and Viewer get."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An API server under FAB, with a user a role."""
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
    for user, role in ROLES.items():
        words = ["users", "create", "--username", user, "--role", role, "--email", f"{user}@localhost"]
        words += ["--firstname", user, "--lastname", user]
        typed = f"{PASSWORD}\n{PASSWORD}\n"  # as docker/entrypoint gives it
        subprocess.run(
            [sys.executable, "-m", "airflow", *words], env=env, input=typed, text=True, check=True, capture_output=True
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


def test_each_role_gets_what_it_may_and_no_more(server: str) -> None:
    answered: dict[str, list[int]] = {what: [] for what in REQUESTS}
    for user in ROLES:
        status, answer = ask(server, "POST", "/auth/token", {"username": user, "password": PASSWORD})
        assert status == 201, user
        for what, (method, path, body, _) in REQUESTS.items():
            where, with_what = json.loads(json.dumps([path, body]).replace("{me}", user))
            answered[what].append(ask(server, method, where, with_what, answer["access_token"])[0])
    assert answered == {what: list(statuses) for what, (_, _, _, statuses) in REQUESTS.items()}


def test_a_wrong_password_and_none_open_nothing(server: str) -> None:
    assert ask(server, "POST", "/auth/token", {"username": "eve", "password": "wrong"})[0] == 401
    assert ask(server, "POST", "/auth/token", {"username": "nobody", "password": PASSWORD})[0] == 401
    for what, (method, path, body, _) in REQUESTS.items():
        assert ask(server, method, path, body)[0] == 401, what
