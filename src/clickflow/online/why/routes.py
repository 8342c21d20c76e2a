"""The route that explains an answer."""

import asyncio

from clickflow.online.http import schema
from clickflow.online.http.problems import Refused
from clickflow.online.http.questions import model_of, question_of
from clickflow.online.http.route import Call, Route
from clickflow.online.http.settings import Service
from clickflow.online.why import changes, words
from clickflow.online.why.asked import place, thresholds
from clickflow.online.why.explain import explain
from clickflow.online.why.schema import Explained

COSTS = "costs"
"""Of `Settings.extra`: evaluation.costs of params.yaml, by head."""


class Explain(schema.Question, kw_only=True):
    """Why a model answers so about who is asked about."""

    output: schema.Name | None = None
    """Which answer; None: the model's first."""
    target: schema.Name | None = None
    """An item or a class; None: the likeliest."""


async def why(service: Service, call: Call) -> Explained:
    """Explain one answer, in a thread of its own."""
    asked: Explain = call.body
    served = model_of(service, asked)
    question, _, _ = await question_of(service, asked, served)
    if served.empty(question):
        raise Refused("invalid", f"{served.model!r} reads nothing of this history: there is nothing to explain")
    output = asked.output or served.outputs[0].name
    threshold = thresholds(served, service.settings.extra.get(COSTS, {})).get(output)
    target = place(served, output, asked.target)
    call.model, call.version = served.model, served.version
    found = await asyncio.to_thread(explain, served, question, output, target, threshold=threshold, tries=changes.MOST)
    return words.explained(found)


ROUTES = (
    Route(
        method="POST",
        path="/v1/explain",
        answer=why,
        takes=Explain,
        gives=Explained,
        summary="Why a model answers so: steps that mattered, the nearest change, features.",
    ),
)
