"""Verbs that ask a champion: scores, reasons, odd visits, and the server."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from clickflow.system import console
from clickflow.system.errors import UsageError
from clickflow.verbs.app import MODELS, AsJson, Name, app, opened


@app.command(rich_help_panel=MODELS)
def score(
    model: Name,
    limit: Annotated[int, typer.Option(help="How many sequences, the latest.", min=1)] = 5,
    session: Annotated[str | None, typer.Option(help="This visit alone: its id or its pseudonym.")] = None,
    user: Annotated[str | None, typer.Option(help="This customer's latest visit: their id or pseudonym.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every session of the data, to --out, --sql or both.")] = False,
    out: Annotated[Path | None, typer.Option(help="With --all: the folder; predictions in it are replaced.")] = None,
    sql: Annotated[bool, typer.Option("--sql", help="With --all: to the tables that `score` of params names.")] = False,
    top: Annotated[int, typer.Option(help="With --all: how many next items a session.", min=1, max=1000)] = 20,
    since: Annotated[
        float | None, typer.Option(help="With --all: only sessions with an event in the newest so many hours.", min=0)
    ] = None,
    odd: Annotated[
        bool, typer.Option("--anomalies", help="With --all: also how odd each visit and customer is.")
    ] = False,
    segments: Annotated[
        int | None, typer.Option(help="With --all: also the segment of each customer, of so many.", min=2, max=30)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Predict with the champion what comes next: for the latest sessions, one session, a customer's last, or all."""
    if sum([every, session is not None, user is not None]) > 1:
        raise UsageError("--all, --session and --user exclude one another", next_step="ask for one of them")
    if every != (out is not None or sql):
        raise UsageError(
            "--all goes with --out or --sql", next_step="clickflow score MODEL --all --out FOLDER, or --all --sql"
        )
    if segments and not every:
        raise UsageError("--segments goes with --all", next_step="`clickflow profiles` shows the segments")
    if odd and not every:
        raise UsageError("--anomalies goes with --all", next_step="`clickflow anomalies MODEL` shows the oddest visits")
    params, paths = opened(model)
    if every:
        from clickflow.anomalies import search as odd_ones
        from clickflow.profiles import verb as profiles
        from clickflow.serving import batch

        more: dict[str, batch.Beside] = {"anomalies": odd_ones.beside(params, paths, model)} if odd else {}
        if segments:
            more[f"{segments} segments, seed {params.seed}"] = profiles.beside(params, model, segments)
        batch.run(params, paths, model, out=out, sql=sql, top=top, since_hours=since, as_json=as_json, beside=more)
    else:
        from clickflow.serving import score as verb

        verb.run(params, paths, model, limit=limit, session=session, user=user, as_json=as_json)


@app.command(rich_help_panel=MODELS)
def explain(
    model: Name,
    session: Annotated[str | None, typer.Option(help="This visit: its id or its pseudonym.")] = None,
    user: Annotated[str | None, typer.Option(help="This customer's latest visit: their id or pseudonym.")] = None,
    head: Annotated[str | None, typer.Option(help="This answer alone; otherwise each of the model.")] = None,
    target: Annotated[str | None, typer.Option(help="With --head: this item or class, not the likeliest.")] = None,
    sessions: Annotated[Path | None, typer.Option(help="With --out: a file of visits, a line an id.")] = None,
    users: Annotated[Path | None, typer.Option(help="With --out: a file of customers, a line an id.")] = None,
    out: Annotated[Path | None, typer.Option(help="JSON lines: an explanation each, by line of the file.")] = None,
    language: Annotated[str, typer.Option(help="Of the sentences: en or zh.")] = "en",
    as_json: AsJson = False,
) -> None:
    """Why the champion answers so: the steps that mattered, what would have changed it, features. Of a file of which
    some lines have no explanation, the others are written; exit code 3.
    """
    if sum(each is not None for each in (session, user, sessions, users)) != 1:
        raise UsageError(
            "one of --session, --user, --sessions and --users is needed", next_step="ask about one of them"
        )
    ids = sessions or users
    if (ids is None) != (out is None):
        raise UsageError(
            "--out goes with --sessions or --users", next_step="clickflow explain MODEL --sessions IDS --out FILE"
        )
    if target is not None and head is None:
        raise UsageError("--target goes with --head", next_step="clickflow explain MODEL --head HEAD --target NAME")
    from clickflow.online.why import verb, words
    from clickflow.serving.identities import Kind

    if language not in words.LANGUAGES:
        raise UsageError(f"--language is one of {', '.join(words.LANGUAGES)}, not {language!r}", kept="nothing was run")
    params, paths = opened(model)
    if ids is not None and out is not None:
        kind: Kind = "session" if sessions else "user"
        verb.many(params, paths, model, (kind, ids), out=out, output=head, target=target, as_json=as_json)
        return
    verb.run(
        params,
        paths,
        model,
        session=session,
        user=user,
        output=head,
        target=target,
        language=language,
        as_json=as_json,
    )


@app.command(rich_help_panel=MODELS)
def serve(
    host: Annotated[str | None, typer.Option(help="None: serve.host of params.yaml, loopback.")] = None,
    port: Annotated[int | None, typer.Option(help="None: serve.port.", min=0, max=65535)] = None,
    workers: Annotated[int | None, typer.Option(help="None: serve.workers.", min=1)] = None,
    new_key: Annotated[str | None, typer.Option(help="Make a key of this name, show it once, and end.")] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="What the new key may do: read, events, people, promote; repeatable. None: read."),
    ] = None,
) -> None:
    """Answer over HTTP with the champions: recommend, predict, score; `GET /openapi.json` says how to ask."""
    params, paths = opened()
    from clickflow.online.http import keys, server

    if new_key is not None:
        key = keys.make(paths.home, new_key, tuple(scope or ("read",)))
        console.say(f"the key of {new_key}, shown this once; its hash is in {keys.file_of(paths.home)}")
        sys.stdout.write(f"{key}\n")
        return
    server.run(params, paths, host=host, port=port, workers=workers)


@app.command(rich_help_panel=MODELS)
def anomalies(
    model: Name,
    top: Annotated[int, typer.Option(help="How many visits, and how many customers, are told.", min=1, max=1000)] = 20,
    every: Annotated[
        bool, typer.Option("--all", help="Visits of all parts of the data, not of the test part.")
    ] = False,
    exported: Annotated[
        bool, typer.Option("--exported", help="By what the pipeline exported last, in place of the champion.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="A folder for all scores, and a page of the oddest visits.")] = None,
    as_json: AsJson = False,
) -> None:
    """Robots, fraud, odd behaviour: the visits and customers that surprise a model most, and what stood out."""
    params, paths = opened(model)
    from clickflow.anomalies import search

    search.run(params, paths, model, top=top, every=every, exported=exported, out=out, as_json=as_json)
