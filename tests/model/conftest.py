"""For tests of models."""

from pathlib import Path

import pytest
import torch
import watched_shop

from once import once
from undrawn import undraw


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Small products: more threads only wait for each other, and tests run beside others."""
    torch.set_num_threads(1)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a test that is not about figures."""
    undraw(monkeypatch)


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """The folders `shop`, a workspace with a promoted model, and `home`, which holds it: for reading."""

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            (folder / "shop").mkdir()
            patch.chdir(folder / "shop")
            undraw(patch)
            patch.setenv("CLICKFLOW_HOME", str(folder / "home"))
            watched_shop.make(folder / "shop", root)

    return once(tmp_path_factory, "watched", make)
