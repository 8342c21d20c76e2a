"""Which files a source is made of, and how each is read; all faults of a source as a whole are found here, at once."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from clickflow.errors import ClickflowError, DataError, UsageError
from clickflow.events import jsonlines, records
from clickflow.events.contract import COLUMNS
from clickflow.events.delimited import Delimited
from clickflow.events.jsonlines import JsonLines
from clickflow.events.presets import ANY_TYPE, Layout, layout_of
from clickflow.events.tables import Table, is_clock
from clickflow.events.text_blocks import BOM, UNTOUCHED, opened, read_text
from clickflow.params import Source

Reader = Delimited | JsonLines | Table

FORMATS = {
    "csv": "csv",
    "dat": "csv",
    "txt": "csv",
    "tsv": "tsv",
    "tab": "tsv",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "json": "jsonl",
    "parquet": "parquet",
    "pq": "parquet",
}
DELIMITERS = {"csv": ",", "tsv": "\t"}
IGNORED = (".md", ".dvc", ".gitignore", ".gitkeep")
HEAD = 1 << 20
SAMPLE = 100
"""Rows that are looked at before a file is taken to be of its layout."""


@dataclass(frozen=True)
class SourceFile:
    """One file of a source: its name (relative to the source's folder, as quarantine and manifest give it), its
    layout, and the reader that knows its columns.
    """

    name: str
    path: Path
    layout: Layout
    reader: Reader

    @property
    def described(self) -> dict[str, object]:
        """What a replay must know of the file: format, columns, delimiter."""
        reader = self.reader
        if isinstance(reader, Delimited):
            return {
                "format": "delimited",
                "columns": list(reader.names),
                "delimiter": reader.delimiter.decode(),
                "quoting": reader.quoting,
            }
        if isinstance(reader, JsonLines):
            return {"format": "jsonl"}
        schema = pq.read_schema(reader.path)
        clock = is_clock(schema.field(reader.wanted["event_time"]).type)
        return {"format": "parquet", "columns": list(schema.names), "clock": clock}


def find_files(source: Source, root: Path) -> list[tuple[str, Path]]:
    """The files of `source.path` and `source.pattern` in the order of their names; paths are relative to `root`.

    Raises UsageError where there is none.
    """
    base = Path(source.path).expanduser()
    base = base if base.is_absolute() else root / base
    if base.is_file():
        return [(base.name, base)]
    if not base.is_dir():
        raise UsageError(
            f"source.path: there is no file or folder {base}",
            kept=UNTOUCHED,
            next_step="set source.path in params.yaml",
        )
    found = [
        (path.relative_to(base).as_posix(), path)
        for path in base.glob(source.pattern)
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(base).parts)
        and not path.name.endswith(IGNORED)
    ]
    if not found:
        raise UsageError(
            f"source.path: no file in {base} matches {source.pattern!r}",
            kept=UNTOUCHED,
            next_step="put the log there, or set source.path and source.pattern in params.yaml",
        )
    return sorted(found)


def open_files(source: Source, found: Sequence[tuple[str, Path]]) -> list[SourceFile]:
    """Every file with its reader. All faults are told in one error, before anything is read."""
    files, faults = [], []
    for name, path in found:
        try:
            files.append(open_file(source, name, path))
        except DataError as error:
            faults.append(error)
    if len(faults) == 1:
        raise faults[0]
    if faults:
        lines = "\n".join(f"  {fault.what}" for fault in faults[:10])
        more = f"\n  and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise DataError(
            f"{len(faults)} of {len(found)} files cannot be used:\n{lines}{more}",
            kept=UNTOUCHED,
            next_step=faults[0].next_step,
        )
    return files


def open_file(source: Source, name: str, path: Path) -> SourceFile:
    """One file, looked into as far as its header and first rows.

    Raises DataError where it is empty, no text, or lacks a column that the layout needs.
    """
    layout = layout_of(source, name)
    kind = layout.format or _format_of(name)
    if not path.stat().st_size:
        raise DataError(f"{path} is empty", kept=UNTOUCHED, next_step="remove it or fetch it again")
    if kind == "parquet":
        return SourceFile(name, path, layout, _table(path, layout))
    with opened(path) as (text, _):
        head = read_text(text, HEAD, path)
    if not head:
        raise DataError(f"{path} is empty inside its gzip", kept=UNTOUCHED, next_step="remove it or fetch it again")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(
            f"{path} is UTF-16; only UTF-8 is read",
            kept=UNTOUCHED,
            next_step=f"iconv -f utf-16 -t utf-8 {path.name}",
        )
    if head[:4] == b"PAR1" or head[:2] == b"PK":
        raise DataError(
            f"{path} is no text but {'Parquet' if head[:1] == b'P' and head[1:2] == b'A' else 'a zip archive'}",
            kept=UNTOUCHED,
            next_step="unpack it, or set source.format",
        )
    skip = len(BOM) if head.startswith(BOM) else 0
    reader: Reader
    if kind == "jsonl":
        reader = _json(path, layout, head[skip:], skip)
    else:
        reader = _delimited(path, layout, layout.delimiter or DELIMITERS[kind], kind == "csv", head, skip)
    return SourceFile(name, path, layout, reader)


def _format_of(name: str) -> str:
    suffix = name.lower().removesuffix(".gz").rpartition(".")[2]
    if suffix not in FORMATS:
        raise DataError(
            f"{name}: its name does not tell its format",
            kept=UNTOUCHED,
            next_step="set source.format (csv, tsv, jsonl or parquet), or narrow source.pattern",
        )
    return FORMATS[suffix]


def _delimited(path: Path, layout: Layout, delimiter: str, quoting: bool, head: bytes, skip: int) -> Delimited:
    mark = delimiter.encode()
    line = 1
    names = layout.header
    if names is None:
        while head[skip : skip + 1] == b"\n" or head[skip : skip + 2] == b"\r\n":
            skip += 1 + (head[skip : skip + 1] == b"\r")
            line += 1
        end = head.find(b"\n", skip)
        end = len(head) if end < 0 else end
        raw = head[skip:end].removesuffix(b"\r")
        fields = records.split_record(head[:end], skip, mark, end)[0] if quoting else None
        names = tuple(f.decode("utf-8", "replace").strip() for f in (fields or raw.split(mark)))
        try:
            wanted = columns_of(layout, names, path)
        except DataError as error:
            raise _delimiter_hint(error, layout, raw, delimiter, path) from error
        skip, line = min(end + 1, len(head)), line + 1
    else:
        sample = [row for row in head[skip:].split(b"\n")[:SAMPLE] if row.strip()]
        if not any(row.count(mark) == len(names) - 1 for row in sample):
            raise DataError(
                f"{path}: none of its first {len(sample)} rows has the {len(names)} columns {', '.join(names)}",
                kept=UNTOUCHED,
                next_step="check source.preset and source.delimiter",
            )
        wanted = columns_of(layout, names, path)
    return Delimited(path, names, wanted, mark, quoting, skip, line)


def _delimiter_hint(error: DataError, layout: Layout, raw: bytes, delimiter: str, path: Path) -> ClickflowError:
    for other in (",", "\t", ";", "|"):
        names = tuple(part.decode("utf-8", "replace").strip('" ') for part in raw.split(other.encode()))
        if other == delimiter or len(names) < 2:
            continue
        try:
            columns_of(layout, names, path)
        except DataError:
            continue
        return DataError(
            f"{path}: its columns are separated by {other!r}, not by {delimiter!r}",
            kept=UNTOUCHED,
            next_step=f"set source.delimiter to {other!r} in params.yaml",
        )
    return error


def _table(path: Path, layout: Layout) -> Table:
    try:
        names = tuple(pq.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path}: cannot be read as Parquet ({str(error).splitlines()[0]})",
            kept=UNTOUCHED,
            next_step="check source.format and the file",
        ) from error
    return Table(path, {column: names[at] for column, at in columns_of(layout, names, path).items()})


def _json(path: Path, layout: Layout, head: bytes, skip: int) -> JsonLines:
    fields: dict[str, None] = {}
    tops: dict[str, None] = {}
    for line in head.split(b"\n")[:SAMPLE]:
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(value, dict):
            tops |= dict.fromkeys(value)
            for event in jsonlines.events_of(value, layout.nested):
                fields |= dict.fromkeys(jsonlines.paths(event))
    if not fields:
        raise DataError(
            f"{path}: none of its first lines is a JSON object"
            + (f" with a list of events in {layout.nested!r}; there is: {', '.join(tops)}" if tops else ""),
            kept=UNTOUCHED,
            next_step="check source.format and source.preset: JSON lines have one object a line",
        )
    names = tuple(fields)
    # a field may be absent from the first lines and come later: only what every event needs must be seen here
    return JsonLines(
        path,
        {c: names[at] for c, at in columns_of(layout, names, path, lenient=True).items()} | _later(layout, names),
        layout.nested,
        skip,
    )


def _later(layout: Layout, names: Sequence[str]) -> dict[str, str]:
    given = {column: field for column, field in layout.columns.items() if field not in names}
    if layout.identity:
        given |= {c: c for c in COLUMNS if c not in names and c not in layout.columns}
    return given


def columns_of(layout: Layout, names: Sequence[str], path: Path, *, lenient: bool = False) -> Mapping[str, int]:
    """The index in `names` of every canonical column the file gives.

    Raises DataError where a column is missing: one that the layout names, the time, both user and session, or the type.
    """
    doubled = sorted({name for name in names if names.count(name) > 1} & set(layout.columns.values()))
    if doubled:
        raise DataError(f"{path} has two columns called {doubled[0]!r}", kept=UNTOUCHED, next_step="rename one")
    asked = dict(layout.columns)
    if layout.identity:
        asked |= {c: c for c in COLUMNS if c in names and c not in asked}
    needed = {"event_time": "source.columns.event_time"}
    missing = [f"{column}: {field!r}" for column, field in asked.items() if field not in names]
    if lenient:
        missing = [text for text in missing if text.startswith("event_time:")]
    missing += [f"{column} (name it in {where})" for column, where in needed.items() if column not in asked]
    if "user_id" not in asked and "session_id" not in asked:
        missing.append("user_id or session_id (name one in source.columns)")
    if "event_type" not in asked and ANY_TYPE not in layout.event_types:
        missing.append('event_type (name it in source.columns, or give all rows one: source.event_types: {"*": view})')
    if missing:
        close = [n for f in asked.values() if f not in names for n in difflib.get_close_matches(f, names, n=1)]
        hint = f" Close to it: {', '.join(sorted(set(close)))}." if close else ""
        raise DataError(
            f"{path} lacks {'; '.join(missing)}. It has: {', '.join(map(repr, names[:30]))}.{hint}",
            kept=UNTOUCHED,
            next_step="set source.columns (canonical column: column of the file) or source.preset in params.yaml",
        )
    return {column: names.index(field) for column, field in asked.items() if field in names}
