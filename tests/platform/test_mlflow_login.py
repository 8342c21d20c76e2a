"""MLflow's server as the platform starts it: who signs in may do what their role says, and nobody else anything."""

import base64
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from servers import answering
from servers import port as free_port

from clickflow.platform.mlflow_login import USERS

pytestmark = [pytest.mark.platform, pytest.mark.timeout(300)]
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def password(user: str) -> str:
    return f"{user}-and-more-letters"


class Server:
    """A running server, asked as its REST API is."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.ids: dict[str, str] = {}

    def ask(self, user: str | None, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and answer below /api/2.0/mlflow."""
        headers = {"Content-Type": "application/json"}
        if user:
            login = user if ":" in user else f"{user}:{password(user)}"
            headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/api/2.0/mlflow/{path}", data=data, headers=headers, method=method)
        try:
            with OPENER.open(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            return error.code, None

    def experiment(self, name: str) -> str:
        answer = self.ask("admin", "GET", f"experiments/get-by-name?experiment_name={name}")[1]
        return str(answer["experiment"]["experiment_id"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("mlflow")
    (folder / "passwords.json").write_text(json.dumps({user: password(user) for user in USERS}))
    port, store = free_port(), f"sqlite:///{folder / 'mlflow.db'}"
    words = ["-m", "clickflow.platform.mlflow_login", "--tracking", store]
    words += ["--users", f"sqlite:///{folder / 'users.db'}", "--artifacts", (folder / "files").as_uri()]
    words += ["--passwords", str(folder / "passwords.json"), "--settings", str(folder / "mlflow.ini"), "--"]
    words += [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--port", str(port)]
    words += ["--workers", "1", "--backend-store-uri", store, "--default-artifact-root", str(folder / "files")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, *words], stdout=log, stderr=log, start_new_session=True)
    mlflow = Server(f"http://127.0.0.1:{port}")
    try:
        answering(f"{mlflow.url}/health", process, folder / "log")
        model = {"name": "next_step"}
        assert mlflow.ask("promoter", "POST", "registered-models/create", model)[0] == 200
        for name in ("training", "registry"):
            body = {"experiment_id": mlflow.experiment(name)}
            mlflow.ids[name] = mlflow.ask("promoter", "POST", "runs/create", body)[1]["run"]["info"]["run_id"]
        version = {**model, "source": f"runs:/{mlflow.ids['registry']}/exported", "run_id": mlflow.ids["registry"]}
        assert mlflow.ask("promoter", "POST", "model-versions/create", version)[0] == 200
        yield mlflow
    finally:
        process.terminate()
        process.wait(30)


LOOK, LOG, MOVE = "look", "log", "move"
MAY = {None: set(), "reader:wrong": set(), "reader": {LOOK}, "writer": {LOOK, LOG}, "promoter": {LOOK, LOG, MOVE}}


@pytest.mark.parametrize("user", MAY, ids=str)
def test_what_a_role_may(server: Server, user: str | None) -> None:
    model = {"name": "next_step"}
    training, registry = server.experiment("training"), server.experiment("registry")
    requests = [
        (LOOK, "GET", "registered-models/get?name=next_step", None),
        (LOOK, "GET", "model-versions/get?name=next_step&version=1", None),
        (LOOK, "POST", "runs/search", {"experiment_ids": [training]}),
        (LOG, "POST", "runs/create", {"experiment_id": training}),
        (LOG, "POST", "runs/set-tag", {"run_id": server.ids["training"], "key": "a", "value": "b"}),
        (MOVE, "POST", "registered-models/set-tag", {**model, "key": "ledger_hash", "value": "0" * 64}),
        (MOVE, "POST", "registered-models/alias", {**model, "alias": "champion", "version": "1"}),
        (MOVE, "POST", "model-versions/set-tag", {**model, "version": "1", "key": "decision", "value": "promote"}),
        (MOVE, "POST", "registered-models/create", {"name": f"of {user}"}),
        (MOVE, "POST", "experiments/create", {"name": f"of {user}"}),
        (MOVE, "POST", "runs/create", {"experiment_id": registry}),
        (MOVE, "POST", "runs/set-tag", {"run_id": server.ids["registry"], "key": "a", "value": "b"}),
    ]
    for kind, method, path, body in requests:
        status, _ = server.ask(user, method, path, body)
        wanted = {200} if kind in MAY[user] else {403} if MAY[user] else {401}
        assert status in wanted, (user, path, status)


def test_only_the_admin_makes_users(server: Server) -> None:
    for user in ("reader", "writer", "promoter"):
        for path, method in (("users/create", "POST"), ("users/update-admin", "PATCH"), ("users/delete", "DELETE")):
            status, _ = server.ask(user, method, path, {"username": user, "password": "x" * 16, "is_admin": True})
            assert status in (403, 405), (user, path, status)
