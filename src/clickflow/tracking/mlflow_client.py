"""The MLflow client: where the store is, who signs in, and which errors its exceptions become.

MLflow takes seconds to import and to start, so both happen at the first call, once a process.
"""

import logging
import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clickflow.params.schema import Params
from clickflow.system import faults, files, locks
from clickflow.system.console import say
from clickflow.system.errors import ClickflowError, UsageError
from clickflow.system.paths import Paths

PROMOTER = "CLICKFLOW_PROMOTER_PASSWORD"
"""MLflow's password of user promoter, where its server asks who is there."""

PATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""How long a server that does not answer is waited for: of who needs it, and of who can go on without."""
SILENT = 5.0
"""Seconds of waiting after which it is said what for."""
OPENING = 60.0
"""Seconds that another process may take to open the same file."""
CONNECTING = "10"
"""Seconds that a PostgreSQL may take to let in: by itself it is waited for without end."""


@dataclass(frozen=True)
class Store:
    """An open connection."""

    uri: str
    artifacts: Path
    client: Any

    @property
    def shown(self) -> str:
        """The URI without its password."""
        return without_password(self.uri)


def sign_in_as_promoter() -> None:
    """From now on this process is MLflow's user promoter, where it was given the password; else who it was."""
    if password := os.environ.get(PROMOTER):
        os.environ |= {"MLFLOW_TRACKING_USERNAME": "promoter", "MLFLOW_TRACKING_PASSWORD": password}


def uri_of(params: Params, paths: Paths) -> str:
    """`registry.mlflow_uri`, else `MLFLOW_TRACKING_URI`, else a SQLite file in the home."""
    return (
        params.registry.mlflow_uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{paths.home / 'mlflow.db'}"
    )


def is_server(uri: str) -> bool:
    """Whether `uri` is a server, which has pages and keeps files itself; else it is a database."""
    return uri.startswith(("http://", "https://"))


def untouched(params: Params, paths: Paths) -> bool:
    """Whether the store is the default one and was never opened: then nothing is registered, and MLflow can rest."""
    return uri_of(params, paths) == f"sqlite:///{paths.home / 'mlflow.db'}" and not (paths.home / "mlflow.db").exists()


def without_password(uri: str) -> str:
    """`uri` as it may be shown."""
    return re.sub(r"//[^/@]*@", "//…@", uri)


_opened: dict[tuple[str, Path], Store] = {}


def connect(params: Params, paths: Paths, *, patient: bool = True) -> Store:
    """The store; ClickflowError where it cannot be reached. A second call in the same process is free.

    Who can go on without MLflow is not `patient`: a server that does not answer is given up sooner.
    """
    uri = uri_of(params, paths)
    artifacts = paths.home / "mlartifacts"
    if (uri, artifacts) not in _opened:
        paths.home.mkdir(parents=True, exist_ok=True)
        _quieten(patient=patient)
        with reaching(uri), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from mlflow import MlflowClient

            with _alone(uri):
                try:
                    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
                except ValueError as error:  # such as a port that is no number
                    raise UsageError(
                        f"{without_password(uri)!r} is not the address of an MLflow registry",
                        kept="nothing was changed",
                        next_step="mend registry.mlflow_uri in params.yaml or MLFLOW_TRACKING_URI",
                    ) from error
                store = Store(uri, artifacts, client)
                store.client.search_registered_models(max_results=1)
        _opened[uri, artifacts] = store
    return _opened[uri, artifacts]


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """A SQLite store is opened by one process at a time, and one that is not there yet is made beside its place first:
    MLflow changes the tables of a new store a hundred times, and neither a second process nor a kill may come between.
    """
    if not uri.startswith("sqlite:///") or "?" in uri:
        yield
        return
    import mlflow.store.db.utils as database

    file = Path(uri.removeprefix("sqlite:///"))
    refusal = ClickflowError(
        f"another process has been opening {file} for {OPENING:.0f} s",
        kept="nothing was changed",
        next_step="see which one it is (`fuser`), then run the command again",
    )
    lock = file.with_name(f".{file.name}.lock")
    with locks.held(lock, refusal, waiting=f"another process is opening {file}", patience=OPENING):
        if not file.exists():
            with files.whole(file) as fresh:
                engine = database.create_sqlalchemy_engine(f"sqlite:///{fresh}")
                database._initialize_tables(engine)
                engine.dispose()
        yield


_THEIRS = {"mlflow", "sqlalchemy", "alembic", "requests", "urllib3", "botocore", "boto3", "psycopg"}


def _refused(error: BaseException) -> str:
    """What the system says of a connection that failed, without the layers that passed it on; else empty."""
    links = faults.chain(error)
    over_http = any(type(each).__module__.startswith("urllib3.") for each in links)
    return (links[-1].strerror or "") if over_http and isinstance(links[-1], OSError) else ""


@contextmanager
def reaching(uri: str) -> Iterator[None]:
    """Turn what MLflow, its database or its network raise into an error that names the store; who waits is told."""
    try:
        with _announced(uri):
            yield
    except ClickflowError:
        raise
    except Exception as error:
        kind = type(error)
        theirs = kind.__module__.partition(".")[0] in _THEIRS
        if not theirs and not isinstance(error, OSError | ModuleNotFoundError):
            raise
        first = _refused(error) or (str(error).strip().splitlines()[0][:300] if str(error).strip() else kind.__name__)
        wrong_uri = "UnsupportedModelRegistryStoreURI" in kind.__name__ or isinstance(error, ModuleNotFoundError)
        raise (UsageError if wrong_uri else ClickflowError)(
            f"the MLflow registry at {without_password(uri)} cannot be used: {without_password(first)}",
            kept="the ledger holds every change that was made; one that was cut short is completed by the next",
            next_step="check registry.mlflow_uri in params.yaml or MLFLOW_TRACKING_URI, that the server answers, and "
            "who signs in (MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD); then run the command again",
        ) from error


_waiting = threading.local()


@contextmanager
def _announced(uri: str) -> Iterator[None]:
    """Say once for what is waited, where that takes longer than `SILENT`."""
    if getattr(_waiting, "announced", False):  # within another one
        yield
        return

    def tell() -> None:
        limit = ""
        if is_server(uri):
            retries, seconds = (int(os.environ.get(name, PATIENT[name])) for name in PATIENT)
            limit = f"; what it does not answer is given up after about {(1 + retries) * seconds} s"
        say(f"MLflow at {without_password(uri)} has been waited for {SILENT:.0f} s{limit}")

    timer = threading.Timer(SILENT, tell)
    timer.daemon = True
    timer.start()
    _waiting.announced = True
    try:
        yield
    finally:
        _waiting.announced = False
        timer.cancel()


def experiment(store: Store, name: str) -> str:
    """The id of an experiment, made where it is missing; over a database its artifacts go to the home."""
    from mlflow.exceptions import MlflowException

    if existing := store.client.get_experiment_by_name(name):
        return str(existing.experiment_id)
    place = None if is_server(store.uri) else store.artifacts.as_uri()
    try:
        return str(store.client.create_experiment(name, artifact_location=place))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return str(store.client.get_experiment_by_name(name).experiment_id)  # another process has just made it


def _quieten(*, patient: bool) -> None:
    """Set before the import: no telemetry, no progress bars, no migration log, no minutes of retries."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # a result on stdout is ours alone
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("PGCONNECT_TIMEOUT", CONNECTING)
    for name, value in (PATIENT if patient else IMPATIENT).items():
        os.environ.setdefault(name, value)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.store.db.utils as database

    database.MAX_RETRY_COUNT = 3
