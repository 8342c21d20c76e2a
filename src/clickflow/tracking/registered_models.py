"""MLflow's registered models: versions, aliases, artefacts.

No model flavour and no pickle is used: a version is a folder of files.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clickflow.tracking.mlflow_client import Store, experiment, reaching

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


def versions(store: Store, model: str) -> list[Version]:
    """Every registered version of `model`, the oldest first; none where it was never registered."""
    with reaching(store.uri):
        listed: list[Version] = []
        token = None
        while True:
            page = store.client.search_model_versions(f"name = '{model}'", page_token=token)
            listed.extend(_version(item) for item in page)
            token = page.token
            if not token:
                return sorted(listed, key=lambda version: version.number)


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
