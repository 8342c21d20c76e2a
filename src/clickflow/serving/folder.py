"""Predictions as a folder of Parquet files: `items.parquet/part-00000.parquet` and so on, and card.json.

While it is made it is called `.NAME.partial` and holds `manifest.jsonl`: the batch, then a line a partition, with the
SHA-256 of its files. A line is written when the files are on disk; so after a kill a run goes on behind the last line.
The folder takes its place when all partitions are there.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clickflow.serving.partitions import CARD, Batch, Line, Partition
from clickflow.system import console
from clickflow.system.errors import UsageError
from clickflow.system.files import (
    append,
    left_behind,
    read_json,
    sha256,
    sync_folder,
    tidy,
    whole,
    write_json,
    write_text,
)

MANIFEST = "manifest.jsonl"
LOCK = ".lock"


class Folder:
    """The target `out`, a `Target`. Raises UsageError where another run writes there."""

    def __init__(self, out: Path, batch: Batch) -> None:
        self.out, self.batch = out, batch
        self.where = str(out)
        self.lines: dict[int, Line] = {}
        self._files: dict[int, dict[str, str]] = {}
        self._partial = out.with_name(f".{out.name}.partial")
        self._lock: int | None = None
        self._placed = False

    def __enter__(self) -> "Folder":
        self.out.parent.mkdir(parents=True, exist_ok=True)
        for left in list(left_behind(self.out.parent)):
            if left.name.startswith(f".{self.out.name}."):
                tidy(left)
        self._lock = self._locked()
        self._placed = self._is_whole(self.out)
        if not self._placed and not self._is_whole(self._partial):
            self._go_on()
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is None:
            return
        if not self.lines or self._placed:
            shutil.rmtree(self._partial, ignore_errors=True)
        (self._partial / LOCK).unlink(missing_ok=True)
        os.close(self._lock)

    def take(self, partition: Partition) -> None:
        """Write the files, then the line. The first partition, and what stands beside, have files without rows too."""
        from pyarrow import parquet

        files = {}
        for name, table in partition.tables.items():
            if len(table) or partition.number == 0 or name not in self.batch.schemas:
                file = self._partial / name / f"part-{partition.number:05d}.parquet"
                file.parent.mkdir(exist_ok=True)
                with whole(file) as fresh:
                    parquet.write_table(table, fresh, compression="zstd", row_group_size=len(table) or None)
                files[file.relative_to(self._partial).as_posix()] = sha256(file)
        append(self._partial / MANIFEST, _line(partition.number, partition.sequences, partition.rows, files))
        self.lines[partition.number], self._files[partition.number] = Line(partition.sequences, partition.rows), files

    def finish(self, card: Mapping[str, Any]) -> dict[str, Any]:
        """Put the folder in its place, unless it is there."""
        if not self._placed:
            if not (self._partial / CARD).exists():
                self._seal(card)
            old = self.out.with_name(f".{self.out.name}.{os.getpid()}.old")
            (self._partial / LOCK).unlink()
            if self.out.exists():
                self.out.rename(old)
            self._partial.rename(self.out)
            sync_folder(self.out.parent)
            self._placed = True
            shutil.rmtree(old, ignore_errors=True)
        written = read_json(self.out / CARD)
        return {"files": written["files"], "path": str(self.out.absolute())}

    def _seal(self, card: Mapping[str, Any]) -> None:
        """The card in place of the manifest; what has no line goes."""
        files = {name: digest for _, each in sorted(self._files.items()) for name, digest in each.items()}
        for path in sorted(self._partial.rglob("*"), reverse=True):
            if path.is_file() and path.name != LOCK and path.relative_to(self._partial).as_posix() not in files:
                path.unlink()
            elif path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        done = [
            {"sequences": line.sequences, "rows": dict(line.rows), "files": sorted(self._files[number])}
            for number, line in sorted(self.lines.items())
        ]
        write_json(self._partial / CARD, {**card, "key": dict(self.batch.key), "done": done, "files": files})

    def _is_whole(self, folder: Path) -> bool:
        """Whether a folder is whole, and of this batch; its lines are known then."""
        try:
            card = read_json(folder / CARD)
            complete = card["key"] == self.batch.key and all(
                sha256(folder / name) == digest for name, digest in card["files"].items()
            )
            lines = {number: Line(each["sequences"], each["rows"]) for number, each in enumerate(card["done"])}
        except (OSError, ValueError, KeyError, TypeError):
            return False
        if complete:
            self.lines = lines
        return complete

    def _go_on(self) -> None:
        """Read the manifest; of another batch's nothing is kept."""
        manifest = self._partial / MANIFEST
        text = manifest.read_text(encoding="utf-8", errors="replace") if manifest.is_file() else ""
        first, *rest = [*filter(None, map(_parsed, text.splitlines()))] or [{}]
        key = json.loads(json.dumps(dict(self.batch.key)))
        if first.get("key") != key:
            if "key" in first:
                console.say(f"note {self.where}: {_changes(first['key'], key)}; the run that did not end is begun anew")
            for path in self._partial.iterdir():
                if path.name != LOCK:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            rest = []
        damaged = 0
        for each in rest:
            if self._holds(each.get("files", {})):
                self.lines[each["partition"]] = Line(each["sequences"], each["rows"])
                self._files[each["partition"]] = each["files"]
            else:
                damaged += 1
        if damaged:
            console.say(
                f"warning {self.where}: {damaged:,} partitions are not as they were written: they are made again"
            )
        kept = [
            _line(number, line.sequences, line.rows, self._files[number]) for number, line in sorted(self.lines.items())
        ]
        write_text(manifest, b"".join([_json({"key": key}), *kept]).decode())

    def _holds(self, files: Mapping[str, str]) -> bool:
        try:
            return all(sha256(self._partial / name) == digest for name, digest in files.items())
        except OSError:
            return False

    def _locked(self) -> int:
        """The lock of the unfinished folder, for as long as this process holds it."""
        while True:
            self._partial.mkdir(exist_ok=True)
            try:
                handle = os.open(self._partial / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
            except FileNotFoundError:  # put in place meanwhile
                continue
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                raise UsageError(
                    f"another run writes predictions to {self.out}",
                    kept="that run goes on; nothing was written by this one",
                    next_step="wait for it, or name another folder",
                ) from None
            try:
                if (self._partial / LOCK).stat().st_ino == os.fstat(handle).st_ino:
                    return handle
            except FileNotFoundError:
                pass
            os.close(handle)


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _line(number: int, sequences: int, rows: Mapping[str, int], files: Mapping[str, str]) -> bytes:
    return _json({"partition": number, "sequences": sequences, "rows": dict(rows), "files": dict(files)})


def _parsed(line: str) -> dict[str, Any] | None:
    """A line; None of one that a kill cut off."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _changes(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What of a batch is another: `version 3 → 4`."""
    names = [name for name in {**was, **now} if was.get(name) != now.get(name)]
    return ", ".join(f"{name} {_short(was.get(name))} → {_short(now.get(name))}" for name in names)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 20 else f"{text[:8]}…"
