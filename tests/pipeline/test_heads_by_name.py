"""No head is known by name outside its own file: a new one is one file and its params."""

from pathlib import Path

from clickflow.heads import HEADS

EXEMPT = ("heads", "params")
"""The rooms of the heads themselves, and of params, whose defaults and examples name some."""


def test_no_room_knows_a_head_by_name(root: Path) -> None:
    source = root / "src/clickflow"
    files = [path for path in source.rglob("*") if path.suffix in (".py", ".jinja", ".html", ".sql")]
    named = {
        file.relative_to(source).as_posix()
        for file in files
        if file.relative_to(source).parts[0] not in EXEMPT
        and any(name in file.read_text(encoding="utf-8") for name in HEADS)
    }
    assert not named


def test_nor_does_another_head(root: Path) -> None:
    """The table of heads imports each; what they share knows none."""
    own = {file.name: file.read_text(encoding="utf-8") for file in (root / "src/clickflow/heads").glob("*.py")}
    naming = {file for file, text in own.items() if any(name in text for name in HEADS)}
    assert naming == {"__init__.py", *(f"{name}.py" for name in HEADS)}
