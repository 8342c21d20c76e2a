"""What a run may set beside its commit: the params that the commit's `runs.overrides` allows, and never the rules.

Asked when a run opens, and again in every task of it, for what a task is handed has travelled: through Airflow's
database, where people of few rights can change it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from clickflow.orchestration.variables import parse_yaml
from clickflow.params.rules import COMMIT_ALONE
from clickflow.params.runs import Runs
from clickflow.params.schema import every
from clickflow.system.errors import UsageError

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_OF_ADDRESSES = re.compile(r"(^|[._])(url|uri|remote)s?([._]|$)", re.IGNORECASE)
_FROZEN = "champion."
"""What opening a run sets of the commit's: the champion's version, which promote holds against the ledger."""


def check(committed: str, values: Mapping[str, Any]) -> None:
    """Raises UsageError where a run may not set all of `values`; `committed`: the text of its commit's params.yaml."""
    text = parse_yaml(committed) or {}
    patterns = list((text.get("runs") or {}).get("overrides", Runs().overrides) or [])
    for name, value in values.items():
        for key in touched(text, name, value):
            if why := refusal(key, patterns):
                raise UsageError(
                    f"{key} is not a run's to set: {why}",
                    kept="nothing was run",
                    next_step="set it in params.yaml and commit that, or start the run without it",
                )
        if any(_ADDRESS.search(word) for word in _texts(value)):
            raise UsageError(
                f"{name} is not a run's to set to an address: a worker calls where the commit tells it to",
                kept="nothing was run",
                next_step="write the address into params.yaml and commit that",
            )


def check_travelled(committed: str, values: Mapping[str, Any]) -> None:
    """As `check`, of a run that was opened before: it carries the champions' versions too.

    Raises UsageError.
    """
    frozen = {name for name, value in values.items() if name.startswith(_FROZEN) and type(value) is int}
    check(committed, {name: value for name, value in values.items() if name not in frozen})


def allows(patterns: Sequence[str], key: str) -> bool:
    """Whether a run may set a param, by its dotted name."""
    return not refusal(key, patterns)


def refusal(key: str, patterns: Sequence[str]) -> str:
    """Why a run may not set a param; empty where it may."""
    section = key.partition(".")[0].strip().casefold()
    if section in COMMIT_ALONE:
        return f"{section} comes from the commit alone, whatever runs.overrides says"
    if _OF_ADDRESSES.search(key):
        return "where a worker calls comes from the commit alone, whatever runs.overrides says"
    if not any(fnmatchcase(key, pattern) for pattern in patterns):
        return f"runs.overrides of the commit allows {', '.join(patterns) or 'nothing'}"
    return ""


def touched(params: Any, name: str, value: Any) -> list[str]:
    """The dotted names of the params that `name: value` sets or takes away: a whole section is every param in it."""
    was: Any = params
    for part in name.split("."):
        was = was.get(part) if isinstance(was, Mapping) else None
    if was is None:
        was = next((each.default for each in every() if each.name == name), None)
    return sorted({*_leaves(name, value), *_leaves(name, was)}) if isinstance(value, Mapping) else [name]


def _leaves(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(f"{name}.{key}", inner)
    else:
        yield name


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(key)
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, str):
        yield value
