"""What every test may ask for."""

import copy
import gc
import os
import shutil
from collections.abc import Iterator
from functools import cache
from itertools import count
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import pytest
import typer.testing
import yaml
from hypothesis import settings

import memory_folder

# CI asks the same questions every time; a person's machine asks new ones. On a busy machine any of them may take long.
settings.register_profile("tests", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("tests")

# Params by the hundred: libyaml reads them eight times as fast, to the same values.
yaml.SafeLoader = yaml.CSafeLoader  # type: ignore[misc, assignment]

# The command line in the test's own process: what its hundred functions declare is read once, 8 ms a call.
typer.testing._get_command = cache(typer.testing._get_command)  # type: ignore[attr-defined]

# A worker holds the modules of every test: to seek garbage among all of them takes a quarter of a second each time.
gc.set_threshold(700, 10, 1000)

ROOT = Path(__file__).resolve().parents[1]


_MEMORY = pytest.StashKey[Path]()
_ON_DISK = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--demo", type=Path, help="where test_fresh_clone.py leaves its clone, for the recipes")
    parser.addoption("--in-memory", action="store_true", help="temporary files in memory, where there is room")


def pytest_configure(config: pytest.Config) -> None:
    if not config.option.in_memory or config.option.basetemp:
        return
    if lacking := memory_folder.lacking():
        config.stash[_ON_DISK] = lacking
    else:
        config.stash[_MEMORY] = memory_folder.take()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object | None:
    """`--dist loadfile`, where the modules of a folder that share a running platform are as one file."""
    if config.option.dist != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = Path(super()._split_scope(nodeid))
            return str(file.parent if file.parent.name == "live" else file)

    return Scheduling(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if why := config.stash.get(_ON_DISK, ""):
        terminalreporter.write_line(f"temporary files were on the disk, which takes twice as long: {why}")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """What failed can be looked at. Otherwise it goes, after what the module multiprocessing has there."""
    gc.unfreeze()
    if _MEMORY in session.config.stash and not exitstatus:
        Finalize(None, shutil.rmtree, [session.config.stash[_MEMORY], True], exitpriority=-200)


def pytest_collection_finish() -> None:
    """What is there before the first test stays, and need not be looked through for garbage."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no worker begins one when the others have ended; where files are to
    be taken in the order of the command line, they are.
    """
    if not getattr(config.option, "loadscopereorder", True):
        return
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def shop_data() -> Path:
    """The folder of real shop logs; the tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("CLICKFLOW_SHOP_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real shop logs here: set CLICKFLOW_SHOP_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A new folder a test, by a counter: pytest would look at every folder there is, which takes milliseconds among
    thousands.
    """
    within = tmp_path_factory.mktemp("homes")
    return (within / str(number) for number in count())


@pytest.fixture(autouse=True)
def _own_home(_homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the state of the checkout it runs in."""
    home = next(_homes)
    home.mkdir(mode=0o700)
    monkeypatch.setenv("CLICKFLOW_HOME", str(home))
    monkeypatch.setenv("GX_ANALYTICS_ENABLED", "false")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="session")
def _raw_params(root: Path) -> dict[str, object]:
    import yaml

    parsed: dict[str, object] = yaml.safe_load((root / "tests/assets/params_long.yaml").read_text(encoding="utf-8"))
    return parsed


@pytest.fixture
def raw_params(_raw_params: dict[str, object]) -> dict[str, object]:
    """params.yaml as parsed; a test's to change and to check with `clickflow.params.file.check`."""
    return copy.deepcopy(_raw_params)
