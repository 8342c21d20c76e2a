"""Which column of a file is which canonical column, and what is missing."""

import difflib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from clickflow.events.contract import BY_NAME
from clickflow.events.presets import ANY_TYPE, Layout
from clickflow.events.shapes import like_a_value, shape
from clickflow.events.storage import UNTOUCHED
from clickflow.system.errors import DataError

LONGEST, MOST, MOST_NAMED = 60, 1000, 30
"""Letters of a name in a message, names that are looked through for one that is near, and names that are said."""
NO_HEADER = "check source.format and source.delimiter; where no line names the columns, set source.header"


def wanted(layout: Layout, names: Collection[str]) -> dict[str, str]:
    """Canonical column: the column of the file that it is to be, be it there or not."""
    fields = dict(layout.columns)
    if layout.identity:
        fields |= {c: c for c in BY_NAME if c in names and c not in fields}
    return fields


def constants_of(layout: Layout, names: Collection[str], folders: Mapping[str, str | None]) -> Mapping[str, str | None]:
    """The values of the canonical columns that a file's folders give, and the file has not."""
    fields = wanted(layout, {*names, *folders})
    return {column: folders[name] for column, name in fields.items() if name in folders and name not in names}


def columns_of(
    layout: Layout,
    names: Sequence[str],
    path: Path,
    *,
    lenient: bool = False,
    given: Collection[str] = (),
    first_line: bool = False,
) -> Mapping[str, int]:
    """The index in `names` of every canonical column the file gives; `given` are columns that its folders give.

    `first_line`: `names` are a text's first line, which is a row where there is no header.

    A column that not every event needs may be missing. Raises DataError where the time is, or both user and session,
    or the type; `lenient`: only where the time is.
    """
    fields = wanted(layout, {*names, *given})
    row = first_line and any(map(like_a_value, names))
    no_column_twice(path, names, row=row)
    there = {column for column, field in fields.items() if field in names or field in given}
    seen = set(fields) if lenient else there
    if (
        "event_time" not in there
        or not {"user_id", "session_id"} & seen
        or ("event_type" not in seen and ANY_TYPE not in layout.event_types)
    ):
        raise lacks(layout, names, path, given=given, lenient=lenient, row=row)
    return {column: names.index(field) for column, field in fields.items() if field in names}


def no_column_twice(path: Path, names: Sequence[str], *, row: bool = False) -> None:
    """Raise DataError where two columns have one name; `row`: they look like a row's values, which nothing repeats."""
    doubled = sorted(name for name, count in Counter(names).items() if name and count > 1)
    if doubled:
        raise DataError(
            f"{path} has two columns called {shortened(doubled[0], row=row)!r}",
            kept=UNTOUCHED,
            next_step=NO_HEADER if row else "rename one of them in the file, or where it is written",
        )


def shortened(name: str, *, row: bool = False) -> str:
    """A column's name for a message: of a file that is none, it may be the whole file, or a value; then its shape."""
    if row or like_a_value(name):
        return shape(name)
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}…"


def lacks(
    layout: Layout,
    names: Sequence[str],
    path: Path,
    *,
    given: Collection[str] = (),
    lenient: bool = False,
    where: str = "",
    row: bool = False,
) -> DataError:
    """The error for a file without columns that the layout names, or that every event needs; all of them at once."""
    fields = wanted(layout, {*names, *given})
    missing = [f"{column}: {field!r}" for column, field in fields.items() if field not in names and field not in given]
    if lenient:
        missing = [text for text in missing if text.startswith("event_time:")]
    if "event_time" not in fields:
        missing.append("event_time (name it in source.columns.event_time)")
    if "user_id" not in fields and "session_id" not in fields:
        missing.append("user_id or session_id (name one in source.columns)")
    if "event_type" not in fields and ANY_TYPE not in layout.event_types:
        missing.append('event_type (name it in source.columns, or give all rows one: source.event_types: {"*": view})')
    # an object is no value: only what lies in it can be a column
    values = [name for name in names[:MOST] if not any(other.startswith(f"{name}.") for other in names[:MOST])]
    values = [name for name in values if len(name) <= LONGEST]
    values = [name for name in values if not (row or like_a_value(name))]
    close = [n for f in fields.values() if f not in names for n in difflib.get_close_matches(f, values, n=1)]
    hint = f" Close to it: {', '.join(sorted(set(close)))}." if close else ""
    there = ", ".join(repr(shortened(name, row=row)) for name in names[:MOST_NAMED])
    has = "Its first line looks like a row and not like a header" if row else "It has"
    return DataError(
        f"{path} lacks {'; '.join(missing)}{where}. {has}: {there}.{hint}",
        kept=UNTOUCHED,
        next_step=NO_HEADER
        if row
        else "set source.columns (canonical column: column of the file) or source.preset in params.yaml",
    )
