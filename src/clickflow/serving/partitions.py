"""What predictions are made of, and where they go: partitions, the lines about them, and targets that keep them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from clickflow.system.files import sha256_json

if TYPE_CHECKING:
    import pyarrow as pa

CARD = "card.json"
KIND = "clickflow predictions"
"""What card.json says of the folder, so that no other folder is ever replaced by one."""
WAIT = 60
"""Seconds that another writer of a database is waited for, and that one may be silent."""


@dataclass(frozen=True)
class Partition:
    """The predictions of a partition: its tables by the name of their file; a table may have no row."""

    number: int
    sequences: int
    tables: Mapping[str, "pa.Table"]

    @property
    def rows(self) -> dict[str, int]:
        """Of each table."""
        return {name: len(table) for name, table in self.tables.items()}


@dataclass(frozen=True)
class Line:
    """What a target has recorded of a partition."""

    sequences: int
    rows: Mapping[str, int]


@dataclass(frozen=True)
class Batch:
    """What is scored: the same `key` is the same rows. `about`: what else is told of it."""

    key: Mapping[str, Any]
    partitions: int
    schemas: Mapping[str, "pa.Schema"]
    about: Mapping[str, Any]

    @cached_property
    def id(self) -> str:
        """Its name in tables: 16 hexadecimal digits."""
        return sha256_json(dict(self.key))[:16]


class Target(Protocol):
    """Where partitions go. As a context it holds what others must not write to meanwhile."""

    lines: dict[int, Line]
    """Of the partitions that it has."""
    where: str
    """For people."""

    def __enter__(self) -> "Target": ...
    def __exit__(self, *_: object) -> None: ...

    def take(self, partition: Partition) -> None:
        """Keep a partition, whole or not at all, and have a line of it."""

    def finish(self, card: Mapping[str, Any]) -> Mapping[str, Any]:
        """All partitions are there: let readers see them. Returns what the target says of itself."""
