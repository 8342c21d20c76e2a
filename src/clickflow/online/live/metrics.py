"""Live metrics by model, version and arm: what the evaluation measures, and clicks, purchases and revenue; a pure
function of the log.

Metrics of a head are those of its kind of answer (`evaluation.answers`), with intervals by customer. Of items that were
shown, the last answer before that named the item has the click or the purchase; where a shop says itself what was
shown, clicked and bought (`POST /v1/feedback`), its word counts.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from clickflow.evaluation import bootstrap
from clickflow.evaluation.answers import KINDS
from clickflow.evaluation.answers.answering import Answers
from clickflow.evaluation.bootstrap import Interval, Resampling
from clickflow.heads import metrics as measures
from clickflow.heads import outputs
from clickflow.online.live import join, log
from clickflow.online.live.join import Judged
from clickflow.params.schema import Params
from clickflow.sequences.units import UNITS
from clickflow.system.moments import DAY

if TYPE_CHECKING:
    import pyarrow as pa

Values = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
CTR, CONVERSION, REVENUE = "ctr", "conversion", "revenue"
"""Of a shown answer: whether an item of it was clicked, was bought, and for how much."""
GREATEST_LOSS = 7.0
"""Log-loss is counted up to here, in nats, where versions are compared: a bet needs a bound."""


@dataclass(frozen=True)
class Group:
    """The answers of one version in one arm; `test`: the ledger's line that began the canary, 0 without."""

    model: str
    version: int
    arm: str
    test: int

    def key(self) -> tuple[Any, ...]:
        """For sorting."""
        return self.model, self.version, self.arm, self.test


@dataclass(frozen=True)
class Joined:
    """The log of some days, joined."""

    answers: "pa.Table"
    groups: list[Group]
    group: Ints
    """Of each answer."""
    owner: Ints
    """Who was answered: customer, else session, else the request alone."""
    judged: list[Judged]
    shown: "Shown"
    dropped: int
    """Rows that the log lost."""
    unmatched: int
    """Requests that feedback of the last day names, and no answer of these days has."""


@dataclass(frozen=True)
class Shown:
    """Answers that rank items, a row a request and group [n], shadows left out."""

    row: Ints
    clicked: npt.NDArray[np.bool_]
    bought: npt.NDArray[np.bool_]
    revenue: Values


def joined(params: Params, answers: "pa.Table", outcomes: "pa.Table", now: int) -> Joined:
    """Join; `now`: microseconds since 1970 UTC."""
    import pyarrow as pa
    import pyarrow.compute as pc

    keys = [answers[name].to_pylist() for name in ("model", "version", "arm", "test")]
    of_row = [Group(*key) for key in zip(*keys, strict=True)]
    groups = sorted(set(of_row), key=Group.key)
    code = {group: number for number, group in enumerate(groups)}
    names = [
        user or session or request
        for user, session, request in zip(
            *(answers[name].to_pylist() for name in ("user_id", "session_id", "request")), strict=True
        )
    ]
    owner = np.unique(np.array(names, dtype=str), return_inverse=True)[1].astype(np.int64)
    lost = [row for row in outcomes.select(["kind", "value"]).to_pylist() if row["kind"] == log.DROPPED]
    feedback = pc.is_in(outcomes["kind"], pa.array([log.SHOWN, log.CLICKED, log.BOUGHT]))
    lately = pc.greater(outcomes["at"].cast("int64"), now - DAY)
    said = outcomes["request"].filter(pc.and_(feedback, lately))
    return Joined(
        answers,
        groups,
        np.array([code[group] for group in of_row], np.int64),
        owner,
        list(join.judged(params, answers, outcomes, now)),
        shown(params, answers, outcomes),
        round(sum(row["value"] or 0 for row in lost)),
        len(set(said.to_pylist()) - set(answers["request"].to_pylist())),
    )


ATTRIBUTED = """
WITH listed AS (
    SELECT row, request, "at", coalesce(session_id, user_id) AS session, coalesce(user_id, session_id) AS person,
        unnest(labels) AS item FROM answers WHERE kind = 'ranking' AND arm <> 'shadow'
    UNION ALL SELECT -1, request, "at", coalesce(session_id, user_id), coalesce(user_id, session_id),
        unnest(pinned) FROM answers WHERE kind = 'ranking' AND arm <> 'shadow'),
happened AS (
    SELECT id, "at", coalesce(session_id, user_id) AS session, coalesce(user_id, session_id) AS person, item, action,
        coalesce(price, 0) * coalesce(quantity, 1) AS money FROM outcomes WHERE kind = 'step'),
owned AS (
    SELECT id, action, money, arg_max(row, listed."at") AS row FROM happened JOIN listed
    ON happened.item = listed.item AND (happened.session = listed.session OR happened.person = listed.person)
        AND happened."at" > listed."at" AND epoch_us(happened."at") - epoch_us(listed."at") <= ?
    GROUP BY ALL)
SELECT row, bool_or(action <> 'purchase'), bool_or(action = 'purchase'),
    coalesce(sum(money) FILTER (action = 'purchase'), 0) FROM owned WHERE row >= 0 GROUP BY row
"""
SAID = """
WITH pins AS (
    SELECT DISTINCT request, unnest(pinned) AS item FROM answers WHERE kind = 'ranking'),
words AS (
    SELECT outcomes.*, pins.item IS NULL AS own FROM outcomes LEFT JOIN pins
    ON outcomes.request = pins.request AND outcomes.item = pins.item
    WHERE kind IN ('shown', 'clicked', 'bought') AND outcomes.request IS NOT NULL)
SELECT request, bool_or(kind = 'shown'), bool_or(kind = 'clicked' AND own), bool_or(kind = 'bought' AND own),
    coalesce(sum(value) FILTER (kind = 'bought'), 0)
        * coalesce(count(*) FILTER (kind = 'bought' AND own) / nullif(count(*) FILTER (kind = 'bought'), 0), 0)
FROM words GROUP BY request
"""
"""Of pinned items a model has neither clicks nor purchases; of money that a word names for several items it has the
share of those that are its own.
"""


def shown(params: Params, answers: "pa.Table", outcomes: "pa.Table") -> Shown:
    """What became of answers that rank items. Where a shop says what it showed, answers it did not show are none."""
    import duckdb
    import pyarrow as pa

    rows = [
        (row, request)
        for row, (request, kind, arm) in enumerate(
            zip(*(answers[name].to_pylist() for name in ("request", "kind", "arm")), strict=True)
        )
        if kind == "ranking" and arm != log.SHADOW
    ]
    first: dict[str, int] = {}
    for row, request in rows:
        first.setdefault(request, row)
    numbered = answers.append_column("row", pa.array(np.arange(len(answers), dtype=np.int64)))
    most = max((join.window(params, UNITS[unit]) for unit in ("session",) if unit in UNITS), default=0)
    with duckdb.connect(":memory:", config={"threads": 1}) as con:
        con.register("answers", numbered)
        con.register("outcomes", outcomes)
        owned = {row: rest for row, *rest in con.execute(ATTRIBUTED, [most]).fetchall()}
        said = {request: rest for request, *rest in con.execute(SAID).fetchall()}
    says = any(each[0] for each in said.values())  # a shop that tells of clicks alone leaves no other answer out
    kept = [(row, said.get(request)) for request, row in first.items() if not says or request in said]
    outcome = [given[1:] if given is not None else owned.get(row, (False, False, 0.0)) for row, given in kept]
    return Shown(
        np.array([row for row, _ in kept], np.int64),
        np.array([bool(each[0] or each[1]) for each in outcome], bool),
        np.array([bool(each[1]) for each in outcome], bool),
        np.array([float(each[2]) for each in outcome], np.float64),
    )


def summary(params: Params, joined: Joined) -> list[dict[str, Any]]:
    """Every group, as JSON holds it."""
    how = Resampling(params.evaluation.bootstrap, params.evaluation.confidence, params.seed)
    at = joined.answers["at"].cast("int64").to_numpy()
    result = []
    for number, group in enumerate(joined.groups):
        own = np.flatnonzero(joined.group == number)
        requests = len(set(joined.answers["request"].take(own).to_pylist()))
        line: dict[str, Any] = {
            "model": group.model,
            "version": group.version,
            "arm": group.arm,
            "test": group.test,
            "requests": requests,
            "visitors": len(np.unique(joined.owner[own])),
            "since": int(at[own].min()),
            "until": int(at[own].max()),
            "heads": dict(_heads(params, joined, number, how)),
        }
        if group.arm != log.SHADOW:
            line["shown"] = _of_shown(joined, number, how)
        result.append(line)
    return result


def _heads(params: Params, joined: Joined, number: int, how: Resampling) -> Iterator[tuple[str, dict[str, Any]]]:
    for each in joined.judged:
        own = joined.group[each.row] == number
        if own.any() or each.waiting:
            rows = each.row[own]
            cells = measured(params, each, own, joined.owner[rows], how)
            line = {"questions": int(own.sum()), "metrics": cells}
            if each.output.kind == "ranking":  # the evaluation asks without: what the two say is not the same
                plain = joined.answers["plain"].take(rows).to_numpy()
                line["under_rules"] = len(plain) - int(np.sum(plain))
            yield each.output.name, line


def measured(params: Params, each: Judged, own: npt.NDArray[np.bool_], owner: Ints, how: Resampling) -> dict[str, Any]:
    """Every metric of the kind, {metric: {value, low, high}}. A cutoff counts answers of so many items and more."""
    settings = replace(params.evaluation, budgets=())
    if each.output.kind != "ranking":
        return _summed(each, own, owner, settings, how)
    cells: dict[str, Any] = {}
    for k in settings.cutoffs:
        long = own & (each.length >= k)
        cells |= _summed(each, long, owner[long[own]], replace(settings, cutoffs=(k,)), how)
    return cells


def _summed(
    each: Judged, own: npt.NDArray[np.bool_], owner: Ints, settings: Any, how: Resampling
) -> dict[str, Interval]:
    if not own.any():
        return {}
    kind, target = KINDS[each.output.kind], each.target[own]
    rows = Answers(
        output=each.output,
        at=each.row[own],
        target=target,
        systems={"live": each.answers[own]},
        known=np.ones(len(target), bool),
        classes=each.output.head.names(join.Names(0, 0)),
    )
    cells = kind.summary(rows, owner, settings, how)["live"]
    cells = {name: _of_few(name, cell, len(np.unique(owner)), how) for name, cell in cells.items()}
    return {name: cell for name, cell in cells.items() if not name.endswith("_known") and cell["value"] is not None}


def _of_shown(joined: Joined, number: int, how: Resampling) -> dict[str, Any]:
    own = joined.group[joined.shown.row] == number
    each = joined.shown
    if not own.any():
        return {"answers": 0}
    columns = np.stack([np.ones(own.sum()), each.clicked[own], each.bought[own], each.revenue[own]], axis=1)
    sums, _ = bootstrap.per_sequence(joined.owner[each.row[own]], columns.astype(np.float64))
    cells = bootstrap.summaries(
        [CTR, CONVERSION, REVENUE],
        sums,
        lambda totals: totals[:, 1:] / totals[:, :1],
        resamples=how.resamples,
        confidence=how.confidence,
        seed=how.seed,
    )
    return {"answers": int(own.sum())} | {name: _of_few(name, cell, len(sums), how) for name, cell in cells.items()}


def _of_few(name: str, cell: Interval, visitors: int, how: Resampling) -> Interval:
    """The interval where all visitors are alike: resampling has nothing to draw then, and says that nothing is open.
    Of a mean in [0, 1] it goes as far as so many of them leave open (Clopper and Pearson, 1934); money has none.
    """
    value = cell["value"]
    if cell["low"] is None or value is None or (value != 0 and cell["low"] != cell["high"]):
        return cell
    left = ((1 - how.confidence) / 2) ** (1 / visitors)
    if name == REVENUE:
        return {"value": value, "low": None, "high": None}
    if name in (CTR, CONVERSION, "accuracy") or name.startswith(("recall@", "mrr@")):
        if value == 0:
            return {"value": value, "low": 0.0, "high": bootstrap.number(1 - left)}
        if value == 1:
            return {"value": value, "low": bootstrap.number(left), "high": 1.0}
    return cell


def agreement(joined: Joined) -> list[dict[str, Any]]:
    """How far the shadow's answers are the champion's, to the same requests: by output the share of the items of a
    ranking that both have; of the others 1 less half the sum of what their probabilities differ by.
    """
    import pyarrow.compute as pc

    names = ["request", "model", "version", "arm", "output", "kind", "labels", "scores"]
    shadowed = pc.unique(joined.answers["request"].filter(pc.equal(joined.answers["arm"], log.SHADOW)))
    rows = joined.answers.select(names).filter(pc.is_in(joined.answers["request"], shadowed)).to_pylist()
    served = {(row["request"], row["model"], row["output"]): row for row in rows if row["arm"] == log.CHAMPION}
    shares: dict[tuple[Any, ...], list[float]] = {}
    for row in rows:
        other = served.get((row["request"], row["model"], row["output"]))
        if row["arm"] == log.SHADOW and other is not None and row["kind"] in AGREEING:
            key = (row["model"], other["version"], row["version"], row["output"])
            shares.setdefault(key, []).append(AGREEING[row["kind"]](row, other))
    return [
        {
            "model": model,
            "champion": champion,
            "shadow": shadow,
            "output": output,
            "requests": len(each),
            "agreement": round(float(np.mean(each)), 6),
        }
        for (model, champion, shadow, output), each in sorted(shares.items())
    ]


def _same_items(row: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    ours, theirs = set(row["labels"]), set(other["labels"])
    return float(len(ours & theirs) / max(len(ours), len(theirs), 1))


def _same_chances(row: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    theirs = dict(zip(other["labels"], other["scores"], strict=True))
    apart = sum(abs(score - theirs.get(name, 0.0)) for name, score in zip(row["labels"], row["scores"], strict=True))
    return float(1 - apart / 2)


AGREEING = {"ranking": _same_items, "classes": _same_chances, "probability": _same_chances}


@dataclass(frozen=True)
class Visitors:
    """Visitors in the order in which they were first answered, with one value each in [0, 1], more is better."""

    candidate: npt.NDArray[np.bool_]
    value: Values
    mixed: int
    """Who was answered by both and is in neither group."""
    waiting: tuple[int, int] = (0, 0)
    """Of the candidate and of the champion, who is not counted yet: what they do can still change it."""


NOBODY = Visitors(np.zeros(0, bool), np.zeros(0), 0)


def visitors(params: Params, joined: Joined, model: str, groups: Mapping[int, bool], metric: str, now: int) -> Visitors:
    """Of the groups (by number: whether it is the candidate's), who has been there for `visitor_hours` and what is
    asked of them is known: the mean of a metric over their rows of those hours.
    """
    row, value = rows_of(params, joined, model, metric)
    at = joined.answers["at"].cast("int64").to_numpy()
    own_rows = np.flatnonzero(np.isin(joined.group, list(groups)))
    first: dict[int, int] = {}
    seen: dict[int, set[bool]] = {}
    for each in own_rows.tolist():
        who = int(joined.owner[each])
        first[who] = min(first.get(who, 1 << 62), int(at[each]))
        seen.setdefault(who, set()).add(groups[int(joined.group[each])])
    hours = round(params.live.visitor_hours * 3_600_000_000)
    over = hours + join.window(params, UNITS[params.models[model].unit])
    values: dict[int, list[float]] = {}
    for each, gained in zip(row.tolist(), value.tolist(), strict=True):
        who = int(joined.owner[each])
        if int(joined.group[each]) in groups and at[each] <= first[who] + hours and first[who] + over < now:
            values.setdefault(who, []).append(gained)
    order = sorted((first[who], who) for who in values if len(seen[who]) == 1)
    coming = [next(iter(seen[who])) for who in first if len(seen[who]) == 1 and first[who] + over >= now]
    return Visitors(
        np.array([next(iter(seen[who])) for _, who in order], bool),
        np.array([np.mean(values[who]) for _, who in order], np.float64),
        sum(len(each) > 1 for each in seen.values()),
        (sum(coming), len(coming) - sum(coming)),
    )


def paired(params: Params, joined: Joined, model: str, metric: str, version: int) -> Values:
    """Differences [n] in [-1, 1] of a shadow and the champion, visitor by visitor, on requests that both answered."""
    row, value = rows_of(params, joined, model, metric)
    if not len(row):
        return np.zeros(0)
    request = joined.answers["request"].take(row).to_pylist()
    at = joined.answers["at"].cast("int64").to_numpy()
    sides: dict[bool, dict[str, tuple[int, float]]] = {True: {}, False: {}}
    for each, name, gained in zip(row.tolist(), request, value.tolist(), strict=True):
        group = joined.groups[joined.group[each]]
        if group.arm == log.CHAMPION or (group.arm == log.SHADOW and group.version == version):
            sides[group.arm == log.SHADOW][name] = (each, gained)
    of: dict[int, list[tuple[int, float]]] = {}
    for name, (each, gained) in sides[True].items():
        if name in sides[False]:
            of.setdefault(int(joined.owner[each]), []).append((int(at[each]), gained - sides[False][name][1]))
    order = sorted((min(times)[0], float(np.mean([gained for _, gained in times]))) for times in of.values())
    return np.array([gained for _, gained in order], np.float64)


def rows_of(params: Params, joined: Joined, model: str, metric: str, *, whole: bool = False) -> tuple[Ints, Values]:
    """The rows of a model's answers that a metric is of, and what each adds, in [0, 1], more is better. `whole`: of
    `recall@20` and the like, of answers that have so many items alone.
    """
    if metric in (CTR, CONVERSION):
        value = joined.shown.clicked if metric == CTR else joined.shown.bought
        return joined.shown.row, value.astype(np.float64)
    output, name = outputs.place_of(metric, _outputs(params, model))
    rows, values = [np.zeros(0, np.int64)], [np.zeros(0)]
    for each in joined.judged:
        mine = np.array([joined.groups[group].model == model for group in joined.group[each.row]], bool)
        _, _, cutoff = name.partition("@")
        if whole and cutoff:
            mine &= each.length >= int(cutoff)
        if each.output.name == output and mine.any():
            gains = KINDS[each.output.kind].values(name, each.answers[mine], each.target[mine])
            bound = GREATEST_LOSS if name == "log_loss" else 1.0
            share = np.clip(gains, 0, bound) / bound
            rows.append(each.row[mine])
            values.append(1 - share if measures.sign(each.output.kind, name) < 0 else share)
    return np.concatenate(rows), np.concatenate(values)


def _outputs(params: Params, model: str) -> tuple[str, ...]:
    return tuple(params.models[model].heads)


def metric_of(params: Params, model: str) -> str | None:
    """What versions of a model are compared by: as params say, else the primary of its first head of which it is a mean
    between bounds; None: it has none.
    """
    if named := params.live.metric.get(model):
        return named
    names = _outputs(params, model)
    heads = [output.head for output in outputs.of(names) if output.kind in AGREEING and not output.ahead]
    own = [outputs.primary(params.gate, head, names) for head in heads]
    by_row = [name for name, head in zip(own, heads, strict=True) if measures.by_row(head.kind, _key(name, names))]
    return by_row[0] if by_row else None


def output_of(params: Params, model: str, metric: str) -> str:
    """The output that a metric of a model is of; clicks and purchases are of its first ranking."""
    names = _outputs(params, model)
    return outputs.main(names, "ranking") if metric in (CTR, CONVERSION) else outputs.place_of(metric, names)[0]


def _key(name: str, names: tuple[str, ...]) -> str:
    return outputs.place_of(name, names)[1]
