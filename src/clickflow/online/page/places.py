"""Where the page finds what the pipeline left: in the checkout; where nothing was run there, with the runs that the
ledger names, of Airflow and `clickflow retrain`.
"""

from collections.abc import Iterator
from pathlib import Path

from clickflow.registry import ledger
from clickflow.system.errors import ClickflowError
from clickflow.system.paths import Paths


def of(paths: Paths, model: str | None = None) -> Iterator[Paths]:
    """The checkout, then the results of runs (of `model`) whose folders are in the home, the latest first."""
    yield paths
    seen: set[str] = set()
    for entry in reversed(_entries(paths)):
        run = entry.facts.get("run_id") or ""
        if run in seen or run != Path(run).name or model not in (None, entry.model):
            continue
        seen.add(run)
        if (paths.home / "runs" / run).is_dir():
            yield Paths(paths.home / "runs" / run)


def _entries(paths: Paths) -> list[ledger.Entry]:
    """No lines of a ledger that cannot be believed: the page says so where it shows them."""
    try:
        return ledger.whole(paths)
    except (ClickflowError, OSError):
        return []
