"""The source files that can change a model: where one changes, its training and its study of `tune` begin anew."""

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
    "sequences/plan.py",
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
