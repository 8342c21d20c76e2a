"""A figure takes half a second: it is drawn where a test is about figures, and left out where it is about the rest."""

import base64

import pytest

from clickflow.evaluation import figures

PIXEL = base64.b64decode(
    b"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def undraw(patch: pytest.MonkeyPatch) -> None:
    """Every figure of a report is one pixel until `patch` is undone."""
    patch.setattr(figures, "png", lambda draw, size: PIXEL)
