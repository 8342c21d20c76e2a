"""`clickflow profiles`: segments of today's customers, what they do later, and who is like whom."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clickflow.evaluation.bootstrap import Resampling
from clickflow.params.gate import ProfilesRule
from clickflow.params.schema import Params
from clickflow.profiles import embedding as embeddings
from clickflow.profiles import segments, stability, words, worth
from clickflow.profiles.embedding import Customers, Embedding, Floats, Ints
from clickflow.profiles.words import Trait
from clickflow.sequences.card import NOW, Card
from clickflow.sequences.store import open_split, read_card
from clickflow.serving import visits
from clickflow.system import console, integrity
from clickflow.system.errors import DataError, UsageError
from clickflow.system.files import check_folder, replacing, sha256, write_json, write_text
from clickflow.system.moments import iso
from clickflow.system.paths import Paths

if TYPE_CHECKING:
    import pyarrow as pa

KIND = "clickflow profiles"
"""What card.json says of the folder, so that no other folder is ever replaced by one."""
EACH = 20
"""Customers of the training part that a segment needs, on average."""
RESAMPLES, CONFIDENCE = 200, 0.95
UNSTABLE = 0.6
"""Segments whose adjusted Rand index is below are said to be so."""
SYSTEMS = ("segments", "rfm")


@dataclass(frozen=True)
class Segment:
    """A segment as of the end of the log."""

    key: str
    name: Mapping[str, str]
    customers: int
    share: float
    traits: Sequence[Trait]
    later: Mapping[str, Any]
    """of the test part: rows, and with interval came_back, value, lift"""


@dataclass(frozen=True)
class Profiles:
    """All of it, of a store."""

    customers: Customers
    learned: Embedding
    embedded: Floats
    segment: Ints
    rfm: Ints
    segments: Sequence[Segment]
    compared: Mapping[str, Any]
    stability: Mapping[str, Any]


def run(
    params: Params, paths: Paths, *, count: int, user: str | None, similar: int, out: Path | None, as_json: bool
) -> None:
    """The verb. Raises UsageError where there is no store of customers, too few of them for so many segments, or `out`
    holds something else; DataError where the store is not what it was recorded as.
    """
    if embeddings.UNIT not in params.units:
        raise UsageError(
            "profiles are of customers, and `units` in params.yaml does not list customer",
            kept="nothing was run",
            next_step="units: [session, customer], then `dvc repro` or `clickflow sequences customer`",
        )
    if out is not None:
        check_folder(out, KIND, "profiles")
    store = paths.sequences(embeddings.UNIT)
    integrity.verify(store, home=paths.home)
    card = read_card(store)
    if user is not None:
        visit = visits.find(params, paths, store, "user", user)
    with console.progress("profiling", None):
        profiles = find(store, card, count, params.seed)
    language = params.evaluation.language
    result = _card(profiles, card, store)
    for note in notes(profiles):
        console.say(f"warning {note}")
    held = refused(params.gate.profiles, profiles.stability, profiles.compared)
    if out is not None and held:
        raise DataError(
            f"the segments are held: {'; '.join(held)}",
            kept=f"{out} as it was",
            next_step="ask for fewer (--segments), take a longer log, or change gate.profiles in params.yaml",
        )
    if user is not None:
        rows = np.flatnonzero(profiles.customers.sequence == visit.index)
        if visit.part != profiles.customers.part or not len(rows):
            raise UsageError(
                f"{user} is not a customer as of the end of the log: no purchase in sequences.customer.active_days",
                kept="nothing was written",
            )
        result["customer"] = one(profiles, int(rows[0]), similar)
    if out is not None:
        with replacing(out, seal=integrity.seal) as fresh:
            write(fresh, profiles, result, similar, language)
    console.emit(result, as_json=as_json, text=lambda: _text(result, language))


def find(store: Path, card: Card, count: int, seed: int) -> Profiles:
    """Learn from the training part, judge on the test part, and tell of the customers as of the end of the log."""
    known = embeddings.read(store, card, "train", last=True)
    enough(known, count)
    now = embeddings.read(store, card, NOW)
    if not len(now):
        raise DataError(f"{store} has no customers as of the end of the log", next_step="take a longer log")
    learned = embeddings.learn(known, seed)
    own, rfm = segments.clusters(known, learned, count, seed), segments.rfm(known)
    ways: dict[str, segments.Segments] = dict(zip(SYSTEMS, (own, rfm), strict=True))
    after = embeddings.read(store, card, "test", taste=False)
    if not len(after):
        raise DataError(f"the test part of {store} is empty", next_step="take a longer log, or a shorter horizon")
    past, later = worth.later(store, card, known), worth.later(store, card, after)
    owner = worth.owners(after.user)
    judged = {
        name: worth.judged(way.of(after), owner, later, way.count, (way.of(known), past)) for name, way in ways.items()
    }
    how = Resampling(RESAMPLES, CONFIDENCE, seed)
    segment = own.of(now)
    named = words.names(segments.standings(now, segment, own.count))
    traits = words.traits(now, learned, segment, own.count)
    sizes = np.bincount(segment, minlength=own.count)
    named_segments = [
        Segment(key, name, int(sizes[k]), round(float(sizes[k]) / len(now), 4), traits[k], seen)
        for k, ((key, name), seen) in enumerate(zip(named, worth.by_segment(judged["segments"], how), strict=True))
    ]
    return Profiles(
        customers=now,
        learned=learned,
        embedded=learned.of(now),
        segment=segment,
        rfm=rfm.of(now),
        segments=named_segments,
        compared=worth.compare(judged, how),
        stability=stability.measure(known, now, count, seed),
    )


def refused(rule: ProfilesRule, stable: Mapping[str, Any], compared: Mapping[str, Any]) -> list[str]:
    """Why the rule of the gate keeps segments from being handed out, a phrase a reason; none: they may be."""
    why, least = [], rule.min_stability
    if least is not None and stable["segments"] < least:
        why.append(
            f"another sample of customers gives others, adjusted Rand index {stable['segments']:.2f}, "
            f"gate.profiles.min_stability {least:g}"
        )
    if rule.worse_than_rfm == "hold" and _worse_than_rfm(compared):
        why.append("RFM segments are shown to say more of who comes back (gate.profiles.worse_than_rfm)")
    return why


def _worse_than_rfm(compared: Mapping[str, Any]) -> bool:
    return (compared["segments_less"]["rfm"]["log_loss"]["low"] or 0) > 0


def enough(known: Customers, count: int) -> None:
    """Raise UsageError where there are too few customers to learn so many segments from."""
    if len(known) < count * EACH:
        raise UsageError(
            f"{len(known):,} customers to learn from are too few for {count} segments: {EACH} each are needed",
            kept="nothing was run",
            next_step=f"ask for fewer (--segments {max(2, len(known) // EACH)}), or take a longer log",
        )


def beside(params: Params, model: str, count: int) -> Callable[[Any, Path, "int | None"], "dict[str, pa.Table]"]:
    """What `clickflow score --all --segments` writes beside the predictions: the segment of each customer of now.

    Raises UsageError where the model is not of customers.
    """
    unit = params.model(model).unit
    if unit != embeddings.UNIT:
        raise UsageError(
            f"segments are of customers, and {model} reads the unit {unit}",
            kept="nothing was scored",
            next_step="leave out --segments, or score a model of the unit customer",
        )

    def segmented(_: Any, store: Path, since: int | None) -> "dict[str, pa.Table]":
        import pyarrow as pa

        card, rule = read_card(store), params.gate.profiles
        if rule != ProfilesRule():
            judged = find(store, card, count, params.seed)
            if held := refused(rule, judged.stability, judged.compared):
                console.say(f"warning the segments are held, and none are written: {'; '.join(held)}")
                return {}
        known, now = embeddings.read(store, card, "train", last=True), embeddings.read(store, card, NOW)
        enough(known, count)
        own = segments.clusters(known, embeddings.learn(known, params.seed), count, params.seed)
        segment = own.of(now)
        named = words.names(segments.standings(now, segment, own.count))
        split = open_split(store, NOW)
        ends = np.asarray(split.time)[(split.end - 1)[now.sequence]]
        keep = np.ones(len(now), bool) if since is None else ends >= since
        columns = {
            "user_id": pa.array(now.user, pa.string()),
            "last_event": pa.array(ends, pa.timestamp("us", tz="UTC")),
            "segment": pa.array([named[k][0] for k in segment], pa.string()),
            "segment_name": pa.array([named[k][1][params.evaluation.language] for k in segment], pa.string()),
        }
        return {"segments.parquet": pa.table(columns).filter(pa.array(keep))}

    return segmented


def one(profiles: Profiles, row: int, similar: int) -> dict[str, Any]:
    """A customer, and who is most like them; all by pseudonym."""
    near, cosine = embeddings.similar(profiles.embedded, np.array([row]), similar)
    middle = {name: float(np.nanmedian(profiles.customers.column(name))) for name in SHOWN}
    return {
        "user": profiles.customers.user[row],
        "segment": profiles.segments[profiles.segment[row]].name,
        "values": {
            name: {"own": _number(profiles.customers.column(name)[row]), "all": round(middle[name], 2)}
            for name in SHOWN
        },
        "similar": [
            {
                "user": profiles.customers.user[k],
                "cosine": round(float(c), 4),
                "segment": profiles.segments[profiles.segment[k]].name,
            }
            for k, c in zip(near[0].tolist(), cosine[0], strict=True)
        ],
    }


SHOWN = ("recency_days", "tenure_days", "purchases", "amount", "amount_mean")
"""What is told of one customer."""


def notes(profiles: Profiles) -> list[str]:
    """What the table does not show by itself."""
    said = []
    if profiles.stability["segments"] < UNSTABLE:
        said.append(
            "another sample of customers gives other segments (adjusted Rand index "
            f"{profiles.stability['segments']:.2f}, 1 is the same): ask for fewer (--segments)"
        )
    thin = [each.name["en"] for each in profiles.segments if each.later["later_rows"] == 0]
    if thin:
        said.append(f"nobody of the test part is in {', '.join(thin)}: nothing is known of what they do later")
    if _worse_than_rfm(profiles.compared):
        said.append("RFM segments say more of who comes back than these do (log loss, interval above 0)")
    return said


def _card(profiles: Profiles, card: Card, store: Path) -> dict[str, Any]:
    return {
        "as_of": iso(int(np.asarray(_cut_off(store)).max())),
        "customers": len(profiles.customers),
        "horizon_days": card.own_settings.get("horizon_days"),
        "embedding": list(profiles.learned.names),
        "segments": [
            {
                "key": each.key,
                "name": dict(each.name),
                "customers": each.customers,
                "share": each.share,
                "traits": [
                    {
                        "feature": trait.feature,
                        "own": _number(trait.own),
                        "all": _number(trait.all),
                        "deviations": round(trait.distance, 2),
                        "words": dict(trait.words),
                    }
                    for trait in each.traits
                ],
                **each.later,
            }
            for each in profiles.segments
        ],
        "compared": profiles.compared,
        "stability": profiles.stability,
        "store_sha256": card.sha256,
    }


def _cut_off(store: Path) -> Any:
    return open_split(store, NOW).cut_off


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)


def write(folder: Path, profiles: Profiles, result: Mapping[str, Any], similar: int, language: str) -> None:
    """profiles.parquet (a row a customer), segments.json, profiles.html and card.json into the existing `folder`."""
    import pyarrow as pa
    from pyarrow import parquet

    near, cosine = embeddings.similar(profiles.embedded, np.arange(len(profiles.customers)), similar)
    users = np.asarray(profiles.customers.user)
    names = [each.name[language] for each in profiles.segments]
    table = pa.table(
        {
            "user_id": pa.array(profiles.customers.user, pa.string()),
            "segment": pa.array([profiles.segments[k].key for k in profiles.segment], pa.string()),
            "segment_name": pa.array([names[k] for k in profiles.segment], pa.string()),
            "rfm": pa.array(profiles.rfm, pa.int8()),
            **{name: pa.array(profiles.customers.column(name).round(4), pa.float64()) for name in SHOWN},
            "similar": pa.array(users[near].tolist(), pa.list_(pa.string())),
            "cosine": pa.array(cosine.round(4).tolist(), pa.list_(pa.float64())),
            "embedding": pa.array(profiles.embedded.round(5).astype(np.float32).tolist(), pa.list_(pa.float32())),
        }
    )
    parquet.write_table(table, folder / "profiles.parquet")
    write_json(folder / "segments.json", {name: result[name] for name in ("segments", "compared", "stability")})
    write_text(folder / "profiles.html", page(result, language))
    files = ("profiles.parquet", "segments.json", "profiles.html")
    kept = {
        name: value for name, value in result.items() if name not in ("segments", "compared", "stability", "customer")
    }
    write_json(folder / "card.json", {"kind": KIND, **kept, "files": {name: sha256(folder / name) for name in files}})


def page(result: Mapping[str, Any], language: str) -> str:
    """The segments as a page."""
    from jinja2 import Environment, StrictUndefined

    template = Path(__file__).with_name("page.html.jinja").read_text(encoding="utf-8")
    environment = Environment(undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(result=result, language=language, credibility=_credibility(result))


def _text(result: Mapping[str, Any], language: str) -> Any:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    day, days = result["as_of"][:10], result["horizon_days"]
    table = Table(title=f"{result['customers']:,} customers as of {day}; later: {days:g} days in the test part")
    for name in ("segment", "customers", "come back", "value", "lift"):
        table.add_column(name, justify="left" if name == "segment" else "right")
    for each in result["segments"]:
        table.add_row(
            each["name"][language],
            f"{each['customers']:,} ({each['share']:.0%})",
            _span(each["came_back"], ".0%"),
            _point(each["value"], ",.2f"),
            _span(each["lift"], ".2f"),
        )
    said = [
        f"{each['name'][language]}: {'; '.join(trait['words'][language] for trait in each['traits']) or '-'}"
        for each in result["segments"]
    ]
    parts: list[Any] = [table, Text("\n".join(said) + "\n"), Text(_credibility(result))]
    if "customer" in result:
        own = result["customer"]
        people = Table(title=f"{own['user']}: {own['segment'][language]}")
        for name in ("most similar", "cosine", "segment"):
            people.add_column(name)
        for other in own["similar"]:
            people.add_row(other["user"], f"{other['cosine']:.2f}", other["segment"][language])
        parts.append(people)
    return Group(*parts)


def _span(value: Mapping[str, float | None], form: str) -> str:
    if value["value"] is None:
        return "-"
    ends = [value["value"] if value[end] is None else value[end] for end in ("low", "high")]
    return f"{value['value']:{form}} ({ends[0]:{form}} to {ends[1]:{form}})"


def _point(value: Mapping[str, float | None], form: str) -> str:
    return "-" if value["value"] is None else format(value["value"], form)


def _credibility(result: Mapping[str, Any]) -> str:
    """How far this may be believed."""
    systems, held = result["compared"]["systems"], result["stability"]
    own, rfm = (systems[name] for name in SYSTEMS)
    less = result["compared"]["segments_less"]["rfm"]["log_loss"]
    lift, other = (_three(each["top_fifth_lift"], form=".2f") for each in (own, rfm))
    return (
        f"Who comes back: log loss {_three(own['log_loss'])} by these segments, {_three(rfm['log_loss'])} by RFM "
        f"(difference {_three(less)}, {_three(less, 'low')} to {_three(less, 'high')}); ROC-AUC "
        f"{_three(own['roc_auc'])} and {_three(rfm['roc_auc'])}. The fifth of the customers in the best segments later "
        f"bought for {lift} times the mean, by RFM {other}. Another sample of customers gives the same segments to "
        f"{held['segments']:.2f} (adjusted Rand index; RFM {held['rfm']:.2f}), and {held['neighbours']:.0%} of the "
        f"{stability.NEIGHBOURS} most similar customers."
    )


def _three(value: Mapping[str, float | None], which: str = "value", form: str = ".4f") -> str:
    return "?" if value[which] is None else format(value[which], form)
