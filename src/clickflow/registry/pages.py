"""`clickflow publish`: pages of a run, logged in MLflow before anybody decides by them, with links that stay.

One MLflow run in the experiment `reports` holds the pages of one run of the pipeline.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from clickflow.params.schema import Params
from clickflow.system import console
from clickflow.system.errors import UsageError
from clickflow.system.paths import Paths
from clickflow.tracking import mlflow_client, provenance

EXPERIMENT = "reports"


def run(params: Params, paths: Paths, words: list[str], *, as_json: bool) -> None:
    """Log the files that `NAME=FILE` words name, and say each one's link; none where the store has no pages."""
    files = dict(_file(word) for word in words)
    base = address(params, paths)
    links = publish(params, paths, files, base) if base and files else {}
    store = mlflow_client.without_password(mlflow_client.uri_of(params, paths))
    why = "" if base else f"{store} is no server with pages"
    console.emit(
        {"links": links, "why": why},
        as_json=as_json,
        text=lambda: "\n".join(f"{name}: {link}" for name, link in links.items()) or f"no page was published: {why}",
    )


def address(params: Params, paths: Paths) -> str:
    """Where people open MLflow: `CLICKFLOW_MLFLOW_UI`, else the store where it is a server; empty: nowhere."""
    uri = mlflow_client.uri_of(params, paths)
    served = mlflow_client.is_server(uri)
    return (os.environ.get("CLICKFLOW_MLFLOW_UI") or mlflow_client.without_password(uri)).rstrip("/") if served else ""


def publish(params: Params, paths: Paths, files: Mapping[str, Path], base: str) -> dict[str, str]:
    """Log `files` under their names (`folder/file`; a folder with all in it); the link of each by its name.

    A name that was logged before, in the same run, is replaced.
    """
    store = mlflow_client.connect(params, paths)
    origin = provenance.of(paths.root)
    name = origin.get("run_id") or origin.get("commit") or "by hand"
    with mlflow_client.reaching(store.uri):
        experiment = mlflow_client.experiment(store, EXPERIMENT)
        same = store.client.search_runs([experiment], f"attributes.run_name = '{name}'", max_results=1)
        tags = provenance.tags(origin)
        page_run = same[0] if same else store.client.create_run(experiment, run_name=name, tags=tags)
        for page, file in files.items():
            if file.is_dir():
                store.client.log_artifacts(page_run.info.run_id, str(file), page)
            elif provenance.RUN in (text := file.read_text(encoding="utf-8", errors="replace")):
                store.client.log_text(page_run.info.run_id, provenance.stamped(text, origin), page)
            else:
                store.client.log_artifact(page_run.info.run_id, str(file), page.rpartition("/")[0] or None)
        store.client.set_terminated(page_run.info.run_id)
    return {
        page: f"{base}/#/experiments/{experiment}/runs/{page_run.info.run_id}/artifacts/"
        + quote(f"{page}/index.html" if file.is_dir() else page)
        for page, file in files.items()
    }


def _file(word: str) -> tuple[str, Path]:
    name, _, file = word.partition("=")
    path = Path(file)
    if not name or not file or not path.exists() or (path.is_file() and path.name != name.rpartition("/")[2]):
        raise UsageError(f"{word!r} names no page", next_step="write it as folder/report.html=path/to/report.html")
    return name, path
