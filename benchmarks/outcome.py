"""What a benchmark hands out: one JSON, on the screen and, where asked for, in a file."""

import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any


def versions(*packages: str) -> dict[str, str]:
    """The versions of Python and of installed packages."""
    return {**{name: version(name) for name in packages}, "python": platform.python_version()}


def hand_out(result: Mapping[str, Any], file: Path | None) -> None:
    """Print the result, and write it to `file` where there is one."""
    text = json.dumps(result, indent=2)
    print(text)
    if file:
        file.write_text(text + "\n", encoding="utf-8")
