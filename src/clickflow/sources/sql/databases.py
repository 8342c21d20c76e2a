"""Connections that cannot write, and errors that hold neither the password nor a value of a row."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, unquote_plus, urlsplit

from clickflow.events.storage import UNTOUCHED
from clickflow.system import console
from clickflow.system.errors import DataError

_FILES = {".duckdb": "duckdb", ".ddb": "duckdb", ".sqlite": "sqlite", ".db": "sqlite"}
_READ_ONLY = {"mysql": "SET SESSION TRANSACTION READ ONLY"}

_NAMES_ONLY = ("08", "0A", "25", "28", "3D", "3F", "42", "53", "57")
"""Classes of SQLSTATE whose messages name tables, columns and hosts. Class 22 quotes the value that it cannot cast."""
_OF_A_CAST = ("0A", "3F", "42")
"""Those of them that a cast of a row's value raises too (`::regclass`): it points at no place of the query."""
_NO_RIGHT = "42501"
_ENSUING = ("34000", "25P02")
"""No such cursor, transaction aborted: what follows a fault."""
_QUIET = ("ibis", "sqlglot", "urllib")
_QUIET_SQLITE = re.compile(
    r"(no such (table|column|function|module): |near \"|ambiguous column|unable to open|file is not a database"
    r"|database (disk image|table|schema|is|or)\b|incomplete input|unrecognized token|attempt to write|disk I/O"
    r"|table \S+ (has|already)|(UNIQUE|NOT NULL|CHECK) constraint failed|cannot (start|commit|rollback))"
)
"""How those of its messages begin that speak of the query or the file; `bad JSON path: '…'` speaks of a row."""
_QUIET_DUCKDB = ("CatalogException", "BinderException", "ParserException", "IOException", "PermissionException")


def connect(url: str) -> Any:
    """An Ibis backend that reads and cannot write: a read-only file or transaction, DuckDB without the outside."""
    import ibis

    kind, file = _kind(url)
    if kind == "duckdb":
        import duckdb

        shut = {"enable_external_access": "false", "autoload_known_extensions": "false"}
        con = ibis.duckdb.from_connection(duckdb.connect(file, read_only=True, config=shut))
        con.con.execute("SET lock_configuration = true")
        return con
    if kind == "sqlite":
        import sqlite3

        return ibis.sqlite.from_connection(sqlite3.connect(f"file:{quote(file)}?mode=ro", uri=True))
    con = ibis.connect(url)
    if kind == "postgres":
        con.con.autocommit, con.con.read_only = False, True
    elif kind in _READ_ONLY:
        con.raw_sql(_READ_ONLY[kind]).close()
    else:
        console.say(f"note {kind} is not opened read-only: connect as a user who may only read")
    return con


def _kind(url: str) -> tuple[str, str]:
    """The kind of a database, and its file where it is one."""
    said = urlsplit(url)
    file = re.sub("^//+", "/", unquote(said.netloc + said.path))  # SQLAlchemy writes four for an absolute path
    scheme = said.scheme or _FILES.get(Path(file).suffix, "")
    if scheme in ("duckdb", "sqlite") and not file.startswith("md:"):
        return scheme, str(Path(file).expanduser().absolute())
    return scheme.replace("postgresql", "postgres").partition("+")[0], ""


def failed(what: str, error: Exception, url: str) -> DataError:
    """The error without what the URL keeps secret, and without words that may quote a row."""
    return DataError(
        f"{what}\n  {said(error, url, connecting=what.startswith('cannot connect'), queried=True)}",
        kept=UNTOUCHED,
        next_step="check the connection and the query, then run the ingest again",
    )


def said(error: BaseException, url: str, *, connecting: bool = False, queried: bool = False) -> str:
    """What a driver has said, on a line: without what the URL keeps secret, and without words that may quote a row.

    `queried`: by a query that a person wrote, which may cast a row's value to the name of something.
    """
    while getattr(error, "sqlstate", None) in _ENSUING and isinstance(error.__context__, Exception):
        error = error.__context__
    text = str(error).strip().split("\n")[0]
    state = str(getattr(error, "sqlstate", None) or "")
    module, name = type(error).__module__.partition(".")[0].lstrip("_"), type(error).__name__
    quiet = module in _QUIET or (module == "duckdb" and name in _QUIET_DUCKDB) or state[:2] in _NAMES_ONLY
    quiet = quiet or (module == "sqlite3" and _QUIET_SQLITE.match(text) is not None)
    if queried and state[:2] in _OF_A_CAST and state != _NO_RIGHT:
        quiet = getattr(getattr(error, "diag", None), "statement_position", None) is not None
    if not (quiet or connecting):
        text = f"its words may quote a row and are left out{f'; SQLSTATE {state}' if state else ''}"
    return f"{name}: {without_secrets(text, url)}"


def without_secrets(text: str, url: str) -> str:
    """What a driver has said, without what a URL may keep secret; nothing of it where that cannot be told apart."""
    if not (secrets := _secrets(url)):
        return text
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    left = any(secret.casefold() in text.casefold() for secret in secrets)
    return "its words hold a part of the URL and are left out" if left or min(map(len, secrets)) < 4 else text


def _secrets(url: str) -> set[str]:
    """Passwords of a URL in every way that a driver may write them, and their pieces where it was cut wrongly."""
    rest = url.partition("://")[2]
    before, at, _ = rest.rpartition("@")
    secrets = {before.partition(":")[2]} if at else set[str]()
    plain = {"sslmode", "connect_timeout", "application_name", "schema", "charset", "port", "host", "user", "dbname"}
    for query in (rest.partition("?")[2], rest.rpartition("?")[2] if "?" in rest else ""):
        secrets |= {value for name, value in parse_qsl(query) if name.casefold() not in plain}
        secrets |= {part.partition("=")[2] for part in re.split("[&;]", query) if part.partition("=")[0] not in plain}
    pieces = {piece for secret in secrets for piece in re.split(r"[@:/?#&=\[\]\s%]", secret) if len(piece) > 3}
    ways = {
        way(secret) for secret in secrets for way in (str, unquote, unquote_plus, quote, lambda word: quote(word, ""))
    }
    return {secret for secret in {url, *ways, *pieces} if secret} if secrets - {""} else set()
