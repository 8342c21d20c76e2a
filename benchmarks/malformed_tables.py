"""Parquet files that hold what no log should, and that other programs write all the same."""

import io
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 24
READ: tuple[dict[str, Any], ...] = (
    {},
    {},
    {},
    {"explode": "items"},
    {"columns": {"item_id": "brand.name"}},
    {"columns": {"item_id": "items.a"}},
)
EXTREMES = [-(2**63), -(2**62), -62_135_596_800_000_001, -1, 0, 1, 253_402_300_800_000_000, 2**62, 2**63 - 1]


def _bad_text(random: Random) -> pa.Array:
    """Strings of which some are no UTF-8."""
    parts = [random.choice([b"view", b"\xff\xfe", b"\xed\xa0\x80", b"caf\xe9", b"", b"i1"]) for _ in range(ROWS)]
    ends = np.cumsum([0, *map(len, parts)], dtype=np.int32)
    return pa.StringArray.from_buffers(ROWS, pa.py_buffer(ends), pa.py_buffer(b"".join(parts)))


def _numbers(random: Random, kind: pa.DataType) -> pa.Array:
    return pa.array([random.choice(EXTREMES) for _ in range(ROWS)], pa.int64()).view(kind)


def _deep(random: Random) -> pa.Array:
    value: Any = 1
    for _ in range(random.choice([2, 20, 90])):
        value = {"a": value} if random.random() < 0.7 else [value]
    return pa.array([value] * ROWS)


ODD: dict[str, Callable[[Random], pa.Array]] = {
    "bad text": _bad_text,
    "timestamp us": lambda random: _numbers(random, pa.timestamp("us")),
    "timestamp ns": lambda random: _numbers(random, pa.timestamp("ns", "UTC")),
    "timestamp ms": lambda random: _numbers(random, pa.timestamp("ms", "Asia/Kolkata")),
    "date32": lambda random: pa.array(
        [random.choice([-(2**31), 0, 3_000_000, 2**31 - 1]) for _ in range(ROWS)], pa.int32()
    ).view(pa.date32()),
    "time64": lambda random: pa.array([random.randrange(86_400_000_000) for _ in range(ROWS)], pa.int64()).view(
        pa.time64("us")
    ),
    "duration": lambda random: _numbers(random, pa.duration("us")),
    "int64": lambda random: _numbers(random, pa.int64()),
    "uint64": lambda random: _numbers(random, pa.uint64()),
    "double": lambda random: pa.array(
        [random.choice([float("nan"), float("inf"), -0.0, 1e308, 5e-324, 1.5]) for _ in range(ROWS)]
    ),
    "half": lambda random: pa.array(np.array([random.choice([0, 1, 2048, 65504]) for _ in range(ROWS)], np.float16)),
    "decimal": lambda random: pa.array(
        [Decimal(10) ** random.choice([0, 30]) for _ in range(ROWS)], pa.decimal128(38, 3)
    ),
    "decimal256": lambda _: pa.array([Decimal(10) ** 60] * ROWS, pa.decimal256(70, 2)),
    "binary": lambda random: pa.array([random.choice([b"i1", b"\xff", b""]) for _ in range(ROWS)], pa.binary()),
    "fixed binary": lambda random: pa.array([random.randbytes(4) for _ in range(ROWS)], pa.binary(4)),
    "large text": lambda random: pa.array(
        [random.choice(["view", None, "x" * 2000]) for _ in range(ROWS)], pa.large_string()
    ),
    "dictionary": lambda random: pa.array(
        [random.choice(["view", None, "i1"]) for _ in range(ROWS)]
    ).dictionary_encode(),
    "null": lambda _: pa.nulls(ROWS),
    "bool": lambda random: pa.array([random.choice([True, False, None]) for _ in range(ROWS)]),
    "list": lambda random: pa.array([random.choice([[1, 2], [], None]) for _ in range(ROWS)], pa.list_(pa.int64())),
    "fixed list": lambda _: pa.array([[1, 2]] * ROWS, pa.list_(pa.int64(), 2)),
    "struct": lambda random: pa.array(
        [random.choice([{"name": "x", "day": date(2026, 1, 1)}, None]) for _ in range(ROWS)]
    ),
    "list of structs": lambda random: pa.array([random.choice([[{"item_id": "i1"}], []]) for _ in range(ROWS)]),
    "map": lambda _: pa.array([[("page", 1.5)]] * ROWS, pa.map_(pa.string(), pa.float64())),
    "list of durations": lambda _: pa.array([[timedelta(days=1)]] * ROWS),
    "struct of extremes": lambda random: pa.StructArray.from_arrays([_numbers(random, pa.timestamp("us"))], ["at"]),
    "struct of bad text": lambda random: pa.StructArray.from_arrays([_bad_text(random)], ["name"]),
    "list of bad text": lambda random: pa.ListArray.from_arrays(
        pa.array(range(ROWS + 1), pa.int32()), _bad_text(random)
    ),
    "map of bad text": lambda random: pa.MapArray.from_arrays(
        pa.array(range(ROWS + 1), pa.int32()), pa.array(["page"] * ROWS), _bad_text(random)
    ),
    "uuid": lambda random: pa.ExtensionArray.from_storage(
        pa.uuid(), pa.array([random.randbytes(16) for _ in range(ROWS)], pa.binary(16))
    ),
    "deep": _deep,
}


def parquet(random: Random) -> tuple[bytes, dict[str, Any]]:
    """A Parquet file, and how its source is read: good columns, some of them odd, written in one of many ways."""
    columns: list[tuple[str, pa.Array]] = [
        ("event_time", pa.array([f"2026-01-05T10:00:{n:02}" for n in range(ROWS)])),
        ("event_type", pa.array(["view"] * ROWS)),
        ("user_id", pa.array([f"u{n % 5}" for n in range(ROWS)])),
        ("session_id", pa.array(np.arange(ROWS) % 9)),
        ("item_id", pa.array(np.arange(ROWS) % 7)),
        ("price", pa.array(np.linspace(1, 2, ROWS))),
    ]
    for _ in range(random.choice([0, 1, 1, 2, 4])):
        kind = random.choice([*ODD])
        at = random.randrange(len(columns) + 1)
        name = (
            columns[at][0]
            if at < len(columns)
            else random.choice(["brand", "x", "", "items", "item_id", "a.b", "x" * 300, "日"])
        )
        columns[at : at + 1] = [(name, ODD[kind](random))]
    if not random.randrange(12):
        columns += [(f"c{n}", pa.nulls(ROWS)) for n in range(2000)]
    table = pa.Table.from_arrays([array for _, array in columns], [name for name, _ in columns])
    if not random.randrange(15):
        table = table.slice(0, 0)
    buffer = io.BytesIO()
    try:
        pq.write_table(
            table,
            buffer,
            compression=random.choice(["none", "snappy", "gzip", "zstd", "lz4", "brotli"]),
            row_group_size=random.choice([1, 7, 100]),
            data_page_version=random.choice(["1.0", "2.0"]),
            use_dictionary=random.choice([True, False]),
            version=random.choice(["1.0", "2.4", "2.6"]),
            allow_truncated_timestamps=True,
        )
    except (pa.ArrowException, OSError):  # what Parquet itself cannot hold
        return parquet(random)
    return buffer.getvalue(), random.choice(READ)
