"""The form that a person, or a program, fills in to start a run, and what it means for params.yaml.

Airflow checks a field's type, and takes every other key without a word; so the task `open` reads the form once more.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, get_args

from airflow.sdk import Param

from clickflow.orchestration import permitted
from clickflow.params.models import Model, model_kinds
from clickflow.params.schema import Params
from clickflow.params.source import Preset, Source
from clickflow.system.errors import UsageError, nearest

AS_IS = "as in params.yaml"
NOT_RUN = "nothing was run"
KINDS = ("simulator", "files", "sql")

SETS = {
    "source_kind": "source.kind",
    "source_path": "source.path",
    "preset": "source.preset",
    "since": "sequences.since",
    "until": "sequences.until",
    "epochs": "models.*.budget.epochs",
}
"""The param that a field sets."""

# Sections of a form. In its descriptions nothing stands in backticks: the boxes that the UI draws cover other lines.
DATA, MODELS, MORE = "Which data", "Which models", "More"


@dataclass(frozen=True)
class Request:
    """What a run is asked to do.

    `values` by dotted names of params.yaml; `models`, none: all; `reason`: what started it. `by_itself`: nobody has
    asked for it, so that it is skipped where nothing has changed. `champions`: versions to be judged against, by model,
    where they are not those of the registry; no field sets them.
    """

    values: Mapping[str, Any]
    models: tuple[str, ...] = ()
    note: str = ""
    reason: str = ""
    by_itself: bool = False
    champions: Mapping[str, int] = dataclasses.field(default_factory=dict)


def source(params: Params) -> dict[str, Param]:
    """Fields of the source and the window; those alone that a run may set."""
    fields = {
        "source_kind": Param(
            AS_IS,
            type="string",
            enum=[AS_IS, *KINDS],
            title="Source",
            description_md=f"Where the click log comes from. params.yaml says **{params.source.kind}**.",
            section=DATA,
        ),
        "source_path": Param(
            None,
            type=["string", "null"],
            maxLength=1000,
            title="Folder or file of the log",
            description_md="For the source **files**: below source.path, or a folder of runs.sources, of params.yaml. "
            f"Empty: **{params.source.path}**, as in params.yaml.",
            section=DATA,
        ),
        "preset": Param(
            AS_IS,
            type="string",
            enum=[AS_IS, "none", *get_args(Preset)],
            title="Layout of the log",
            description_md="For the source **files**: a known public layout, or **none**, where params.yaml says "
            "which column is which.",
            section=DATA,
        ),
        "since": _moment("From", "Only events from this moment on are learned from. Empty: from the first one."),
        "until": _moment(
            "To", "Only events before this moment: the model as it would have been made then. Empty: all."
        ),
    }
    return _allowed(fields, params)


def training(params: Params) -> dict[str, Param]:
    """Fields of the models and of what else may be changed; those alone that a run may set."""
    epochs = {
        name: model.budget.epochs or "as the validation part decides"
        for name, model in params.models.items()
        if _has_epochs(model)
    }
    fields = {
        "models": models(params, "Train only these; the tasks of the others show as skipped."),
        "epochs": Param(
            None,
            type=["integer", "null"],
            **whole(1, 1000),
            title="Epochs",
            description_md="How often the chosen networks go over the data, at most. Empty: as in params.yaml "
            f"({', '.join(f'{name}: {number}' for name, number in epochs.items())}).",
            section=MODELS,
        ),
        "overrides": Param(
            {},
            type=["object", "null"],
            title="Other params",
            # in code: the UI reads Markdown, which would take `models.*, training.*` for emphasis
            description_md='Params by their dotted names, for this run alone: `{"training.threads": 2}`. Those that '
            f"`runs.overrides` of params.yaml allows: {_patterns(params)}; any other, a wrong "
            "name or value is refused before any work starts.",
            section=MORE,
        ),
        "note": Param(
            "",
            type=["string", "null"],
            maxLength=500,
            title="Note",
            description_md="Why this run; it stays with it, in **clickflow runs** and in git.",
            section=MORE,
        ),
    }
    return _allowed(fields, params)


def _patterns(params: Params) -> str:
    return ", ".join(f"`{pattern}`" for pattern in params.runs.overrides) or "none"


def _allowed(fields: Mapping[str, Param], params: Params) -> dict[str, Param]:
    patterns = params.runs.overrides
    return {name: it for name, it in fields.items() if name not in SETS or permitted.allows(patterns, SETS[name])}


def whole(least: int, most: int | None = None) -> dict[str, int]:
    """The bounds of a whole number. Of `minimum` and `maximum` the UI makes the nearest number that is allowed, without
    a word: -3 epochs would become 1. These it leaves alone, and Airflow refuses what is outside.
    """
    return {"exclusiveMinimum": least - 1, **({} if most is None else {"exclusiveMaximum": most + 1})}


def warned(fields: Mapping[str, Param], warning: str) -> dict[str, Param]:
    """The fields, the first of them with a warning before its description."""
    if warning and fields:
        first = next(iter(fields.values()))
        first.schema["description_md"] = f"**{warning}** {first.schema.get('description_md', '')}"
    return dict(fields)


def models(params: Params, about: str) -> Param:
    """The field that chooses among the models."""
    return Param(
        [],
        type="array",
        examples=list(params.models),
        title="Models",
        description_md=f"{about} Empty: all of params.yaml.",
        section=MODELS,
    )


def _moment(title: str, about: str) -> Param:
    return Param(None, type=["string", "null"], format="date-time", title=title, description_md=about, section=DATA)


def check_keys(conf: Mapping[str, Any], known: Collection[str]) -> None:
    """Raises UsageError where what a run was started with has a key that no field has."""
    for key in conf:
        if key not in known:
            dotted = "." in key
            raise UsageError(
                f"the form has no field {key!r}{nearest(key, known)}",
                kept=NOT_RUN,
                next_step=f"put it into overrides: {{{key!r}: …}}" if dotted else f"its fields are {', '.join(known)}",
            )


def read(given: Mapping[str, Any], params: Params, window: Mapping[str, Any] | None = None) -> Request:
    """What a filled-in form asks for; a field that is not there asks for nothing.

    `window`: `since` and `until` that came from elsewhere, such as an event. Raises UsageError where two fields
    contradict each other, or one would have no effect.
    """
    models = _names(given.get("models") or [], params)
    values: dict[str, Any] = {}
    if (kind := given.get("source_kind") or AS_IS) != AS_IS:
        values["source.kind"] = kind
    if path := (given.get("source_path") or "").strip():
        values["source.path"] = path
    if (preset := given.get("preset") or AS_IS) != AS_IS:
        values["source.preset"] = None if preset == "none" else preset
    for end in ("since", "until"):
        field = given.get(end)
        if field and window and window.get(end):
            raise UsageError(f"{end} is given twice, by the form and by the window", kept=NOT_RUN)
        if moment := field or (window or {}).get(end):
            values[f"sequences.{end}"] = instant(moment, end)
    if (epochs := given.get("epochs")) is not None:
        by_epochs = [name for name in models or params.models if _has_epochs(params.models[name])]
        if not by_epochs:
            raise UsageError(f"epochs: {', '.join(models or params.models)} is not trained by epochs", kept=NOT_RUN)
        values |= {f"models.{name}.budget.epochs": epochs for name in by_epochs}
    overrides = given.get("overrides") or {}
    if not isinstance(overrides, Mapping):
        raise UsageError(f"overrides: {overrides!r} is not a mapping of names to values", kept=NOT_RUN)
    _contradictions(values, overrides)
    chosen = {**values, **overrides}
    _without_effect(chosen, params.source)
    return Request(chosen, tuple(models), words(given.get("note") or "", "note"))


def words(said: Any, name: str) -> str:
    """What a person wrote, which goes to git and to the ledger. Raises UsageError where it is no text there."""
    try:
        fine = "\0" not in said and said.encode() is not None
    except (AttributeError, TypeError, UnicodeEncodeError):
        fine = False
    if not fine:
        raise UsageError(f"{name}: is not text: it holds a NUL, or half of a surrogate pair", kept=NOT_RUN)
    return str(said)


def _has_epochs(model: Model) -> bool:
    return "budget" in model_kinds()[model.kind].reads


def instant(said: Any, name: str) -> str:
    """A moment as ISO 8601 in UTC; one without a zone is UTC. Raises UsageError where it is none."""
    try:
        moment = said if isinstance(said, datetime) else datetime.fromisoformat(str(said))
        return (moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()
    except (ValueError, OverflowError):
        raise UsageError(
            f"{name}: {said!r} is not a date or time",
            kept=NOT_RUN,
            next_step="write it as 2026-01-31 or 2026-01-31T06:00:00Z",
        ) from None


def window_of(events: Sequence[Mapping[str, Any] | None]) -> dict[str, str]:
    """The window that covers those of all events; an event without one, or without an end, leaves that end open.

    Raises UsageError where an event's `window` is not understood.
    """
    windows = [_window(extra or {}) for extra in events]
    bounds: dict[str, str] = {}
    for end, widest in (("since", min), ("until", max)):
        said = [window[end] for window in windows if end in window]
        if said and len(said) == len(windows):
            bounds[end] = widest(said)
    return bounds


def _window(extra: Mapping[str, Any]) -> dict[str, str]:
    window = extra.get("window") or {}
    unknown = sorted(set(window) - {"since", "until"}) if isinstance(window, Mapping) else [window]
    if unknown:
        raise UsageError(
            f"the event's window holds {unknown[0]!r}, which is not understood",
            kept=NOT_RUN,
            next_step='send {"window": {"since": "2026-01-01", "until": "2026-02-01"}}, or either of them, as extra',
        )
    return {end: instant(moment, f"the event's window: {end}") for end, moment in window.items() if moment}


def _names(models: Any, params: Params) -> list[str]:
    if isinstance(models, str) or not isinstance(models, Sequence):
        raise UsageError(f"models: {models!r} is not a list of names", kept=NOT_RUN)
    for name in models:
        params.model(str(name))
    return [name for name in params.models if name in models]


def _contradictions(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> None:
    for field in values:
        for name in overrides:
            if field == name or field.startswith(f"{name}.") or name.startswith(f"{field}."):
                raise UsageError(
                    f"{name} is set twice: in overrides, and by the field that sets {field}",
                    kept=NOT_RUN,
                    next_step="set it in one place",
                )


def _without_effect(values: Mapping[str, Any], committed: Source) -> None:
    kind = values.get("source.kind", committed.kind)
    for name, field in (("source.path", "source_path"), ("source.preset", "preset")):
        if kind != "files" and values.get(name) is not None:
            raise UsageError(
                f"{field} would have no effect: the source is {kind}, which reads no files",
                kept=NOT_RUN,
                next_step="choose the source files, or leave the field as it is",
            )
