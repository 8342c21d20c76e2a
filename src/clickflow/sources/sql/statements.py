"""What `source.sql_query` may be: one statement that reads. Parsed by sqlglot, which Ibis compiles with."""

from collections.abc import Iterator

from clickflow.events.storage import UNTOUCHED
from clickflow.system.errors import UsageError

_READERS = """
age array_length array_to_string btrim cardinality clock_timestamp convert_tz date_bin date_format date_part
datetime epoch epoch_ms epoch_us from_unixtime generate_series hex ifnull instr isfinite iso_week
json_array_elements json_array_elements_text json_each json_each_text json_extract_path json_extract_path_text
json_object_keys json_typeof json_unquote json_value jsonb_array_elements jsonb_array_elements_text
jsonb_array_length jsonb_each jsonb_each_text jsonb_extract_path jsonb_extract_path_text jsonb_object_keys
jsonb_path_query jsonb_path_query_first jsonb_to_record jsonb_to_recordset jsonb_typeof julianday justify_days
justify_hours justify_interval len list_extract localtime make_date make_interval make_timestamp
make_timestamptz now num_nonnulls num_nulls printf quote regexp_match regexp_matches regexp_split_to_array
regexp_split_to_table row_to_json statement_timestamp str_to_date strftime string_to_array strptime
struct_extract timezone to_json to_jsonb total transaction_timestamp trunc try_strptime typeof unix_timestamp
unixepoch width_bucket
"""
READERS = frozenset(_READERS.split())
"""sqlglot knows the common functions; these are of one database each, and read or compute only."""
ATTRIBUTES = ("postgres", "redshift", "materialize", "risingwave")
"""Dialects in which `(x).f` calls f(x), and so does `t.f` of a function's result t."""
COLUMNS = ("key", "value", "ordinality")
"""What a function that returns rows calls its columns, where the query does not."""
FILE_LETTERS = "./\\:*?"
"""Of the names of tables: what DuckDB would open as a file has one of them."""
_NILADIC = """
current_catalog current_date current_role current_schema current_time current_timestamp current_user localtime
localtimestamp session_user system_user user
"""
NILADIC = frozenset(_NILADIC.split())
"""Functions that are called without brackets."""


def check(query: str, dialect: str) -> str:
    """The query as it was understood, which alone is sent: a database may read comments and quotes in another way than
    the parser does, such as MySQL what stands in `/*! … */`.

    Raises UsageError where it is more than one statement, is no SELECT, or may do more than read.
    """
    import sqlglot
    from sqlglot import exp

    try:
        parsed = [one for one in sqlglot.parse(query, read=dialect) if one is not None]
    except (sqlglot.errors.SqlglotError, RecursionError) as error:
        raise _refused(f"cannot be parsed as {dialect}: {str(error).splitlines()[0][:200]}") from None
    if len(parsed) != 1:
        raise _refused(f"holds {len(parsed)} statements, not one")
    whole = parsed[0]
    if not isinstance(whole, exp.Query) or isinstance(whole.unnest(), exp.Values):
        raise _refused(f"is {_name(whole)} and no SELECT")
    more = (*(_attributes(whole) if dialect in ATTRIBUTES else ()), *(_files(whole) if dialect == "duckdb" else ()))
    for why in (*_faults(whole), *more):
        raise _refused(why)
    return whole.sql(dialect, comments=False)


def _faults(whole: object) -> Iterator[str]:
    from sqlglot import exp

    writes = (exp.DML, exp.Command, exp.Create, exp.Drop, exp.Alter, exp.TruncateTable, exp.Set, exp.Pragma, exp.Attach)
    more = (exp.Detach, exp.Use, exp.Transaction, exp.Commit, exp.Rollback, exp.Analyze, exp.Merge, exp.LoadData)
    for node in whole.walk():  # type: ignore[attr-defined]
        if isinstance(node, (*writes, *more)):
            yield f"holds {_name(node)}, which does more than read"
        elif isinstance(node, exp.CTE | exp.Subquery) and not isinstance(node.this, exp.Query | exp.Table | exp.Join):
            yield f"holds {_name(node.this)}, which does more than read"
        elif isinstance(node, exp.Into):
            yield "holds INTO, which writes a table or a file"
        elif isinstance(node, exp.Lock):
            yield "holds FOR UPDATE or the like, which locks rows"
        elif isinstance(node, exp.NextValueFor):
            yield "takes a number from a sequence, which writes"
        elif isinstance(node, exp.Func):
            yield from _function(node)
        elif isinstance(node, exp.Dot) and isinstance(node.expression, exp.Func) and node.this.name != "pg_catalog":
            yield f"calls {node.sql()[:80]}, a function of a schema of its own, which may do more than read"


def _files(whole: object) -> Iterator[str]:
    """Files that are written as a table, as DuckDB takes them: `FROM 'clicks.csv'`."""
    from sqlglot import exp

    for table in whole.find_all(exp.Table):  # type: ignore[attr-defined]
        if any(letter in part.name for part in table.parts for letter in FILE_LETTERS):
            yield f"reads {table.sql('duckdb')[:80]}, a file and no table"


def _attributes(whole: object) -> Iterator[str]:
    """Calls that are written as a column: `('/etc/passwd'::text).pg_read_file`, `t.pg_ls_dir` of `FROM unnest(…) AS t`.

    What PostgreSQL brings along takes no row of a table so, and a column of one cannot be told from a function.
    """
    from sqlglot import exp

    results: dict[str, set[str]] = {}
    for node in whole.walk():  # type: ignore[attr-defined]
        if isinstance(node, exp.Table | exp.Lateral | exp.Unnest) and _is_call(node):
            alias = node.args.get("alias")
            if not node.alias:
                yield "reads from a function without a name for its result, as in AS t(name)"
            columns = {column.name.casefold() for column in alias.columns} if alias else set()
            known = {node.alias.casefold(), *(columns or COLUMNS)}
            results.setdefault(node.alias.casefold(), known).intersection_update(known)
    for node in whole.walk():  # type: ignore[attr-defined]
        name = node.name.casefold()
        if isinstance(node, exp.Dot) and isinstance(node.expression, exp.Identifier):
            yield f"reads .{node.expression.name[:80]} of an expression, which may call a function"
        elif isinstance(node, exp.Column) and name not in results.get(node.table.casefold(), {name}):
            yield f"reads {node.sql()[:80]} of a function's result: name its columns, as in AS t(name)"


def _is_call(node: object) -> bool:
    """Whether what stands behind FROM is a function's result."""
    from sqlglot import exp

    if isinstance(node, exp.Unnest):
        return not isinstance(node.parent, exp.Table | exp.Lateral)
    read = node.this  # type: ignore[attr-defined]
    if isinstance(read, exp.Identifier):
        return not (read.quoted or node.args.get("db")) and read.name.casefold() in NILADIC  # type: ignore[attr-defined]
    return not isinstance(read, exp.Query | exp.Subquery)


def _function(node: object) -> Iterator[str]:
    from sqlglot import exp

    unknown = isinstance(node, exp.Anonymous | exp.AnonymousAggFunc)
    name = str(node.name if unknown else type(node).__name__).casefold()  # type: ignore[attr-defined]
    if name.startswith(("read", "scan", "parquet", "glob", "load")) or (unknown and name not in READERS):
        yield f"calls {name}, which is not known to only read"


def _name(node: object) -> str:
    return f"a {str(getattr(node, 'key', 'statement')).upper()}"


def _refused(why: str) -> UsageError:
    return UsageError(
        f"source.sql_query {why}",
        kept=UNTOUCHED,
        next_step="give one SELECT; what it lacks may stand in a view of the database, whose name is given instead",
    )
