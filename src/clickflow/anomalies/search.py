"""`clickflow anomalies`: the oddest visits and customers of the store, and what stood out in them step by step."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from clickflow.anomalies import planted, surprise
from clickflow.anomalies import signs as judged
from clickflow.anomalies.signs import Signs
from clickflow.artefact import artefact as artefacts
from clickflow.artefact.artefact import Artefact
from clickflow.evaluation import vocabularies
from clickflow.params.gate import AnomaliesRule
from clickflow.params.schema import Params
from clickflow.registry import champion, ledger
from clickflow.sequences.card import SPLITS, Card
from clickflow.sequences.exclusions import ROBOTS
from clickflow.sequences.store import open_split, read_card
from clickflow.system import console, integrity
from clickflow.system.console import Advance
from clickflow.system.errors import ClickflowError, DataError, UsageError
from clickflow.system.files import check_folder, replacing, sha256, write_json, write_text
from clickflow.system.moments import iso
from clickflow.system.paths import Paths

if TYPE_CHECKING:
    import pyarrow as pa

KIND = "clickflow anomalies"
"""What card.json says of the folder, so that no other folder is ever replaced by one."""
CHUNK = 1 << 12
"""Sequences that are judged together."""
REASONS = 3
"""Signs that are named of a case, at most; a sign below SIGN deviations is no reason."""
SIGN = 2.0
KNOWN_LEAST = 0.5
"""Of the steps, whose items the model should know."""
SHOWN_RUNS = 12
"""Of a visit's kinds of step in a line of the report."""
SHOWN_STEPS = 200
"""Steps of a case that are written out, at most; the first ones."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Step:
    """One step of a case; what a head is not asked about, or does not know, is None."""

    time: str
    seconds: float | None
    """since the step before"""
    action: str
    item: str
    surprise: Mapping[str, float | None]
    """by head, in deviations from what was expected of the step"""


@dataclass(frozen=True)
class Case:
    """A visit that stands out."""

    session: str
    user: str | None
    part: str
    score: float
    odder_than: float
    """share of the visits judged whose score is lower"""
    reasons: tuple[str, ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class ScoredVisits:
    """All visits of some parts of a store; arrays [N] in the order of parts and sequences."""

    signs: Signs
    part: npt.NDArray[np.str_]
    sequence: Ints
    """index in its part"""
    session: Sequence[str]
    user: Sequence[str | None]
    begin: Ints
    """microseconds since 1970"""
    end: Ints
    steps: Ints
    known: float | None
    """share of the steps whose item the model knows, of those that a ranking is asked about; None: no head ranks"""

    @property
    def rank(self) -> Floats:
        """[N] share of the visits whose score is lower."""
        score = self.signs.score
        return np.asarray(np.searchsorted(np.sort(score), score) / max(1, len(score)))

    def customers(self) -> tuple[list[str], Floats, Ints, Ints]:
        """Ids, scores, the oddest visit of each and how many there are; guests are nobody."""
        names = sorted({name for name in self.user if name is not None})
        place = {name: code for code, name in enumerate(names)}
        owner = np.array([-1 if name is None else place[name] for name in self.user], np.int64)
        score, worst = judged.customers(self.signs, owner)
        return names, score, worst, np.bincount(owner[owner >= 0], minlength=len(names))

    def reasons(self, row: int) -> tuple[str, ...]:
        """Why, in words; the largest sign first."""
        own = self.signs
        order = np.argsort(-np.abs(own.value[row]), kind="stable")[:REASONS]
        return tuple(
            judged.words(own.names[k], own.value[row, k], own.observed[row, k], own.expected[row, k])
            for k in order
            if abs(own.value[row, k]) >= SIGN
        )


def run(
    params: Params, paths: Paths, model: str, *, top: int, every: bool, exported: bool, out: Path | None, as_json: bool
) -> None:
    """The verb: judge the visits of the test part, or of all parts, by the champion or by the artefact that the
    pipeline exported last, say the `top` oddest, and write all into `out` where it is given.

    Raises UsageError where there is no such model, or `out` holds something else; DataError where store or artefact are
    not what they were recorded as, or the gate holds the list back from `out`.
    """
    spec = params.model(model)
    if out is not None:
        check_folder(out, KIND, "anomalies")
    store = paths.sequences(spec.unit)
    integrity.verify(store, home=paths.home)
    if exported:
        version, artefact = 0, artefacts.load(paths.exported(model))
    else:
        version, artefact = champion.loaded(params, paths, model)
    if not surprise.heads(artefact):
        raise UsageError(
            f"{model} has no head that says what the next step is, so no step can surprise it",
            kept="nothing was run",
            next_step=f"add one below models.{model}.heads, or name another model",
        )
    parts = SPLITS if every else ("test",)
    with console.progress("judging", sum(read_card(store).splits[part].events for part in parts)) as tick:
        scored = find(artefact, store, parts, tick)
    cases = explain(artefact, store, scored, np.argsort(-scored.signs.score, kind="stable")[:top])
    names, score, worst, visits = scored.customers()
    people = [
        {
            "user": names[k],
            "score": round(float(score[k]), 2),
            "visits": int(visits[k]),
            "session": scored.session[worst[k]],
            "reasons": scored.reasons(int(worst[k])),
        }
        for k in np.argsort(-score, kind="stable")[:top].tolist()
    ]
    card = {"model": model, "version": version, "visits": len(scored.session), "customers": len(names)}
    card |= {"known": None if scored.known is None else round(scored.known, 6), "robots_left_out": _unseen(store)[0]}
    rule = params.gate.anomalies
    trusted = planted.judge(artefact, store, params.seed, another(params, paths, model, artefact, version))
    card |= {"judged": trusted}
    for note in (*notes(scored, *_unseen(store)), *planted.notes(rule, trusted)):
        console.say(f"warning {note}")
    if out is not None and (held := planted.refused(rule, trusted)):
        raise DataError(
            f"the list of odd visits is held: {'; '.join(held)}",
            kept=f"{out} as it was",
            next_step="train on a longer log or for more epochs, or change gate.anomalies in params.yaml",
        )
    if out is not None:
        with replacing(out) as fresh:
            write(fresh, scored, cases, card | {"model_sha256": artefact.card["model_sha256"]})
    console.emit(
        {**card, "cases": [asdict(case) for case in cases], "people": people},
        as_json=as_json,
        text=lambda: _text(card, cases, people, out),
    )


def another(params: Params, paths: Paths, model: str, artefact: Artefact, version: int) -> Artefact | None:
    """Another training of the model to hold its list against: of what was exported (`version` 0) the champion, of the
    champion the one before, or else what was exported last; None where there is none that surprises.
    """
    standing = ledger.standing(ledger.whole(paths), model)
    number = standing.previous if version else standing.champion
    if not number and not paths.exported(model).is_dir():
        return None
    try:
        other = artefacts.load(champion.fetch(params, paths, model, number) if number else paths.exported(model))
    except ClickflowError as error:
        console.say(f"warning the other version cannot be read, so stability is not judged: {error}")
        return None
    same = other.card["model_sha256"] == artefact.card["model_sha256"]
    return other if surprise.heads(other) and not same else None


def notes(scored: ScoredVisits, robots: int, short: int = 0) -> list[str]:
    """What the list does not show by itself."""
    said = []
    if scored.known is not None and scored.known < KNOWN_LEAST:
        said.append(
            f"the model knows the items of {scored.known:.1%} of the steps: it is of another shop or time, and what it "
            "does not know does not surprise it"
        )
    if robots:
        said.append(
            f"{robots:,} visits were left out of the store as robots (sequences.robots): they are odd, and not in this "
            "list"
        )
    if short:
        said.append(
            f"{short:,} visits of too few steps are not in the store, and a step that repeats the one before at once "
            "is none: who buys one item again and again is not in this list, unless sequences.session.drop_repeats is "
            "false"
        )
    return said


def _unseen(store: Path) -> tuple[int, int]:
    """Visits that are not in a store: those of robots; and where steps that repeat were dropped, the too short ones."""
    left = read_card(store).left_out
    robots = sum(int(each.get("sequences", 0)) for name, each in left.items() if name in ROBOTS)
    repeats = left.get("repeat", {}).get("events", 0)
    return robots, int(left.get("too_short", {}).get("sequences", 0)) if repeats else 0


def find(
    artefact: Artefact,
    store: Path,
    parts: Sequence[str],
    tick: Advance = lambda _: None,
    since: int | None = None,
) -> ScoredVisits:
    """Judge every sequence of these parts of the store that ends at `since` (microseconds since 1970) or later.

    Raises UsageError where there is none.
    """
    from pyarrow import parquet

    card, train = read_card(store), open_split(store, "train")
    translation = vocabularies.translation(store, card, artefact)
    pace = surprise.pace(train, len(card.actions)) if card.clock else None
    signs: list[Signs] = []
    rows: list[tuple[Any, ...]] = []
    known, questions = 0, 0
    session: list[str] = []
    user: list[str | None] = []
    for part in parts:
        split = open_split(store, part)
        time, offsets = np.asarray(split.time), np.asarray(split.offsets, np.int64)
        filled = split.n_sequences > 0
        begin, end = (time[at] if filled else time[:0] for at in (offsets[:-1], offsets[1:] - 1))
        wanted = np.flatnonzero(end >= since) if since is not None else np.arange(split.n_sequences)
        for first in range(0, len(wanted), CHUNK):
            chosen = wanted[first : first + CHUNK]
            own = surprise.of(artefact, split, card, translation, chosen, tick)
            signs.append(judged.of(own, pace, split))
            for channel in (each for each in own.channels.values() if each.came is None):
                known += int((~np.isnan(channel.surprise)).sum())
                questions += int(own.questions.has_next.sum())
        rows.append((np.full(len(wanted), part), wanted, begin[wanted], end[wanted], np.diff(offsets)[wanted]))
        table = parquet.read_table(store / part / "sequences.parquet", columns=["session_id", "user_id"]).take(wanted)
        session += table["session_id"].to_pylist()
        user += table["user_id"].to_pylist()
    if not signs:
        raise UsageError(f"there is no visit in the {' or '.join(parts)} part of {store}")
    values = [np.concatenate([getattr(each, name) for each in signs]) for name in ("value", "observed", "expected")]
    part_, sequence, begin, end, steps = (np.concatenate(column) for column in zip(*rows, strict=True))
    share = known / questions if questions else None
    return ScoredVisits(Signs(signs[0].names, *values), part_, sequence, session, user, begin, end, steps, share)


def explain(artefact: Artefact, store: Path, scored: ScoredVisits, chosen: Ints) -> list[Case]:
    """The visits `chosen` (rows of `scored`), step by step."""
    card = read_card(store)
    translation, names = vocabularies.translation(store, card, artefact), _items(store)
    cases = []
    rank = scored.rank
    for row in chosen.tolist():
        split = open_split(store, str(scored.part[row]))
        own = surprise.of(artefact, split, card, translation, scored.sequence[row : row + 1], lambda _: None)
        cases.append(
            Case(
                session=scored.session[row],
                user=scored.user[row],
                part=str(scored.part[row]),
                score=round(float(scored.signs.score[row]), 2),
                odder_than=round(float(rank[row]), 6),
                reasons=scored.reasons(row),
                steps=_steps(own, split, card, names, int(scored.sequence[row])),
            )
        )
    return cases


def _steps(own: surprise.Surprise, split: Any, card: Card, names: Sequence[str], sequence: int) -> tuple[Step, ...]:
    first, end = int(split.offsets[sequence]), int(split.offsets[sequence + 1])
    steps = []
    for at in range(first, min(end, first + SHOWN_STEPS)):
        said: dict[str, float | None] = {}
        for name, channel in own.channels.items():
            k = at - first - 1  # what was asked after the step before
            over = (channel.surprise[k] - channel.mean[k]) / np.sqrt(channel.variance[k] + judged.PRIOR)
            said[name] = None if k < 0 or np.isnan(over) else round(float(over), 2)
        steps.append(
            Step(
                time=iso(int(split.time[at])),
                seconds=round(float(split.gap[at]), 1) if at > first and card.clock else None,
                action=card.actions[split.action[at]],
                item=names[split.item[at]],
                surprise=said,
            )
        )
    return tuple(steps)


def _items(store: Path) -> list[str]:
    from pyarrow import parquet

    return ["", "?", *parquet.read_table(store / "vocabulary.parquet", columns=["item_id"])["item_id"].to_pylist()]


def write(folder: Path, scored: ScoredVisits, cases: Sequence[Case], card: Mapping[str, Any]) -> None:
    """visits.parquet, customers.parquet, cases.json, anomalies.html and card.json into the existing `folder`."""
    from pyarrow import parquet

    for name, table in zip(("visits.parquet", "customers.parquet"), tables(scored), strict=True):
        parquet.write_table(table, folder / name, compression="zstd")
    write_json(folder / "cases.json", [asdict(case) for case in cases])
    write_text(folder / "anomalies.html", page(cases, card))
    files = ("visits.parquet", "customers.parquet", "cases.json", "anomalies.html")
    write_json(folder / "card.json", {"kind": KIND, **card, "files": {name: sha256(folder / name) for name in files}})


def beside(params: Params, paths: Paths, model: str) -> 'Callable[[Artefact, Path, int | None], "dict[str, pa.Table]"]':
    """What `clickflow score --all --anomalies` writes beside its predictions: a score for each visit and customer, or
    nothing where the gate holds them.
    """

    def judged_odd(artefact: Artefact, store: Path, since: int | None) -> "dict[str, pa.Table]":
        if not surprise.heads(artefact):
            return {}
        if (rule := params.gate.anomalies) != AnomaliesRule():
            version = champion.current(params, paths, model)
            trusted = planted.judge(artefact, store, params.seed, another(params, paths, model, artefact, version))
            if held := planted.refused(rule, trusted):
                console.say(f"warning the list of odd visits is held, and none is written: {'; '.join(held)}")
                return {}
        with console.progress("judging", None) as tick:
            scored = find(artefact, store, SPLITS, tick, since)
        for note in notes(scored, *_unseen(store)):
            console.say(f"warning {note}")
        visits, customers = tables(scored)
        return {"odd_visits.parquet": visits, "odd_customers.parquet": customers}

    return judged_odd


def tables(scored: ScoredVisits) -> "tuple[pa.Table, pa.Table]":
    """The scores of visits and of customers, a row each."""
    import pyarrow as pa

    stamp = pa.timestamp("us", tz="UTC")
    visits = pa.table(
        {
            "session_id": pa.array(scored.session, pa.string()),
            "user_id": pa.array(scored.user, pa.string()),
            "first_event": pa.array(scored.begin, stamp),
            "last_event": pa.array(scored.end, stamp),
            "steps": pa.array(scored.steps, pa.int32()),
            "score": scored.signs.score.round(6),
            **{f"sign_{name}": scored.signs.value[:, k].round(4) for k, name in enumerate(scored.signs.names)},
        }
    )
    names, score, worst, count = scored.customers()
    customers = pa.table(
        {
            "user_id": pa.array(names, pa.string()),
            "score": score.round(6),
            "visits": pa.array(count, pa.int32()),
            "oddest_session_id": pa.array([scored.session[k] for k in worst], pa.string()),
        }
    )
    return visits, customers


def page(cases: Sequence[Case], card: Mapping[str, Any]) -> str:
    """The cases as a page: a line of time for each, a dot a step, the larger the more surprising."""
    from jinja2 import Environment, StrictUndefined

    template = Path(__file__).with_name("page.html.jinja").read_text(encoding="utf-8")
    environment = Environment(undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    shown = [{"case": case, "dots": _dots(case)} for case in cases]
    return environment.from_string(template).render(
        cases=shown, card=card, colours=COLOURS, credibility=planted.credibility(card["judged"])
    )


COLOURS = {
    "view": "#4c78a8",
    "cart": "#f58518",
    "favourite": "#b279a2",
    "remove": "#9d755d",
    "purchase": "#e45756",
    "cancel": "#eeca3b",
    "impression": "#bab0ac",
    "click": "#54a24b",
}
WIDTH, LEFT = 900, 12


def _dots(case: Case) -> list[dict[str, Any]]:
    """Where each step stands on a line of time of its visit."""
    seconds = np.cumsum([step.seconds or 0.0 for step in case.steps])
    if not seconds[-1]:
        seconds = np.arange(len(case.steps), dtype=np.float64)
    at = LEFT + (WIDTH - 2 * LEFT) * seconds / max(seconds[-1], 1)
    dots = []
    for x, step in zip(at.tolist(), case.steps, strict=True):
        most = max((value for value in step.surprise.values() if value is not None), default=0.0)
        dots.append(
            {
                "x": round(x, 1),
                "radius": round(3 + min(max(most, 0.0), 6.0), 1),
                "colour": COLOURS.get(step.action, "#79706e"),
                "title": f"{step.time} {step.action} {step.item}",
            }
        )
    return dots


def _text(card: Mapping[str, Any], cases: Sequence[Case], people: Sequence[Mapping[str, Any]], out: Path | None) -> Any:
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    which = f"version {card['version']}" if card["version"] else "as exported"
    visits = Table(title=f"{card['model']}, {which}: the oddest of {card['visits']:,} visits", title_justify="left")
    for heading in ("session", "score", "why", "its steps"):
        visits.add_column(heading, overflow="fold")
    for case in cases:
        visits.add_row(
            escape(case.session) + (f"\nof {escape(case.user)}" if case.user else ""),
            f"{case.score:.0f}\nabove {case.odder_than:.1%}",
            escape("\n".join(case.reasons)),
            escape(_line(case.steps)),
        )
    customers = Table(title=f"and of {card['customers']:,} customers", title_justify="left")
    for heading in ("customer", "score", "visits", "oddest visit", "why"):
        customers.add_column(heading, overflow="fold")
    for one in people:
        reasons = "\n".join(one["reasons"])
        customers.add_row(
            escape(one["user"]), f"{one['score']:.0f}", str(one["visits"]), escape(one["session"]), escape(reasons)
        )
    written = [f"{out}: visits.parquet, customers.parquet, cases.json, anomalies.html"] if out is not None else []
    return Group(visits, customers, planted.credibility(card["judged"]), *written)


def _line(steps: Sequence[Step]) -> str:
    """Steps of one kind in a row are told together, and how long they took."""
    runs: list[tuple[str, int]] = []
    for step in steps:
        if runs and runs[-1][0] == step.action:
            runs[-1] = (step.action, runs[-1][1] + 1)
        else:
            runs.append((step.action, 1))
    words = [f"{count} {action}s" if count > 1 else action for action, count in runs]
    took = sum(step.seconds or 0.0 for step in steps)
    more = f" … {len(words) - SHOWN_RUNS} more" if len(words) > SHOWN_RUNS else ""
    return ", ".join(words[:SHOWN_RUNS]) + f"{more}; {took:.0f} s"
