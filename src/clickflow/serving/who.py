"""`clickflow who`: from a pseudonym to the customer or visit behind it, and from a raw id to its pseudonym."""

from collections.abc import Mapping, Sequence
from typing import Any

from clickflow.events.engine import started
from clickflow.params.schema import Params
from clickflow.serving.identities import (
    KINDS,
    NOT_CHANGED,
    Identity,
    Kind,
    existing_key,
    pseudonym_of,
    record,
    search,
)
from clickflow.system import console, integrity
from clickflow.system.errors import DataError, UsageError
from clickflow.system.moments import iso
from clickflow.system.paths import Paths

SHOWN = 5
"""How many of a customer's visits are named, the latest."""


def run(
    params: Params, paths: Paths, names: Sequence[str], *, user: str | None, session: str | None, as_json: bool
) -> None:
    """Say who is behind the pseudonyms `names`, and which pseudonyms the raw ids `user` and `session` have.

    Raises UsageError where nothing is asked, the key is missing, or the events know a name not; DataError, after what
    was found is shown, where the source no longer has one.
    """
    raw: dict[Kind, str] = {
        kind: given for kind, given in zip(KINDS, (user, session), strict=True) if given is not None
    }
    if not names and not raw:
        raise UsageError(
            "no pseudonym and no id was given", next_step="clickflow who PSEUDONYM, or --user ID, or --session ID"
        )
    key = existing_key(paths)
    # a visit that the source did not name is called <user>@<time>
    bare = list(dict.fromkeys(name.split("@")[0] for name in names))
    facts = known(params, paths, bare)
    strange = [name for name in bare if name not in facts]
    if strange:
        raise UsageError(
            f"there is no event of {', '.join(strange)}",
            kept=NOT_CHANGED,
            next_step="pseudonyms stand in data/events and in predictions; of a raw id: --user ID or --session ID",
        )
    named = [Identity(kind, pseudonym_of(params, kind, given, key), given) for kind, given in raw.items()]
    wanted: dict[str, Kind] = {name: facts[name]["kind"] for name in bare}
    identities = [Identity(kind, name) for name, kind in wanted.items()]
    log = record(paths, "who", "pseudonym", named) if named else None
    if identities:
        log = record(paths, "who", "id", identities)
    met = search(params, paths, wanted, key) if wanted else {}
    who = [*named, *(Identity(one.kind, one.pseudonym, met.get(one.pseudonym)) for one in identities)]
    facts |= known(params, paths, [one.pseudonym for one in named])
    result = {
        "who": [
            {"kind": one.kind, "pseudonym": one.pseudonym, "id": one.id, **facts.get(one.pseudonym, {"events": 0})}
            for one in who
        ],
        "log": str(log),
    }
    console.emit(result, as_json=as_json, text=lambda: _text(result))
    lost = [one.pseudonym for one in who if one.id is None]
    if lost:
        raise DataError(
            f"the source no longer has {', '.join(lost)}",
            kept="the events, which do",
            next_step="point source.path at the files they came from, and ask again",
        )


def known(params: Params, paths: Paths, pseudonyms: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What the events say of each pseudonym that they hold: kind, events, first and last, and its visits or users.

    Raises UsageError where there are no events.
    """
    if not any(paths.events.glob("*/events.parquet")):
        raise UsageError(f"there are no canonical events in {paths.events}", next_step="run `clickflow ingest`")
    facts: dict[str, dict[str, Any]] = {}
    if not pseudonyms:
        return facts
    integrity.verify(paths.events, home=paths.home)
    with started(params.ingest.memory_gb) as engine:
        con = engine.cursor()
        events = str(paths.events / "*" / "events.parquet")
        for kind, other in zip(KINDS, reversed(KINDS), strict=True):
            rows = con.execute(
                f"""SELECT id, sum(n)::BIGINT, min(first), max(last), count(other),
                    list(other ORDER BY last DESC, other) FILTER (other IS NOT NULL)
                FROM (SELECT {kind}_id AS id, {other}_id AS other, count(*) AS n,
                        epoch_us(min(event_time)) AS first, epoch_us(max(event_time)) AS last
                    FROM read_parquet(?, hive_partitioning = false)
                    WHERE {kind}_id IN (SELECT unnest(?::VARCHAR[])) GROUP BY ALL)
                GROUP BY id""",
                [events, list(pseudonyms)],
            ).fetchall()
            for name, count, first, last, others, latest in rows:
                facts[name] = {
                    "kind": kind,
                    "events": count,
                    "first_event": iso(first),
                    "last_event": iso(last),
                    f"{other}s": others,
                    f"latest_{other}s": (latest or [])[:SHOWN],
                }
    return facts


def _text(result: Mapping[str, Any]) -> str:
    lines = []
    for one in result["who"]:
        lines.append(f"{one['kind']} {one['pseudonym']}: {one['id'] if one['id'] is not None else 'not in the source'}")
        if not one["events"]:
            lines.append("  no event: is it written as in the source?")
            continue
        first, last = (one[end][:16].replace("T", " ") for end in ("first_event", "last_event"))
        lines.append(f"  {one['events']:,} event{'s' * (one['events'] != 1)}, {first} to {last} UTC")
        other = "session" if one["kind"] == "user" else "user"
        count, some = one[f"{other}s"], one[f"latest_{other}s"]
        if some:
            many = f"{count:,} {other}s" if count > 1 else f"1 {other}"
            more = f", the latest {len(some)}" if count > len(some) else ""
            lines.append(f"  {many}{more}: {' '.join(some)}")
    return "\n".join([*lines, f"recorded in {result['log']}"])
