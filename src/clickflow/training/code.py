"""The code that can change what a training comes to: another code is another training, and another study of `tune`."""

from pathlib import Path

CODE = (
    "training",
    "models",
    "features",
    "forecasting",
    "heads",
    "sequences/card.py",
    "sequences/features.py",
    "sequences/indexes.py",
    "sequences/store.py",
    "sequences/units",
    "params/models.py",
    "params/training.py",
)
"""Below src/clickflow: the deps of the stage `train` in dvc.yaml, as tests/pipeline/test_rooms.py holds them."""


def files() -> list[Path]:
    """All its files, sorted."""
    root = Path(__file__).resolve().parents[1]
    return sorted(
        file for each in CODE for file in ([root / each] if each.endswith(".py") else (root / each).rglob("*.py"))
    )
