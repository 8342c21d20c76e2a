"""The program: `clickflow VERB`. The verbs stand in `clickflow.verbs`; each stage of dvc.yaml is one of them."""

import gc
import os
import signal
import sys
from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

from clickflow import __version__
from clickflow.system import console, files
from clickflow.system.errors import EXIT_FAILED, EXIT_INTERRUPTED, ClickflowError
from clickflow.system.paths import workspace
from clickflow.verbs.app import app

# isort: off
# A verb is added to the program by importing its module; in this order they stand in the help.
from clickflow.verbs import data  # noqa: F401
from clickflow.verbs import pipeline  # noqa: F401
from clickflow.verbs import champions  # noqa: F401
from clickflow.verbs import answers  # noqa: F401
from clickflow.verbs import runs  # noqa: F401
from clickflow.verbs import platform  # noqa: F401
# isort: on

__all__ = ["app", "guarded", "main"]


def _version(wanted: bool) -> None:
    if wanted:
        console.out.print(f"clickflow {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="The version.")] = False,
) -> None:
    """Options before the verb."""


Result = TypeVar("Result")


def guarded(function: Callable[[], Result]) -> Result:
    """Call `function`; a fault a user can act on becomes its lines and its exit code, Ctrl-C a clean end, an error of
    this program a sentence and a log file.
    """
    try:
        try:
            return function()
        finally:
            sys.stdout.flush()
    except ClickflowError as error:
        console.complain(error.lines())
        raise SystemExit(error.exit_code) from error
    except KeyboardInterrupt:
        console.err.print("stopped; finished outputs are kept, unfinished ones were not put in place")
        raise SystemExit(EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        console.hang_up()
        raise SystemExit(EXIT_FAILED) from None
    except Exception as error:
        from clickflow.system import faults

        if os.environ.get(faults.DEBUG):
            raise
        known = faults.explain(error, workspace())
        console.complain(known.lines())
        console.hang_up()
        raise SystemExit(known.exit_code) from None


def main() -> None:
    """The console script."""
    gc.set_threshold(50_000)  # libraries make many objects as they start, of which none goes
    console.fit()
    files.withhold()
    # A shell that is no terminal's starts its background jobs with SIGINT ignored, and children inherit that: neither
    # Ctrl-C nor `kill -INT` would end this program, nor what it asks in that way to end.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    guarded(lambda: app(standalone_mode=True))


if __name__ == "__main__":
    main()
