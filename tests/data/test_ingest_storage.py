"""Files as others write them: packed, in other encodings, without a header, in folders that say something."""

import bz2
import gzip
import io
import lzma
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ingest_setup import HEADER, Desk, row, rows

from clickflow.events import replay
from clickflow.events.storage import Storage, opened, originals, read_text
from clickflow.system.errors import DataError


@pytest.fixture
def desk(tmp_path: Path, raw_params: dict[str, object]) -> Desk:
    return Desk(tmp_path / "w", raw_params)


def arrow(data: bytes, codec: str) -> bytes:
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, codec) as stream:
        stream.write(data)
    return out.getvalue().to_pybytes()  # type: ignore[no-any-return]


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


PACKERS: dict[str, Any] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: arrow(data, "zstd"),
    "lz4": lambda data: arrow(data, "lz4"),
    "zip": lambda data: zipped({"inside.csv": data, "__MACOSX/._inside.csv": b"x"}),
}


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("packing", PACKERS)
def test_packed_files_are_seen_by_their_first_bytes(desk: Desk, packing: str, named: bool) -> None:
    data = HEADER + rows(5000)
    desk.put("log.csv", data)
    plain = desk.ingest().events
    desk.log.joinpath("log.csv").unlink()
    desk.put(f"log.csv.{packing}" if named else "log.csv", PACKERS[packing](data))
    assert desk.ingest().events == plain


@pytest.mark.parametrize("packing", PACKERS)
def test_half_of_a_packed_file_is_no_file(desk: Desk, packing: str) -> None:
    data = PACKERS[packing](HEADER + rows(5000))
    desk.put("log.csv", data[: len(data) // 2])
    with pytest.raises(DataError, match=r"log\.csv: the \w+ stream cannot be read to its end"):
        desk.ingest()


def test_a_zip_of_several_files_is_several_sources(desk: Desk) -> None:
    files = {"b.csv": HEADER + rows(3), "sub/a.csv": HEADER + rows(4, 3), "read.me.md": b"x", "_SUCCESS": b""}
    desk.put("all.zip", zipped(files))
    card = desk.ingest().card
    assert [(s["source"], s["read"]) for s in card["sources"]] == [("all.zip/b.csv", 3), ("all.zip/sub/a.csv", 4)]
    alone = desk.ingest(source__path=str(desk.log / "all.zip")).card
    assert (alone["read"], alone["accepted"]) == (7, 7)


def test_what_cannot_be_unpacked_is_said(desk: Desk) -> None:
    locked = bytearray(zipped({"a.csv": HEADER + rows(2)}))
    locked[6] |= 1  # the flag "encrypted", in the member's header and in the directory
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    desk.put("a.zip", bytes(locked))
    with pytest.raises(DataError, match=r"its member 'a\.csv' cannot be unpacked .*encrypted"):
        desk.ingest()
    desk.put("a.zip", zipped({"[Content_Types].xml": b"x", "xl/workbook.xml": b"x"}))
    with pytest.raises(DataError, match="is a workbook, not a log"):
        desk.ingest()


@pytest.mark.parametrize("data", [b"7z\xbc\xaf\x27\x1c rest", b"Obj\x01 rest", b"SQLite format 3\0", b"\0\1\2\3" * 400])
def test_no_binary_is_read_as_text(desk: Desk, data: bytes) -> None:
    desk.put("log.csv", data)
    with pytest.raises(DataError, match=r"log\.csv is not text") as error:
        desk.ingest()
    assert str(error.value).isprintable() or "\n" in str(error.value)
    assert not any(ord(letter) < 32 and letter != "\n" for letter in str(error.value))


@pytest.mark.parametrize(
    ("encoding", "brand"),
    [("cp1252", "Müller—œuvre"), ("latin-1", "Müller"), ("utf-16", "Müller 用户"), ("gb18030", "浏览 Müller")],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_other_encodings_and_line_ends(desk: Desk, encoding: str, brand: str, end: str) -> None:
    text = (HEADER + row(brand=brand, item="ä".encode(encoding, "replace").decode(encoding))).decode()
    text += row("no time", brand=brand).decode() + row("2026-01-05 11:00:00").decode()
    desk.put("log.csv", text.replace("\n", end).encode(encoding))
    outcome = desk.ingest(source__encoding=encoding)
    assert (outcome.card["read"], outcome.card["accepted"]) == (3, 2)
    assert outcome.events["brand"].to_pylist() == [brand, None]
    assert outcome.raw() == {3: row("no time", brand=brand).removesuffix(b"\n")}


def test_bytes_that_an_encoding_does_not_know_are_quarantined_and_replay_goes_on(desk: Desk) -> None:
    good = row(brand="Müller", kind="seen").decode().encode("cp1252")
    broken = b"2026-01-05 10:00:01,view,u1,s1,i1,,M\x81\xfcller,,,\n"
    desk.put("log.csv", HEADER + good + broken + row("2026-01-05 10:00:02"))
    outcome = desk.ingest(source__encoding="cp1252")
    assert outcome.reasons() == {2: ["unknown_type"], 3: ["broken_encoding"]}
    assert outcome.quarantine[1]["raw"] == r"2026-01-05 10:00:01,view,u1,s1,i1,,M\x81üller,,,"
    changed: dict[str, object] = {"source__encoding": "cp1252", "source__event_types": {"seen": "view"}}
    result = replay.replay(desk.params(**changed), desk.paths)
    assert (result["taken_in"], result["still_quarantined"]) == (1, 1)
    after = desk.bytes()
    assert desk.ingest(**changed).events["brand"].to_pylist() == ["Müller", None]
    assert desk.bytes() == after


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-le", "gb18030", "shift_jis", "ascii"])
@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=300), size=st.integers(1, 50), returns=st.booleans())
def test_transcoding_loses_no_byte(
    tmp_path_factory: pytest.TempPathFactory, encoding: str, data: bytes, size: int, returns: bool
) -> None:
    path = tmp_path_factory.mktemp("t") / "f"
    data = (b"\xff\xfe" if encoding == "utf-16" else b"x") + data  # no magic number
    path.write_bytes(data)
    with opened(path, Storage(encoding=encoding, returns=returns)) as (text, _):
        parts = []
        while part := read_text(text, size, path):
            parts.append(part)
            assert len(part) <= size
    assert all(len(part) == size for part in parts[:-1])
    seen = b"".join(parts)
    wide = encoding.startswith("utf-16")
    expected = data.decode(encoding, "ignore" if wide else "surrogateescape")
    expected = expected.replace("\r", "\n") if returns else expected
    if wide:  # Python has no such error handler for it: only what is known can be held against it
        known = seen.decode("utf-8", "surrogatepass")
        assert "".join(letter for letter in known if not 0xDC00 <= ord(letter) <= 0xDCFF) == expected
    else:
        assert originals(seen) == expected.encode("utf-8", "surrogateescape")


def test_columns_without_a_header(desk: Desk) -> None:
    desk.put("log.csv", b"u1,i1,view,2026-01-05 10:00:00,9.5\nu2,i2,buy,2026-01-05 10:00:01,1\nshort,row\n")
    mapped = {"user_id": "who", "item_id": "what", "event_type": "how", "event_time": "at"}
    named = desk.ingest(
        source__header=["who", "what", "how", "at", "rest"],
        source__columns=mapped,
        source__event_types={"buy": "purchase"},
    )
    assert named.reasons() == {3: ["truncated"]}
    assert named.events["event_type"].to_pylist() == ["view", "purchase"]
    by_place = desk.ingest(
        source__header=[],
        source__columns={"user_id": 1, "item_id": 2, "event_type": 3, "event_time": 4},
        source__event_types={"buy": "purchase"},
    )
    assert by_place.events == named.events
    with pytest.raises(DataError, match=r"none of its first 3 rows has the 3 columns a, b, c"):
        desk.ingest(source__header=["a", "b", "c"], source__columns={"user_id": "a", "event_time": "b"})
    with pytest.raises(DataError, match=r"lacks event_time: '9'"):
        desk.ingest(source__header=[], source__columns={"user_id": 1, "event_type": 3, "event_time": 9})


def test_types_that_are_numbers(desk: Desk) -> None:
    desk.put("log.csv", b"user_id,item_id,event_type,event_time\nu,i,1,2026-01-05\nu,i,4,2026-01-06\n")
    events = desk.ingest(source__event_types={1: "view", 4: "purchase"}).events
    assert events["event_type"].to_pylist() == ["view", "purchase"]


def test_folders_that_say_something(desk: Desk) -> None:
    base = b"user_id,item_id,event_type\nu1,i1,view\nu1,,view\n"
    desk.put("day=2026-03-01/country=de%2Fby/part-0.csv", base)
    desk.put("day=2026-03-02/country=__HIVE_DEFAULT_PARTITION__/part-0.csv", base)
    for mark in (
        "_SUCCESS",
        "day=2026-03-01/_SUCCESS",
        "day=2026-03-01/.part-0.csv.crc",
        "_delta_log/0.json",
        "_metadata",
    ):
        desk.put(mark, b"")
    given: dict[str, object] = {"source__columns": {"event_time": "day", "campaign": "country"}}
    outcome = desk.ingest(**given)
    assert [s["source"] for s in outcome.card["sources"]] == [
        "day=2026-03-01/country=de%2Fby/part-0.csv",
        "day=2026-03-02/country=__HIVE_DEFAULT_PARTITION__/part-0.csv",
    ]
    assert [t.date().isoformat() for t in outcome.events["event_time"].to_pylist()] == ["2026-03-01", "2026-03-02"]
    assert outcome.events["campaign"].to_pylist() == ["de/by", None]
    assert [q["reasons"] for q in outcome.quarantine] == [["null_item"]] * 2
    # replay knows the folders too
    looser = given | {"ingest__max_text_length": 300}
    replay.replay(desk.params(**looser), desk.paths)
    after = desk.bytes()
    assert desk.ingest(**looser).card["accepted"] == 2
    assert desk.bytes() == after


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_folders_of_other_formats(desk: Desk, kind: str) -> None:
    import pyarrow.parquet as pq

    path = desk.put(f"event_type=view/day=2026-03-01/a.{kind}", b'{"user_id":"u","item_id":"i"}\n')
    if kind == "parquet":
        pq.write_table(pa.table({"user_id": ["u"], "item_id": ["i"]}), path)
    events = desk.ingest(source__columns={"event_time": "day"}).events.to_pylist()
    assert [(e["event_type"], e["event_time"].day, e["item_id"]) for e in events] == [("view", 1, "i")]


def test_columns_that_only_some_files_have(desk: Desk) -> None:
    desk.put("1.csv", b"at,kind,who,what,preis\n2026-01-05,view,u,i,9.5\n")
    desk.put("2.csv", b"at,kind,who,what\n2026-01-06,view,u,i\n")
    desk.put("3.csv", b"at,kind,who,what,preis,brand\n2026-01-07,view,u,i,7,b\n")
    names = {"event_time": "at", "event_type": "kind", "user_id": "who", "item_id": "what", "price": "preis"}
    outcome = desk.ingest(source__columns=names)
    assert outcome.events["price"].to_pylist() == [9.5, None, 7.0]
    assert [s["lacks"] for s in outcome.card["sources"]] == [["brand"], ["brand", "price"], []]
    with pytest.raises(DataError, match=r"lacks price: 'prais', and so do all 3 files.*Close to it: preis"):
        desk.ingest(source__columns=names | {"price": "prais"})
    desk.put("2.csv", b"kind,who,what\nview,u,i\n")
    with pytest.raises(DataError, match=r"2\.csv lacks event_time: 'at'; price: 'preis'"):
        desk.ingest(source__columns=names)


def test_an_empty_file_beside_good_ones(desk: Desk) -> None:
    desk.put("1.csv", HEADER + rows(3))
    desk.put("2.csv", b"")
    desk.put("3.csv.gz", gzip.compress(b""))
    desk.put("4.csv", HEADER)
    card = desk.ingest().card
    assert [(s["source"], s["read"]) for s in card["sources"]] == [
        ("1.csv", 3),
        ("2.csv", 0),
        ("3.csv.gz", 0),
        ("4.csv", 0),
    ]
    before = desk.bytes()
    desk.put("5.csv", HEADER + rows(3, 3))
    assert desk.ingest().card["read"] == 6
    assert desk.bytes() != before


def test_an_old_workbook_line_end(desk: Desk) -> None:
    desk.put("log.csv", (HEADER + rows(2000)).replace(b"\n", b"\r"))
    card = desk.ingest().card
    assert (card["read"], card["accepted"]) == (2000, 2000)


def test_utf_16_without_a_mark(desk: Desk) -> None:
    text = (HEADER + rows(3)).decode()
    desk.put("log.csv", text.encode("utf-16-le"))
    with pytest.raises(DataError, match=r"full of NULs\n.*source needed encoding: utf-16-le\n"):
        desk.ingest()
    with pytest.raises(DataError, match=r"not in the encoding that source\.encoding names"):
        desk.ingest(source__encoding="utf-16")
    assert desk.ingest(source__encoding="utf-16-le").card["accepted"] == 3
