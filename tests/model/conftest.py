"""For tests of models."""

import io
import pickle
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
import watched_shop

from clickflow.artefact import checks, networks
from clickflow.forecasting import boosting
from once import once
from undrawn import rendered, undraw, unrender


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Small products: more threads only wait for each other, and tests run beside others."""
    torch.set_num_threads(1)


class _Pickler(pickle.Pickler):
    """Whose bytes are the same for the same content, wherever it lies."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return repr, ((str(value.dtype), tuple(value.shape), value.detach().numpy().tobytes()),)
        return NotImplemented


def _content(network: Any) -> str:
    written = io.BytesIO()
    pickler = _Pickler(written)
    pickler.fast = True  # whatever shares it
    pickler.dump(network)
    return sha256(written.getvalue()).hexdigest()


@pytest.fixture(scope="session", autouse=True)
def _quick_exports() -> Iterator[None]:
    """An export takes a second: half to make the graph, which is made once of one network, and a quarter for requests
    whose time no test asks for, which are fewer.
    """
    exporter, graphs = networks.to_onnx, dict[str, bytes]()

    def to_onnx(network: Any) -> bytes:
        key = _content(network)
        if key not in graphs:
            graphs[key] = exporter(network)
        return graphs[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "to_onnx", to_onnx)
        patch.setattr(checks, "WARM_UP", 4)
        patch.setattr(checks, "REQUESTS", 8)
        yield


@pytest.fixture(scope="session", autouse=True)
def _few_trees() -> Iterator[None]:
    """Trees are most of the time of a preset of series: a quarter of them shows as much of how they are mixed."""
    few = {step: (drawn, rounds // 4, larger) for step, (drawn, rounds, larger) in boosting.TREES.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boosting, "TREES", few)
        yield


@pytest.fixture(scope="session", autouse=True)
def _unrendered() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        unrender(patch)
        yield


@pytest.fixture
def figures_rendered() -> Iterator[None]:
    """For a test that is about figures."""
    with rendered():
        yield


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
