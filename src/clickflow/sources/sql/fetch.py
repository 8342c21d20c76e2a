"""The raw file of kind `sql`: a snapshot of the table or query."""

from pathlib import Path

from clickflow.params.schema import Params
from clickflow.sources.sql.snapshot import snapshot
from clickflow.system.paths import Paths


def fetch(params: Params, _paths: Paths, scratch: Path) -> list[tuple[str, Path]]:
    """Name and path of the snapshot, which is made in `scratch`/raw."""
    path = scratch / "raw" / "snapshot.parquet"
    path.parent.mkdir()
    return [(snapshot(params.source, path, params.ingest.memory_gb), path)]
