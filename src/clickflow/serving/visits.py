"""The visit that an answer is asked for: by its id or its customer's, raw or as a pseudonym, in the packed store."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clickflow.params.schema import Params
from clickflow.sequences.card import NOW
from clickflow.sequences.store import Card, read_card
from clickflow.serving import identities
from clickflow.serving.identities import Identity, Kind
from clickflow.serving.who import known
from clickflow.system.errors import UsageError
from clickflow.system.paths import Paths


@dataclass(frozen=True)
class Visit:
    """A sequence of the store: part and index there; `of` is the number of the customer's visits in the store, 0 where
    the visit itself was asked for.
    """

    part: str
    index: int
    of: int

    def __str__(self) -> str:
        if self.part == NOW:
            return "all that the customer did"
        which = f"the latest of the customer's {self.of:,} visits in the store" if self.of else "the visit asked for"
        return which + ("" if self.part == "test" else f", of the part {self.part}")


def find(params: Params, paths: Paths, store: Path, kind: Kind, name: str) -> Visit:
    """The visit `name`, or the latest one of the customer `name`; of one in pieces the last piece.

    `name` is a pseudonym or, with the key at hand, a raw id; that the key was used is recorded. Raises UsageError, with
    what is known of it, where the store has no such visit.
    """
    visit = _last(store, kind, name)
    if visit:
        return visit
    bare = name.split("@")[0]
    facts = known(params, paths, [bare])
    pseudonym = bare
    if not facts:
        pseudonym = identities.pseudonym_of(params, kind, name, identities.existing_key(paths))
        identities.record(paths, "score", "pseudonym", [Identity(kind, pseudonym)])
        visit = _last(store, kind, pseudonym)
        if visit:
            return visit
        facts = known(params, paths, [pseudonym])
    raise _missing(kind, name, facts.get(pseudonym), read_card(store))


def sequences(store: Path, part: str) -> Any:
    """Who and when, a row a sequence of a part, as an Arrow table; `session_id` and `piece` where its unit has them."""
    from pyarrow import parquet

    file = store / part / "sequences.parquet"
    columns = [
        name for name in ("session_id", "user_id", "series", "end", "piece") if name in parquet.read_schema(file).names
    ]
    return parquet.read_table(file, columns=columns).combine_chunks()


def _last(store: Path, kind: Kind, pseudonym: str) -> Visit | None:
    """The sequence of a session or user that ends last."""
    import pyarrow.compute as pc

    card = read_card(store)  # says what to do where there is no store
    visits, sessions = [], set()
    for part in card.scored_parts:
        table = sequences(store, part)
        whom = "people" if "user_id" in table.column_names else card.unit
        if f"{kind}_id" not in table.column_names:
            raise UsageError(
                f"models of the unit {card.unit} answer about {whom}, not about a {kind}",
                kept=identities.NOT_CHANGED,
                next_step="ask about somebody: --user"
                if whom == "people"
                else "`clickflow score MODEL --all --out FOLDER`",
            )
        same = pc.equal(table[f"{kind}_id"], pseudonym).fill_null(False).to_numpy()
        pieces = "piece" in table.column_names
        for index in np.flatnonzero(same).tolist():
            visits.append((table["end"][index].value, table["piece"][index].as_py() if pieces else 1, part, index))
            sessions.add(table["session_id"][index].as_py() if pieces else index)
    if not visits:
        return None
    _, _, part, index = max(visits)
    return Visit(part, index, len(sessions) if kind == "user" else 0)


def _missing(kind: Kind, name: str, fact: dict[str, Any] | None, card: Card) -> UsageError:
    """Why there is no answer: nobody is called so, or nothing of theirs became a sequence."""
    who = "customer" if kind == "user" else "visit"
    if fact is None:
        return UsageError(
            f"there is no event of the {who} {name}, neither by that id nor by that pseudonym",
            kept=identities.NOT_CHANGED,
            next_step="ids are written as in the source; `clickflow score MODEL --json` shows pseudonyms",
        )
    if fact["kind"] != kind and "@" not in name:
        return UsageError(
            f"{name} is a {fact['kind']}, not a {kind}",
            kept=identities.NOT_CHANGED,
            next_step=f"clickflow score MODEL --{fact['kind']} {name}",
        )
    events = f"{fact['events']:,} event{'s' if fact['events'] > 1 else ''}"
    return UsageError(
        f"the {who} {name} has {events}, and no sequence in the packed store came of them",
        kept=identities.NOT_CHANGED,
        next_step=f"sequences have {card.own_settings.get('min_length', 1)} steps or more (min_length of the "
        f"unit {card.unit}), of the types and the window that params.yaml names below sequences",
    )
