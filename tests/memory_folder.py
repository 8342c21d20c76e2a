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


def take() -> Path:
    """A folder for the temporary files of this process and of all that it starts."""
    folder = MEMORY / f"{_NAME}{os.getpid()}"
    folder.mkdir(mode=0o700)
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = None  # it is asked for anew
    return folder


def lacking() -> str:
    """Why no programs can be run there, or how much room there is; empty where it will do.

    Folders of runs that were killed are removed first.
    """
    for left in MEMORY.glob(f"{_NAME}*"):
        owner = int(left.name.removeprefix(_NAME))
        if owner == os.getpid() or not psutil.pid_exists(owner):  # a number comes again
            shutil.rmtree(left, ignore_errors=True)
    try:
        system = os.statvfs(MEMORY)
    except OSError as error:
        return str(error)
    if system.f_flag & os.ST_NOEXEC or not os.access(MEMORY, os.W_OK):
        return f"{MEMORY} lets nobody write or run programs"
    free = min(system.f_bavail * system.f_frsize, psutil.virtual_memory().available)
    return "" if free > ROOM else f"{free / 1e9:.1f} GB of memory are free, and it takes {ROOM / 1e9:.1f}"
