"""A figure takes half a second: it is rendered where a test is about figures, and elsewhere put together alone, or left
out.
"""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from clickflow.evaluation import figures

PIXEL = base64.b64decode(
    b"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
_savefig = Figure.savefig


def undraw(patch: pytest.MonkeyPatch) -> None:
    """Every figure of a report is one pixel until `patch` is undone."""
    patch.setattr(figures, "png", lambda draw, size: PIXEL)


def unrender(patch: pytest.MonkeyPatch) -> None:
    """Of every figure, put together as always, one pixel is written until `patch` is undone, but for `render`."""

    def savefig(figure: Figure, to: Any, **_: Any) -> None:
        if isinstance(to, str | Path):
            Path(to).write_bytes(PIXEL)
        else:
            to.write(PIXEL)

    patch.setattr(Figure, "savefig", savefig)


def render(patch: pytest.MonkeyPatch) -> None:
    """Figures are what they are until `patch` is undone."""
    patch.setattr(Figure, "savefig", _savefig)


@contextmanager
def rendered() -> Iterator[None]:
    """The same within this context."""
    with pytest.MonkeyPatch.context() as patch:
        render(patch)
        yield
