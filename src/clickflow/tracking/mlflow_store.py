"""The models in MLflow: where the store is, registered versions, aliases, artefacts.

MLflow takes seconds to import and to start, so both happen at the first call, once a process. No model flavour and no
pickle is used: a version is a folder of files.
"""

import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clickflow.params.schema import Params
from clickflow.system.errors import ClickflowError, UsageError
from clickflow.system.paths import Paths

CHAMPION, PREVIOUS, CANDIDATE = "champion", "previous", "candidate"
EXPORTED = "exported"
"""The folder of a version's run that holds the artefact."""

EVALUATION = "evaluation"
"""The folder of a version's run that holds its report and the rows behind it."""

FORGOTTEN = "forgotten_people"
"""A version's tag: the people, by the first letters of their hashes, whom it learned from, or may have, and who were
forgotten since.
"""

EXPERIMENT = "registry"
ANCHOR = "ledger_hash"
"""The registered model's tag with the hash of the last ledger line that was carried out."""


@dataclass(frozen=True)
class Version:
    """A registered version; `tags` as `promote` sets them."""

    number: int
    run: str
    tags: Mapping[str, str]


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


def uri_of(params: Params, paths: Paths) -> str:
    """`registry.mlflow_uri`, else `MLFLOW_TRACKING_URI`, else a SQLite file in the home."""
    return (
        params.registry.mlflow_uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{paths.home / 'mlflow.db'}"
    )


def untouched(params: Params, paths: Paths) -> bool:
    """Whether the store is the default one and was never opened: then nothing is registered, and MLflow can rest."""
    return uri_of(params, paths) == f"sqlite:///{paths.home / 'mlflow.db'}" and not (paths.home / "mlflow.db").exists()


def without_password(uri: str) -> str:
    """`uri` as it may be shown."""
    return re.sub(r"//[^/@]*@", "//…@", uri)


_opened: dict[tuple[str, Path], Store] = {}


def connect(params: Params, paths: Paths) -> Store:
    """The store; ClickflowError where it cannot be reached. A second call in the same process is free."""
    uri = uri_of(params, paths)
    artifacts = paths.home / "mlartifacts"
    if (uri, artifacts) not in _opened:
        paths.home.mkdir(parents=True, exist_ok=True)
        _quieten()
        with reaching(uri), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from mlflow import MlflowClient

            store = Store(uri, artifacts, MlflowClient(tracking_uri=uri, registry_uri=uri))
            store.client.search_registered_models(max_results=1)
        _opened[uri, artifacts] = store
    return _opened[uri, artifacts]


_THEIRS = {"mlflow", "sqlalchemy", "alembic", "requests", "urllib3", "botocore", "boto3", "psycopg"}


@contextmanager
def reaching(uri: str) -> Iterator[None]:
    """Turn what MLflow, its database or its network raise into an error that names the store."""
    try:
        yield
    except ClickflowError:
        raise
    except Exception as error:
        kind = type(error)
        theirs = kind.__module__.partition(".")[0] in _THEIRS
        if not theirs and not isinstance(error, OSError | ModuleNotFoundError):
            raise
        first = str(error).strip().splitlines()[0][:300] if str(error).strip() else kind.__name__
        wrong_uri = "UnsupportedModelRegistryStoreURI" in kind.__name__ or isinstance(error, ModuleNotFoundError)
        raise (UsageError if wrong_uri else ClickflowError)(
            f"the MLflow registry at {without_password(uri)} cannot be used: {without_password(first)}",
            kept="the ledger holds every change that was made; one that was cut short is completed by the next",
            next_step="check registry.mlflow_uri in params.yaml or MLFLOW_TRACKING_URI, that the server answers, and "
            "who signs in (MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD); then run the command again",
        ) from error


def versions(store: Store, model: str) -> list[Version]:
    """Every registered version of `model`, the oldest first; none where it was never registered."""
    with reaching(store.uri):
        found: list[Version] = []
        token = None
        while True:
            page = store.client.search_model_versions(f"name = '{model}'", page_token=token)
            found.extend(_version(item) for item in page)
            token = page.token
            if not token:
                return sorted(found, key=lambda version: version.number)


def version(store: Store, model: str, number: int) -> Version | None:
    """One registered version; None where there is no such."""
    from mlflow.exceptions import MlflowException

    with reaching(store.uri):
        try:
            return _version(store.client.get_model_version(model, str(number)))
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise


def register(
    store: Store,
    model: str,
    folders: Mapping[str, Path],
    *,
    tags: Mapping[str, str],
    metrics: Mapping[str, float],
    title: str,
    description: str,
) -> Version:
    """Log `folders` (name in the run: files or a folder) as a run's artifacts and register the run as a version.

    The same model (tag `content_sha256`) is registered once: where it already is, its version is returned with its
    other tags brought up to date; its files, and so `artefact_sha256`, stay. The run is called by model, version and
    `title`; `description` stands on run and version. To be called under the registry's lock.
    """
    from mlflow.entities import Metric
    from mlflow.exceptions import MlflowException

    with reaching(store.uri):
        same = [v for v in versions(store, model) if v.tags.get("content_sha256") == tags["content_sha256"]]
        if same:
            now = {**same[0].tags, **tags, "artefact_sha256": same[0].tags["artefact_sha256"]}
            for key, value in now.items():
                if same[0].tags.get(key) != value:
                    store.client.set_model_version_tag(model, str(same[0].number), key, value)
            _describe(store, model, same[0], title, description)
            return replace(same[0], tags=now)
        try:
            store.client.create_registered_model(model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        run = store.client.create_run(experiment(store, EXPERIMENT), run_name=f"{model} · {title}", tags=dict(tags))
        store.client.log_batch(run.info.run_id, metrics=[Metric(k, v, 0, 0) for k, v in metrics.items()])
        for name, source in folders.items():
            if source.is_dir():
                store.client.log_artifacts(run.info.run_id, str(source), name)
            elif source.is_file():
                store.client.log_artifact(run.info.run_id, str(source), name)
        store.client.set_terminated(run.info.run_id)
        created = store.client.create_model_version(
            model, source=f"runs:/{run.info.run_id}/{EXPORTED}", run_id=run.info.run_id, tags=dict(tags)
        )
        _describe(store, model, _version(created), title, description)
        return _version(created)


def _describe(store: Store, model: str, registered: Version, title: str, description: str) -> None:
    store.client.update_run(registered.run, name=f"{model} {registered.number} · {title}")
    store.client.set_tag(registered.run, "mlflow.note.content", description)
    store.client.update_model_version(model, str(registered.number), description=description)


def aliases(store: Store, model: str) -> dict[str, int]:
    """Alias to version; empty where the model was never registered."""
    return {alias: int(number) for alias, number in (_registered(store, model).aliases or {}).items()}


def point(store: Store, model: str, alias: str, number: int) -> None:
    """Let `alias` name version `number`; 0 removes it."""
    with reaching(store.uri):
        if number:
            store.client.set_registered_model_alias(model, alias, str(number))
        else:
            store.client.delete_registered_model_alias(model, alias)


def anchor(store: Store, model: str) -> str | None:
    """The hash of the ledger line that the aliases last followed."""
    return (_registered(store, model).tags or {}).get(ANCHOR)


def set_anchor(store: Store, model: str, line_hash: str) -> None:
    """Note the ledger line that the registry has followed; a model that was never registered keeps no note."""
    if isinstance(_registered(store, model), _Absent):
        return
    with reaching(store.uri):
        store.client.set_registered_model_tag(model, ANCHOR, line_hash)


def download(store: Store, registered: Version, into: Path) -> Path:
    """The artefact's folder of a version, downloaded below `into`."""
    with reaching(store.uri):
        return Path(store.client.download_artifacts(registered.run, EXPORTED, str(into)))


def download_file(store: Store, registered: Version, name: str, into: Path) -> Path | None:
    """A file that a version's run holds, `folder/file`, downloaded below `into`; None where it holds no such file."""
    with reaching(store.uri):
        held = store.client.list_artifacts(registered.run, name.rpartition("/")[0])
        if all(file.path != name for file in held):
            return None
        return Path(store.client.download_artifacts(registered.run, name, str(into)))


@dataclass(frozen=True)
class _Absent:
    aliases: None = None
    tags: None = None


def _registered(store: Store, model: str) -> Any:
    from mlflow.exceptions import MlflowException

    with reaching(store.uri):
        try:
            return store.client.get_registered_model(model)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return _Absent()
            raise


def _version(item: Any) -> Version:
    # an integer over a database, a string over HTTP
    return Version(int(item.version), item.run_id, dict(item.tags))


def experiment(store: Store, name: str) -> str:
    """The id of an experiment, made where it is missing; over a database its artifacts go to the home."""
    from mlflow.exceptions import MlflowException

    if found := store.client.get_experiment_by_name(name):
        return str(found.experiment_id)
    served = store.uri.startswith(("http://", "https://"))
    try:
        return str(store.client.create_experiment(name, artifact_location=None if served else store.artifacts.as_uri()))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return str(store.client.get_experiment_by_name(name).experiment_id)  # another process has just made it


def _quieten() -> None:
    """Set before the import: no telemetry, no progress bars, no migration log, no minutes of retries."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # a result on stdout is ours alone
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.store.db.utils as database

    database.MAX_RETRY_COUNT = 3
