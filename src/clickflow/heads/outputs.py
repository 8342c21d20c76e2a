"""The outputs of a model by name: the answer of each head, and of a ranking its list for several next steps."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from clickflow import heads
from clickflow.heads.head import Head, Kind, Written, grouped, several
from clickflow.params.evaluation import Evaluation
from clickflow.params.gate import Gate

PLAIN: tuple[Kind, ...] = ("ranking", "classes")
"""Kinds whose first head has figures, details and places of the report without its name."""


@dataclass(frozen=True)
class Output:
    """One output; `ahead`: the list for several next steps; `by`: what the evaluation makes of it for groups of items,
    such as categories, and no output of a model.
    """

    name: str
    head: Head
    ahead: bool = False
    by: str = ""

    @property
    def second(self) -> bool:
        """Whether it is not what its head is known by."""
        return self.ahead or bool(self.by)

    @property
    def kind(self) -> Kind:
        """Of answer."""
        return self.head.kind

    @property
    def title(self) -> str:
        """For people."""
        return self.name.replace("_", " ").capitalize()

    @property
    def evidence(self) -> str:
        """The file of the evaluation with its rows."""
        return self._written.evidence or f"{self.name}.parquet"

    @property
    def predictions(self) -> str:
        """The file of `clickflow score --all`."""
        return self._written.predictions or f"{self.name}.parquet"

    @property
    def answer(self) -> str:
        """The key in the JSON of `clickflow score`."""
        return self._written.answer or self.name

    @property
    def _written(self) -> Written:
        if self.by:
            return Written()
        return self.head.written_ahead if self.ahead else self.head.written


_listed: tuple[list[Head], list[Output]] = ([], [])
"""Heads, and their outputs: params ask for them a thousand times, and a head is seldom added."""


def every() -> list[Output]:
    """All that there can be, in the order in which they are shown."""
    global _listed
    known = list(heads.HEADS.values())
    if known != _listed[0]:
        _listed = known, [output for head in known for output in _outputs(head)]
    return list(_listed[1])


def _outputs(head: Head) -> Iterator[Output]:
    yield Output(head.name, head)
    if head.kind == "ranking":
        yield Output(several(head.name), head, ahead=True)
    if head.all_targets is not None:
        yield Output(grouped(head.name), head, by="category")


def of(names: Iterable[str]) -> list[Output]:
    """Those of these names, such as the outputs of an artefact, in the order in which they are shown."""
    wanted = set(names)
    return [output for output in every() if output.name in wanted]


def named(name: str) -> Output:
    """The output of that name, which there is."""
    return next(output for output in every() if output.name == name)


def head(name: str) -> Head:
    """The head of an output."""
    return named(name).head


def main(names: Iterable[str], kind: Kind) -> str:
    """The first head of a kind among these outputs, whose results stand without its name; where there is none, the
    first of that kind that there can be.
    """
    some = of(names) if names else ()
    first = (output.name for output in (*some, *every()) if output.head.kind == kind and not output.second)
    return next(first, kind)


def is_plain(name: str, names: Iterable[str]) -> bool:
    """Whether an output is the first head of a kind of `PLAIN` among `names`."""
    kind = named(name).kind
    return kind in PLAIN and main(names, kind) == name


def place_of(metric: str, names: Iterable[str] = ()) -> tuple[str, str]:
    """The output that a metric is of, and its name there.

    `head.metric` says it; a metric alone is of the first ranking among `names`, the outputs of a model.
    """
    prefix, dot, key = metric.partition(".")
    if dot:
        return prefix, key
    return main(names, "ranking"), metric


def full(output: str, key: str, names: Iterable[str] = ()) -> str:
    """The metric `key` of an output as it is written: without the output where `place_of` finds it so."""
    return key if place_of(key, names) == (output, key) else f"{output}.{key}"


def baselines(settings: Evaluation, head: Head) -> tuple[tuple[str, ...], str]:
    """What a head is held against, and where that is said: in params.yaml, or by the head itself."""
    if (named := settings.baselines_of(head.name)) is not None:
        return named, f"evaluation.baselines.{head.name}"
    if head.name == main((), head.kind) and (old := settings.of_old_form(head.kind)) is not None:
        return old, "evaluation.baselines" if head.kind == "ranking" else "evaluation.action_baselines"
    return head.baselines, f"the baselines of {head.name}"


def primary(gate: Gate, head: Head, names: Iterable[str] = ()) -> str:
    """The metric that a head goes by, of a model with the outputs `names`, as it is written: gate.primary where that is
    of this head, else its own.
    """
    if isinstance(gate.primary, Mapping):
        return full(head.name, gate.primary.get(head.name, head.primary), names)
    output, key = place_of(gate.primary, names)
    return full(head.name, key if output == head.name else head.primary, names)


def own_floors(gate: Gate, head: Head, names: Iterable[str] = ()) -> dict[str, float]:
    """The floors of a head that hold for a model with the outputs `names`: those of metrics of which params.yaml names
    none, at whatever cutoff.
    """
    given = {
        (output, key.partition("@")[0]) for output, key in (place_of(metric, names) for metric in gate.floors or ())
    }
    return {key: bound for key, bound in head.floors.items() if (head.name, key.partition("@")[0]) not in given}


def evidence() -> tuple[str, ...]:
    """The files of an evaluation that hold a row a question."""
    return tuple(output.evidence for output in every())
