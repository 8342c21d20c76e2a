"""The result of a check."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from clickflow.system.paths import Paths

State = Literal["ok", "warning", "fault"]


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it is, and, unless it is well, what to do."""

    about: str
    state: State
    words: str
    mend: str = ""


Check = Callable[[Paths], list[Finding]]
"""Looks at one thing and changes nothing; raises nothing that is a finding."""


def well(about: str, words: str) -> Finding:
    """Nothing to do."""
    return Finding(about, "ok", words)


def warning(about: str, words: str, mend: str) -> Finding:
    """It works, though not as well as it might."""
    return Finding(about, "warning", words, mend)


def fault(about: str, words: str, mend: str) -> Finding:
    """Something will not work."""
    return Finding(about, "fault", words, mend)
