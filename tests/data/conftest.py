"""What the tests of the data's rooms may ask for."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from databases import Databases

from clickflow.events import engine


@pytest.fixture(scope="session", autouse=True)
def _opened() -> Iterator[None]:
    """An ingest of a few rows takes a third of its time to open its database."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "duckdb", Databases())
        yield


@pytest.fixture
def place(tmp_path: Path, root: Path) -> Path:
    """An empty workspace with the repository's expectations."""
    shutil.copytree(root / "expectations", tmp_path / "expectations", ignore=shutil.ignore_patterns("uncommitted"))
    return tmp_path
