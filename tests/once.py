"""What takes seconds to make and nobody changes is made once, for all workers; a test that changes it takes a copy."""

from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def once(temporary: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder `name`, filled by `make` where no other worker has done it."""
    base = temporary.getbasetemp()
    folder = (base.parent if base.name.startswith("popen-gw") else base) / f"once-{name}"
    with FileLock(f"{folder}.lock"):
        if not folder.with_suffix(".made").exists():
            folder.mkdir()
            make(folder)
            folder.with_suffix(".made").touch()
    return folder
