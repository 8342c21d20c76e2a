"""The gate for one model: what params.yaml says; where it says nothing of a head, what the head says."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from clickflow.heads import outputs
from clickflow.heads.head import several
from clickflow.params.gate import Gate, Severity


@dataclass(frozen=True, kw_only=True)
class ResolvedGate(Gate):
    """A gate for one model."""

    primary: str
    floors: Mapping[str, float]
    beat_baselines: Mapping[str, Severity | Mapping[str, Severity]]
    outputs: tuple[str, ...]
    """Of the model."""

    @property
    def output(self) -> str:
        """The output of which the primary is a metric."""
        return self.place_of(self.primary)[0]

    @property
    def key(self) -> str:
        """The primary's name there."""
        return self.place_of(self.primary)[1]

    def place_of(self, metric: str) -> tuple[str, str]:
        """The output that a metric is of, and its name there."""
        return outputs.place_of(metric, self.outputs)

    def full(self, output: str, key: str) -> str:
        """A metric as it is written for this model."""
        return outputs.full(output, key, self.outputs)


def of(gate: Gate, names: Iterable[str]) -> ResolvedGate:
    """The gate for a model with these outputs. A head has its own floor for every metric that `floors` does not name at
    any cutoff, and its own baselines to beat where `beat_baselines` does not name the head; an empty one says that none
    are to be beaten. Where the model lacks the head of the primary, that of its first head stands in.
    """
    if isinstance(gate, ResolvedGate):
        return gate
    own = tuple(output.name for output in outputs.of(names))
    heads = [output.head for output in outputs.of(own) if not output.second]
    floors, beaten = dict(gate.floors or {}), dict(gate.beat_baselines or {})
    named = {outputs.place_of(metric, own)[0] for metric in beaten}
    primary = gate.primary
    if isinstance(primary, Mapping) or (heads and outputs.place_of(primary, own)[0] not in own):
        primary = outputs.primary(gate, heads[0], own) if heads else ""
    for head in heads:
        floors |= {
            outputs.full(head.name, key, own): bound for key, bound in outputs.own_floors(gate, head, own).items()
        }
        if gate.beat_baselines is None or (gate.beat_baselines and not {head.name, several(head.name)} & named):
            beaten |= {outputs.full(head.name, key, own): severity for key, severity in head.beat_baselines.items()}
    given: dict[str, Any] = {name: getattr(gate, name) for name in gate.__dataclass_fields__}
    return ResolvedGate(**{**given, "primary": primary, "floors": floors, "beat_baselines": beaten, "outputs": own})
