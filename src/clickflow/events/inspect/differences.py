"""Files of a folder whose form or columns differ from those of the file that a proposal was made from."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from clickflow.events.folders import member_of
from clickflow.events.inspect.form import Form, Look, form_of
from clickflow.events.inspect.proposal import Proposal
from clickflow.events.inspect.words import column_named
from clickflow.events.presets import PRESETS
from clickflow.events.sources import HEAD, EmptyFile
from clickflow.events.storage import UTF8, Storage, opened, read_text
from clickflow.system.errors import DataError

MOST = 1000
"""Of more files so many are looked at, evenly spread: each takes some hundredths of a second."""
SHOWN = 3
"""Names of files that a line gives."""


def differences(
    files: Sequence[tuple[str, Path]], looked: Look, proposal: Proposal, advance: Callable[[], object]
) -> Iterator[str]:
    """What is other than in `looked` in the first lines of the other files, in words; `advance` is called once a file.

    Said are another format, delimiter, encoding or header, columns that are used and not there, columns that could be
    used and are not in `looked`, and files that cannot be read.
    """
    preset = proposal.values.get("preset")
    if preset and len(PRESETS[preset]) > 1:
        return  # its files are of several layouts
    others = [each for each in files if each[0] != looked.name and each[1].stat().st_size]
    fewer = len(others) > MOST
    if fewer:
        others = [others[at] for at in np.unique(np.linspace(0, len(others) - 1, MOST).astype(int)).tolist()]
    said: dict[str, list[str]] = {}
    for name, path in others:
        advance()
        try:
            form, _, folders = form_of(name, path)
        except EmptyFile:
            continue
        except DataError as error:
            said.setdefault(f"cannot be read: {error.what}", []).append(name)
            continue
        apart = ", ".join(_form(form, looked.form, name, path))
        apart = f"{apart}, where {looked.name} is {_said(looked.form)}" if apart else ""
        for text in filter(None, [apart, _columns({*form.names, *folders}, form, looked, proposal)]):
            said.setdefault(text, []).append(name)
    count = f"{len(others) + 1:,} files{' that were looked at' if fewer else ''}"
    for text, names in said.items():
        some = ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
        yield f"{len(names):,} of {count} ({some}): {text}"


def _said(form: Form) -> str:
    mark = "" if form.delimiter is None else f" with {form.delimiter!r}"
    return f"{form.format}{mark}, {form.encoding}{'' if form.header else ', without a header'}"


def _form(form: Form, usual: Form, name: str, path: Path) -> Iterator[str]:
    if form.format != usual.format or form.nested != usual.nested:
        yield form.format + (f" with lists {form.nested}" if form.nested else "")
        return
    if form.delimiter != usual.delimiter and len(form.names) > 1:
        yield f"delimiter {form.delimiter!r}"
    if form.header != usual.header:
        yield "with a header" if form.header else "without a header"
    if form.encoding != usual.encoding and not (form.encoding == UTF8 and _plain(name, path)):
        yield form.encoding


def _plain(name: str, path: Path) -> bool:
    """Whether a text is of letters that all encodings but those of two bytes write alike."""
    with opened(path, Storage(member_of(name, path) or "")) as (text, _):
        return read_text(text, HEAD, path).isascii()


def _columns(names: set[str], form: Form, looked: Look, proposal: Proposal) -> str:
    usual = {*looked.form.names, *looked.folders}
    if not (form.header and looked.form.header):
        width = len(form.names)
        return f"{width} columns, not {len(looked.form.names)}" if width != len(looked.form.names) else ""
    used = {column: canonical for column, canonical, _ in proposal.columns if canonical}
    lacking = sorted(column for column in used if column not in names and column in usual)
    more = sorted(
        column
        for column in names - usual
        if (meant := column_named(column)) and (meant[0] not in used.values() or _of_lacking(lacking, used, meant[0]))
    )
    if lacking and more:
        return f"no {', '.join(lacking)}, but {', '.join(more)}: one name is read in all files, that of source.columns"
    if lacking:
        return f"no {', '.join(lacking)}, which {looked.name} has"
    return f"{', '.join(more)}, which {looked.name} has not, so that it is not read" if more else ""


def _of_lacking(lacking: Sequence[str], used: Mapping[str, str], canonical: str) -> bool:
    """Whether a canonical column is one that a file lacks by its usual name."""
    return any(used[column] == canonical for column in lacking)
