"""Checkouts that several pages share, as a reader has one."""

import shutil
from pathlib import Path

import pytest
from recipe import Checkout

from once import once


@pytest.fixture(scope="session")
def done(root: Path, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    """A checkout after its first `dvc repro`, or the clone in `--demo` after its `make demo`: the same commit, params
    and key make the same bytes anywhere.
    """
    if demo := pytestconfig.getoption("--demo"):
        return Path(demo) / "clone"

    def make(folder: Path) -> None:
        outcome = Checkout(root, folder / "clickflow").sh("dvc repro")
        assert outcome.code == 0, outcome.text[-6000:]

    return once(tmp_path_factory, "repro", make) / "clickflow"


@pytest.fixture(scope="module")
def checkout(root: Path, done: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A clone of the commit; what is not committed is not in it.

    Its stages, as the commit has them, were done in another clone: DVC finds their results in its cache, and does again
    what has other params or data. From nothing the same is done in tests/platform/test_fresh_clone.py.
    """
    clone = Checkout(root, tmp_path_factory.mktemp("reader") / "clickflow")
    shutil.copytree(done / ".dvc/cache", clone.folder / ".dvc/cache")
    (clone.folder / ".clickflow").mkdir(mode=0o750)
    shutil.copy(done / ".clickflow/pseudonym.key", clone.folder / ".clickflow")
    return clone
