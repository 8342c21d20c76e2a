"""The folder that a verb writes: never another one is replaced."""

from pathlib import Path

from clickflow.system.errors import UsageError
from clickflow.system.files import read_json


def check(out: Path, kind: str, card: str) -> None:
    """Raise UsageError unless `out` is missing, empty, or its `card` says that it is of this `kind`."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        if read_json(out / card)["kind"] == kind:
            return
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise UsageError(
        f"--out {out} exists and was not written by {kind}",
        kept="nothing was written",
        next_step="name a new folder, or one that it has written, which is then replaced",
    )
