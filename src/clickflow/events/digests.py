"""Hashes of raw files, and whether a file is still the one that was hashed; the home remembers those that stay."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clickflow.events.listing import shown
from clickflow.events.storage import UNTOUCHED
from clickflow.system.errors import DataError
from clickflow.system.integrity import Hashes, Marks, marks


@dataclass(frozen=True)
class Digest:
    """A raw file as it was when it was hashed."""

    path: Path
    marks: Marks
    sha256: str

    @property
    def size(self) -> int:
        """In bytes."""
        return self.marks[2]


def digests(files: Sequence[tuple[str, Path]], home: Path) -> list[Digest]:
    """Every file's hash; a file is read only if its size, times or inode are not the remembered ones.

    Raises DataError where one cannot be read, or changes meanwhile.
    """
    try:
        return [Digest(*each) for each in Hashes(home).of(path for _, path in files)]
    except OSError as error:
        raise DataError(
            f"{shown(Path(error.filename or '.'))} cannot be read: {error.strerror}",
            kept=UNTOUCHED,
            next_step="see to its rights and its disk, then run again",
        ) from error


@contextmanager
def steady(paths: Iterable[Path]) -> Iterator[None]:
    """Raises DataError where a file was written to, replaced or removed meanwhile: what was read of it may be of
    neither state, and so may any other error be.
    """
    seen = {path: marks(path) for path in paths}
    try:
        yield
    except Exception:
        _unchanged(seen)
        raise
    _unchanged(seen)


def _unchanged(seen: Mapping[Path, Marks]) -> None:
    for path, before in seen.items():
        try:
            now = marks(path)
        except OSError:
            fault = "was removed"
        else:
            if now[:4] == before[:4]:
                continue
            fault = f"changed: it had {before[2]:,} bytes, and has {now[2]:,} now,"
            fault = "was replaced by another file" if now[:2] != before[:2] else fault
        raise DataError(
            f"{path} {fault} while it was read",
            kept=UNTOUCHED,
            next_step="run again when it is whole: whatever writes it should do so under a hidden name (.day.csv), and "
            "rename it at the end",
        )
