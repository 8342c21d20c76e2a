"""An MLflow database in which nothing is registered: made once for all workers, since its migrations take seconds."""

import atexit
import logging
import os
import shutil
from functools import cache
from pathlib import Path
from tempfile import gettempdir

from filelock import FileLock


@cache
def _empty() -> bytes:
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"{os.getpid()}")  # of all workers
    folder = Path(gettempdir()) / f"mlflow-{run}"
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    with FileLock(folder / "lock"):
        if not (folder / "mlflow.db").exists():
            _make(folder / "making.db")
            (folder / "making.db").rename(folder / "mlflow.db")
        return (folder / "mlflow.db").read_bytes()


def _make(file: Path) -> None:
    from mlflow import MlflowClient

    logging.getLogger("alembic").setLevel(logging.ERROR)
    MlflowClient(f"sqlite:///{file}").search_registered_models()


def empty_into(home: Path) -> None:
    """Give a home the database."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "mlflow.db").write_bytes(_empty())
