"""The vectors of items in a network's exported graph."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clickflow.artefact.artefact import MODEL, Artefact
from clickflow.sequences.indexes import FIRST_ITEM

TABLE = "items"
"""The last part of the name of a network's table of item vectors, in the exported graph."""


def vectors(artefact: Artefact) -> npt.NDArray[np.float32] | None:
    """The vectors [known, D] of the items, each of length 1 (0: it has none); of an ensemble those of all networks side
    by side, so that a product is the mean of their cosines. None: the model has none.
    """
    return _read(artefact.folder, str(artefact.card["model_sha256"]), artefact.known)


@lru_cache(maxsize=8)
def _read(folder: Path, _: str, known: int) -> npt.NDArray[np.float32] | None:
    """By the hash of the model beside the folder, so that another version there is another entry."""
    import onnx
    from onnx import numpy_helper

    if not (folder / MODEL).is_file():
        return None
    graph = onnx.load(str(folder / MODEL)).graph
    tables = [
        np.array(numpy_helper.to_array(each), np.float32)
        for each in graph.initializer
        if each.name.split(".")[-1] == TABLE and len(each.dims) == 2 and each.dims[0] == known
    ]
    if not tables:
        return None
    lengths = [np.linalg.norm(table, axis=1, keepdims=True) for table in tables]
    whole: npt.NDArray[np.float32] = np.concatenate(
        [table / np.where(length > 0, length, 1) for table, length in zip(tables, lengths, strict=True)], axis=1
    ) / np.sqrt(len(tables))
    whole[:FIRST_ITEM] = 0  # padding and unknown are no items
    return whole
