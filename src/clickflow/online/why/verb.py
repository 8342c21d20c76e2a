"""`clickflow explain`: why the champion answers what it answers after one visit, or about one customer."""

import msgspec

from clickflow.online import visits as histories
from clickflow.online.served import Items, Served
from clickflow.online.why import words
from clickflow.online.why.explain import explain
from clickflow.online.why.schema import Explanation
from clickflow.online.why.targets import place, thresholds
from clickflow.online.why.words import Language
from clickflow.params.schema import Params
from clickflow.registry import champion
from clickflow.serving import visits
from clickflow.serving.identities import Kind
from clickflow.system import console, integrity
from clickflow.system.paths import Paths


def run(
    params: Params,
    paths: Paths,
    model: str,
    *,
    session: str | None,
    user: str | None,
    output: str | None,
    target: str | None,
    language: Language,
    as_json: bool,
) -> None:
    """Explain each answer of the champion of `model`, or its `output`, after `session`, or after the latest visit of
    `user` (each a pseudonym or a raw id); `target`: an item or a class, none given: the likeliest.

    Raises UsageError where there is no champion, no such visit, answer or target, DataError where store or artefact are
    not what they were recorded as.
    """
    spec = params.model(model)
    store = paths.sequences(spec.unit)
    integrity.verify(store, home=paths.home)
    version, artefact = champion.loaded(params, paths, model)
    served = Served(model, version, artefact, Items.read(artefact))
    kind: Kind = "session" if session is not None else "user"
    visit = visits.find(params, paths, store, kind, session or user or "")
    question = histories.question(store, visit.part, visit.index)
    wanted = [output] if output else [each.name for each in served.outputs if not each.ahead]
    at = thresholds(served, params.evaluation.costs)
    explanations = [
        explain(served, question, name, place(served, name, target), threshold=at.get(name)) for name in wanted
    ]
    plain = msgspec.to_builtins([words.explained(each) for each in explanations])
    console.emit(
        {"model": model, "champion": version, "explanations": plain},
        as_json=as_json,
        text=lambda: _text(f"{model}, version {version}, after {visit}", explanations, language),
    )


def _text(title: str, explanations: list[Explanation], language: Language) -> str:
    from rich.markup import escape

    blocks = ["\n  ".join([each.output, *words.sentences(each, language)]) for each in explanations]
    return escape("\n\n".join([title, *blocks]))
