"""The page's routes: its files, and the JSON that only it reads, below /v1/console."""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct, structs
from starlette.responses import Response

from clickflow.online import outlook
from clickflow.online.history import Step
from clickflow.online.http import schema
from clickflow.online.http.problems import Refused
from clickflow.online.http.questions import filled, steps_of
from clickflow.online.http.route import Call, Route
from clickflow.online.http.settings import Service
from clickflow.online.http.shop import SLOW
from clickflow.online.page import static_files
from clickflow.online.page.after import about, after_each
from clickflow.online.page.chinese import both
from clickflow.online.page.registry import LONG, Registry
from clickflow.online.page.subjects import History, Logs, Subject, pseudonyms, revealed
from clickflow.online.served import Served
from clickflow.online.state import Away
from clickflow.online.why import routes as why
from clickflow.online.why.schema import Explained
from clickflow.params.schema import Params
from clickflow.registry import pages
from clickflow.serving import identities
from clickflow.system.paths import Paths

KINDS = {"session": "session", "customer": "customer"}
"""By unit, what the server's state calls its subjects."""
WATCHED = 8
"""Items whose probability may be asked for at once."""
POPULAR = 12
"""Items that are named where nothing was typed yet."""

T = TypeVar("T")


class Find(Struct):
    """Of `/v1/console/subjects`."""

    unit: str
    q: Annotated[str, Meta(max_length=200)] = ""
    limit: Annotated[int, Meta(ge=1, le=200)] = 40


class FindItem(Struct):
    """Of `/v1/console/items`."""

    model: str
    q: Annotated[str, Meta(max_length=200)] = ""
    limit: Annotated[int, Meta(ge=1, le=100)] = POPULAR


class FindSeries(Struct):
    """Of `/v1/console/forecasts`; `source`: whose, see `outlook.sources`."""

    q: Annotated[str, Meta(max_length=200)] = ""
    source: Annotated[str, Meta(max_length=200)] = ""


class Ask(Struct):
    """Of `/v1/console/status`; `fresh`: what the registry says now, not what it said before."""

    fresh: bool = False


class After(Struct, forbid_unknown_fields=True, kw_only=True):
    """A history whose answers after each step are wanted."""

    model: str
    history: list[schema.Step]
    now: schema.Moment | None = None
    k: Annotated[int, Meta(ge=1, le=100)] = 12
    exclude_seen: bool = False
    watch: Annotated[list[schema.Name], Meta(max_length=WATCHED)] = []


Reason = Annotated[str, Meta(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+\Z")]
"""One line: it becomes one of the ledger, and a word of a command."""


class Promotion(Struct, forbid_unknown_fields=True):
    """A change of champion by the gate's decision; the reason stands in the ledger."""

    reason: Reason


class Return(Struct, forbid_unknown_fields=True):
    """A change of champion to an earlier version."""

    to: Annotated[int, Meta(ge=1)]
    reason: Reason


def _workspace(service: Service) -> tuple[Params | None, Paths | None]:
    return service.settings.extra.get("params"), service.settings.extra.get("paths")


def _once(service: Service, name: str, make: Callable[[], T]) -> T:
    """What is made once for a server."""
    held = service.settings.extra.setdefault("page", {}) if isinstance(service.settings.extra, dict) else {}
    if name not in held:
        held[name] = make()
    value: T = held[name]
    return value


def _logs(service: Service) -> Logs:
    return _once(service, "logs", lambda: Logs(_workspace(service)[1]))


def _registry(service: Service) -> Registry | None:
    params, paths = _workspace(service)
    return None if params is None or paths is None else _once(service, "registry", lambda: Registry(params, paths))


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json", headers={"Cache-Control": "no-store"})


async def page(_: Service, call: Call) -> Response:
    """A file of the page."""
    name = call.path.get("name", "index.html")
    file = static_files.every().get(name)
    if file is None:
        raise Refused("not-found", "the page has no such file", "open / in a browser")
    content, media = file
    return Response(content, media_type=None, headers={**static_files.HEADERS, "Content-Type": media})


async def console(service: Service, call: Call) -> Response:
    """What answers here, who asks, and where else to look."""
    from clickflow.online.http.about import health_of

    health = await health_of(service)
    served = [service.engine.current(name) for name in service.engine.models]
    key = call.key
    return _json(
        {
            "models": [await asyncio.to_thread(_model, one) for one in served],
            "keys": bool(service.settings.keys()),
            "person": None if key is None else {"name": key.name, "may_promote": "promote" in key.scopes},
            "links": {"airflow": os.environ.get("CLICKFLOW_UI", "").rstrip("/"), "mlflow": _mlflow(service)},
            "health": {
                "status": health.status,
                "wrong": [
                    {"name": both(name), "what": both(what), "next": both(health.next.get(name, ""))}
                    for name, what in health.wrong.items()
                ],
            },
        }
    )


def _mlflow(service: Service) -> str:
    params, paths = _workspace(service)
    known = os.environ.get("CLICKFLOW_MLFLOW_UI", "").rstrip("/")  # a page of a store that is no server itself, too
    return known if known or params is None or paths is None else pages.address(params, paths)


def _model(served: Served) -> dict[str, Any]:
    items = served.items
    return {
        "name": served.model,
        "version": served.version,
        "unit": served.unit,
        "items": len(items) - 2,
        "actions": list(served.action_of),
        "popular": [_item(served, index) for index in items.popular[:1].tolist()],
        "outputs": [
            {
                "name": output.name,
                "title": output.title,
                "kind": output.kind,
                "question": {"en": output.head.question, **output.head.questions},
                "means": dict(output.head.means) or None,
            }
            for output in served.outputs
        ],
    }


def _item(served: Served, index: int) -> dict[str, Any]:
    name = served.items.ids[index]
    return {"item": name, **about(served, name)}


async def subjects(service: Service, call: Call) -> Response:
    """The latest visits or customers, or those that are called so: of the server's state, then of the log.

    `note`: why those of the state are missing. Who is found by a raw id is a line of who.jsonl, as of `clickflow who`,
    on disk before the answer; without a workspace there is no such file, and nobody is found so.
    """
    query: Find = call.query
    paths = _workspace(service)[1]
    named = pseudonyms(query.q, service.settings.pseudonym if paths else lambda *_: None) if query.q else {"": None}
    names = list(named)
    kind = KINDS.get(query.unit, query.unit)
    live: list[Subject] = []
    note: dict[str, str] | None = None
    try:
        for name in await _live(service, kind, names, query.limit):
            steps = await service.state.history(f"{kind}:{name}")
            if steps:
                live.append(Subject(name, query.unit, "live", len(steps), steps[-1].time, steps[-1].action))
    except Away as error:
        note = both(f"{error.what}; {error.next_step}")
    live.sort(key=lambda each: -(each.last or 0))

    def of_log() -> list[Subject]:
        log = _logs(service).of(query.unit)
        if log is None:
            return []
        return log.search(names, query.limit) if query.q else log.latest(query.limit)

    people = [*live, *await asyncio.to_thread(of_log)]
    identities_shown = revealed(named, people[: query.limit])
    if identities_shown and paths:
        by = call.key.name if call.key else None
        await asyncio.to_thread(identities.record, paths, "page", "pseudonym", identities_shown, by)
    return _json({"subjects": [asdict(each) for each in people[: query.limit]], "note": note})


async def _live(service: Service, kind: str, names: list[str], most: int) -> list[str]:
    subjects: list[str] = []
    for name in names:
        subjects += await service.state.subjects(f"{kind}:{name}", most)
    return list(dict.fromkeys(each.removeprefix(f"{kind}:") for each in subjects))[:most]


async def subject(service: Service, call: Call) -> Response:
    """What one did: by the server's state where it knows more than the log, and can be reached."""
    unit, name = call.path["unit"], call.path["id"]
    kind = KINDS.get(unit, unit)
    steps: tuple[Step, ...] = ()
    away: Away | None = None
    try:
        steps = await service.state.history(f"{kind}:{name}")
    except Away as error:
        away = error
    paths = _workspace(service)[1]

    def of_log() -> History | None:
        log = _logs(service).of(unit)
        return None if log is None else log.history(name)

    history = await asyncio.to_thread(of_log)
    if steps and (history is None or (steps[-1].time or 0) >= (history.subject.last or 0)):
        own = Subject(name, unit, "live", len(steps), steps[-1].time, steps[-1].action)
        history = History(own, steps, None, history.others if history else ())
    if history is None and away is not None:
        raise away
    if history is None:
        raise Refused("not-found", f"nobody is called {name!r} here", "search for the first letters of a pseudonym")
    served = next((one for one in map(service.engine.current, service.engine.models) if one.unit == unit), None)
    segment = await asyncio.to_thread(
        outlook.segment_of, paths, name if unit == "customer" else history.subject.user or ""
    )
    return _json(
        {
            **asdict(history.subject),
            "steps": [_step(served, step, log=history.subject.source == "log") for step in history.steps],
            "now": history.now,
            "others": history.others,
            "segment": segment,
        }
    )


def _step(served: Served | None, step: Step, *, log: bool) -> dict[str, Any]:
    """A step to be shown, and asked again as it is: what a row of the log has not, was none. `unsaid`: what a shop did
    not say, and each model takes from its own items; this one's are shown.
    """
    if served is None:
        return {**structs.asdict(step), "known": False, "name": None, "brand": None, "unsaid": []}
    own = structs.asdict(step if log else filled(served, [step])[0])
    unsaid = [name for name in ("category", "price") if not log and getattr(step, name) is None]
    known = {name: value for name, value in about(served, step.item).items() if name in ("name", "brand")}
    known["known"] = step.item in served.items.index_of
    return {**own, **known, "category": own["category"] or None, "unsaid": unsaid}


async def after(service: Service, call: Call) -> Response:
    """The answers of a model after each step of a history."""
    body: After = call.body
    served = service.engine.current(body.model)
    steps = filled(served, steps_of(service, body.history, "$.history", canonical=True))
    try:
        now = None if body.now is None else schema.micros(body.now)
    except ValueError as error:
        raise Refused("invalid", f"{error}", where="$.now") from error
    begun = time.perf_counter()
    ask = partial(after_each, served, steps, now=now, k=body.k, exclude_seen=body.exclude_seen, watch=body.watch)
    answers = await service.explanations.run(ask)
    call.model, call.version = served.model, served.version
    return _json({**answers, "milliseconds": round(1000 * (time.perf_counter() - begun), 1)})


async def items(service: Service, call: Call) -> Response:
    """Items by id, name, brand or category, the most frequent first."""
    query: FindItem = call.query
    served = service.engine.current(query.model)
    matches = await asyncio.to_thread(_search_items, served, query.q, query.limit)
    return _json({"items": matches})


def _search_items(served: Served, q: str, limit: int) -> list[dict[str, Any]]:
    matches, exact, q = [], served.items.index_of.get(q), q.casefold()
    if exact is not None:
        matches.append(_item(served, exact))
    for index in served.items.popular.tolist():
        if len(matches) >= limit:
            break
        if index != exact:
            own = _item(served, index)
            if not q or any(q in str(own[name] or "").casefold() for name in ("item", "name", "brand", "category")):
                matches.append(own)
    return matches


async def segments(service: Service, _: Call) -> Response:
    """Segments of customers, where `clickflow profiles` has left them."""
    return _json(await asyncio.to_thread(outlook.segments, _workspace(service)[1]))


async def forecasts(service: Service, call: Call) -> Response:
    """Demand ahead, of a champion of series, or where `clickflow demand` has left it."""
    query: FindSeries = call.query
    served = [service.engine.current(name) for name in service.engine.models]
    return _json(await asyncio.to_thread(outlook.forecasts, _workspace(service)[1], served, query.q, query.source))


async def models(service: Service, _: Call) -> Response:
    """Champion, candidate, gate, ledger and drift of each model."""
    registry = _registry(service)
    if registry is None:
        return _json({"models": [], "note": ""})
    served = {name: service.engine.current(name).version for name in service.engine.models}
    return _json(await asyncio.to_thread(registry.models, served))


async def status(service: Service, call: Call) -> Response:
    """What the registry says of each model, at once where it was asked before; else it may take seconds."""
    query: Ask = call.query
    registry = _registry(service)
    if registry is not None and not query.fresh and (held := registry.held()) is not None:
        return _json(held)
    return await _verb(service, "models", Registry.status)


async def runs(service: Service, _: Call) -> Response:
    """The last runs; it may take seconds."""
    return await _verb(service, "runs", Registry.runs)


async def _verb(service: Service, name: str, ask: Callable[[Registry], dict[str, Any]]) -> Response:
    registry = _registry(service)
    if registry is None:
        return _json({name: {} if name == "models" else [], "note": ""})
    tasks: dict[str, asyncio.Task[Any]] = _once(service, "asked", dict)
    if name not in tasks or tasks[name].done():  # whoever asks meanwhile gets the same answer
        tasks[name] = asyncio.create_task(service.changes.run(ask, registry))
    return _json(await asyncio.shield(tasks[name]))


async def promote(service: Service, call: Call) -> Response:
    """Carry out the gate's decision on a candidate."""
    return await _change(service, call, lambda own, who: own.promote(call.path["model"], call.body.reason, who))


async def rollback(service: Service, call: Call) -> Response:
    """Make an earlier champion the champion again."""
    body: Return = call.body
    return await _change(service, call, lambda own, who: own.rollback(call.path["model"], body.to, body.reason, who))


async def _change(service: Service, call: Call, act: Callable[[Registry, str], str]) -> Response:
    registry = _registry(service)
    if call.key is None or registry is None:
        raise Refused("not-allowed", "a champion is changed by a person with a key, in a workspace")
    return _json({"text": await service.changes.run(act, registry, call.key.name)})


def _own(method: str, path: str, answer: Any, summary: str, **words: Any) -> Route:
    return Route(method=method, path=path, answer=answer, summary=summary, listed=False, **words)


ROUTES = (
    _own("GET", "/", page, "The page.", scope=None, media="text/html"),
    _own("GET", "/page/{name}", page, "Its files.", scope=None, media="text/plain"),
    _own("GET", "/v1/console", console, "What answers, and who asks."),
    _own("GET", "/v1/console/subjects", subjects, "Visits or customers.", query=Find, scope="people"),
    _own("GET", "/v1/console/subjects/{unit}/{id}", subject, "What one did.", scope="people"),
    _own("POST", "/v1/console/answers", after, "Answers after each step.", takes=After),
    _own("POST", "/v1/console/explain", partial(why.of, canonical=True), "Why.", takes=why.Explain, gives=Explained),
    _own("GET", "/v1/console/items", items, "Items by what they are called.", query=FindItem),
    _own("GET", "/v1/console/segments", segments, "Segments of customers."),
    _own("GET", "/v1/console/forecasts", forecasts, "Demand ahead.", query=FindSeries, seconds=SLOW),
    _own("GET", "/v1/console/models", models, "Models and their ledger."),
    _own("GET", "/v1/console/runs", runs, "The last runs.", seconds=LONG),
    _own("GET", "/v1/console/status", status, "What the registry says of them.", query=Ask, seconds=LONG),
    _own(
        "POST",
        "/v1/console/models/{model}/promote",
        promote,
        "Promote.",
        takes=Promotion,
        scope="promote",
        seconds=LONG,
    ),
    _own(
        "POST",
        "/v1/console/models/{model}/rollback",
        rollback,
        "Roll back.",
        takes=Return,
        scope="promote",
        seconds=LONG,
    ),
)
