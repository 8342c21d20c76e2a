"""A person's rows in the raw files: found by the readers that ingest uses, and blanked line by line.

A line is blanked, not cut out, so that every other row keeps its number: quarantine, manifest and the next ingest go on
to mean the same line. Rows of Parquet files are cut out. A file that cannot be written so (an archive, a JSON array, an
encoding of two bytes a letter, a line that holds others too) is left, and said to hold them still.
"""

import bz2
import gzip
import lzma
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa

from clickflow.events import forgotten, origins, texts
from clickflow.events.checks import Rules, check
from clickflow.events.engine import started
from clickflow.events.jsonlines import JsonLines
from clickflow.events.rows import UNREAD_IDS, lines_of, with_constants
from clickflow.events.rules import rules_for
from clickflow.events.sources import Empty, SourceFile, open_files
from clickflow.events.storage import opened, packing_of
from clickflow.events.tables import Table
from clickflow.params.schema import Params
from clickflow.privacy import canonical
from clickflow.privacy.people import People
from clickflow.system import console
from clickflow.system.errors import ClickflowError
from clickflow.system.files import whole
from clickflow.system.paths import Paths


@dataclass
class Matches:
    """What one raw file has of them, and of those who were forgotten before: first lines of their rows, with how many
    lines each spans; `rows`, those that an ingest would count, `new` among them those of people who are forgotten now;
    and lines that they share with others.
    """

    source: SourceFile
    lines: dict[int, int] = field(default_factory=dict)
    rows: int = 0
    new: int = 0
    uncounted: int = 0
    """Rows of theirs that an ingest counts as ignored."""
    shared: set[int] = field(default_factory=set)

    @property
    def path(self) -> Path:
        """The file."""
        return self.source.path


def search(params: Params, paths: Paths, people: People) -> tuple[People, dict[str, Matches], str]:
    """Read the source from its beginning: who they are there (raw ids), what each file has of them, by its name; and
    why the source could not be read, where it could not.

    Only files are searched: a simulated log is made anew, and a database is not this program's to change.
    """
    if params.source.kind != "files":
        return people, {}, f"source.kind is {params.source.kind}: rows there are not this program's to change"
    try:
        source, files = origins.raw_files(params, paths, paths.home)
        sources = open_files(source, files)
    except ClickflowError as error:
        return people, {}, error.what
    by_name: dict[str, Matches] = {}
    names: dict[str, tuple[set[str], set[str]]] = {person.user: (set(), set()) for person in people.persons}
    everybody = people.listed.with_others(forgotten.load(paths.home, people.key))
    rules = rules_for(params, people.key, everybody)
    with (
        started(params.ingest.memory_gb) as engine,
        console.progress("raw files", sum(path.stat().st_size for _, path in files)) as advance,
    ):
        for file in sources:
            by_name[file.name] = _in_file(file, rules(file.layout), engine.cursor(), people, names)
            advance(file.path.stat().st_size, file.name)
    persons = [
        replace(person, ids=person.ids | names[person.user][0], visits=person.visits | names[person.user][1])
        for person in people.persons
    ]
    return People(tuple(persons), people.key), by_name, ""


def _in_file(
    file: SourceFile, rules: Rules, con: Any, people: People, names: Mapping[str, tuple[set[str], set[str]]]
) -> Matches:
    match, reader = Matches(file), file.reader
    block: Any
    for block in reader.blocks():
        rows = with_constants(reader.parse(block), file.constants)
        checked = check(rows.table, rules, con)
        theirs = checked.forgotten
        _learn(rows.table, checked.table, theirs, people, names)
        refused = list(zip(rows.refused.positions, rows.refused.raws, rows.refused.masks, strict=True))
        bad = np.flatnonzero(checked.bad)
        if len(bad):
            raws = reader.raw_at(block, rows.positions[bad])
            refused += zip(rows.positions[bad].tolist(), raws, checked.mask[bad].tolist(), strict=True)
        texts_of = [raw for _, raw, _ in refused]
        unread = np.array([mask & UNREAD_IDS != 0 for *_, mask in refused], bool)
        named = rules.forgotten.in_texts(texts_of, unread)
        match.new += int(people.listed.rows(checked.table["user_id"], checked.table["session_id"])[theirs].sum())
        match.new += int(people.listed.in_texts(texts_of, unread).sum())
        also = np.array([refused[at][0] for at in np.flatnonzero(named).tolist()], np.int64)
        match.rows += int(theirs.sum()) + len(also)
        ignored = rules.forgotten.rows(checked.table["user_id"], checked.table["session_id"]) & checked.ignored
        match.uncounted += int(ignored.sum())
        positions = np.concatenate([rows.positions[theirs | ignored], also])
        if not len(positions):
            continue
        others = np.concatenate([rows.positions[~(theirs | ignored)], np.array(rows.refused.positions, np.int64)])
        others = others[~np.isin(others, also)]
        match.shared |= set(np.intersect1d(lines_of(positions), lines_of(others)).tolist())
        of_lines = np.unique(lines_of(positions))
        spans = {odd.first + block.line: odd.lines for odd in getattr(block, "odd", ())}
        match.lines |= {line: spans.get(line, 1) for line in of_lines.tolist()}
    return match


def _learn(
    raw: pa.Table, checked: pa.Table, theirs: Any, people: People, names: Mapping[str, tuple[set[str], set[str]]]
) -> None:
    """Note how the source writes the people of some rows, and visits that are theirs alone."""
    at = np.flatnonzero(theirs)
    for row in at.tolist():
        user, session = checked["user_id"][row].as_py(), checked["session_id"][row].as_py()
        owner = user or next((person.user for person in people.persons if session in person.sessions), None)
        if owner is None or owner not in names:
            continue
        for column, place in (("user_id", 0), ("session_id", 1)):
            value = raw[column][row].as_py() if column in raw.column_names else None
            known = place == 0 or any(session in person.sessions for person in people.persons)
            if value is not None and known and str(value).strip(texts.WHITE):
                names[owner][place].add(str(value).strip(texts.WHITE))


def obstacle(match: Matches) -> str:
    """Why a file cannot be written without them; empty: it can."""
    reader = match.source.reader
    if match.shared:
        return "a line holds rows of others too"
    if isinstance(reader, Table | Empty):
        return ""
    if isinstance(reader, JsonLines) and reader.array:
        return "it is one JSON array"
    if reader.storage.member or reader.storage.returns:
        return "it is in an archive" if reader.storage.member else "its lines end with carriage returns alone"
    if "\n".encode(reader.storage.encoding) != b"\n":
        return f"its encoding is {reader.storage.encoding}"
    return ""


@contextmanager
def blanked(match: Matches) -> Iterator[Path]:
    """A new file beside the old one, without them; it takes the old one's place in the end."""
    with whole(match.path) as fresh:
        fresh.touch(0o600)
        if isinstance(match.source.reader, Table):
            _cut(match, fresh)
        else:
            _blank(match, fresh)
        shutil.copymode(match.path, fresh)
        yield fresh


def _cut(match: Matches, fresh: Path) -> None:
    from pyarrow import parquet

    gone = np.array(sorted(match.lines)) - 1
    with (
        parquet.ParquetFile(match.path) as file,
        parquet.ParquetWriter(fresh, file.schema_arrow, compression=canonical.packing(file)) as writer,
    ):
        start = 0
        for number in range(file.num_row_groups):
            table = file.read_row_group(number)
            keep = ~np.isin(np.arange(start, start + table.num_rows), gone)
            start += table.num_rows
            writer.write_table(table.filter(pa.array(keep)))


def _blank(match: Matches, fresh: Path) -> None:
    gone = {line + more for line, lines in match.lines.items() for more in range(lines)}
    with opened(match.path) as (text, _), _packed(match.path, fresh) as out:
        for number, line in enumerate(_lines(text), start=1):
            out.write(line if number not in gone else line[len(line.rstrip(b"\r\n")) :])


def _lines(text: IO[bytes]) -> Iterator[bytes]:
    waiting = b""
    while part := text.read(1 << 20):
        *whole, waiting = (waiting + part).split(b"\n")
        yield from (line + b"\n" for line in whole)
    if waiting:
        yield waiting


@contextmanager
def _packed(path: Path, fresh: Path) -> Iterator[Any]:
    """A file to write, packed as another one is."""
    with path.open("rb") as file:
        packing = packing_of(file.read(16))
    if packing in ("zstd", "lz4"):
        with pa.OSFile(str(fresh), "wb") as raw, pa.CompressedOutputStream(raw, packing) as stream:
            yield stream
        return
    with fresh.open("wb") as file:
        packed: Any = file
        if packing == "gzip":
            packed = gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0)
        elif packing == "bzip2":
            packed = bz2.BZ2File(file, "wb")
        elif packing == "xz":
            packed = lzma.LZMAFile(file, "wb")  # noqa: SIM115, closed below
        yield packed
        if packed is not file:
            packed.close()
