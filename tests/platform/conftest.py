"""Platforms for tests: a clone of this repository's commit with small params, `clickflow up` on free ports.

What is not committed is not in the clone. Each platform has its own home, takes 1.9 GB and half a minute to start; it
is ended by `clickflow down` when the module is done, and no process may be left then.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))  # the platform as benchmarks see it too

import platform_client
from platform_client import Platform

if TYPE_CHECKING:
    from page_reader import Reader
    from playwright.sync_api import Browser
    from test_serving import Server

StartPlatform = Callable[..., Platform]


@pytest.fixture(scope="module")
def start_platform(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartPlatform]:
    """Starts platforms of a module's own: `start_platform(params={"seed": 1}, CLICKFLOW_EXECUTOR="local")`.

    `params` are committed in the clone on top of `SMALL`; the other words are environment variables. With `up=False`
    the clone is there, and nothing runs yet. Every one that was made is ended with the module.
    """
    platforms: list[Platform] = []

    def start(*, params: Mapping[str, Any] | None = None, up: bool = True, **env: str) -> Platform:
        platforms.append(platform_client.clone(root, tmp_path_factory.mktemp("platform"), params, **env))
        if up:
            platforms[-1].up()
        return platforms[-1]

    yield start
    for one in platforms:
        one.down()


@pytest.fixture(scope="module")
def platform(start_platform: StartPlatform) -> Platform:
    """A platform as `make up` starts it: LocalExecutor, and an Edge worker on queue gpu."""
    return start_platform()


@pytest.fixture
def recovery(capsys: pytest.CaptureFixture[str]) -> Callable[[str], contextlib.AbstractContextManager[None]]:
    """`with recovery("kill -9 of it"):` a fault, and the wait until its work goes on; prints the seconds."""

    @contextlib.contextmanager
    def measured(fault: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        with capsys.disabled():
            print(f"\nrecovery after {fault}: {time.monotonic() - began:.1f} s", flush=True)

    return measured


@pytest.fixture(scope="module")
def served(root: Path, tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Server]":
    """A server with all that the page shows."""
    import page_shop

    with page_shop.serving(root, tmp_path_factory.mktemp("page"), tmp_path_factory.mktemp("second")) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """One for all tests of a module."""
    import page_shop

    with page_shop.chromium() as one:
        yield one


@pytest.fixture
def reader(browser: "Browser", served: "Server") -> "Iterator[Reader]":
    """Of its page, at a desk, in English."""
    import page_reader

    one = page_reader.Reader(browser, served)
    yield one
    one.end()
