"""Malformed files by seed: a small good file of a format, changed as disks, programs and people change them.

`malformed("csv", 7)` is the same file on every machine. tests/data/test_malformed.py and fuzz.py read them.
"""

import bz2
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pyarrow as pa
from malformed_tables import parquet

COLUMNS = [
    "event_time",
    "event_type",
    "user_id",
    "session_id",
    "item_id",
    "category",
    "brand",
    "price",
    "quantity",
    "campaign",
]
ROWS = 24

VALUES = r"""
|0|-0|1e400|-1e400|1e-400|NaN|Infinity|9007199254740993|99999999999999999999999999|0x1F|1_000|٣|½|1,5|+1|--1|1e5
|true|null|NULL|[]|{}|[1,2]|{"a":1}|"|""|'|\|\N|\u0000|%s%s%n|../../etc/passwd|=1+1|<script>|; DROP TABLE x|VIEW
|0000-00-00 00:00:00|0001-01-01T00:00:00Z|9999-12-31T23:59:59.999999+00:00|10000-01-01|2026-02-30|2026-01-05T24:00:00
|2026-01-05T10:00:60|2026-01-05T10:00:00+99:00|2026-01-05T10:00:00.1234567890123|-1|253402300800|253402300800000
|9223372036854775807|-9223372036854775808|purchase |	|\x01|é|😀|view""".replace("\n", "").split("|")
VALUES += ["\u00a0", "\u2028", "\ufeff", "e\u0301", "\u202e"]
"""Fields that parsers stumble over."""

BYTES = [b"\0", b"\xff", b"\xed\xa0\x80", b"\xc3", b"\xef\xbb\xbf", b"\r", b"\r\n", b"\n", b'"', b'""', b",", b"\t"]
BYTES += [b"\\", b"{", b"}", b"[", b"]", b":", b"\x1a", b"\x1f\x8b", b"PK\x03\x04", b"PAR1", b"\\ud800", b"//"]


@dataclass(frozen=True)
class Malformed:
    """A file, how its source is read, what was done to it, and whether reading it must end in an error."""

    name: str
    data: bytes
    source: Mapping[str, Any] = field(default_factory=dict)
    done: str = ""
    must_fail: bool = False


def events(random: Random) -> list[dict[str, Any]]:
    """Good rows."""
    return [
        {
            "event_time": f"2026-01-0{random.randint(1, 9)}T{random.randint(10, 23)}:00:{number:02}",
            "event_type": random.choice(["view", "view", "cart", "purchase"]),
            "user_id": f"u{random.randint(1, 5)}",
            "session_id": f"s{random.randint(1, 9)}",
            "item_id": random.randint(1, 99),
            "category": random.choice(["shoes", "Schuhe, rot", "食品"]),
            "brand": random.choice(["", "Acme", 'The "Best"']),
            "price": random.choice([9.99, 10, 1234.5]),
            "quantity": random.randint(1, 3),
            "campaign": None,
        }
        for number in range(ROWS)
    ]


def _csv(random: Random, mark: str = ",") -> bytes:
    rows = [[str("" if value is None else value) for value in row.values()] for row in events(random)]
    for _ in range(random.choice([0, 0, 1, 5])):
        random.choice(rows)[random.randrange(len(COLUMNS))] = random.choice(VALUES)

    def quoted(text: str) -> str:
        plain = mark == "\t" or not (mark in text or '"' in text)
        return text.replace("\t", " ") if plain else '"' + text.replace('"', '""') + '"'

    return "\n".join(mark.join(map(quoted, row)) for row in [COLUMNS, *rows]).encode() + b"\n"


def _objects(random: Random) -> list[str]:
    texts = []
    for row in events(random):
        if not random.randrange(8):
            row[random.choice(COLUMNS)] = random.choice(
                [*VALUES, 10**30, 1e308, -1, True, [], {}, [1, [2]], {"a": None}]
            )
        text = json.dumps(row, ensure_ascii=random.random() < 0.5)
        if not random.randrange(12):
            token = random.choice(
                ["1e400", "NaN", "-Infinity", "1" * 5000, '"\\ud800"', "01", "1.", "[" * 300 + "]" * 300]
            )
            text = text.replace("null", token)
        texts.append(text)
    return texts


def _jsonl(random: Random) -> bytes:
    return "\n".join(_objects(random)).encode("utf-8", "replace") + b"\n"


def _array(random: Random) -> bytes:
    return ("[" + random.choice([",", ",\n", " ,\r\n "]).join(_objects(random)) + "]").encode("utf-8", "replace")


def _nested(random: Random) -> bytes:
    lines = []
    for session in range(6):
        inner = [
            {"aid": random.randint(1, 99), "ts": 1767600000000 + random.randint(0, 10**9), "type": "clicks"}
            for _ in range(random.randint(0, 5))
        ]
        lines.append(json.dumps({"session": session, "events": inner}))
    return "\n".join(lines).encode() + b"\n"


def _flip(random: Random, data: bytearray) -> None:
    for _ in range(random.choice([1, 1, 3, 20])):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _cut(random: Random, data: bytearray) -> None:
    del data[random.randrange(len(data)) :]


def _lose(random: Random, data: bytearray) -> None:
    at = random.randrange(len(data))
    del data[at : at + random.choice([1, 4, 40, 4096])]


def _repeat(random: Random, data: bytearray) -> None:
    at = random.randrange(len(data))
    data[at:at] = data[at : at + random.choice([1, 40, 400])] * random.choice([1, 2, 50])


def _insert(random: Random, data: bytearray) -> None:
    for _ in range(random.choice([1, 2, 10])):
        at = random.randrange(len(data) + 1)
        data[at:at] = random.choice(BYTES) * random.choice([1, 1, 2, 5000])


def _noise(random: Random, data: bytearray) -> None:
    at = random.randrange(len(data))
    data[at : at + random.choice([1, 8, 64])] = random.randbytes(random.choice([1, 8, 64, 512]))


def _zeros(random: Random, data: bytearray) -> None:
    at = random.randrange(len(data))
    size = min(len(data) - at, random.choice([4, 64, 4096]))
    data[at : at + size] = bytes(size)


def _swap(random: Random, data: bytearray) -> None:
    a, b, c = sorted(random.randrange(len(data)) for _ in range(3))
    data[a:c] = data[b:c] + data[a:b]


def _head(random: Random, data: bytearray) -> None:
    data[:0] = random.choice(
        [b"", b"\n\n", b"sep=,\n", b"# log\n", b"\xef\xbb\xbf\xef\xbb\xbf", b"PAR1", b"[", b"BZh9", b" "]
    )
    data[:0] = bytes(data[: data.find(b"\n") + 1]) * random.choice([0, 1, 3])


def _huge(random: Random, data: bytearray) -> None:
    at = random.randrange(len(data))
    data[at:at] = random.choice([b"x", b",", b"\t", b"[", b'{"a":', b'"', b"9", b"\n", b" "]) * random.choice(
        [70_000, 1_500_000]
    )


def _encode(random: Random, data: bytearray) -> None:
    text = data.decode("utf-8", "replace")
    data[:] = text.encode(
        random.choice(["utf-16", "utf-16-le", "utf-32", "cp1252", "gb18030", "utf-7", "cp037"]), "replace"
    )


def _empty(random: Random, data: bytearray) -> None:
    data[:] = random.choice([b"", b"\n", b" ", b"\0", b"[]", b"{}", b"[", b"null", b'""', b",", b"\r"])


CHANGES: tuple[Callable[[Random, bytearray], None], ...] = (
    *(_flip, _flip, _cut, _cut, _lose, _repeat, _insert, _insert, _noise, _zeros, _swap, _head, _encode),
    *(_huge, _empty),
)


def changed(
    random: Random, data: bytes, changes: tuple[Callable[[Random, bytearray], None], ...] = CHANGES
) -> tuple[bytes, str]:
    """Bytes with one to three changes, and which."""
    new, done = bytearray(data), []
    for _ in range(random.choice([1, 1, 2, 3])):
        change = random.choice(changes)
        if new:
            change(random, new)
            done.append(change.__name__.strip("_"))
    return bytes(new), "+".join(done)


def _zip(data: bytes, random: Random) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(random.choice([1, 1, 2])):
            archive.writestr(random.choice(["log.csv", "a/log.csv", "../log.csv", "/log.csv", f"{number}.csv"]), data)
    return buffer.getvalue()


def _arrow(codec: str) -> Callable[[bytes, Random], bytes]:
    def pack(data: bytes, _: Random) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, codec) as stream:
            stream.write(data)
        return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]

    return pack


PACKERS: dict[str, Callable[[bytes, Random], bytes]] = {
    "gz": lambda data, _: gzip.compress(data, mtime=0),
    "zip": _zip,
    "zst": _arrow("zstd"),
    "lz4": _arrow("lz4"),
    "xz": lambda data, _: lzma.compress(data),
    "bz2": lambda data, _: bz2.compress(data),
}
TEXTS: dict[str, tuple[str, Callable[[Random], bytes], dict[str, Any]]] = {
    "csv": ("log.csv", _csv, {}),
    "tsv": ("log.tsv", lambda random: _csv(random, "\t"), {}),
    "jsonl": ("log.jsonl", _jsonl, {}),
    "array": ("log.json", _array, {}),
    "nested": ("log.jsonl", _nested, {"preset": "otto"}),
}
READ: tuple[dict[str, Any], ...] = (
    *({} for _ in range(12)),
    {"time_format": "s"},
    {"time_format": "ms"},
    {"time_format": "%Y-%m-%dT%H:%M:%S"},
    {"time_format": "order"},
    {"timezone": "America/Havana"},
    {"decimal": ","},
    {"encoding": "utf-16"},
    {"encoding": "cp1252"},
    {"encoding": "gb18030"},
    {"format": "jsonl"},
    {"format": "csv", "delimiter": ";"},
    {"header": []},
    {"explode": "items"},
    {"columns": {"item_id": "brand.name"}},
    {"event_types": {"*": "view"}},
)
"""How a source says that its file is to be read."""
FORMATS = (*TEXTS, "parquet", *PACKERS, "params")


def good() -> bytes:
    """A small log without a fault, as CSV."""
    return _csv(Random(3))


def malformed(kind: str, seed: int) -> Malformed:
    """The file of a format and a seed."""
    random = Random(f"{kind} {seed}")
    if kind == "parquet":
        data, source = parquet(random)
        data, done = (data, "odd table") if random.random() < 0.4 else changed(random, data, (*_BINARY, _footer))
        return Malformed("log.parquet", data, source, done)
    if kind in TEXTS:
        name, make, source = TEXTS[kind]
        data, done = changed(random, make(random))
        return Malformed(name, data, {**source, **random.choice(READ)}, done)
    name, make, source = TEXTS[random.choice(["csv", "jsonl"])]
    data = make(random)
    if random.random() < 0.3:
        inner, done = changed(random, data)
        return Malformed(f"{name}.{kind}", PACKERS[kind](inner, random), source, f"inside: {done}")
    packed = PACKERS[kind](data * random.choice([1, 40]), random)
    if random.random() < 0.2:
        return Malformed(
            f"{name}.{kind}", packed[: random.randint(20, len(packed) - 9)], source, "cut off", must_fail=True
        )
    packed, done = changed(random, packed, _BINARY)
    return Malformed(f"{name}.{kind}", packed, source, done)


def _footer(random: Random, data: bytearray) -> None:
    for _ in range(random.choice([1, 2, 6])):
        data[-random.randint(1, min(len(data), 900))] = random.choice([0, 1, 127, 128, 255, random.randrange(256)])


_BINARY = (_flip, _flip, _flip, _cut, _lose, _repeat, _noise, _zeros, _swap)
PARAMS_CHANGES = (_flip, _cut, _lose, _repeat, _insert, _noise, _zeros, _swap, _encode, _huge, _empty)


def params(text: str, seed: int) -> Malformed:
    """A params.yaml made from a good one: its bytes changed, or its values."""
    random = Random(f"params {seed}")
    if random.random() < 0.5:
        data, done = changed(random, text.encode(), PARAMS_CHANGES)
        return Malformed("params.yaml", data, {}, done)
    lines = text.split("\n")
    for _ in range(random.choice([1, 1, 2, 4])):
        at = random.choice([n for n, line in enumerate(lines) if ":" in line and not line.lstrip().startswith("#")])
        key, _, _ = lines[at].partition(":")
        lines[at] = f"{key}: {random.choice(PARAM_VALUES)}"
    return Malformed("params.yaml", "\n".join(lines).encode("utf-8", "surrogatepass"), {}, "values")


PARAM_VALUES = r"""
.nan|.inf|-.inf|-1|0|1|1000000000000000000000000000000|1e400|1e300|-1e300|1e-300|0.5|true|~|""|x|[]|{}|[[[]]]|{a: 1}
|"../../*"|/etc/passwd|/dev/zero|/dev/stdin|"%Q"|"\0"|"\ud800"|2026-01-01|0001-01-01|9999-12-31|2026-13-01|&a [*a]
|*b|!!binary aGk=|!!python/object/apply:os.system [ls]|<<: *x|? x|"* * * * *"|"99 99 99 99 99"|utf-7|rot13|punycode
|idna|zlib|base64|us|order|"%"|"%Y"|Europe/Nowhere|../../etc/localtime|[a, a]|{event_time: x}|{"*": ignore}|12:30:45
|0o777|0b1|1_000|NaN|off""".replace("\n", "").split("|")
PARAM_VALUES += ["x" * 5000, "[" * 400, "9" * 4400, f"[{'1, ' * 30_000}]"]
"""What may stand behind a key of params.yaml."""
