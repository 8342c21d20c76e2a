"""Platforms for tests: a clone of this repository's commit with small params, `clickflow up` on free ports.

What is not committed is not in the clone. Each platform has its own home, takes 1.3 GB and half a minute to start; it
is ended by `clickflow down` when the module is done, and no process may be left then.
"""

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from platform_client import SMALL, Platform

from clickflow.orchestration import overrides

StartPlatform = Callable[..., Platform]

_OURS = ("CLICKFLOW_", "AIRFLOW", "_AIRFLOW", "MLFLOW_")


@pytest.fixture(scope="module")
def start_platform(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartPlatform]:
    """Starts platforms of a module's own: `start_platform(params={"seed": 1}, CLICKFLOW_EXECUTOR="local")`.

    `params` are committed in the clone on top of `SMALL`; the other words are environment variables. With `up=False`
    the clone is there, and nothing runs yet. Every one that was made is ended with the module.
    """
    made: list[Platform] = []

    def start(*, params: Mapping[str, Any] | None = None, up: bool = True, **env: str) -> Platform:
        folder = tmp_path_factory.mktemp("platform")
        clone = folder / "shop"
        subprocess.run(["git", "clone", "--quiet", str(root), str(clone)], check=True)
        file = clone / "params.yaml"
        file.write_text(overrides.apply(file.read_text(encoding="utf-8"), {**SMALL, **(params or {})}), "utf-8")
        identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
        subprocess.run(["git", *identity, "commit", "--quiet", "--all", "-m", "small"], cwd=clone, check=True)
        home = clone / ".clickflow"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        kept.pop("PYTHONDONTWRITEBYTECODE", None)
        given = {
            "CLICKFLOW_HOME": str(home),
            "CLICKFLOW_PORT_AIRFLOW": "0",
            "CLICKFLOW_PORT_MLFLOW": "0",
            "PYTHONPATH": str(clone / "src"),
            "OPENBLAS_NUM_THREADS": "1",
            **env,
        }
        made.append(Platform(clone, home, {**kept, **given}))
        if up:
            made[-1].up()
        return made[-1]

    yield start
    for one in made:
        one.down()


@pytest.fixture(scope="module")
def platform(start_platform: StartPlatform) -> Platform:
    """A platform as `make up` starts it: LocalExecutor, and an Edge worker on queue gpu."""
    return start_platform()
