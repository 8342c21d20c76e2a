"""`clickflow explain`: why the champion answers what it answers after one visit, or about one customer."""

from pathlib import Path
from typing import Any

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
from clickflow.system import console, files, integrity
from clickflow.system.errors import DataError, UsageError
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
    served, store = _champion(params, paths, model)
    kind: Kind = "session" if session is not None else "user"
    visit = visits.find(params, paths, store, kind, session or user or "")
    explanations = _explained(params, served, store, visit, output, target)
    plain = msgspec.to_builtins([words.explained(each) for each in explanations])
    console.emit(
        {"model": model, "champion": served.version, "explanations": plain},
        as_json=as_json,
        text=lambda: _text(f"{model}, version {served.version}, after {visit}", explanations, language),
    )


def many(
    params: Params,
    paths: Paths,
    model: str,
    asked: tuple[Kind, Path],
    *,
    out: Path,
    output: str | None,
    target: str | None,
    as_json: bool,
) -> None:
    """As `run`, of all that a file names, a line an id, into JSON lines: of each line of the file (`line`, from 1; no
    id is written) its explanations, or `why_not`.

    Raises UsageError where the file cannot be read or names nobody, and whatever `run` raises of the model; DataError,
    after the rest is written, where some have no explanation.
    """
    kind, file = asked
    try:
        names = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read: {error}", next_step="name a text file, a line an id") from error
    if not any(name.strip() for name in names):
        raise UsageError(f"{file} names nobody", next_step="write an id a line")
    served, store = _champion(params, paths, model)
    if output is not None:
        place(served, output, target)  # what is wrong for all of them is said at once
    lines, missed = list[bytes](), 0
    with console.progress(f"explaining {model}", len(names)) as advance:
        for number, name in enumerate(names, 1):
            if name.strip():
                about: dict[str, Any] = {"line": number, "model": model, "version": served.version}
                try:
                    visit = visits.find(params, paths, store, kind, name.strip())
                    explanations = _explained(params, served, store, visit, output, target)
                    about["explanations"] = [words.explained(each) for each in explanations]
                except UsageError as error:
                    missed += 1
                    about["why_not"] = error.what.replace(name.strip(), f"of line {number}")
                lines.append(msgspec.json.encode(about) + b"\n")
            advance(1)
    files.write_bytes(out, b"".join(lines), mode=0o640)
    said = {"model": model, "champion": served.version, "explained": len(lines) - missed, "missed": missed}
    console.emit(
        said | {"out": str(out)},
        as_json=as_json,
        text=lambda: f"{len(lines) - missed:,} of {len(lines):,} explained, in {out}",
    )
    if missed:
        raise DataError(
            f"{missed:,} of {len(lines):,} lines of {file} have no explanation",
            kept=f"those of the others, in {out}",
            next_step=f"`why_not` of their lines in {out} says why",
        )


def _champion(params: Params, paths: Paths, model: str) -> tuple[Served, Path]:
    """The champion, and the store whose visits it is asked about."""
    store = paths.sequences(params.model(model).unit)
    integrity.verify(store, home=paths.home)
    version, artefact = champion.loaded(params, paths, model)
    return Served(model, version, artefact, Items.read(artefact)), store


def _explained(
    params: Params, served: Served, store: Path, visit: visits.Visit, output: str | None, target: str | None
) -> list[Explanation]:
    question = histories.question(store, visit.part, visit.index)
    wanted = [output] if output else [each.name for each in served.outputs if not each.ahead]
    at = thresholds(served, params.evaluation.costs)
    return [explain(served, question, name, place(served, name, target), threshold=at.get(name)) for name in wanted]


def _text(title: str, explanations: list[Explanation], language: Language) -> str:
    from rich.markup import escape

    blocks = ["\n  ".join([each.output, *words.sentences(each, language)]) for each in explanations]
    return escape("\n\n".join([title, *blocks]))
