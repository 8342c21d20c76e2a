"""Whom to forget: the shop's own id, the pseudonym, and the visits that are theirs alone.

Events are read again when the key is changed, the log of answers is not: it has pseudonyms of every key that there was.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from clickflow.events import forgotten
from clickflow.events.engine import started
from clickflow.events.forgotten import SHORT, Forgotten, telling
from clickflow.events.pseudonyms import retired
from clickflow.online.live import log
from clickflow.params.schema import Params
from clickflow.serving.identities import pseudonym_of
from clickflow.system.paths import Paths

PSEUDONYM = re.compile(r"[A-Za-z0-9_-]{12}")


@dataclass(frozen=True)
class Person:
    """`name` is the keyed hash, which tells nothing; `ids` and `visits` are raw, as far as a source has them."""

    name: str
    user: str
    ids: frozenset[str] = frozenset()
    sessions: frozenset[str] = frozenset()
    visits: frozenset[str] = frozenset()
    former: frozenset[str] = frozenset()
    """Who they were under earlier keys."""

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return {key: value if isinstance(value, str) else sorted(value) for key, value in asdict(self).items()}

    @staticmethod
    def of(plain: dict[str, Any]) -> "Person":
        """From JSON values."""
        sets = {name: frozenset(plain.get(name, ())) for name in ("ids", "sessions", "visits", "former")}
        return Person(plain["name"], plain["user"], **sets)


@dataclass(frozen=True)
class People:
    """Those who are to be forgotten together, and the key of their pseudonyms."""

    persons: tuple[Person, ...]
    key: bytes = field(repr=False)

    @cached_property
    def users(self) -> frozenset[str]:
        """Pseudonyms, those of earlier keys too."""
        return frozenset[str]().union(*({person.user} | person.former for person in self.persons))

    @cached_property
    def sessions(self) -> frozenset[str]:
        """Pseudonyms of visits."""
        return frozenset[str]().union(*(person.sessions for person in self.persons))

    @cached_property
    def listed(self) -> Forgotten:
        """As ingest knows them."""
        users, sessions = (
            frozenset(forgotten.hashed(name, self.key) for name in names) for names in (self.users, self.sessions)
        )
        return Forgotten(self.key, users, sessions)

    @cached_property
    def needles(self) -> re.Pattern[bytes]:
        """Any of their names in the bytes of a file: pseudonyms, and raw ids as words of their own, where they tell."""
        parts = [re.escape(name.encode()) for name in sorted(self.users | self.sessions)]
        return re.compile(b"|".join([*parts, *filter(None, [_words(filter(telling, self._raw))])]))

    @cached_property
    def words(self) -> re.Pattern[bytes] | None:
        """Ids that are a number or a plain word: they name somebody in copies of raw rows alone; None: there are none.

        Those of fewer than `SHORT` letters stand in every row by chance, and are looked for in columns and rows only.
        """
        words = _words(name for name in self._raw if len(name) >= SHORT and not telling(name))
        return re.compile(words) if words else None

    @property
    def plain(self) -> int:
        """How many ids of theirs mean something else in other places."""
        return sum(not telling(name) for name in self._raw)

    @property
    def _raw(self) -> list[str]:
        return sorted({name for person in self.persons for name in person.ids | person.visits})

    def rows(self, table: pa.Table) -> pa.Array:
        """Which rows of a table with `user_id` or `session_id` are theirs; a visit may be called `<user>@<time>`."""
        theirs = pa.array([False] * table.num_rows)
        if "user_id" in table.column_names:
            theirs = pc.is_in(table["user_id"].combine_chunks(), pa.array(sorted(self.users), pa.string()))
        if "session_id" in table.column_names:
            session = table["session_id"].combine_chunks()
            owner = pc.replace_substring_regex(session, "@.*$", "")
            alone = pc.is_in(session, pa.array(sorted(self.sessions), pa.string()))
            if "user_id" in table.column_names:
                alone = pc.and_(alone, table["user_id"].combine_chunks().is_null())
            theirs = pc.or_(pc.or_(theirs, alone), pc.is_in(owner, pa.array(sorted(self.users), pa.string())))
        return theirs.fill_null(False)

    def hidden(self, text: bytes) -> bytes:
        """A text in which nobody of them is named any more."""
        return self.needles.sub(b"(forgotten)", text)


def _words(names: Iterable[str]) -> bytes:
    """What finds names as words of their own; empty where there is none."""
    words = b"|".join(re.escape(name.encode()) for name in names)
    return rb"(?<![\w.@-])(?:" + words + rb")(?![\w@-])" if words else b""


def find(params: Params, paths: Paths, given: Sequence[str], key: bytes) -> list[Person]:
    """The people behind raw ids or pseudonyms, with the visits that events, or the log of answers, give to them."""
    folder = log.place(paths.home)
    known = _users(params, paths, given) | log.users(folder, given)
    before = retired(paths.home)
    persons: dict[str, Person] = {}
    for name in dict.fromkeys(given):
        user = pseudonym_of(params, "user", name, key)
        is_pseudonym = PSEUDONYM.fullmatch(name) is not None and name in known
        user, ids = (name, frozenset[str]()) if is_pseudonym else (user, frozenset([name]))
        former = frozenset(pseudonym_of(params, "user", each, old) for each in ids for old in before)
        persons[user] = Person(forgotten.hashed(user, key), user, ids, former=former)
    visits = _visits(params, paths, list(persons))
    # of days that no log of the shop has brought yet, and of earlier keys
    served = log.visits(folder, [each for person in persons.values() for each in (person.user, *person.former)])
    return [
        replace(
            person,
            sessions=frozenset(visits.get(user, ())).union(*(served.get(each, ()) for each in (user, *person.former))),
        )
        for user, person in persons.items()
    ]


def formerly(params: Params, paths: Paths, who: People) -> People:
    """The same with what their visits were called under earlier keys."""
    before = retired(paths.home)
    return People(
        tuple(
            replace(
                person,
                sessions=person.sessions.union(
                    pseudonym_of(params, "session", raw, old) for raw in person.visits for old in before
                ),
            )
            for person in who.persons
        ),
        who.key,
    )


def _users(params: Params, paths: Paths, names: Iterable[str]) -> set[str]:
    """Those of `names` that are pseudonyms of users in the events."""
    query = "SELECT DISTINCT user_id FROM {events} WHERE user_id IN (SELECT unnest(?::VARCHAR[]))"
    return {row[0] for row in _ask(params, paths, query, list(names))}


def _visits(params: Params, paths: Paths, users: list[str]) -> dict[str, list[str]]:
    """By user, the sessions that name nobody else."""
    query = """SELECT max(user_id), session_id FROM {events} WHERE session_id IN
        (SELECT session_id FROM {events} WHERE user_id IN (SELECT unnest(?::VARCHAR[])))
        GROUP BY session_id HAVING count(DISTINCT user_id) = 1 ORDER BY ALL"""
    by_user: dict[str, list[str]] = {}
    for user, session in _ask(params, paths, query, users):
        by_user.setdefault(user, []).append(session)
    return by_user


def _ask(params: Params, paths: Paths, query: str, names: list[str]) -> list[tuple[Any, ...]]:
    if not any(paths.events.glob("*/events.parquet")):
        return []
    pattern = str(paths.events / "*" / "events.parquet").replace("'", "''")
    with started(params.ingest.memory_gb) as engine:
        events = f"read_parquet('{pattern}', hive_partitioning = false)"
        rows: list[tuple[Any, ...]] = engine.cursor().execute(query.format(events=events), [names]).fetchall()
    return rows
