"""What the platform is made of, read from variables once and checked before anything starts."""

import importlib.metadata
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from clickflow.orchestration.machine import gpus
from clickflow.system.errors import UsageError
from clickflow.system.paths import Paths

Executor = Literal["edge", "local", "celery"]
Role = Literal["admin", "op", "user", "viewer"]

HOST = "127.0.0.1"
"""Everything listens here and nowhere else."""

PACKAGES = {
    "edge": ("apache-airflow-providers-edge3",),
    "celery": ("apache-airflow-providers-celery", "psycopg2-binary", "redis"),
}
"""What an executor needs beyond Airflow."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One platform. Ports are what was asked for: 0 is any free one.

    `gpu_workers`: workers for training on this machine, each with a GPU of its own where there is one; `gpu_slots`:
    trainings at once, here and elsewhere; `patience`: seconds that all services together may take to start.
    """

    root: Path
    home: Path
    executor: Executor
    port_airflow: int
    port_mlflow: int
    port_serving: int
    database: str
    broker: str
    parallelism: int
    gpus: int
    gpu_workers: int
    gpu_slots: int
    users: Mapping[str, str]
    patience: int

    @property
    def folder(self) -> Path:
        """The platform's state: configuration, passwords, ports, sockets."""
        return self.home / "platform"

    @property
    def logs(self) -> Path:
        """One file a service."""
        return self.home / "logs/platform"


def read(paths: Paths, env: Mapping[str, str] = os.environ) -> Settings:
    """The settings of a checkout. Raises UsageError where a variable's value is not understood."""
    executor = env.get("CLICKFLOW_EXECUTOR") or "edge"
    if executor not in get_args(Executor):
        raise UsageError(
            f"CLICKFLOW_EXECUTOR is {executor!r}, and may be {', '.join(get_args(Executor))}",
            next_step="for Kubernetes, where the platform is not this machine's, see docs/howto/cluster.md",
        )
    database, broker = env.get("CLICKFLOW_DATABASE_URL", ""), env.get("CLICKFLOW_BROKER_URL", "")
    if executor == "celery":
        for name, value in {"CLICKFLOW_DATABASE_URL": database, "CLICKFLOW_BROKER_URL": broker}.items():
            if not value:
                raise UsageError(
                    f"CLICKFLOW_EXECUTOR=celery needs {name}",
                    next_step="docs/howto/cluster.md has an example for Redis and PostgreSQL",
                )
    if missing := [package for package in PACKAGES.get(executor, ()) if not _installed(package)]:
        raise UsageError(
            f"CLICKFLOW_EXECUTOR={executor} needs packages that are not installed: {', '.join(missing)}",
            next_step="make development",
        )
    gpu_count = gpus()
    workers = _number(env, "CLICKFLOW_GPU_WORKERS", max(1, gpu_count), 64)
    return Settings(
        root=paths.root.resolve(),
        home=paths.home,
        executor=executor,  # type: ignore[arg-type]  # checked above
        port_airflow=_number(env, "CLICKFLOW_PORT_AIRFLOW", 8080, 65535),
        port_mlflow=_number(env, "CLICKFLOW_PORT_MLFLOW", 5000, 65535),
        port_serving=_number(env, "CLICKFLOW_PORT_SERVING", 8600, 65535),
        # SQLite's own five seconds for its lock, no more: the API server writes its audit log in the thread that
        # also ends the requests which hold the lock, and would stand still for as long.
        database=database or f"sqlite:///{paths.home / 'platform/airflow.db'}",
        broker=broker,
        parallelism=_number(env, "CLICKFLOW_PARALLELISM", 4, 64, least=1),
        gpus=gpu_count,
        gpu_workers=workers,
        # Without workers of their own all trainings would share the first GPU.
        gpu_slots=_number(env, "CLICKFLOW_GPU_SLOTS", 1 if executor == "local" else max(1, workers), 64, least=1),
        patience=_number(env, "CLICKFLOW_START_SECONDS", 300, 86400, least=1),
        users=_users(env.get("CLICKFLOW_USERS") or "admin:admin"),
    )


def _installed(package: str) -> bool:
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _number(env: Mapping[str, str], name: str, default: int, most: int, least: int = 0) -> int:
    said = env.get(name, "").strip()
    if not said:
        return default
    if not said.isdecimal() or not least <= int(said) <= most:
        raise UsageError(f"{name} is {said!r}, and must be a number from {least} to {most}")
    return int(said)


def _users(said: str) -> dict[str, str]:
    roles: dict[str, str] = {}
    for entry in filter(None, (part.strip() for part in said.split(","))):
        name, _, role = entry.partition(":")
        if not name.isidentifier() or role not in get_args(Role):
            raise UsageError(
                f"CLICKFLOW_USERS: {entry!r} is not a user",
                next_step=f"name:role, separated by commas; roles: {', '.join(get_args(Role))}",
            )
        roles[name] = role
    if "admin" not in roles.values():
        raise UsageError("CLICKFLOW_USERS names no admin", next_step="add one, for instance admin:admin")
    return roles
