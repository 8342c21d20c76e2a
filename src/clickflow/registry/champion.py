"""The champion: which version it is, its files, and its freezing into params.yaml when a run opens."""

from pathlib import Path
from typing import Any

from clickflow.artefact.artefact import Artefact, load
from clickflow.evaluation.earlier import REFERENCE, Earlier
from clickflow.params.file import check
from clickflow.params.schema import Params
from clickflow.params.text import nodes, parse
from clickflow.registry import ledger, try_log
from clickflow.system import console, integrity
from clickflow.system.errors import ClickflowError, DataError, UsageError
from clickflow.system.files import put_in_place, replacing, sha256_folder, write_text
from clickflow.system.paths import Paths
from clickflow.tracking import mlflow_client, registered_models


def current(params: Params, paths: Paths, model: str, *, patient: bool = True) -> int:
    """The champion's version of `model`, 0 where there is none.

    The ledger says it; where the ledger has no line on it (a registry older than the ledger, or another home), the
    alias in MLflow does. MLflow is not started where the ledger knows.
    """
    params.model(model)
    standing = ledger.standing(ledger.whole(paths), model)
    if standing.entry or mlflow_client.untouched(params, paths):
        return standing.champion
    store = mlflow_client.connect(params, paths, patient=patient)
    return registered_models.aliases(store, model).get(registered_models.CHAMPION, 0)


def fetch(params: Params, paths: Paths, model: str, version: int) -> Path:
    """The artefact's folder of a registered version, `<home>/models/<model>/<version>`.

    It is downloaded the first time, and its bytes are held against the hash it was registered with every time; where
    the ledger has a line on the version, against the ledger's hash. Raises UsageError where there is no such version,
    DataError where the registry's files are not what was registered.
    """
    from filelock import FileLock

    params.model(model)
    if here := held(paths, model, version):
        return here
    folder, recorded = folder_of(paths, model, version), _recorded_hash(paths, model, version)
    store = mlflow_client.connect(params, paths)
    registered = registered_models.version(store, model, version)
    if registered is None:
        known = ", ".join(str(v.number) for v in registered_models.versions(store, model)) or "none"
        raise UsageError(
            f"{model} has no version {version} in the registry at {store.shown}; it has {known}",
            next_step="`clickflow status` shows the champion; `clickflow open` writes it into params.yaml",
        )
    expected = recorded or registered.tags.get("artefact_sha256")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{version}.lock")):
        if folder.is_dir() and sha256_folder(folder) == expected:
            return folder
        with replacing(folder) as fresh:
            loaded = registered_models.download(store, registered, fresh)
            hashed = sha256_folder(loaded)
            if hashed != expected:
                raise DataError(
                    f"version {version} of {model} in {store.shown} is not what was registered: its files hash to "
                    f"{hashed[:12]}…, registered was {str(expected)[:12]}…",
                    kept="it was not put in place; the ledger and the aliases are unchanged",
                    next_step="put the artifact store back from a backup, or "
                    f"`clickflow rollback {model} --to VERSION --reason …` to a version that is whole",
                )
            for file in list(loaded.iterdir()):
                file.rename(fresh / file.name)
            loaded.rmdir()
    return folder


def folder_of(paths: Paths, model: str, version: int) -> Path:
    """Where the files of a version are kept in the home."""
    return paths.home / "models" / model / str(version)


def held(paths: Paths, model: str, version: int) -> Path | None:
    """The artefact's folder of a version where the home has it, and it is what the ledger recorded; MLflow rests."""
    folder, recorded = folder_of(paths, model, version), _recorded_hash(paths, model, version)
    return folder if recorded and folder.is_dir() and sha256_folder(folder) == recorded else None


def loaded(params: Params, paths: Paths, model: str) -> tuple[int, Artefact]:
    """The champion of `model`: its version and its artefact, ready to answer.

    Raises UsageError where there is none, DataError where its files are not what was registered.
    """
    version = current(params, paths, model)
    if not version:
        raise UsageError(
            f"{model} has no champion yet: nothing to score with",
            next_step="run `dvc repro`, then `clickflow promote`; `clickflow status` shows what there is",
        )
    return version, load(fetch(params, paths, model, version))


def evidence(params: Params, paths: Paths, model: str, version: int, name: str) -> Path | None:
    """A file of the evaluation that a version was registered with, kept in the home; None where it had no such file.

    It is held against the evaluation's hashes every time; one that has changed is fetched again.
    """
    import tempfile

    folder = folder_of(paths, model, version).with_name(f"{version}.evaluation")
    file = folder / name
    if file.is_file() and _whole(folder, name, paths):
        return file
    store = mlflow_client.connect(params, paths)
    registered = registered_models.version(store, model, version)
    if registered is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as scratch:
        for part in (integrity.SEAL, name):
            page = registered_models.download_file(
                store, registered, f"{registered_models.EVALUATION}/{part}", Path(scratch)
            )
            if page is not None:
                put_in_place(page, folder / part)
            elif part == name:
                return None
    if not _whole(folder, name, paths):
        raise DataError(
            f"{name} of version {version} of {model} in {store.shown} is not what was evaluated",
            kept="nothing was read from it",
            next_step="put the artifact store back from a backup",
        )
    return file


def _whole(folder: Path, name: str, paths: Paths) -> bool:
    """Whether a file is as its evaluation says; one of before there were hashes is taken for it."""
    if not (folder / integrity.SEAL).is_file():
        return True
    try:
        integrity.verify_files(folder, name, home=paths.home)
    except DataError as error:
        console.say(f"{error.what}; it is fetched again")
        return False
    return True


def past(params: Params, paths: Paths, model: str) -> tuple[Earlier | None, Earlier | None]:
    """What a candidate is measured beside: the champion that params.yaml names, and the best champion of the past where
    that is another. Fetched, each; raises as `fetch` does.
    """
    version = params.champion[model]
    if not version:
        return None, None

    def earlier(number: int) -> Earlier:
        return Earlier(
            number,
            fetch(params, paths, model, number),
            lambda: evidence(params, paths, model, number, REFERENCE),
        )

    best = try_log.best(paths, model, version)
    return earlier(version), earlier(best) if best != version else None


def _recorded_hash(paths: Paths, model: str, version: int) -> str | None:
    recorded = ledger.facts_of(ledger.whole(paths), model, version).get("artefact_sha256")
    return None if recorded is None else str(recorded)


def freeze(params: Params, paths: Paths, as_json: bool) -> None:
    """Write each model's champion into `champion:` of params.yaml and say what changed.

    Only the numbers change, every other byte stays; where nothing changes, the file is not written.
    """
    versions = {model: current(params, paths, model) for model in sorted(params.models)}
    changed = {m: {"was": params.champion[m], "is": v} for m, v in versions.items() if params.champion[m] != v}
    if changed:
        text = paths.params.read_text(encoding="utf-8")
        write_text(paths.params, with_champions(text, {model: versions[model] for model in changed}))

    def summary() -> str:
        lines = [
            f"champion.{model}: {changed[model]['was']} → {number}"
            if model in changed
            else f"champion.{model}: {number or 'none yet'}, as it was"
            for model, number in versions.items()
        ]
        return "\n".join([*lines, "params.yaml was written" if changed else "params.yaml is unchanged"])

    console.emit({"champion": versions, "changed": changed}, as_json=as_json, text=summary)


def with_champions(text: str, versions: dict[str, int]) -> str:
    """`text`, a params.yaml, with other numbers under `champion:`.

    The parser says where they stand; writing the whole document back would lay other lines out anew.
    """
    lines = text.splitlines(keepends=True)
    block = _entries(_entries(nodes(text))["champion"])
    marks = {model: block[model].start_mark for model in versions}
    # from the end, so that earlier places stay where they are
    for model in sorted(marks, key=lambda model: (marks[model].line, marks[model].column), reverse=True):
        row, column, old = marks[model].line, marks[model].column, str(block[model].value)
        line = lines[row]
        if not (old.isascii() and old.isdigit() and line[column:].startswith(old)):
            raise ClickflowError(
                f"params.yaml, line {row + 1}: champion.{model} is not written as a plain number",
                kept="params.yaml is unchanged",
                next_step=f"write `{model}: {versions[model]}` there",
            )
        lines[row] = f"{line[:column]}{versions[model]}{line[column + len(old) :]}"
    result = "".join(lines)
    champions = check(parse(result, "params.yaml as it would be")).champion
    if any(champions[model] != number for model, number in versions.items()):
        raise ClickflowError("params.yaml could not be changed safely", kept="params.yaml is unchanged")
    return result


def _entries(mapping: Any) -> dict[str, Any]:
    """The nodes of a mapping, by the names that they have there."""
    return {key.value: value for key, value in mapping.value}
