"""Temporary files in memory: what is written safely waits for the disk, and tests write thousands of files safely."""

import os
import shutil
import tempfile
from pathlib import Path

import psutil

ROOM = 6 << 30
"""Bytes of memory that must be free; a run of all tests takes one or two."""
MEMORY = Path("/dev/shm")
_NAME = "clickflow-tests-"


def take() -> Path | None:
    """A folder for the temporary files of this process and of all that it starts; none where memory is short.

    Folders of runs that were killed are removed.
    """
    if not _fit():
        return None
    for left in MEMORY.glob(f"{_NAME}*"):
        owner = int(left.name.removeprefix(_NAME))
        if owner == os.getpid() or not psutil.pid_exists(owner):  # a number comes again
            shutil.rmtree(left, ignore_errors=True)
    folder = MEMORY / f"{_NAME}{os.getpid()}"
    folder.mkdir(mode=0o700)
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = None  # it is asked for anew
    return folder


def _fit() -> bool:
    """Whether programs can be run there, and there is room."""
    try:
        system = os.statvfs(MEMORY)
    except OSError:
        return False
    free = min(system.f_bavail * system.f_frsize, psutil.virtual_memory().available)
    return not system.f_flag & os.ST_NOEXEC and os.access(MEMORY, os.W_OK) and free > ROOM
