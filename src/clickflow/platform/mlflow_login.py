"""`python mlflow_login.py … -- mlflow server …`: the MLflow server behind a login, with four users by what they do.

| user | may |
| --- | --- |
| admin | all of it, users too; nobody's but an administrator's |
| promoter | register versions, move aliases and tags: what `clickflow promote` and `rollback` do |
| writer | log runs in the experiments of WRITTEN: what a stage does; registered models it can only read |
| reader | look: for people |

MLflow's own basic-auth application, its permissions by experiment and registered model, and on top of it one rule that
those do not have: whoever is signed in may otherwise create registered models, and then owns them. This file needs
MLflow alone, for the image of the server has nothing else (docker/mlflow.Dockerfile).
"""

import argparse
import json
import os
import re
import secrets
import sys
from pathlib import Path
from typing import Any

USERS = ("admin", "promoter", "writer", "reader")
WRITTEN = ("training", "tuning", "reports")
"""Experiments that stages write; `registry`, with the evidence of versions, is the promoter's."""

LOOKS = re.compile(r"/(search|search-[a-z-]+|graphql|get-history-bulk[a-z-]*|batchGet[A-Za-z]*|get-batch|metrics)/?$")
"""Endings of what is asked by POST and changes nothing."""
WRITES = re.compile(r"/api/[0-9.]+/(mlflow/runs/|mlflow-artifacts/)|/mlflow/(upload-artifact|get-artifact)")
"""What a stage calls beyond looking."""


def may(user: str, method: str, path: str) -> bool:
    """Whether a user's role allows a request at all; MLflow's permissions then say on what."""
    looks = method in ("GET", "HEAD", "OPTIONS") or (method == "POST" and LOOKS.search(path) is not None)
    if user in ("admin", "promoter") or looks:
        return True
    return user == "writer" and method != "DELETE" and WRITES.search(path) is not None


def authenticate() -> Any:
    """MLflow's `authorization_function`: who asks, or the answer that refuses."""
    from flask import request
    from mlflow.server import auth
    from werkzeug.wrappers import Response

    identity = auth.authenticate_request_basic_auth()
    if isinstance(identity, Response):
        return identity
    return identity if may(str(identity.username), request.method, request.path) else auth.make_forbidden_response()


def prepare(tracking: str, artifacts: str, users: str, passwords: dict[str, str]) -> None:
    """Make the experiments, the users, and what each may do; a password that was changed is taken over.

    `artifacts`: where files of experiments go; below `mlflow-artifacts:/` each has a folder of its own, by which the
    server knows whose they are.
    """
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore as Users
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore(tracking, artifacts)
    place = None if artifacts.startswith("mlflow-artifacts:") else artifacts
    experiments = {}
    for name in (*WRITTEN, "registry"):
        experiment = store.get_experiment_by_name(name)
        experiments[name] = str(
            experiment.experiment_id if experiment else store.create_experiment(name, artifact_location=place)
        )
    known = Users()
    known.init_db(users)
    for user in USERS:
        if not known.has_user(user):
            known.create_user(user, passwords[user], is_admin=user == "admin")
        elif not known.authenticate_user(user, passwords[user]):
            known.update_user(user, password=passwords[user])
    for name in WRITTEN:
        known.grant_user_permission("writer", "experiment", experiments[name], "EDIT")
    known.grant_user_permission("promoter", "experiment", "*", "EDIT")
    known.grant_user_permission("promoter", "registered_model", "*", "MANAGE")


def settings(users: str) -> str:
    """The configuration of MLflow's application."""
    options = {
        "default_permission": "READ",
        "database_uri": users.replace("%", "%%"),
        "admin_username": "admin",
        "authorization_function": f"{_module()}:authenticate",
        "auth_cache_ttl_seconds": "60",  # else each request costs a tenth of a second of hashing
    }
    return "\n".join(["[mlflow]", *(f"{key} = {value}" for key, value in options.items())]) + "\n"


def _module() -> str:
    return __spec__.name if __spec__ else Path(__file__).stem


def main() -> None:
    """Prepare, then become the server."""
    parser = argparse.ArgumentParser(prog="mlflow_login")
    parser.add_argument("--tracking", default=os.environ.get("MLFLOW_BACKEND_STORE_URI"), help="the tracking store")
    parser.add_argument("--users", default=os.environ.get("MLFLOW_USERS_URI"), help="the database of users")
    parser.add_argument("--artifacts", default="mlflow-artifacts:/", help="where experiments put files")
    parser.add_argument("--passwords", help="a JSON file; none: MLFLOW_<USER>_PASSWORD")
    parser.add_argument("--settings", type=Path, required=True, help="where the configuration goes")
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    if args.passwords:
        passwords = json.loads(Path(args.passwords).read_text(encoding="utf-8"))
    else:
        passwords = {user: os.environ.pop(f"MLFLOW_{user.upper()}_PASSWORD") for user in USERS}
    prepare(args.tracking, args.artifacts, args.users, passwords)
    args.settings.parent.mkdir(parents=True, exist_ok=True)
    args.settings.unlink(missing_ok=True)
    with os.fdopen(os.open(args.settings, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        out.write(settings(args.users))
    env = {
        **os.environ,
        "MLFLOW_AUTH_CONFIG_PATH": str(args.settings),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),  # of a form that this server does not show
    }
    sys.stdout.flush()
    os.execvpe(args.command[0], args.command, env)


if __name__ == "__main__":
    main()
