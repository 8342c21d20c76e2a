"""MLflow: evaluation rows and examples of a person's visits, and the mark on every version that learned from them."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clickflow.heads import outputs
from clickflow.orchestration.pages import DATA_DOCS
from clickflow.params.schema import Params
from clickflow.privacy.leftovers import Removed
from clickflow.privacy.objects import STORE, Store
from clickflow.privacy.people import People
from clickflow.sequences.card import read_card
from clickflow.system.errors import DataError
from clickflow.system.paths import Paths
from clickflow.tracking import mlflow_client, registered_models
from clickflow.tracking.registered_models import EVALUATION, FORGOTTEN

EXAMPLES = ('<h3 id="examples">', "</table></div>\n")
GONE = '<p class="soft">Examples were taken out: a person in the data was forgotten.</p>\n'


@dataclass(frozen=True)
class StoreMatch:
    """A packed store that was met: who of them it holds (by name), and which sequences of its test part are theirs."""

    names: tuple[str, ...]
    test: tuple[int, ...]


def stores(paths: Paths, people: People, object_stores: list[Store]) -> dict[str, StoreMatch]:
    """Every packed store here (checkout, results, DVC caches), by the hash that models call it by."""
    folders = [*paths.root.glob("data/sequences/*"), *paths.home.glob("runs/*/data/sequences/*")]
    seen = {}
    for folder in folders:
        if (folder / "card.json").is_file():
            seen.update(_match(folder, {}, people))
    with tempfile.TemporaryDirectory(prefix=".forget-", dir=paths.home) as scratch:
        for store in object_stores:
            for name in store.names() if store.fs is None else ():
                if name.endswith(".dir"):
                    parts = {part["relpath"]: part["md5"] for part in json.loads(store.path(name).read_text())}
                    if STORE in parts and "card.json" in parts:
                        seen.update(_cached(store, parts, people, Path(scratch)))
    return seen


def _cached(store: Store, parts: Mapping[str, str], people: People, scratch: Path) -> dict[str, StoreMatch]:
    files = {name: store.path(md5) for name, md5 in parts.items()}
    if not files["card.json"].is_file():
        return {}
    link = scratch / "card.json"
    link.unlink(missing_ok=True)
    link.symlink_to(files["card.json"])
    return _match(scratch, files, people)


def _match(folder: Path, files: Mapping[str, Path], people: People) -> dict[str, StoreMatch]:
    from pyarrow import parquet

    try:
        card = read_card(folder)
    except DataError:
        return {}
    names: set[str] = set()
    test: list[int] = []
    by_user = {person.user: person.name for person in people.persons}
    by_session = {session: person.name for person in people.persons for session in person.sessions}
    for split in card.splits:
        file = files.get(f"{split}/sequences.parquet", folder / split / "sequences.parquet")
        if not file.is_file():
            continue
        names_of = [name for name in ("session_id", "user_id") if name in parquet.read_schema(file).names]
        table = parquet.read_table(file, columns=names_of)
        mask = people.rows(table)
        theirs = table.filter(mask)
        for row in theirs.to_pylist():
            session = str(row.get("session_id"))
            user = row["user_id"] or session.partition("@")[0]
            if name := by_user.get(user) or by_session.get(session):
                names.add(name)
        if split == "test":
            test = [at for at, hit in enumerate(mask.to_pylist()) if hit]
    return {card.sha256: StoreMatch(tuple(sorted(names)), tuple(test))}


def mark(params: Params, paths: Paths, people: People, seen: Mapping[str, StoreMatch]) -> dict[str, list[int]]:
    """Tag every registered version that learned from one of them, or may have; by model, those that are marked."""
    if mlflow_client.untouched(params, paths):
        return {}
    store = mlflow_client.connect(params, paths)
    everybody = tuple(person.name for person in people.persons)
    marked: dict[str, list[int]] = {}
    for model in sorted(params.models):
        for version in registered_models.versions(store, model):
            known = seen.get(str(version.tags.get("data_sha256")))
            names = everybody if known is None else known.names
            before = set(filter(None, version.tags.get(FORGOTTEN, "").split(",")))
            now = before | {name[:8] for name in names}
            if now:
                marked.setdefault(model, []).append(version.number)
            if now != before:
                with mlflow_client.reaching(store.uri):
                    value = ",".join(sorted(now))
                    store.client.set_model_version_tag(model, str(version.number), FORGOTTEN, value)
    return marked


def clean(params: Params, paths: Paths, people: People, seen: Mapping[str, StoreMatch]) -> Iterator[Removed]:
    """Evaluation rows of their visits, examples of real sessions, and their names in Data Docs, out of what MLflow's
    runs keep.
    """
    shown = any(store.test for store in seen.values())
    if mlflow_client.untouched(params, paths):
        return
    store = mlflow_client.connect(params, paths)
    with mlflow_client.reaching(store.uri), tempfile.TemporaryDirectory(prefix=".forget-", dir=paths.home) as scratch:
        for run in _runs(store.client):
            data = run.data.tags.get("data_sha256") or run.data.tags.get("clickflow.data_sha256")
            known = seen.get(str(data))
            for name in _artifacts(store.client, run.info.run_id, ""):
                base = name.rpartition("/")[2]
                if DATA_DOCS in name.split("/"):
                    yield from _without_names(store.client, run.info.run_id, name, people, Path(scratch))
                elif base == "report.html" and shown:
                    yield from _without_examples(store.client, run.info.run_id, name, Path(scratch))
                elif base in outputs.evidence() and EVALUATION in name and known is not None and known.test:
                    yield from _without_rows(store.client, run.info.run_id, name, known.test, Path(scratch))
    # copies of the above: `registry.champion.evidence`
    for file in sorted([*paths.home.glob("models/*/*"), *paths.home.glob("models/*/*.evaluation/*")]):
        if shown and file.is_file():
            yield Removed("home", file.relative_to(paths.home).as_posix(), "removed")
            file.unlink()


def _runs(client: Any) -> Iterator[Any]:
    for experiment in client.search_experiments():
        token = None
        while True:
            page = client.search_runs([experiment.experiment_id], page_token=token)
            yield from page
            token = page.token
            if not token:
                break


def _artifacts(client: Any, run: str, folder: str) -> Iterator[str]:
    for entry in client.list_artifacts(run, folder or None):
        if entry.is_dir:
            yield from _artifacts(client, run, entry.path)
        else:
            yield entry.path


def _without_examples(client: Any, run: str, name: str, scratch: Path) -> Iterator[Removed]:
    from clickflow.system.files import sha256

    path = Path(client.download_artifacts(run, name, str(scratch)))
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    start = text.find(EXAMPLES[0])
    end = text.find(EXAMPLES[1], start)
    if start < 0 or end < 0:
        return
    before = sha256(path)
    path.chmod(0o600)
    cut = text[:start] + GONE + text[end + len(EXAMPLES[1]) :]
    path.write_text(cut, encoding="utf-8", errors="surrogateescape")
    client.log_artifact(run, str(path), name.rpartition("/")[0] or None)
    yield Removed("MLflow", f"run {run}: {name}", "examples taken out", 0, before, sha256(path))


def _without_names(client: Any, run: str, name: str, people: People, scratch: Path) -> Iterator[Removed]:
    from clickflow.system.files import sha256

    path = Path(client.download_artifacts(run, name, str(scratch)))
    text, before = path.read_bytes(), sha256(path)
    if named := len(people.needles.findall(text)):
        path.chmod(0o600)
        path.write_bytes(people.hidden(text))
        client.log_artifact(run, str(path), name.rpartition("/")[0] or None)
        yield Removed("MLflow", f"run {run}: {name}", "rewritten", named, before, sha256(path))


def _without_rows(client: Any, run: str, name: str, gone: tuple[int, ...], scratch: Path) -> Iterator[Removed]:
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import parquet

    from clickflow.system.files import sha256

    path = Path(client.download_artifacts(run, name, str(scratch)))
    table, before = parquet.read_table(path), sha256(path)
    if "sequence" not in table.column_names:
        return
    theirs = pc.is_in(table["sequence"], pa.array(gone, table["sequence"].type))
    rows = int(pc.sum(theirs).as_py() or 0)
    if not rows:
        return
    path.unlink()
    parquet.write_table(table.filter(pc.invert(theirs)), path, compression="zstd")
    client.log_artifact(run, str(path), name.rpartition("/")[0] or None)
    yield Removed("MLflow", f"run {run}: {name}", "rewritten", rows, before, sha256(path))
