"""DuckDB as ingest uses it: one database in memory, a cursor of its own for every thread."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import duckdb


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
    """An engine that takes at most half of `memory_gb`."""
    with duckdb.connect(":memory:", config={"threads": 1, "memory_limit": f"{memory_gb / 2}GB"}) as root:
        yield Engine(root)
