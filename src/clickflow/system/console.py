"""Console output: messages and progress on stderr, results on stdout; plain text where no terminal is attached."""

import codecs
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn


class _Unheard(Console):
    """Where nobody listens any more (a reader of the log that has ended), the work goes on."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


out = Console(highlight=False, soft_wrap=True)
err = _Unheard(stderr=True, highlight=False, soft_wrap=True)

PLAIN_INTERVAL = 10.0
"""Seconds between two progress lines where no terminal is attached."""
LEAST_DONE = 0.03
"""Share of the work from which on such a line says how long the rest takes: first steps read and compile."""

Advance = Callable[..., None]
"""`advance(step=1, note="")`: so much more is done; `note` stands at the end of the line."""


PLAIN = "clickflow.plain"
"""Name of the way to write what the encoding of a stream has no character for."""
SPELLED = {"±": "+/-", "…": "...", "–": "-", "—": "-", "→": "->", "×": "x", "≥": ">=", "≤": "<=", "·": "-", "−": "-"}


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """Signs in ASCII, anything else escaped."""
    assert isinstance(error, UnicodeEncodeError)
    lost = error.object[error.start : error.end]
    return "".join(SPELLED.get(sign, sign.encode("ascii", "backslashreplace").decode()) for sign in lost), error.end


def fit() -> None:
    """Let standard output and error take any text, whatever their encoding, and be there."""
    codecs.register_error(PLAIN, _spelled)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started this
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        getattr(sys, name).reconfigure(errors=PLAIN)


def hang_up() -> None:
    """What standard output still holds, and cannot take, is let go: no error at the end of the process."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(lines: Sequence[str]) -> None:
    """The lines of an error."""
    first, *rest = map(escape, lines)
    err.print(f"[bold red]error:[/] {first}")
    for line in rest:
        err.print(f"  {line}")


_speaker = ""


def speak_as(name: str) -> None:
    """Let every line that this process says begin with a name: of one of several that write the same log."""
    global _speaker
    _speaker = f"{name}: " if name else ""


def say(message: str) -> None:
    """One line for the person watching; where nobody can be told (a log on a full disk), the work goes on."""
    with suppress(OSError):
        err.print(f"{_speaker}{message}")


SELDOM = 60.0
"""Seconds after which a fault that goes on is said again."""
_repeated: dict[str, tuple[float, int]] = {}


def say_seldom(message: str) -> None:
    """As `say`, of what may go wrong at every request: once in `SELDOM` seconds, with how often it was since."""
    now = time.monotonic()
    last, more = _repeated.get(message, (-SELDOM, 0))
    if now - last < SELDOM:
        _repeated[message] = (last, more + 1)
        return
    if len(_repeated) >= 100:  # texts that are never the same: the oldest is forgotten
        _repeated.pop(min(_repeated, key=lambda text: _repeated[text][0]))
    _repeated[message] = (now, 0)
    say(f"{message} ({more:,} times more since)" if more else message)


def emit(result: Mapping[str, Any], *, as_json: bool, text: Callable[[], Any]) -> None:
    """The result of a verb: JSON for machines, or what `text()` returns (a string or a rich table) for people."""
    if as_json:
        sys.stdout.write(json.dumps(finite(result), indent=2, sort_keys=True, default=str, allow_nan=False) + "\n")
    else:
        out.print(text())


def finite(value: Any) -> Any:
    """`value` with None where a number is none or infinite, which JSON does not know."""
    if isinstance(value, Mapping):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def progress(label: str, total: float | None) -> Iterator[Advance]:
    """A bar in a terminal, a line every ten seconds elsewhere; `total` None where the end is unknown."""
    if err.is_terminal:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=err, transient=True) as bar:
            task = bar.add_task(label, total=total, note="")

            def advance(step: float = 1, note: str = "") -> None:
                bar.update(task, advance=step)
                if note:
                    bar.update(task, note=note)

            yield advance
        return

    done, started, last = 0.0, time.monotonic(), time.monotonic()

    def advance_plain(step: float = 1, note: str = "") -> None:
        nonlocal done, last
        done += step
        now = time.monotonic()
        if now - last >= PLAIN_INTERVAL:
            last = now
            share = f"{done / total:.0%}" if total else f"{done:,.0f}"
            left = ""
            if total and done >= total * LEAST_DONE:
                left = f", {(now - started) * (total - done) / done:.0f} s left"
            say(f"{label}: {share}{left}{'  ' + note if note else ''}")

    yield advance_plain
