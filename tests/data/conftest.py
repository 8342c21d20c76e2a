"""What the tests of the data's rooms may ask for."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def place(tmp_path: Path, root: Path) -> Path:
    """An empty workspace with the repository's expectations."""
    shutil.copytree(root / "expectations", tmp_path / "expectations", ignore=shutil.ignore_patterns("uncommitted"))
    return tmp_path
