"""The files below a folder that a pattern names.

Whatever cannot be listed or opened is an error: otherwise its rows would be missing without notice.
"""

import os
import stat
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from clickflow.events.storage import UNTOUCHED
from clickflow.system.errors import DataError

SHOWN = 10
"""How many faults an error names."""


def matching(base: Path, pattern: str, passed_over: Callable[[tuple[str, ...]], bool]) -> list[Path]:
    """The files below `base` whose names match `pattern` (as `Path.glob` has it), in order.

    `passed_over` says of a name's parts, relative to `base`, that it is no data; what it passes over is not looked at.
    Raises DataError with every folder that cannot be listed, file that cannot be read, link that leads nowhere, link to
    a folder that `**` meets (neither DVC nor an ingest looks through it), and name that is no UTF-8.
    """
    faults: list[tuple[str, str]] = []
    parts = PurePosixPath(pattern).parts
    paths = sorted(set(_walk(base, (), parts, passed_over, faults)))
    if not faults:
        return paths
    faults = list(dict.fromkeys(faults))  # `**` comes by some places twice
    first, mend = faults[0]
    lines = "\n".join(f"  {what}" for what, _ in faults[:SHOWN])
    more = f"\n  and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    raise DataError(
        first if len(faults) == 1 else f"{len(faults)} places below {base} cannot be read:\n{lines}{more}",
        kept=UNTOUCHED,
        next_step=f"{mend}; or narrow source.path and source.pattern to what is meant",
    )


def _walk(
    folder: Path,
    above: tuple[str, ...],
    parts: tuple[str, ...],
    passed_over: Callable[[tuple[str, ...]], bool],
    faults: list[tuple[str, str]],
) -> Iterator[Path]:
    """The files of `folder`, whose parts relative to the base are `above`, that match the `parts` of a pattern."""
    if not parts:
        return
    head, *rest = parts
    if head == "**":
        yield from _walk(folder, above, tuple(rest), passed_over, faults)
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        faults.append((f"{shown(folder)} cannot be listed: {error.strerror}", f"chmod a+rx {shown(folder)}"))
        return
    further = parts if head == "**" else tuple(rest)
    for name in names:
        path, inside = folder / name, (*above, name)
        if not (head == "**" or fnmatchcase(name, head)):
            continue
        try:
            mode = path.stat().st_mode
        except OSError as error:
            if not passed_over(inside):
                faults.append((f"{shown(path)} cannot be read: {_why(path, error)}", "mend or remove it"))
            continue
        if stat.S_ISDIR(mode):
            if not further or passed_over((*inside, "")):
                continue
            if head == "**" and path.is_symlink():
                faults.append((f"{shown(path)} is a link to a folder: its files would not be seen", "copy or mount it"))
            elif _named(path, faults):
                yield from _walk(path, inside, further, passed_over, faults)
        elif not further and not passed_over(inside) and _named(path, faults):
            if not stat.S_ISREG(mode):
                faults.append((f"{shown(path)} is not a file, but a pipe, socket or device", "remove it"))
            elif not os.access(path, os.R_OK):
                faults.append((f"{shown(path)} is not to be read by this user", f"chmod a+r {shown(path)}"))
            else:
                yield path


def _named(path: Path, faults: list[tuple[str, str]]) -> bool:
    """Whether the last part of a path is a text, as quarantine, manifest and DVC need it."""
    try:
        path.name.encode()
    except UnicodeEncodeError:
        faults.append((f"{shown(path)}: its name is no UTF-8", "rename it"))
        return False
    return True


def _why(path: Path, error: OSError) -> str:
    if path.is_symlink() and isinstance(error, FileNotFoundError):
        return f"it is a link to {shown(path.readlink())}, where nothing is"
    return str(error.strerror)


def shown(path: Path) -> str:
    """A path for a message, whatever bytes its name is of."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
