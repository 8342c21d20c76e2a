"""How each file of a source is read; all faults of a source as a whole are found here, at once."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clickflow.events import fields, preface, records, structs
from clickflow.events.contract import BY_NAME, COLUMNS
from clickflow.events.delimited import Delimited
from clickflow.events.folders import format_of, member_of, partitions
from clickflow.events.json_arrays import is_array
from clickflow.events.json_arrays import sample as json_sample
from clickflow.events.jsonlines import JsonLines, loaded, too_deep
from clickflow.events.mapping import MOST_NAMED, columns_of, constants_of, lacks, shortened
from clickflow.events.presets import Layout, layout_of
from clickflow.events.rows import Rows
from clickflow.events.storage import (
    BOM,
    PART,
    UNTOUCHED,
    UTF8,
    Storage,
    canonical_encoding,
    foreign,
    opened,
    packing_of,
    read_text,
)
from clickflow.events.tables import Table
from clickflow.params.source import Source
from clickflow.system.errors import ClickflowError, DataError
from clickflow.system.faults import of_file, without_values

DELIMITERS = {"csv": ",", "tsv": "\t"}
HEAD = 1 << 20
MOST_COLUMNS = 10_000
SAMPLE = 100
"""Rows that are looked at before a file is taken to be of its layout."""

TYPED = re.compile(r"(.+):(token|token_seq|float|float_seq)")
"""A column's name with its type, as RecBole's atomic files have them."""


@dataclass(frozen=True)
class Empty:
    """A file without a byte."""

    path: Path

    def blocks(self, _size: int = 0) -> Iterator[Any]:
        """None."""
        return iter(())

    def parse(self, _block: Any) -> Rows:
        """No block is given to it."""
        raise AssertionError("an empty file has no block")

    def raw_at(self, _block: Any, _positions: NDArray[np.int64]) -> list[str]:
        """No block is given to it."""
        raise AssertionError("an empty file has no block")


Reader = Delimited | JsonLines | Table | Empty


@dataclass(frozen=True)
class SourceFile:
    """One file of a source: its name (relative to the source's folder, as quarantine and manifest give it), its
    layout, and the reader that knows its columns.

    `constants` are canonical columns that the file's folders give (`day=2026-03-01/`); `lacking` those that other files
    of this layout have, and this one has not: they are null here.
    """

    name: str
    path: Path
    layout: Layout
    reader: Reader
    constants: Mapping[str, str | None] = field(default_factory=dict)
    lacking: tuple[str, ...] = ()

    @property
    def given(self) -> set[str]:
        """The canonical columns of this file."""
        reader = self.reader
        return set(self.constants) | (set() if isinstance(reader, Empty) else set(reader.wanted))

    @property
    def described(self) -> dict[str, object]:
        """What a replay must know of the file: format, columns, delimiter; and what the card says of it."""
        more: dict[str, object] = {"constants": dict(self.constants)} if self.constants else {}
        if self.lacking:
            more["lacks"] = list(self.lacking)
        reader = self.reader
        if isinstance(reader, Empty):
            return {"format": "empty"}
        if isinstance(reader, Delimited):
            return {
                "format": "delimited",
                "columns": list(reader.names),
                "delimiter": (reader.storage.parted or reader.delimiter).decode(),
                "quoting": reader.quoting,
            } | more
        if isinstance(reader, JsonLines):
            return {"format": "jsonl"} | more
        clock = "event_time" in reader.wanted and reader.clock
        return {"format": "parquet", "columns": list(pq.read_schema(reader.path).names), "clock": clock} | more


class EmptyFile(DataError):
    """A file that holds nothing at all."""


def open_files(source: Source, named: Sequence[tuple[str, Path]]) -> list[SourceFile]:
    """Every file with its reader. All faults are told in one error, before anything is read.

    Files that hold nothing are passed over where others hold something.
    """
    files: list[SourceFile] = []
    faults: list[DataError] = []
    empty: list[DataError] = []
    for name, path in named:
        try:
            with of_file(path, UNTOUCHED):
                files.append(open_file(source, name, path))
        except EmptyFile as error:
            empty.append(error)
            files.append(SourceFile(name, path, layout_of(source, name), Empty(path)))
        except DataError as error:
            faults.append(error)
    if len(empty) == len(named):
        faults = empty
    if not faults:
        faults = list(_nowhere(files))
    if len(faults) == 1:
        raise faults[0]
    if faults:
        lines = "\n".join(f"  {fault.what}" for fault in faults[:10])
        more = f"\n  and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise DataError(
            f"{len(faults)} of {len(named)} files cannot be used:\n{lines}{more}",
            kept=UNTOUCHED,
            next_step=faults[0].next_step,
        )
    return _with_lacking(files)


def _alike(files: Sequence[SourceFile]) -> dict[str, list[SourceFile]]:
    """Files whose columns are known from the start, by layout."""
    groups: dict[str, list[SourceFile]] = {}
    for file in files:
        if isinstance(file.reader, Delimited | Table):
            groups.setdefault(file.layout.files, []).append(file)
    return groups


def _nowhere(files: Sequence[SourceFile]) -> Iterator[DataError]:
    """The errors for columns that params or preset name and no file has."""
    for group in _alike(files).values():
        layout = group[0].layout
        there = set[str]().union(*(file.given for file in group))
        if set(layout.columns) - there:
            first = group[0]
            reader = first.reader
            names = reader.names if isinstance(reader, Delimited) else pq.read_schema(first.path).names
            where = f", and so do all {len(group)} files" if len(group) > 1 else ""
            # what other files have is not missing
            columns = {c: f for c, f in layout.columns.items() if c not in there or c in first.given}
            yield lacks(replace(layout, columns=columns), names, first.path, given=partitions(first.name), where=where)


def _with_lacking(files: Sequence[SourceFile]) -> list[SourceFile]:
    there = {key: set[str]().union(*(file.given for file in group)) for key, group in _alike(files).items()}
    return [
        replace(file, lacking=tuple(c for c in COLUMNS if c in there[file.layout.files] - file.given))
        if isinstance(file.reader, Delimited | Table)
        else file
        for file in files
    ]


def open_file(source: Source, name: str, path: Path) -> SourceFile:
    """One file, looked into as far as its header and first rows.

    Raises EmptyFile where it holds nothing, DataError where it is no text, or lacks a column that every event needs.
    """
    layout = layout_of(source, name)
    if not path.stat().st_size:
        raise EmptyFile(f"{path} is empty", kept=UNTOUCHED, next_step="remove it or fetch it again")
    member = member_of(name, path)
    if member is None:
        raise EmptyFile(f"{path} holds no file", kept=UNTOUCHED, next_step="remove it or fetch it again")
    kind = layout.format or format_of(member or name)
    if kind is None:
        raise DataError(
            f"{member or name}: its name does not tell its format",
            kept=UNTOUCHED,
            next_step="set source.format (csv, tsv, jsonl or parquet), or narrow source.pattern; "
            f"`clickflow inspect {path}` says what it is",
        )
    folders = partitions(name)
    if kind == "parquet":
        reader: Delimited | JsonLines | Table = _table(path, layout, folders)
    else:
        reader = _text(path, member, layout, kind, folders)
    names = reader.names if isinstance(reader, Delimited) else reader.wanted.values()
    return SourceFile(name, path, layout, reader, constants_of(layout, names, folders))


def _text(path: Path, member: str, layout: Layout, kind: str, folders: Mapping[str, Any]) -> Delimited | JsonLines:
    storage = Storage(member, canonical_encoding(layout.encoding) or UTF8)
    with opened(path, storage) as (text, raw):
        head = read_text(text, HEAD, path)
        raw.seek(0)
        packing = packing_of(raw.read(16))
    if not head:
        where = f"in its member {member}" if member else f"its {packing}"
        raise EmptyFile(
            f"{path} is empty inside {where}",
            kept=UNTOUCHED,
            next_step="remove it or fetch it again",
        )
    _is_text(path, head, storage)
    if b"\r" in head and b"\n" not in head:
        storage, head = replace(storage, returns=True), head.replace(b"\r", b"\n")
    skip = len(BOM) if head.startswith(BOM) else 0
    if kind == "jsonl":
        return _json(path, layout, head[skip:], skip, storage, folders)
    return _delimited(path, layout, layout.delimiter or DELIMITERS[kind], kind == "csv", head, skip, storage, folders)


def _is_text(path: Path, head: bytes, storage: Storage) -> None:
    """Raise DataError where a file is plainly no text of its encoding."""
    kind = foreign(head)
    if kind is not None:
        raise DataError(f"{path} is not text but {kind}", kept=UNTOUCHED, next_step="unpack it, or set source.format")
    if storage.encoding != UTF8:
        return
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{path} is UTF-16", kept=UNTOUCHED, next_step="set source.encoding to utf-16 in params.yaml")
    first = head[:400]
    if first.count(0) > len(first) // 10:
        raise DataError(
            f"{path} is not text: it is full of NULs",
            kept=UNTOUCHED,
            next_step="if it is text in UTF-16 or UTF-32, set source.encoding (utf-16-le, utf-16-be, utf-32)",
        )


def _delimited(
    path: Path,
    layout: Layout,
    delimiter: str,
    quoting: bool,
    head: bytes,
    skip: int,
    storage: Storage,
    folders: Mapping[str, Any],
) -> Delimited:
    skip, line, said = preface.past_sep(head, skip, 1)
    delimiter = delimiter if layout.delimiter or said is None else said
    mark = delimiter.encode()
    if len(mark) > 1:
        storage, quoting = replace(storage, parted=mark), False
        head, skip, mark = head.replace(mark, PART), len(head[:skip].replace(mark, PART)), PART
    names = layout.header
    if names is None:
        try:
            names, columns, skip, line = _headed(path, layout, mark, quoting, head, skip, line, folders)
        except DataError as error:
            if head[skip : skip + 1] != b"#":
                raise _delimiter_hint(error, layout, _first_line(head, skip), delimiter, path) from error
            below, number, remark = preface.past_remarks(head, skip, line)
            try:
                names, columns, skip, line = _headed(path, layout, mark, quoting, head, below, number, folders)
            except DataError:
                names = _split_names(remark, mark, quoting)
                if len(names) != _first_line(head, below).count(mark) + 1:
                    raise
                columns, skip, line = columns_of(layout, names, path, given=folders, first_line=True), below, number
    else:
        sample = [row for row in head[skip:].split(b"\n")[:SAMPLE] if row.strip()]
        counts = [row.count(mark) + 1 for row in sample]
        if not names and counts:
            names = tuple(str(at + 1) for at in range(max(set(counts), key=counts.count)))
        if len(names) > MOST_COLUMNS:
            raise _too_wide(path, f"its rows have over {MOST_COLUMNS:,} columns")
        if len(names) not in counts:
            raise DataError(
                f"{path}: none of its first {len(sample)} rows has the {len(names)} columns {', '.join(names)}",
                kept=UNTOUCHED,
                next_step="check source.preset, source.header and source.delimiter",
            )
        columns = columns_of(layout, names, path, given=folders)
    return Delimited(path, names, columns, mark, quoting, skip, line, storage)


def _headed(
    path: Path,
    layout: Layout,
    mark: bytes,
    quoting: bool,
    head: bytes,
    skip: int,
    line: int,
    folders: Mapping[str, Any],
) -> tuple[tuple[str, ...], Mapping[str, int], int, int]:
    """The names of a header that begins at `skip`, the canonical columns, and where the first row begins."""
    end = head.find(b"\n", skip)
    if end < 0 and len(head) >= HEAD:
        raise _too_wide(path, f"its first line does not end within {HEAD >> 20} MB")
    end = len(head) if end < 0 else end
    raw = _first_line(head, skip)
    if raw.count(mark) > MOST_COLUMNS:
        raise _too_wide(path, f"its first line has over {MOST_COLUMNS:,} columns")
    names = _split_names(raw, mark, quoting)
    columns = columns_of(layout, names, path, given=folders, first_line=True)
    return names, columns, min(end + 1, len(head)), line + 1


def _first_line(head: bytes, skip: int) -> bytes:
    end = head.find(b"\n", skip)
    return head[skip : len(head) if end < 0 else end].removesuffix(b"\r")


def _split_names(raw: bytes, mark: bytes, quoting: bool) -> tuple[str, ...]:
    fields = records.split_record(raw, 0, mark, len(raw))[0] if quoting else None
    return untyped(tuple(f.decode("utf-8", "replace").strip() for f in (fields or raw.split(mark))))


def _too_wide(path: Path, why: str) -> DataError:
    return DataError(
        f"{path}: {why}; this is not a log", kept=UNTOUCHED, next_step="check source.delimiter and the file"
    )


def untyped(names: tuple[str, ...]) -> tuple[str, ...]:
    """A header without types, where every column has one: `user_id:token` is `user_id`."""
    matches = [TYPED.fullmatch(name) for name in names]
    return tuple(match[1] for match in matches if match) if all(matches) else names


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


def _table(path: Path, layout: Layout, folders: Mapping[str, Any]) -> Table:
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path}: cannot be read as Parquet ({without_values(str(error))})",
            kept=UNTOUCHED,
            next_step="check source.format and the file",
        ) from error
    if len(schema.names) > MOST_COLUMNS:
        raise _too_wide(path, f"it has over {MOST_COLUMNS:,} columns")
    doubled = [name for name, count in Counter(schema.names).items() if count > 1 for _ in range(2)]
    names = [*doubled, *structs.paths(schema, layout.nested)]
    names += [field for field in layout.columns.values() if field not in names and structs.has(schema, field)]
    columns = columns_of(layout, names, path, given=folders)
    return Table(path, {column: names[at] for column, at in columns.items()}, layout.nested)


def _json(
    path: Path, layout: Layout, head: bytes, skip: int, storage: Storage, folders: Mapping[str, Any]
) -> JsonLines:
    seen: dict[str, None] = {}
    inside = False
    tops: dict[str, None] = {}
    array = is_array(head)
    for line in json_sample(head, SAMPLE) if array else head.split(b"\n")[:SAMPLE]:
        try:
            value = loaded(line)
        except ValueError:
            continue
        if isinstance(value, dict) and not too_deep(line, value):
            tops |= dict.fromkeys(value)
            for event in fields.exploded(value, layout.nested):
                seen |= dict.fromkeys(fields.paths(event))
            inside = inside or not layout.nested or isinstance(fields.getter(layout.nested)(value), list | dict)
    if not inside:
        there = ", ".join(map(shortened, [*tops][:MOST_NAMED]))
        raise DataError(
            f"{path}: none of its first lines is a JSON object"
            + (f" with a list of events in {layout.nested!r}; there is: {there}" if tops else ""),
            kept=UNTOUCHED,
            next_step="check source.format and source.preset: JSON lines have an object a line, an array has objects",
        )
    names = tuple(seen)
    # a field may be absent from the first lines and come later: only what every event needs must be seen here
    columns = columns_of(layout, names, path, lenient=True, given=folders)
    return JsonLines(
        path,
        {c: names[at] for c, at in columns.items()} | _later(layout, {*names, *folders}),
        layout.nested,
        skip,
        storage,
        layout.decimal,
        array,
    )


def _later(layout: Layout, names: set[str]) -> dict[str, str]:
    given = {column: field for column, field in layout.columns.items() if field not in names}
    if layout.identity:
        given |= {c: c for c in BY_NAME if c not in names and c not in layout.columns}
    return given
