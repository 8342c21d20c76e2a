"""The form of a file: packing, encoding, format, delimiter, header; and some of its rows as columns of text."""

import codecs
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clickflow.events import preface, records
from clickflow.events.delimited import Delimited
from clickflow.events.fields import exploded, paths
from clickflow.events.folders import member_of, partitions
from clickflow.events.inspect.words import ITEMS, column_named
from clickflow.events.inspect.words import plain as letters_of
from clickflow.events.json_arrays import is_array, sample
from clickflow.events.jsonlines import JsonLines, loaded, too_deep
from clickflow.events.mapping import no_column_twice
from clickflow.events.rows import Rows, with_constants
from clickflow.events.sources import HEAD, TYPED, EmptyFile, Reader, untyped
from clickflow.events.storage import BOM, PART, UNTOUCHED, UTF8, Storage, foreign, opened, packing_of, read_text
from clickflow.events.structs import is_list
from clickflow.events.tables import Table, is_clock
from clickflow.system.errors import DataError

DELIMITERS = (",", "\t", ";", "|", "\x01", "::", " ")
LINES = 300
MOST_COLUMNS = 1000
"""What looking at each of them takes is a matter of seconds."""
"""Lines that delimiter, header and JSON fields are read off."""
BLOCK = 4 << 20
NUMBER = re.compile(r"[+-]?[\d.,]*\d[\d.,]*(e[+-]?\d+)?", re.IGNORECASE)

Advance = Callable[..., None]


@dataclass(frozen=True, kw_only=True)
class Form:
    """How a file is to be read: `format`, `delimiter`, `encoding` and `header` as params.yaml has them (`header` None:
    the first line names the columns), `packing` (None: none), `nested` where JSON lines hold lists of events, `typed`
    where the header gives each column a type; `doubts` are in words.
    """

    format: str
    names: tuple[str, ...]
    packing: str | None = None
    encoding: str = UTF8
    delimiter: str | None = None
    header: bool = True
    nested: str = ""
    typed: bool = False
    clocks: Mapping[str, tuple[bool, bool]] = field(default_factory=dict)
    """Columns that are times by their type: whether they carry a zone, whether they are dates alone."""
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Look:
    """Rows of a file as text, by the file's own columns and those of its folders; `whole`: all of its rows."""

    name: str
    path: Path
    form: Form
    table: pa.Table
    read: int
    whole: bool
    folders: Mapping[str, str | None] = field(default_factory=dict)


def form_of(name: str, path: Path) -> tuple[Form, Reader, Mapping[str, str | None]]:
    """The form of a file by its first lines, what reads all of its columns, and what its folders say.

    Raises DataError where it is empty, or nothing that can be read.
    """
    member = member_of(name, path) if path.stat().st_size else None
    if member is None:
        raise EmptyFile(f"{path} is empty", kept=UNTOUCHED, next_step="inspect another file")
    with path.open("rb") as file:
        start = file.read(512)
    packing = packing_of(start)
    folders = partitions(name)
    if start[:4] == b"PAR1":
        try:
            schema = pq.read_schema(path)
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{path} begins like Parquet and cannot be read ({str(error).splitlines()[0]})",
                kept=UNTOUCHED,
                next_step="fetch or write the file again",
            ) from error
        no_column_twice(path, schema.names)
        clocks = {
            each.name: (getattr(each.type, "tz", None) is not None, pa.types.is_date(each.type))
            for each in schema
            if is_clock(each.type)
        }
        names, nested = _struct_paths(schema)
        form = Form(format="parquet", names=names, clocks=clocks, nested=nested)
        reader: Reader = Table(path, {name: name for name in names}, nested)
    else:
        form, reader = _text(path, member, packing)
    _not_too_wide(path, len(form.names))
    return form, reader, folders


def look(name: str, path: Path, rows: int, advance: Advance) -> Look:
    """The form of a file, and about `rows` of its rows; `advance` is told of the bytes that were read.

    Raises DataError where it is empty, or nothing that can be read.
    """
    form, reader, folders = form_of(name, path)
    parts, read, done, whole = [], 0, 0, True
    for block in reader.blocks(BLOCK):
        if read >= rows:
            whole = False
            break
        part: Rows = with_constants(reader.parse(block), folders)  # type: ignore[arg-type]
        parts.append(part.table.cast(pa.schema([(column, pa.string()) for column in part.table.schema.names])))
        read += part.read
        advance(block.consumed - done, f"{read:,} rows")
        done = block.consumed
    if not read:
        raise DataError(f"{path} has no row", kept=UNTOUCHED, next_step="inspect another file")
    table = pa.concat_tables(parts) if parts else pa.table({})
    return Look(name=name, path=path, form=form, table=table, read=read, whole=whole, folders=folders)


def _not_too_wide(path: Path, columns: int) -> None:
    if columns > MOST_COLUMNS:
        raise DataError(
            f"{path} has {columns:,} columns, more than a log has",
            kept=UNTOUCHED,
            next_step="check its delimiter and its first line",
        )


def _struct_paths(schema: pa.Schema) -> tuple[tuple[str, ...], str]:
    """The columns of a table, those of structs by their paths; and the first list of structs, unless keys and values,
    whose elements' fields are columns too.
    """
    nested = next((each.name for each in schema if _elements(each.type) is not None), "")
    paths: list[str] = []
    for each in schema:
        elements = _elements(each.type) if each.name == nested else None
        if elements is not None:
            paths += [f"{nested}.{inner.name}" for inner in elements if not pa.types.is_nested(inner.type)]
        else:
            paths += _leaves(each.name, each.type)
    return tuple(paths), nested


def _elements(kind: pa.DataType) -> pa.StructType | None:
    """The struct that a list holds, where it is no list of keys and values."""
    if not is_list(kind) or not pa.types.is_struct(kind.value_type):
        return None
    return None if kind.value_type.get_field_index("key") >= 0 else kind.value_type


def _leaves(name: str, kind: pa.DataType) -> list[str]:
    if not pa.types.is_struct(kind):
        return [name]
    return [path for inner in kind for path in _leaves(f"{name}.{inner.name}", inner.type)]


def _text(path: Path, member: str, packing: str | None) -> tuple[Form, Reader]:
    with opened(path, Storage(member)) as (text, _):
        raw = read_text(text, HEAD, path)
    kind = foreign(raw)
    if kind is not None:
        raise DataError(
            f"{path} is {kind}, which is not read", kept=UNTOUCHED, next_step="convert it to CSV or Parquet"
        )
    encoding, doubts = encoding_of(raw)
    storage = Storage(member, encoding)
    with opened(path, storage) as (text, _):
        head = read_text(text, HEAD, path)
    if b"\r" in head and b"\n" not in head:
        storage, head = Storage(member, encoding, True), head.replace(b"\r", b"\n")
        doubts = (*doubts, "lines end with a carriage return alone")
    skip = len(BOM) if head.startswith(BOM) else 0
    body = head[skip:]
    if len(head) == HEAD:
        body = body[: body.rfind(b"\n") + 1]
    if not body.strip():
        raise EmptyFile(f"{path} is empty", kept=UNTOUCHED, next_step="inspect another file")
    if body.count(0) > len(body) // 20:
        raise DataError(f"{path} is not text", kept=UNTOUCHED, next_step="convert it to CSV or Parquet")
    if body.lstrip()[:1] in b"{[" and _objects(body):
        return _json(path, body, skip, storage, packing, encoding, doubts)
    return _delimited(path, body, skip, storage, packing, encoding, doubts)


def encoding_of(raw: bytes) -> tuple[str, tuple[str, ...]]:
    """The encoding of a text by its first bytes, and what speaks against it."""
    for mark, name in ((codecs.BOM_UTF8, UTF8), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"),
                       (codecs.BOM_UTF16_BE, "utf-16")):  # fmt: skip
        if raw.startswith(mark):
            return name, ()
    nuls = raw[0:2000:2].count(0), raw[1:2000:2].count(0)
    if max(nuls) > len(raw[:2000]) // 8 and min(nuls) < max(nuls) / 4:
        return ("utf-16-be" if nuls[0] > nuls[1] else "utf-16-le"), ("the encoding is told by its NULs alone",)
    try:
        codecs.getincrementaldecoder(UTF8)().decode(raw)
    except UnicodeDecodeError:
        pass
    else:
        return UTF8, ()
    runs = re.findall(rb"[\x80-\xff]+", raw)
    high = sum(map(len, runs))
    lost = raw.decode(UTF8, "replace").count("\ufffd")
    if lost * 20 < high:
        return UTF8, (f"{lost} places in its first megabyte are not UTF-8: such rows are quarantined",)
    pairs = sum(len(run) for run in runs if len(run) % 2 == 0) / high
    if pairs > 0.8:
        text = raw.decode("gb18030", "replace")
        common = sum("\u4e00" <= letter <= "\u9fff" for letter in text)
        if common > 0.8 * high / 2:
            return "gb18030", ("the encoding is a guess by its pairs of bytes: look whether the texts here read well",)
    long = sum(len(run) for run in runs if len(run) > 2) / high
    guess = "cp1251" if long > 0.6 else "cp1252"
    return guess, (f"it is not UTF-8; {guess} is a guess: look whether the texts here read well",)


def _objects(body: bytes) -> bool:
    for line in body.split(b"\n")[:LINES]:
        try:
            value = loaded(line)
        except ValueError:
            continue
        return isinstance(value[0] if isinstance(value, list) and value else value, dict)
    return re.match(rb'\s*(\[\s*\{|\{\s*")', body) is not None


def _json(
    path: Path, body: bytes, skip: int, storage: Storage, packing: str | None, encoding: str, doubts: tuple[str, ...]
) -> tuple[Form, Reader]:
    lines = []
    array = is_array(body)
    for line in sample(body, LINES) if array else body.split(b"\n")[:LINES]:
        try:
            value = loaded(line)
        except ValueError:
            continue
        if isinstance(value, dict) and not too_deep(line, value):
            lines.append(value)
    if not lines:
        raise DataError(
            f"{path} is JSON, but neither one object a line nor an array of objects",
            kept=UNTOUCHED,
            next_step="write one object a line, or an array of objects, and inspect that",
        )
    lists = Counter(key for line in lines for key, value in line.items() if _of_objects(value))
    nested = lists.most_common(1)[0][0] if lists and lists.most_common(1)[0][1] > len(lists) / 2 else ""
    if not lists:
        inner = Counter(path for line in lines for path in _lists_of_items(line))
        nested = inner.most_common(1)[0][0] if inner else ""
    names: dict[str, None] = {}
    for each in lines:
        for event in exploded(dict(each), nested):
            names |= dict.fromkeys(paths(event))
    _not_too_wide(path, len(names))
    # the fields of an exploded list's elements are there by their own names too
    twins = {f"{nested}.{name}" for name in names} if nested else set()
    beside, own = nested.rpartition(".")[0], {name for line in lines for name in line}
    twins |= {name for name in names if beside and name not in own and f"{beside}.{name}" in names}
    names = {name: None for name in names if name not in twins and name != nested}
    whole = {name for name in names if any(other.startswith(f"{name}.") for other in names)}
    fields = tuple(name for name in names if name not in whole)
    form = Form(format="jsonl", names=fields, packing=packing, encoding=encoding, nested=nested, doubts=doubts)
    return form, JsonLines(path, {name: name for name in fields}, nested, skip, storage, array=array)


def _of_objects(value: Any) -> bool:
    """Whether a value is a list of objects, and not of keys and values."""
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) and "key" not in v for v in value)


def _lists_of_items(value: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Paths of lists of objects that are called items, within inner objects."""
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from _lists_of_items(inner, f"{above}{name}.")
        elif above and letters_of(name) in ITEMS and _of_objects(inner):
            yield f"{above}{name}"


def _delimited(
    path: Path, body: bytes, skip: int, storage: Storage, packing: str | None, encoding: str, doubts: tuple[str, ...]
) -> tuple[Form, Reader]:
    start, line, said = preface.past_sep(body, 0, 1)
    below, number, remark = preface.past_remarks(body, start, line)
    rows = {mark: _split(body[below:], mark) for mark in ([said] if said else DELIMITERS)}
    mark = max(rows, key=lambda each: (_steadiness(rows[each]), -list(rows).index(each)))
    if _steadiness(rows[mark])[0] == 0 and not said:
        doubts = (*doubts, "no delimiter splits its lines into as many columns each; a comma is taken")
    lines = body[below:].splitlines()[:LINES]
    if len(mark) == 1 and all(2 * each.count(2 * mark.encode()) == each.count(mark.encode()) for each in lines):
        mark, rows = 2 * mark, {2 * mark: _split(body[below:], 2 * mark)}
    sample = rows[mark]
    above = _split(body[start:below], mark) if below > start else []
    if len(above) == 1 and len(above[0]) == len(sample[0]) > 1:  # a header whose first name has the sign
        sample, below, number = [*above, *sample], start, line
    _not_too_wide(path, max(map(len, sample)))
    width = Counter(map(len, sample)).most_common(1)[0][0]
    sample = [sample[0], *(row for row in sample[1:] if len(row) == width)]
    first = tuple(part.strip() for part in sample[0])
    header, why = header_of(first, sample[1:])
    named = tuple(part.strip() for part in remark.decode(UTF8, "replace").split(mark))
    as_remark = not header and len(named) == width > 1
    if as_remark:
        first, header, why = named, True, ""
    elif below > start:
        doubts = (*doubts, f"{number - line} lines above its columns begin with # and are passed over")
    if not header and len({meant[0] for name in first if (meant := column_named(name))}) >= 2:
        no_column_twice(path, first)  # a header all the same
    if why:
        doubts = (*doubts, why)
    names = untyped(first) if header else tuple(str(at + 1) for at in range(width))
    # a tab's files seldom quote: where they do, they are CSV with a tab
    quoting = mark != "\t" or any(part.startswith('"') and part.endswith('"') for row in sample for part in row)
    start, line = below, number
    if header and not as_remark:
        end = body.find(b"\n", start)
        start, line = (len(body) if end < 0 else end + 1), line + 1
    form = Form(
        format="csv" if quoting else "tsv",
        names=names,
        packing=packing,
        encoding=encoding,
        delimiter=mark,
        header=header,
        typed=header and all(TYPED.fullmatch(name) for name in first),
        doubts=doubts,
    )
    wanted = {name: at for at, name in enumerate(names)}
    code = mark.encode()
    if len(code) > 1:
        storage, quoting = replace(storage, parted=code), False
        start, code = len(body[:start].replace(code, PART)), PART
    return form, Delimited(path, names, wanted, code, quoting, skip + start, line, storage)


def _split(body: bytes, mark: str) -> list[list[str]]:
    """Some records of a text."""
    if len(mark.encode()) > 1:
        body, mark = body.replace(mark.encode(), PART), PART.decode()
    rows: list[list[str]] = []
    at = looked = 0
    while at < len(body) and len(rows) < LINES and looked < 20 * LINES:
        looked += 1
        end = body.find(b"\n", at)
        end = len(body) if end < 0 else end
        fields, stop = records.split_record(body, at, mark.encode(), min(len(body), at + records.MAX_BYTES))
        if fields is None or stop < 0:
            fields, stop = body[at:end].split(mark.encode()), end
        if body[at:stop].strip():
            rows.append([part.decode(UTF8, "replace") for part in fields])
        at = stop + 1
    return rows


def _steadiness(rows: list[list[str]]) -> tuple[float, int]:
    """How well a delimiter splits: the share of rows with as many columns as the first one, then how many."""
    width = len(rows[0])
    if width < 2:
        return 0.0, 0
    share = sum(len(row) == width for row in rows) / len(rows)
    return (round(share, 1), width) if share >= 0.7 else (0.0, 0)


def header_of(first: tuple[str, ...], rest: list[list[str]]) -> tuple[bool, str]:
    """Whether the first line names the columns, and what makes that unsure."""
    if all(TYPED.fullmatch(name) for name in first):
        return True, ""
    filled_names = [name for name in first if name]
    if len(set(filled_names)) < len(filled_names) or any(NUMBER.fullmatch(name) for name in first):
        return False, ""
    if sum(column_named(name) is not None for name in first) >= 2:
        return True, ""
    columns = list(zip(*rest, strict=False)) if rest else []
    for name, values in zip(first, columns, strict=False):
        filled = [value for value in values if value]
        if filled and sum(bool(NUMBER.fullmatch(value)) for value in filled) > 0.9 * len(filled):
            return True, ""
        if name in values:
            return False, f"{name!r} of the first line comes again below it: it is taken for a row, not for a header"
    return True, "the first line is taken for a header, though nothing but its place speaks for it"
