"""Checkouts that several pages share, as a reader has one."""

from pathlib import Path

import pytest
from recipe import Checkout


@pytest.fixture(scope="module")
def checkout(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A clone of the commit; what is not committed is not in it."""
    return Checkout(root, tmp_path_factory.mktemp("reader") / "clickflow")
