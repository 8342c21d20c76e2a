"""The routes that explain answers."""

from dataclasses import replace
from typing import Annotated

from msgspec import Meta, Struct

from clickflow.online.http import schema
from clickflow.online.http.problems import Refused
from clickflow.online.http.questions import may_see, model_of, order_of, question_of
from clickflow.online.http.route import Call, Route
from clickflow.online.http.settings import Service
from clickflow.online.ranking import lacking
from clickflow.online.why import changes, words
from clickflow.online.why.explain import explain
from clickflow.online.why.schema import Explained
from clickflow.online.why.targets import place, thresholds

LONGEST = 500
"""Steps of a history that is explained: some two hundred others are made of it, while who else is asked waits."""
COSTS = "costs"
"""Of `Settings.extra`: evaluation.costs of params.yaml, by head."""


class Explain(schema.Question, kw_only=True):
    """Why a model answers so about who is asked about."""

    output: schema.Name | None = None
    """Which answer; None: the model's first."""
    target: schema.Name | None = None
    """An item or a class; None: the likeliest."""


async def why(service: Service, call: Call) -> Explained:
    """Explain one answer."""
    return await of(service, call)


class ExplainBatch(Struct, forbid_unknown_fields=True):
    """Several at once, answered in this order."""

    questions: Annotated[list[Explain], Meta(min_length=1, max_length=10_000)]


class Explanations(Struct):
    """In the order of the questions."""

    answers: list[Explained]


async def batch(service: Service, call: Call) -> Explanations:
    """Explain several answers, one after the other: who else asks comes between them. Of all together there are at most
    as many steps as of one, so that they take no longer.
    """
    questions: list[Explain] = call.body.questions
    if len(questions) > service.serve.max_batch:
        detail = f"{len(questions):,} questions; a batch has at most {service.serve.max_batch:,}"
        raise Refused("too-large", detail, where="$.questions")
    answers: list[Explained] = []
    left = LONGEST
    for number, body in enumerate(questions):
        own = replace(call, body=body)
        try:
            explained = await of(service, own, most=left)
        except Refused as refused:
            refused.where = f"$.questions[{number}]{refused.where.removeprefix('$')}"
            raise
        left -= explained.length
        answers.append(explained)
        call.model, call.version = own.model, own.version
    return Explanations(answers)


async def of(service: Service, call: Call, *, canonical: bool = False, most: int = LONGEST) -> Explained:
    """Explain one answer, in a thread of its own; `canonical`: see `steps_of`; `most`: steps of the history."""
    body: Explain = call.body
    if call.key is not None and not may_see(call, body):  # it would be told what they did
        detail = (
            f"the key {call.key.name} lacks the scope people, by which the history of a session or customer is seen"
        )
        raise Refused("not-allowed", detail, "send the history, or use a key with the scope people")
    served = model_of(service, body)
    question, _, _ = await question_of(service, body, served, canonical=canonical)
    if body.history is not None and (left := len(body.history) - len(question.steps)):
        detail = f"{left:,} steps are of types that source.event_types leaves out: none is explained"
        raise Refused("invalid", detail, "send the others, for an explanation names steps by their places", "$.history")
    times = (None if step.time is None else schema.micros(step.time) for step in body.history or ())
    if order_of(times) is not None:
        raise Refused(
            "invalid",
            "a step is earlier than the one before it",
            "send the oldest first, for an explanation names steps by their places",
            "$.history",
        )
    if len(question.steps) > most:
        detail = f"{len(question.steps):,} steps; of at most {LONGEST:,} it is explained what each says"
        if most < LONGEST:
            detail += f", in all that are asked at once: {LONGEST - most:,} stand before"
        raise Refused("too-large", detail, "send the newest, or fewer histories at once", where="$.history")
    if served.empty(question):
        raise Refused("invalid", f"{served.model!r} reads nothing of this history: there is nothing to explain")
    output = body.output or served.outputs[0].name
    ranks = any(each.name == output and each.kind == "ranking" for each in served.outputs)
    if ranks and lacking(served, question) is not None:
        raise Refused(
            "invalid",
            "the model knows no item of this history; what is popular is answered in its place",
            "see `fallback` of the answer: there is nothing to explain",
            "$.history",
        )
    threshold = thresholds(served, service.settings.extra.get(COSTS, {})).get(output)
    target = place(served, output, body.target)
    call.model, call.version = served.model, served.version
    tried = {"threshold": threshold, "tries": changes.MOST}
    explanation = await service.explanations.run(explain, served, question, output, target, **tried)
    return words.explained(explanation)


ROUTES = (
    Route(
        method="POST",
        path="/v1/explain",
        answer=why,
        takes=Explain,
        gives=Explained,
        summary="Why a model answers so: steps that mattered, the nearest change, features.",
    ),
    Route(
        method="POST",
        path="/v1/explain/batch",
        answer=batch,
        takes=ExplainBatch,
        gives=Explanations,
        summary="Explanations of several answers.",
    ),
)
