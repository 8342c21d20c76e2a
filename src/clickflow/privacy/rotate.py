"""`clickflow rotate-key`: a new key for the pseudonyms, and the source read again under it.

A keyed hash cannot be turned into another one, so rotation is a re-ingest: everybody gets a new pseudonym, and what was
made under the old ones (stores, predictions) is made again. Ids only say which events belong together; a model knows
items, so the same log gives the same model, and the champion stays comparable: the store names the keys before its own.
The old key stays in `retired.keys` of the home (mode 0600), for the list of forgotten people was made with it.
"""

import os
import secrets
from typing import Any

from clickflow.events.ingest import ingest
from clickflow.events.pseudonyms import RETIRED, VARIABLE, key_name, load_key, retired
from clickflow.params.schema import Params
from clickflow.privacy import leftovers
from clickflow.privacy.forget import NOT_CHANGED, alone
from clickflow.system import console, files
from clickflow.system.errors import ClickflowError, UsageError
from clickflow.system.files import read_json
from clickflow.system.paths import Paths

KEY = "pseudonym.key"


def run(params: Params, paths: Paths, *, as_json: bool) -> None:
    """The verb."""
    with alone(paths.home):
        result = rotate(params, paths)
    console.emit(result, as_json=as_json, text=lambda: _text(result))


def rotate(params: Params, paths: Paths) -> dict[str, Any]:
    """Rotate; the names of both keys and the counts of the ingest. The lock is held.

    Where the source cannot be read again, the old key is put back, and the error says so. Killed in the middle, the new
    key is in place: the next ingest, or this verb, reads the source again under it.
    """
    if os.environ.get(VARIABLE):
        raise UsageError(
            f"the key is in {VARIABLE}, which is not this program's to change",
            kept=NOT_CHANGED,
            next_step=f"add the old key as a line to {paths.home / RETIRED} (mode 0600), set {VARIABLE} to a new one "
            "wherever it is set, then run `clickflow ingest`: it reads everything again under the new key",
        )
    if works := leftovers.busy(paths.home):
        raise ClickflowError(
            f"{len(works)} runs are at work, under the current key: {', '.join(works[:5])}",
            kept=NOT_CHANGED,
            next_step="wait until they end (`clickflow runs`), then rotate",
        )
    old = load_key(paths.home)
    events_key = _events_key(paths)
    # retired, and the key of now: killed between the two files that say so
    begun = events_key != key_name(old) and events_key in [key_name(each) for each in retired(paths.home)]
    file, list_of_old = paths.home / KEY, paths.home / RETIRED
    text = file.read_text(encoding="utf-8")
    before = list_of_old.read_text(encoding="utf-8") if list_of_old.exists() else ""
    if not begun:
        lines = [line for line in before.split() if line != text.strip()]
        files.write_text(list_of_old, "".join(f"{line}\n" for line in [*lines, text.strip()]), mode=0o600)
        files.write_text(file, secrets.token_hex(32) + "\n", mode=0o600)
    try:
        card = ingest(params, paths, rebuild=True) if events_key else None
    except BaseException as error:
        if not begun:
            files.write_text(file, text, mode=0o600)
            files.write_text(list_of_old, before, mode=0o600)
        if isinstance(error, ClickflowError):
            error.kept = f"{error.kept}; the old key, which is in place again" if error.kept else "the old key"
        raise
    return {
        "before": events_key if begun else key_name(old),
        "key": key_name(load_key(paths.home)),
        "read": card["read"] if card else 0,
        "accepted": card["accepted"] if card else 0,
    }


def _events_key(paths: Paths) -> str | None:
    """The name of the key under which the events lie; None where there are none."""
    try:
        return str(read_json(paths.events / "_manifest.json")["settings"]["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _text(result: dict[str, Any]) -> str:
    lines = [f"the key of the pseudonyms is {result['key']} now, and was {result['before']}, which stays in {RETIRED}"]
    if result["read"]:
        lines += [
            f"  {result['read']:,} rows read again, {result['accepted']:,} accepted: everybody has a new pseudonym",
            "  next: dvc repro && dvc push, commit dvc.lock, clickflow promote; then score again",
        ]
    return "\n".join(lines)
