"""One running platform for all tests of this folder: to start one takes as long as a test.

They share its champion, and its history; each says what must hold after what it found.
"""

from collections.abc import Iterator
from pathlib import Path

import platform_client
import pytest
from platform_client import Platform

PARAMS = {
    # Any candidate that is no nonsense passes: these tests are about what happens then.
    "gate.champion.margin": 0.5,
    "gate.max_slice_drop": 0.99,
    "gate.min_slice": 100_000,
    "schedule.backfill": "@daily",
    # One window of a week, which decides alone.
    "watch.window_days": 7,
    "watch.windows": 1,
    "watch.breaches": 1,
}


@pytest.fixture(scope="package")
def shop(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The platform, as `make up` starts it. No process of it may be left in the end."""
    platform = platform_client.clone(root, tmp_path_factory.mktemp("live"), PARAMS)
    try:
        platform.up()
        yield platform
    finally:
        platform.down()


@pytest.fixture(scope="package")
def first(shop: Platform) -> str:
    """The first run, by hand, with nothing but a note; it has made a champion."""
    run = shop.trigger("retrain", {"note": "the first"})
    assert shop.wait("retrain", run, timeout=1200) == "success", shop.states("retrain", run)
    return run
