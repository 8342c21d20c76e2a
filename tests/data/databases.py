"""DuckDB in memory, opened once for many ingests: to open one takes longer than what most of them ask of it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import duckdb


class Databases:
    """In the place of the module `duckdb` where one is opened: what nobody uses any more is opened for the next one."""

    def __init__(self) -> None:
        self._free: dict[tuple[object, ...], list[Any]] = {}

    @contextmanager
    def connect(self, database: str, config: Mapping[str, Any]) -> Iterator[Any]:
        """A connection to a database that is nobody else's meanwhile, empty, with the settings asked for."""
        kind = os.getpid(), os.environ.get("TZ"), database, *config.items()  # a fork has none of the threads
        free = self._free.setdefault(kind, [])
        root = free.pop() if free else duckdb.connect(database, config=dict(config))
        try:
            with root.cursor() as connection:
                yield connection
        finally:
            with suppress(duckdb.Error):  # then it is not used again
                root.execute("RESET temp_directory")
                for name, value in config.items():
                    root.execute(f"SET {name} = '{value}'")
                if not root.execute(
                    "SELECT 1 FROM duckdb_tables() UNION ALL SELECT 1 FROM duckdb_secrets()"
                ).fetchall():
                    free.append(root)
