"""Routes that answer: items, predictions, scores; and the events they answer from."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from msgspec import UNSET, Meta, Struct, structs

from clickflow.events.contract import EVENT_TYPES
from clickflow.heads.head import Kind
from clickflow.heads.outputs import Output
from clickflow.online import engine
from clickflow.online import ranking as ranked
from clickflow.online.http import schema
from clickflow.online.http.problems import Refused
from clickflow.online.http.questions import (
    SOME,
    clock,
    items_of,
    may_see,
    model_of,
    named_of,
    question_of,
    rules_of,
    steps_of,
    subject,
    unknown_of,
)
from clickflow.online.http.route import Call, Route
from clickflow.online.http.settings import Answered, Service
from clickflow.online.ranking import Ranking, Rules
from clickflow.online.served import Served
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.serving.forms import highest
from clickflow.system import console
from clickflow.system.errors import UsageError

RANKING: Kind = "ranking"


async def _ask(
    service: Service,
    call: Call,
    body: schema.Question,
    served: Served,
    rules: Rules,
    make: Callable[[engine.Answer, Served], Any],
    **named: Iterable[str] | None,
) -> Any:
    """Ask the engine, count, tell observers. `make`: from the engine's answer and the version that gave it; `named`:
    items and categories of the question, by field.
    """
    begun = time.perf_counter()
    question, session, customer = await question_of(service, body, served)
    model = served.model
    if service.settings.choose is not None:
        model = service.settings.choose(model, customer or session)
    reply: engine.Answer = await _answered(service, model, served.model, question, rules)
    name = reply.model
    who = reply.served or served
    answer = make(reply, who)
    answer.model = served.model  # a canary's name is the engine's own: who is asked is the model, `version` says which
    answer.unknown = unknown_of(who, question, seen=may_see(call, body), **named)
    for each in answer.unknown or ():
        service.metrics.unknown.labels(reply.model, each.where).inc(each.count)
    fallback: str | None = answer.fallback
    call.model, call.version = reply.model, reply.version
    service.metrics.answers.labels(reply.model, reply.version, fallback or "").inc()
    service.observers.tell(
        Answered(
            route=call.route,
            model=reply.model,
            version=reply.version,
            question=question,
            answer=answer,
            request=call.request,
            time=clock(),
            seconds=time.perf_counter() - begun,
            session=session,
            customer=customer,
            name=name,
            reply=reply,
            rules=rules,
        )
    )
    return answer


async def _answered(service: Service, name: str, model: str, question: Any, rules: Rules) -> engine.Answer:
    """What `name` answers; the champion, where that is another and cannot."""
    if name != model:
        try:
            return await service.engine.ask(name, question, rules)
        except engine.Busy:
            raise
        except UsageError:  # it has just ended
            pass
        except Exception as error:
            service.metrics.failed.labels("canary").inc()
            console.say_seldom(f"warning: {name} failed, the champion answers: {type(error).__name__}: {error}")
    return await service.engine.ask(model, question, rules)


def _ranking(reply: engine.Answer, output: str) -> Ranking:
    if output not in reply.rankings:
        raise Refused("not-ready", f"version {reply.version}, which came meanwhile, has no {output}", retry_after=0)
    return reply.rankings[output]


async def _recommend(service: Service, call: Call, body: schema.Recommend) -> schema.Ranking:
    served = model_of(service, body, RANKING)
    output = served.ranking
    rules = rules_of(service, body, output)

    def make(reply: engine.Answer, who: Served) -> schema.Ranking:
        ranking = _ranking(reply, output)
        items = items_of(who, ranking)
        return schema.Ranking(
            reply.model,
            reply.version,
            items,
            ranking.fallback,
            ranking.reason,
            approximate=ranking.approximate or UNSET,
        )

    answer: schema.Ranking = await _ask(service, call, body, served, rules, make, **named_of(body))
    return answer


async def _score(service: Service, call: Call, body: schema.Score) -> schema.Scores:
    if len(body.items) > service.serve.max_items:
        raise Refused("too-large", f"items has over {service.serve.max_items:,} entries", where="$.items")
    served = model_of(service, body, RANKING)
    output = served.ranking
    candidates = tuple(dict.fromkeys(item for item in body.items if item in served.items.index_of))

    def make(reply: engine.Answer, _: Served) -> schema.Scores:
        ranking = _ranking(reply, output)
        by_item = dict(zip(ranking.items, ranking.scores, strict=True))
        scores = [by_item.get(item) for item in body.items]
        near = ranking.approximate or UNSET
        return schema.Scores(reply.model, reply.version, scores, ranking.fallback, ranking.reason, approximate=near)

    rules = Rules(k=len(candidates), output=output, candidates=candidates)
    answer: schema.Scores = await _ask(service, call, body, served, rules, make, items=body.items)
    return answer


async def _predict(service: Service, call: Call, body: schema.Predict) -> schema.Prediction:
    served = model_of(service, body)
    names = [output.name for output in served.shown_outputs]
    if body.outputs is not None and (unknown := [name for name in body.outputs if name not in names]):
        raise Refused(
            "invalid",
            f"model {served.model!r} has no output {unknown[0]!r}; it has: {', '.join(names)}",
            where="$.outputs",
        )
    wanted = [output for output in served.shown_outputs if body.outputs is None or output.name in body.outputs]

    rules = Rules(k=body.k, groups=any(output.by for output in wanted))

    def make(reply: engine.Answer, who: Served) -> schema.Prediction:
        answers = {output.name: own for output in wanted if (own := _of(who, output, reply, body.k)) is not None}
        plan = who.artefact.session.forecaster.reads(None) if who.artefact.forecasts else None
        unplanned = plan["lacking"] if plan else []
        return schema.Prediction(
            reply.model, reply.version, answers, reply.fallback, unplanned=list(unplanned) or UNSET
        )

    answer: schema.Prediction = await _ask(service, call, body, served, rules, make)
    return answer


def _of(served: Served, output: Output, reply: engine.Answer, k: int) -> schema.Answer | None:
    """The answer of one output in the schema; None where there is none, of who has no history."""
    if output.by:
        return _categories(served, reply.groups.get(output.name), k)
    if output.kind == RANKING:
        ranking = _ranking(reply, output.name)
        items = items_of(served, ranking)
        return schema.ItemsAnswer(items, ranking.fallback, ranking.reason, ranking.approximate or UNSET)
    if output.name not in reply.values:  # swapped in between for a version that does not answer it
        return None
    values = reply.values[output.name]
    return None if np.isnan(values).any() else KINDS[output.kind](values, served.classes[output.name])


def _categories(served: Served, logs: Any, k: int) -> schema.Answer | None:
    if logs is None:
        return None
    best, values = highest(logs[None], min(k, len(served.groups.names) - FIRST_ITEM))
    named = zip(best[0], np.exp(values[0]), strict=True)
    return schema.CategoriesAnswer(
        [schema.Category(served.groups.names[code], round(float(share), 6)) for code, share in named]
    )


def _amount(values: Any) -> schema.AmountAnswer:
    return schema.AmountAnswer(*(round(float(value), 4) for value in values))


KINDS: Mapping[str, Callable[[Any, Sequence[str]], schema.Answer]] = {
    "classes": lambda logs, names: schema.ClassesAnswer(
        {name: round(float(p), 6) for name, p in zip(names, np.exp(logs), strict=True)}
    ),
    "probability": lambda logs, _: schema.ProbabilityAnswer(round(float(np.exp(logs[1])), 6)),
    "amount": lambda values, _: _amount(values),
    "forecast": lambda values, _: schema.ForecastAnswer([_amount(step) for step in np.reshape(values, (-1, 4))]),
}
"""By kind of answer that is no ranking: from its numbers and the names of classes to the schema."""


async def _each(
    service: Service, call: Call, questions: Sequence[Any], ask: Callable[[Service, Call, Any], Any]
) -> list[Any]:
    """The answers to a batch, which is refused whole where one question is; each has an id of its own: REQUEST.0, …"""
    if len(questions) > service.serve.max_batch:
        raise Refused(
            "too-large",
            f"{len(questions):,} questions; a batch has at most {service.serve.max_batch:,}",
            where="$.questions",
        )

    async def one(place: int, body: Any) -> Any:
        own = replace(call, request=f"{call.request}.{place}")
        try:
            answer = await ask(service, own, body)
            call.model, call.version = own.model, own.version
            return answer
        except Refused as refused:
            refused.where = f"$.questions[{place}]{refused.where.removeprefix('$')}"
            raise

    tasks = [asyncio.ensure_future(one(place, question)) for place, question in enumerate(questions)]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def recommend(service: Service, call: Call) -> schema.Ranking:
    """Items for one."""
    return await _recommend(service, call, call.body)


async def recommend_batch(service: Service, call: Call) -> schema.Rankings:
    """Items for many."""
    return schema.Rankings(await _each(service, call, call.body.questions, _recommend))


async def predict(service: Service, call: Call) -> schema.Prediction:
    """All outputs for one."""
    return await _predict(service, call, call.body)


async def predict_batch(service: Service, call: Call) -> schema.Predictions:
    """All outputs for many."""
    return schema.Predictions(await _each(service, call, call.body.questions, _predict))


async def score(service: Service, call: Call) -> schema.Scores:
    """Given items for one."""
    return await _score(service, call, call.body)


async def score_batch(service: Service, call: Call) -> schema.ScoreLists:
    """Given items for many."""
    return schema.ScoreLists(await _each(service, call, call.body.questions, _score))


class Similar(Struct):
    """Of `/v1/similar/{item}`."""

    model: schema.Name | None = None
    k: Annotated[int, Meta(ge=1, le=1000)] = 20


async def similar(service: Service, call: Call) -> schema.Ranking:
    """Items like one."""
    query: Similar = call.query
    served = model_of(service, schema.Question(model=query.model), RANKING)
    item = call.path["item"]
    if item not in served.items.index_of:
        service.metrics.unknown.labels(served.model, "similar").inc()
        raise Refused("not-found", f"model {served.model!r} does not know the item", "ask for one of its vocabulary")
    ranking = await asyncio.to_thread(ranked.similar, served, item, min(query.k, service.serve.max_items))
    call.model, call.version = ranking.model, ranking.version
    items = items_of(served, ranking)
    return schema.Ranking(ranking.model, ranking.version, items, ranking.fallback, ranking.reason)


async def events(service: Service, call: Call) -> schema.Kept:
    """Keep what a session and a customer did."""
    body: schema.Events = call.body
    given: tuple[tuple[schema.Who, str | None], ...] = (("customer", body.customer), ("session", body.session))
    who = {kind: subject(service, kind, raw) for kind, raw in given}
    if not any(who.values()):
        raise Refused("invalid", "neither session nor customer is named (source.nulls stand for nobody)", where="$")
    now = clock()
    steps = [
        step if step.time is not None else structs.replace(step, time=now)
        for step in steps_of(service, body.events, "$.events")
    ]
    count, before = 0, list[schema.Who]()
    for kind, name in who.items():
        if name is not None:
            own, state = f"{kind}:{name}", service.state
            if not steps:
                count = len(await state.history(own))
                continue
            count, new = await state.append(own, steps, body.name)
            before += [] if new else [kind]
    kept = 0 if len(before) == sum(name is not None for name in who.values()) else len(steps)
    if (live := service.settings.extra.get("live")) is not None:
        live.happened(who["session"], who["customer"], steps, body.name)
    unknown = list(dict.fromkeys(step.action for step in steps if step.action not in EVENT_TYPES))[:SOME]
    later = sum((step.time or 0) > now for step in steps)
    ignored = len(body.events) - len(steps)
    return schema.Kept(kept, count, ignored or UNSET, later or UNSET, unknown or UNSET, before or UNSET)


ROUTES = (
    Route(
        method="POST",
        path="/v1/recommend",
        answer=recommend,
        takes=schema.Recommend,
        gives=schema.Ranking,
        summary="The items that fit next, under rules of the shop.",
    ),
    Route(
        method="POST",
        path="/v1/predict",
        answer=predict,
        takes=schema.Predict,
        gives=schema.Prediction,
        summary="All that a model says, by output and kind of answer.",
    ),
    Route(
        method="POST",
        path="/v1/score",
        answer=score,
        takes=schema.Score,
        gives=schema.Scores,
        summary="The probability of each of the items given.",
    ),
    Route(
        method="POST",
        path="/v1/events",
        answer=events,
        takes=schema.Events,
        gives=schema.Kept,
        scope="events",
        summary="Tell what a session or customer did; questions may then name it.",
    ),
    Route(
        method="POST",
        path="/v1/recommend/batch",
        answer=recommend_batch,
        takes=schema.RecommendBatch,
        gives=schema.Rankings,
        summary="Items for many at once.",
    ),
    Route(
        method="POST",
        path="/v1/predict/batch",
        answer=predict_batch,
        takes=schema.PredictBatch,
        gives=schema.Predictions,
        summary="Predictions for many at once.",
    ),
    Route(
        method="POST",
        path="/v1/score/batch",
        answer=score_batch,
        takes=schema.ScoreBatch,
        gives=schema.ScoreLists,
        summary="Scores for many at once.",
    ),
    Route(
        method="GET",
        path="/v1/similar/{item:path}",
        answer=similar,
        query=Similar,
        gives=schema.Ranking,
        summary="The items most like one.",
    ),
)
