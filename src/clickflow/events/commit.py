"""Several outputs that change together or not at all.

New folders and files are made in a scratch folder beside the outputs. When all are whole, a journal is written; from
then on the change will happen: what a crash leaves undone, the next run does first.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clickflow.system import files, locks
from clickflow.system.errors import ClickflowError, DataError
from clickflow.system.paths import Paths

JOURNAL = "journal.json"


def scratch_of(paths: Paths) -> Path:
    """Where an ingest works; on the same file system as its outputs."""
    return paths.events.with_name(".ingest")


@contextmanager
def scratch(paths: Paths) -> Iterator[Path]:
    """An empty scratch folder for one ingest at a time, after whatever a killed one left has been put in order."""
    folder = scratch_of(paths)
    refusal = ClickflowError(
        f"another ingest or replay is at work in {paths.root}",
        kept="its outputs and yours are untouched",
        next_step="wait for it to end, then try again",
    )
    with locks.held(folder.with_name(".ingest.lock"), refusal):
        try:
            recover(folder, paths)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(mode=0o700)  # raw rows lie here meanwhile
            yield folder
        finally:
            if not (folder / JOURNAL).exists():
                shutil.rmtree(folder, ignore_errors=True)


def commit(folder: Path, paths: Paths, outputs: dict[str, Path]) -> None:
    """Put the finished outputs in place: name in `folder` to final path, in this order."""
    for name in outputs:
        files.sync_tree(folder / name)
    files.write_json(
        folder / JOURNAL, {name: path.relative_to(paths.root).as_posix() for name, path in outputs.items()}
    )
    recover(folder, paths)


def _ready(journal: Path, paths: Paths) -> dict[str, str]:
    known = {paths.events, paths.quarantine, paths.truth, paths.ingest_card}
    try:
        content = files.read_json(journal)
        if all(paths.root / final in known for final in content.values()):
            return dict(content)
    except (OSError, ValueError, AttributeError, TypeError):
        pass
    raise DataError(
        f"{journal} has changed: it says what an ingest that was cut short has still to put in place",
        kept="what lies there now, some of it of that ingest",
        next_step=f"remove {journal.parent}, then `clickflow ingest`: what does not fit together is read again",
    )


def recover(folder: Path, paths: Paths) -> None:
    """Do what a journal says, if there is one; doing it twice does no harm."""
    journal = folder / JOURNAL
    if not journal.exists():
        return
    old = folder / "old"
    for name, final in _ready(journal, paths).items():
        fresh, target = folder / name, paths.root / final
        if not fresh.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(old, ignore_errors=True)
        if target.is_dir():
            target.rename(old)
        fresh.replace(target)
    journal.unlink()
    shutil.rmtree(folder, ignore_errors=True)
