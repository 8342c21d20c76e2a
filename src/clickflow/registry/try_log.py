"""The record of the candidates that gates have judged: a line of `tries.jsonl` in the home for each; none is hidden.

Each line holds the hash of the line before it, and what promote writes into the ledger, which is signed, names the
newest: a file that was cut back or written anew shows. The gate has no key, so it cannot write into the ledger itself.
"""

import json
from collections.abc import Mapping
from typing import Any

from clickflow.gate import tries
from clickflow.registry import ledger
from clickflow.registry.lock import changing
from clickflow.system import files
from clickflow.system.errors import DataError
from clickflow.system.paths import Paths

FILE = "tries.jsonl"
KEYS = ("model_sha256", "window", "data_sha256")
HASH = "tries_hash"
"""The fact of a ledger's line that names the newest try of then."""


def number(paths: Paths, model: str, mine: Mapping[str, Any]) -> int:
    """The number of this try on its window; what is not recorded yet would be the next."""
    return tries.number(_tried(_lines(paths), model), mine)


def record(paths: Paths, model: str, mine: Mapping[str, Any]) -> int:
    """Append a line for this try, unless there is one; its number."""
    if mine not in _tried(_lines(paths), model):
        _append(paths, model, mine)
    return number(paths, model, mine)


def _append(paths: Paths, model: str, mine: Mapping[str, Any]) -> None:
    with changing(paths):
        lines = _lines(paths)
        if mine not in _tried(lines, model):
            content = {"model": model, **mine, "actor": ledger.actor(), "before": lines[-1]["hash"] if lines else ""}
            ledger.cut_torn_line(paths.home / FILE)
            files.append(paths.home / FILE, ledger.canonical({**content, "hash": ledger.hash_of(content)}) + b"\n")


def newest(paths: Paths) -> str:
    """The hash of the last line; empty where nothing was tried."""
    lines = _lines(paths)
    return str(lines[-1]["hash"]) if lines else ""


def best(paths: Paths, model: str, version: int) -> int:
    """The best champion of the past, as far as it was shown, when `version` became champion; `version` if it was it.

    That is the last one that was shown to be better than the best before it. Who rolls back puts the version in its
    place: a person has said that it is the better one.
    """
    promotions = [e for e in ledger.read(ledger.path(paths)) if e.model == model and e.moves and e.champion == version]
    if not promotions or promotions[-1].action != "promote":
        return version
    return int(promotions[-1].facts.get("best_champion") or version)


def _tried(lines: list[dict[str, Any]], model: str) -> list[dict[str, Any]]:
    return [{key: line[key] for key in KEYS} for line in lines if line["model"] == model]


def _lines(paths: Paths) -> list[dict[str, Any]]:
    """Every line. Raises DataError where one was changed, or those are missing that the ledger speaks of."""
    file = paths.home / FILE
    try:
        *raw, rest = file.read_bytes().split(b"\n")
    except FileNotFoundError:
        raw, rest = [], b""
    if not ledger.torn(rest):
        raise _changed(f"line {len(raw) + 1} of {file} ends with what is no line break")
    lines: list[dict[str, Any]] = []
    for count, text in enumerate(raw, start=1):
        try:
            line = json.loads(text)
            whole = line["hash"] == ledger.hash_of(line) and line["before"] == (lines[-1]["hash"] if lines else "")
        except (ValueError, TypeError, KeyError):
            whole = False
        if not whole:
            raise _changed(f"line {count} of {file} does not follow from the lines before it")
        lines.append(line)
    known = {line["hash"] for line in lines}
    for entry in ledger.read(ledger.path(paths)):
        if (newest_try := entry.facts.get(HASH)) and newest_try not in known:
            raise _changed(f"{file} lacks the try that line {entry.number} of the ledger names")
    return lines


def _changed(what: str) -> DataError:
    return DataError(
        f"the record of tries was changed: {what}",
        kept="no decision was written, no champion was changed",
        next_step="put it back from a backup, beside the ledger: it says how often a test window was used",
    )
