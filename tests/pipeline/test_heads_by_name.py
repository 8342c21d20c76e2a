"""No head is known by name outside its own file: a new one is one file and its params."""

import re
from pathlib import Path

from clickflow.heads import HEADS

EXEMPT = ("heads", "params")
"""The rooms of the heads themselves, and of params, whose defaults and examples name some."""


def names_one(text: str) -> bool:
    """Whether a text names a head. One word may be just that word, or an event type: its module must be meant."""
    one_word = "|".join(name for name in HEADS if "_" not in name)
    module = re.search(rf"heads\.({one_word})\b|heads import [\w, ]*\b({one_word})\b", text) if one_word else None
    return module is not None or any(name in text for name in HEADS if "_" in name)


def test_no_room_knows_a_head_by_name(root: Path) -> None:
    source = root / "src/clickflow"
    files = [path for path in source.rglob("*") if path.suffix in (".py", ".jinja", ".html", ".sql")]
    named = {
        file.relative_to(source).as_posix()
        for file in files
        if file.relative_to(source).parts[0] not in EXEMPT and names_one(file.read_text(encoding="utf-8"))
    }
    assert not named


def test_nor_does_another_head(root: Path) -> None:
    """The table of heads imports each; what they share knows none."""
    own = {file.name: file.read_text(encoding="utf-8") for file in (root / "src/clickflow/heads").glob("*.py")}
    naming = {file for file, text in own.items() if names_one(text)}
    assert naming - {f"{name}.py" for name in HEADS} == {"__init__.py"}
