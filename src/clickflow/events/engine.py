"""DuckDB as ingest uses it: one database in memory, a cursor of its own for every thread."""

import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import duckdb
import pyarrow as pa

from clickflow.system.errors import UsageError

LIBRARIES = 1_500_000_000
"""Bytes of address space below which nothing can be read."""


class Engine:
    """One database. Work is spread over threads by the caller, so DuckDB itself keeps to one."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self._local = threading.local()

    def cursor(self) -> Any:
        """This thread's cursor."""
        if not hasattr(self._local, "cursor"):
            self._local.cursor = self.root.cursor()
        return self._local.cursor


@contextmanager
def started(memory_gb: float) -> Iterator[Engine]:
    """An engine that takes at most half of `memory_gb`.

    Raises UsageError where the process may not have the memory that its libraries alone map: they would hang or crash.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if 0 <= limit < LIBRARIES:
        raise UsageError(
            f"this process may have {limit / 1e9:.1f} GB of address space, and its libraries alone map more",
            kept="nothing was started",
            next_step=f"raise the limit (`ulimit -v`) to {LIBRARIES / 1e9:.1f} GB and more",
        )
    with suppress(NotImplementedError):  # Arrow's default gives pages back, and asks for them again, for every block
        pa.set_memory_pool(pa.jemalloc_memory_pool())
    with duckdb.connect(":memory:", config={"threads": 1, "memory_limit": f"{memory_gb / 2}GB"}) as root:
        yield Engine(root)
