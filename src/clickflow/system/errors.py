"""Errors a user can act on, and the exit codes that machines read."""

import difflib
from collections.abc import Iterable

EXIT_FAILED = 1
"""Something went wrong while working; trying again may help."""
EXIT_USAGE = 2
"""A wrong command, parameter or missing prerequisite; trying again does not help."""
EXIT_DATA = 3
"""The data is not fit for use; trying again with the same data does not help."""
EXIT_INTERRUPTED = 130
"""Stopped by Ctrl-C."""


class ClickflowError(Exception):
    """What happened, to what, what has been kept, and what to do next.

    `what` names the fault and the file, row, parameter or task it happened to; `kept` says what is safe;
    `next_step` is the command or edit that helps.
    """

    exit_code = EXIT_FAILED

    def __init__(self, what: str, *, kept: str = "", next_step: str = "") -> None:
        self.what = what
        self.kept = kept
        self.next_step = next_step
        super().__init__("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """The message, one thought a line."""
        return [
            self.what,
            *([f"kept: {self.kept}"] if self.kept else []),
            *([f"next: {self.next_step}"] if self.next_step else []),
        ]


class UsageError(ClickflowError):
    """A wrong command, parameter or missing prerequisite."""

    exit_code = EXIT_USAGE


class DataError(ClickflowError):
    """Data that cannot be used as it is."""

    exit_code = EXIT_DATA


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the one of the `known` names that may have been meant; empty where none is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
