"""When retraining is called for: bounds of a window, windows of a model, the rule of params `watch`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist

from clickflow.evaluation.reference import Reference
from clickflow.heads import metrics as measures
from clickflow.heads import outputs
from clickflow.monitoring.drift import Distance
from clickflow.monitoring.live import Live
from clickflow.params.gate import Gate
from clickflow.params.watch import Watch

DRIFT, METRIC, LIVE = "drift", "metric", "live"


@dataclass(frozen=True, kw_only=True)
class Bound:
    """One bound in one window; all None but `why` where it was not judged.

    Drift breaches above `limit`, a metric on its worse side: the bound of params with the noise of the sample.
    `low` and `high` are the ends of a metric's interval, `expected` what it was at the champion's evaluation.
    """

    name: str
    kind: str
    value: float | None = None
    limit: float | None = None
    noise: float | None = None
    low: float | None = None
    high: float | None = None
    expected: float | None = None
    breach: bool = False
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A window and its bounds; times are ISO 8601 in UTC."""

    since: str
    until: str
    sequences: int
    after_training: int
    bounds: tuple[Bound, ...]

    @property
    def breach(self) -> bool:
        """Whether any bound is broken."""
        return any(bound.breach for bound in self.bounds)

    @property
    def broken(self) -> list[str]:
        """The names of the broken bounds."""
        return [bound.name for bound in self.bounds if bound.breach]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was decided for one model; `why` is one line for a person."""

    model: str
    version: int
    windows: tuple[Judged, ...]
    breaches: int
    retrain: bool
    why: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What became of a server's answers: a metric in each window, None where it has too few, and in the days before."""

    name: str
    windows: tuple[Live | None, ...]
    before: Live | None
    why: str = ""


def enabled(watch: Watch, drops: Mapping[str, float]) -> dict[str, list[str]]:
    """The bounds that count, by kind; `drops`: those of metrics."""
    drift = [name for name, bound in asdict(watch.max_drift).items() if bound is not None]
    return {DRIFT: drift, METRIC: list(drops)}


def drops(watch: Watch, gate: Gate, names: Sequence[str]) -> dict[str, float]:
    """By metric of a champion with the outputs `names`, how far it may fall: of those that params name, else of the
    primary of each of its heads.
    """
    said = watch.max_metric_drop
    if isinstance(said, Mapping):
        return {name: drop for name, drop in said.items() if outputs.place_of(name, names)[0] in names}
    return {outputs.primary(gate, each.head, names): said for each in outputs.of(names) if not each.second}


def alpha(watch: Watch, names: Mapping[str, Sequence[str]]) -> float:
    """How often each bound may breach by chance, so that a window does so at most with 1 - watch.confidence.

    The bounds share it evenly (Bonferroni), whatever they have to do with each other.
    """
    return (1 - watch.confidence) / max(sum(map(len, names.values())), 1)


def drift(watch: Watch, names: Sequence[str], distances: Mapping[str, Distance], why: str) -> Iterator[Bound]:
    """The bounds of drift; `why` says why none was measured."""
    bounds = asdict(watch.max_drift)
    for name in names:
        if name not in distances:
            yield Bound(name=name, kind=DRIFT, why=why or "the window has no such steps")
            continue
        value, noise = distances[name].value, distances[name].noise
        limit = bounds[name] + noise
        yield Bound(
            name=name, kind=DRIFT, value=value, limit=limit, noise=noise, expected=bounds[name], breach=value > limit
        )


def metrics(
    drops: Mapping[str, float],
    measured: Mapping[str, Live],
    reference: Reference | None,
    level: float,
    why: str,
) -> Iterator[Bound]:
    """The bounds of metrics: breached where the drop is larger than allowed, beyond the errors of both measurements.

    With r the metric at the evaluation, s its standard error, a the drop allowed, and e the error of the window:
    value < (1 - a) r - z sqrt(e^2 + ((1 - a) s)^2), z the (1 - level) quantile of the normal distribution. Where less
    is better: value > (1 + a) r + z sqrt(e^2 + ((1 + a) s)^2).
    """
    z = NormalDist().inv_cdf(1 - level)
    for name, drop in drops.items():
        at = reference.metrics.get(name) if reference else None
        if name not in measured or reference is None or at is None or at["value"] is None:
            missing = "" if at else "it was not measured at the evaluation"
            yield Bound(name=name, kind=METRIC, why=why or missing or "the window has no such predictions")
            continue
        live, way = measured[name], sign(name)
        yield _held(name, METRIC, live, at["value"], _error(at, reference.confidence), drop, way, z)


def answered(drop: float, seen: Answered, window: int, level: float) -> Iterator[Bound]:
    """The bound of what became of a server's answers in a window, as of metrics above: more is better, and it is held
    against the days before the first window.
    """
    live, before = seen.windows[window], seen.before
    if live is None or before is None:
        yield Bound(name=seen.name, kind=LIVE, why=seen.why or "too few visitors were answered")
        return
    yield _held(seen.name, LIVE, live, before.value, before.error, drop, 1, NormalDist().inv_cdf(1 - level))


def _held(name: str, kind: str, live: Live, expected: float, error: float, drop: float, way: int, z: float) -> Bound:
    kept = 1 - way * drop
    noise = z * (live.error**2 + (kept * error) ** 2) ** 0.5
    limit = kept * expected - way * noise
    return Bound(
        name=name,
        kind=kind,
        value=live.value,
        limit=limit,
        noise=noise,
        low=live.low,
        high=live.high,
        expected=expected,
        breach=way * live.value < way * limit,
    )


def sign(name: str) -> int:
    """1 where more of a metric is better, -1 where less is."""
    head, key = outputs.place_of(name)
    return measures.sign(outputs.head(head).kind, key)


def decide(watch: Watch, windows: Sequence[Judged]) -> tuple[bool, str]:
    """Whether retraining is called for, and why, or why not. The last window is the latest."""
    breached = [window for window in windows if window.breach]
    judged = sum(any(bound.value is not None for bound in window.bounds) for window in windows)
    of = f"{len(breached)} of {len(windows)} windows"
    if not judged:
        return False, "nothing could be judged"
    if not breached:
        return False, f"nothing breaches: 0 of {len(windows)} windows"
    if not windows[-1].breach:
        return False, f"the latest window does not breach: {of}"
    if len(breached) < watch.breaches:
        return False, f"too few windows breach: {of}, {watch.breaches} are needed"
    return True, f"{of} breach, the latest by {', '.join(windows[-1].broken)}"


def _error(at: Mapping[str, float | None], confidence: float) -> float:
    """The standard error behind an interval."""
    if at["low"] is None or at["high"] is None:
        return 0.0
    return (at["high"] - at["low"]) / (2 * NormalDist().inv_cdf((1 + confidence) / 2))
