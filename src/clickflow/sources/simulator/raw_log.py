"""The simulated log as files: CSV assembled from prepared pieces, or Parquet; a new file every few million rows.

A CSV row is joined from five strings, each looked up or printed by whole columns: time, type, user and session,
everything that follows from the item, and quantity with campaign. That is what makes a million rows a second possible.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clickflow.events import contract
from clickflow.sources.simulator.columns import letters, named, numbers, texts
from clickflow.sources.simulator.dirt import Dirt
from clickflow.sources.simulator.shop import Shop

ROWS_PER_FILE = 4_000_000
SCHEMA = pa.schema([field for field in contract.SCHEMA if field.name not in ("order", "item_name", *contract.GROUPS)])
"""Of the files: their rows stand in the order in which they happened, and the items have no names,
nor have people a country or a device."""
QUANTITIES = 10
USER_BITS, SESSION_BITS = 32, 40

_HEX = np.frombuffer("".join(f"{byte:02x}" for byte in range(256)).encode(), np.uint16)
_TIME = np.dtype([("minute", "S17"), ("second", "S3"), ("milli", "S3"), ("micro", "S4")])
_SECOND = np.array([f"{k:02d}." for k in range(60)], "S3")
_MILLI = np.array([f"{k:03d}" for k in range(1000)], "S3")
_MICRO = np.array([f"{k:03d}," for k in range(1000)], "S4")
_SYLLABLES = ("ka", "ro", "mi", "ten", "sol", "vi", "bra", "lo", "nex", "ar", "du", "pel", "sta", "go", "fin", "ul")


@dataclass(frozen=True)
class OpenSessions:
    """The sessions that the events of a block belong to; `user` -1: a guest."""

    number: NDArray[np.int64]
    user: NDArray[np.int64]


@dataclass(frozen=True)
class Block:
    """Events in time order; arrays of one length."""

    time: NDArray[np.int64]
    """microseconds since 1970"""
    session: NDArray[np.int32]
    """index in the block's OpenSessions"""
    action: NDArray[np.int8]
    item: NDArray[np.int32]
    """index in the shop; -1: none"""
    reduced: NDArray[np.bool_]
    """sold at the discount of its promotion"""
    focus: NDArray[np.int16]
    quantity: NDArray[np.int8]
    campaign: NDArray[np.int16]
    current: NDArray[np.int32]
    state: NDArray[np.int32]


def session_ids(number: NDArray[np.int64]) -> NDArray[np.uint8]:
    """[n, 11] ASCII: s and ten hexadecimal digits, a bijection of the numbers that shows nothing of their order."""
    return _hexadecimal(b"s", number, 0x9E3779B97F4A7C15, SESSION_BITS)


def user_ids(user: NDArray[np.int64]) -> NDArray[np.uint8]:
    """[n, 9] ASCII: u and eight hexadecimal digits; see `session_ids`."""
    return _hexadecimal(b"u", user, 0x9E3779B1, USER_BITS)


def _hexadecimal(prefix: bytes, number: NDArray[np.int64], odd: int, bits: int) -> NDArray[np.uint8]:
    mask = np.uint64((1 << bits) - 1)
    scrambled = ((number.astype(np.uint64) + np.uint64(1)) * np.uint64(odd)) & mask
    scrambled = ((scrambled ^ (scrambled >> np.uint64(bits // 2))) * np.uint64(odd)) & mask
    digits = _HEX[scrambled.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 8 - bits // 8 :]]
    text = np.empty((len(number), 1 + bits // 4), np.uint8)
    text[:, 0] = prefix[0]
    text[:, 1:] = digits.view(np.uint8)
    return text


def brand_name(number: int) -> str:
    """A pronounceable name."""
    name = ""
    while number or not name:
        number, digit = divmod(number, len(_SYLLABLES))
        name += _SYLLABLES[digit]
    return name


class RawLog:
    """Writes blocks to `out`/events-NNNNN.csv or .parquet. Use as a context manager."""

    def __init__(self, out: Path, fmt: str, shop: Shop, dirt: Dirt) -> None:
        self.out, self.fmt, self.shop, self.dirt = out, fmt, shop, dirt
        self.files: list[dict[str, Any]] = []
        self.rows_in_file = 0
        self._sink: Any = None
        self._path = out
        self.item_id = texts([f"i{number}" for number in shop.item_id.tolist()])
        self.item_category = texts([shop.categories[c] for c in shop.category.tolist()])
        self.item_brand = texts([brand_name(b) for b in shop.brand.tolist()])
        self.prices = np.concatenate((shop.price, np.round(shop.price * (1 - shop.discount), 2)))
        self.campaigns = ["", *(shop.campaign_name(k) for k in range(len(shop.response)))]
        if fmt == "csv":
            pieces = zip(
                self.item_id.to_pylist(), self.item_category.to_pylist(), self.item_brand.to_pylist(), strict=True
            )
            head = [f"{i},{c},{b}," for i, c, b in pieces]
            tails = [f"{head[k % len(head)]}{price:.2f}," for k, price in enumerate(self.prices.tolist())]
            self._tails = texts(tails + [f",{path},,," for path in shop.categories])
            self._nothing = texts([""])[0]  # as a scalar: a plain "" would have pyarrow import pandas
            self._types = texts([f"{name}," for name in contract.EVENT_TYPES])
            self._ends = texts([f"{q or ''},{c}\n" for q in range(QUANTITIES) for c in self.campaigns])

    def __enter__(self) -> "RawLog":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def write(self, block: Block, sessions: OpenSessions) -> None:
        """Append a block."""
        if not len(block.time):
            return
        if self._sink is None:
            self._open()
        if self.fmt == "csv":
            text = self._csv(block, sessions)
            written = self.dirt.write(self._sink, text, self._path.name, self.rows_in_file)
        else:
            self._sink.write_table(self._table(block, sessions))
            written = len(block.time)
        self.rows_in_file += written
        if self.rows_in_file >= ROWS_PER_FILE:
            self._close()

    def _open(self) -> None:
        self._path = self.out / f"events-{len(self.files):05d}.{self.fmt}"
        self.rows_in_file = 0
        if self.fmt == "csv":
            self._sink = self._path.open("wb", buffering=0)
            self._sink.write((",".join(SCHEMA.names) + "\n").encode())
        else:
            few = ["event_type", "item_id", "category", "brand", "price", "quantity", "campaign"]
            self._sink = pq.ParquetWriter(
                self._path, SCHEMA, compression="snappy", use_dictionary=few, store_schema=False
            )

    def _close(self) -> None:
        if self._sink is not None:
            self._sink.close()
            self._sink = None
            size = self._path.stat().st_size
            self.files.append({"name": self._path.name, "rows": self.rows_in_file, "bytes": size})

    def _csv(self, block: Block, sessions: OpenSessions) -> pa.Array:
        items = np.int32(self.shop.items)
        tail = np.where(block.item < 0, 2 * items + block.focus, block.item + block.reduced * items)
        end = block.quantity.astype(np.int32) * len(self.campaigns) + block.campaign + 1
        return pc.binary_join_element_wise(
            _times(block.time),
            self._types.take(numbers(block.action)),
            _who(sessions).take(numbers(block.session)),
            self._tails.take(numbers(tail)),
            self._ends.take(numbers(end)),
            self._nothing,
        )

    def _table(self, block: Block, sessions: OpenSessions) -> pa.Table:
        some = block.item >= 0
        item = numbers(np.where(some, block.item, 0), valid=some)
        category = np.where(some, self.shop.category[block.item], block.focus).astype(np.int32)
        price = self.prices[np.where(some, block.item + block.reduced * np.int32(self.shop.items), 0)]
        session = numbers(block.session)
        known = sessions.user >= 0
        columns = [
            numbers(block.time, contract.SCHEMA.field("event_time").type),
            named(block.action, contract.EVENT_TYPES),
            letters(user_ids(sessions.user), known).take(session),
            letters(session_ids(sessions.number)).take(session),
            self.item_id.take(item),
            named(category, self.shop.categories),
            self.item_brand.take(item),
            numbers(price, valid=some),
            numbers(block.quantity.astype(np.int64), valid=block.quantity > 0),
            named(block.campaign, self.campaigns[1:], block.campaign >= 0),
        ]
        return pa.Table.from_arrays(columns, names=SCHEMA.names).cast(SCHEMA)


def _times(time: NDArray[np.int64]) -> pa.Array:
    """`2026-01-05 10:00:00.123456,` of ascending microseconds since 1970."""
    seconds = time // 1_000_000  # and no divmod: dividing by a constant is several times faster
    micro = (time - seconds * 1_000_000).astype(np.int32)
    milli = micro // 1000
    micro -= milli * 1000
    minute = seconds // 60
    second = seconds - minute * 60
    new = np.append(True, minute[1:] != minute[:-1])
    text = np.char.replace(np.datetime_as_string(minute[new].astype("datetime64[m]")), "T", " ").astype("S16")
    out = np.empty(len(time), _TIME)
    out["minute"] = np.char.add(text, b":")[np.cumsum(new) - 1]
    out["second"], out["milli"], out["micro"] = _SECOND[second], _MILLI[milli], _MICRO[micro]
    return letters(out.view(np.uint8).reshape(len(time), _TIME.itemsize))


def _who(sessions: OpenSessions) -> pa.Array:
    """`user,session,` of each session; a guest's user is empty."""
    user, session = user_ids(sessions.user), session_ids(sessions.number)
    comma = np.full((len(user), 1), ord(","), np.uint8)
    text = np.concatenate((user, comma, session, comma), axis=1)
    keep = np.ones(text.shape, np.bool_)
    keep[sessions.user < 0, : user.shape[1]] = False
    offsets = np.zeros(len(user) + 1, np.int32)
    np.cumsum(keep.sum(axis=1), out=offsets[1:])
    return pa.Array.from_buffers(pa.string(), len(user), [None, pa.py_buffer(offsets), pa.py_buffer(text[keep])])
