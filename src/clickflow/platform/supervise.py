"""`python -m clickflow.platform.supervise -n -c FILE`: supervisord, which outlives a full disk.

As it comes, supervisord ends with a traceback where it can write neither its log nor the traceback, and where the log
of a service that has ended cannot be closed; nobody is left then to start the services again. Here a line that cannot
be written is lost, and nothing else.
"""

import functools
from collections.abc import Callable
from typing import Any


def main() -> None:
    """Become supervisord, whose options are those of the command line."""
    from supervisor import loggers, supervisord

    loggers.Handler.handleError = lambda _: None
    for kind, name in ((loggers.Handler, "close"), (loggers.RotatingFileHandler, "doRollover")):
        setattr(kind, name, _forgiving(getattr(kind, name)))
    supervisord.main()


def _forgiving(method: Callable[[Any], None]) -> Callable[[Any], None]:
    """The method, which says nothing of a disk that takes no more."""

    @functools.wraps(method)
    def called(handler: Any) -> None:
        try:
            method(handler)
        except OSError:
            return

    return called


if __name__ == "__main__":
    main()
