"""What a network's graph is taken apart into (`apart`), and how that is kept (`laid`)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy.typing as npt

from clickflow.artefact.artefact import open_session

Array = npt.NDArray[Any]


class Piece(msgspec.Struct, frozen=True):
    """A graph, and which of its inputs are constants that are held apart: onnxruntime would copy its own."""

    graph: bytes
    held: tuple[str, ...] = ()

    def opened(self, *, threads: int, where: Path) -> Any:
        """A session of it."""
        return open_session(self.graph, threads=threads, where=where)


class Mixer(msgspec.Struct, frozen=True):
    """What makes one ranking of scores."""

    scores: tuple[str, ...]
    """The scores of all items, by their names in the graph."""
    indexes: tuple[str, ...]
    """What names items, [N, S]."""
    others: tuple[str, ...]
    """What else it reads."""
    piece: Piece


class Said(msgspec.Struct, frozen=True):
    """What a graph says of an input or an output."""

    name: str
    type: str = ""
    shape: tuple[int | None, ...] = ()


class Parts(msgspec.Struct, frozen=True):
    """A graph that was taken apart; its large constants are held apart, by name."""

    reader: Piece
    last: Piece | None
    """The same of one step of each history alone, see `narrow`."""
    vectors: dict[str, str]
    """Inputs of `reader` in the place of vectors of the items of steps, and of which table."""
    queries: dict[str, tuple[str, str]]
    """By the name of scores the output of `reader` that is multiplied with which table."""
    scans: dict[str, bytes]
    """By table the graph that scores its items in eight bits, see `table.eight_bits`; of a small one none."""
    mixers: dict[str, Mixer]
    """By output."""
    inputs: tuple[Said, ...]
    outputs: tuple[Said, ...]
    known: int


Make = Callable[[str, tuple[int, ...], Any], Array]
"""From a name, a shape and a type to an array that is held under that name, to be filled."""
