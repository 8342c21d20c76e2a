"""Segments and forecasts: what `clickflow profiles` and `clickflow demand` left below reports/, and the forecasts of a
champion of series, from the packed store.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from clickflow.online import visits
from clickflow.online.history import Question
from clickflow.online.served import Served
from clickflow.registry import ledger
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.sequences.store import open_split, read_card
from clickflow.sequences.units.series import DAYS
from clickflow.system import integrity
from clickflow.system.errors import ClickflowError, DataError
from clickflow.system.files import read_json
from clickflow.system.paths import Paths

SEGMENTS, DEMAND = "profiles", "demand"
"""Folders below reports/."""
CARD = "card.json"
MISSING: dict[str, Any] = {"missing": True}
SERIES = 60
"""Forecasts that are sent at once, the largest first."""
AMOUNTS = ("expected", "low_10", "middle", "high_90")
KEPT = 16
"""Answers of a champion of series that are kept: they change with the store and the version alone."""
PAST = 3
"""Horizons of what was sold that are shown before a forecast."""


def segments(paths: Paths | None) -> dict[str, Any]:
    """Names, sizes, what is different and what they do later; `missing` where there are none."""
    folder = _left(paths, SEGMENTS, "segments.json")
    if folder is None:
        return MISSING
    card = read_json(folder / CARD)
    kept = {name: card.get(name) for name in ("as_of", "customers", "horizon_days")}
    return {**kept, "report": _which(folder), "segments": read_json(folder / "segments.json")["segments"]}


def segment_of(paths: Paths | None, user: str) -> dict[str, Any] | None:
    """The segment of a customer and who is most like them; None where that is not known."""
    row = _row(paths, user)
    if row is None or paths is None:
        return None
    segments = read_json(paths.root / "reports" / SEGMENTS / "segments.json")["segments"]
    named = {each["name"]["en"]: each["name"] for each in segments}
    name = row["segment_name"]
    return {"name": named.get(name, {"en": name}), "similar": [each for each in row["similar"][:5] if each]}


def row_of(paths: Paths | None, user: str) -> dict[str, Any] | None:
    """The segment of a customer, as of when, and what it goes by; None where that is not known."""
    row = _row(paths, user)
    if row is None or paths is None:
        return None
    own = {name: value for name, value in row.items() if isinstance(value, int | float)}
    folder = paths.root / "reports" / SEGMENTS
    said = {"as_of": read_json(folder / CARD)["as_of"], "report": _which(folder)}
    return {"segment": row["segment"], "name": row["segment_name"], **said, "values": own}


def _row(paths: Paths | None, user: str) -> dict[str, Any] | None:
    import pyarrow.compute as pc

    folder = _left(paths, SEGMENTS, "profiles.parquet")
    if folder is None:
        return None
    table = _table(folder / "profiles.parquet")
    rows: list[dict[str, Any]] = table.filter(pc.equal(table["user_id"], user)).to_pylist()
    return rows[0] if rows else None


def sources(paths: Paths | None, served: Sequence[Served]) -> list[str]:
    """Whose forecasts there are: champions of series whose store is here, then `DEMAND` where there is its report."""
    if paths is None:
        return []
    there = [one.model for one in served if one.artefact.forecasts and (paths.sequences(one.unit) / CARD).is_file()]
    return there + [DEMAND] * (_left(paths, DEMAND, "forecasts.parquet") is not None)


def forecasts(paths: Paths | None, served: Sequence[Served], q: str, source: str = "") -> dict[str, Any]:
    """Those of one of `sources`, the first where none is named; `missing`: there are none."""
    known = sources(paths, served)
    name = source if source in known else next(iter(known), "")
    if paths is None or not name:
        return MISSING
    champion = next((one for one in served if one.model == name), None)
    content = reported(paths, q) if champion is None or name == DEMAND else ahead_of(paths, champion, q)
    return {**content, "source": name, "sources": known}


def reported(paths: Paths, q: str) -> dict[str, Any]:
    """The largest series whose id holds `q`, each with its periods and what to order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    folder = paths.root / "reports" / DEMAND
    card = read_json(folder / CARD)
    level = card["level"]
    stock, ahead = _table(folder / "stock.parquet"), _table(folder / "forecasts.parquet")
    if q:
        stock = stock.filter(pc.match_substring(stock[level], q, ignore_case=True))
    rows = stock.sort_by([("expected", "descending")]).slice(0, SERIES).to_pylist()
    wanted = [row[level] for row in rows]
    by_series: dict[str, list[dict[str, Any]]] = {name: [] for name in wanted}
    for period in ahead.filter(pc.is_in(ahead[level], pa.array(wanted, pa.string()))).to_pylist():
        by_series[period[level]].append({name: period[name] for name in ("period", *AMOUNTS)})
    sold: dict[str, list[dict[str, Any]]] = {name: [] for name in wanted}
    if (folder / "sold.parquet").is_file():  # of a report made before there was one: none is shown
        before = _table(folder / "sold.parquet")
        for period in before.filter(pc.is_in(before[level], pa.array(wanted, pa.string()))).to_pylist():
            sold[period[level]].append({name: period[name] for name in ("period", "units")})
    past = card.get("past") or {}
    return {
        **{name: card[name] for name in ("level", "step", "horizon", "from", "count")},
        "coverage": (past.get("preset") or {}).get("coverage_80"),
        "report": _which(folder),
        "plan": None,
        "series": [
            {**row, "id": row[level], "periods": by_series[row[level]], "sold": sold[row[level]]} for row in rows
        ],
    }


def ahead_of(paths: Paths, served: Served, q: str) -> dict[str, Any]:
    """What a champion of series forecasts as of the end of the log, of the series whose id holds `q`: those that sold
    most of late. `says`: by its other outputs, how likely yes is.

    Raises DataError where the store is not what was recorded, or its steps are not those of the model.
    """
    store = paths.sequences(served.unit)
    key = (served.model, served.version, (store / CARD).stat().st_mtime_ns, q)
    with _ONE:  # whoever asks meanwhile gets the same answer
        if key not in _FOUND:
            while len(_FOUND) >= KEPT:
                _FOUND.pop(next(iter(_FOUND)))
            _FOUND[key] = _ahead(store, paths, served, q)
        return _FOUND[key]


_ONE = Lock()
_FOUND: dict[tuple[str, int, int, str], dict[str, Any]] = {}


def _ahead(store: Path, paths: Paths, served: Served, q: str) -> dict[str, Any]:
    integrity.verify(store, home=paths.home)
    card, step = read_card(store), str(served.artefact.card["step"])
    (part,), horizon, days = card.scored_parts, int(served.artefact.card["horizon"]), DAYS[step]
    if card.own_settings.get("step", step) != step:
        raise DataError(
            f"{served.model} forecasts {step}s, and the store holds {card.own_settings['step']}s",
            next_step="train a model on this store, or make the store again (sequences.series.step)",
        )
    rows = _selling(store, part, horizon, q)
    questions = visits.questions(store, part, rows[:SERIES])
    split = open_split(store, part)
    plan = split.plan and split.plan.of(split.plan.numbers(split, np.array(rows[:SERIES], np.int64)))
    answers = served.answers(questions, plan) if questions else {}
    (ahead,) = (output.name for output in served.outputs if output.kind == "forecast")
    others = [output for output in served.outputs if output.kind == "probability"]
    series = []
    for place, each in enumerate(questions):
        last = datetime.fromtimestamp((each.steps[-1].time or 0) / 1e6, UTC).date()
        numbers = np.round(answers[ahead][place].reshape(-1, len(AMOUNTS)).astype(float), 2).tolist()
        periods = [
            {"period": str(last + timedelta(days * (number + 1))), **dict(zip(AMOUNTS, row, strict=True))}
            for number, row in enumerate(numbers)
        ]
        series.append(
            {
                "id": each.steps[-1].item,
                "category": each.steps[-1].category,
                "expected": round(sum(row[0] for row in numbers), 2),
                "periods": periods,
                "sold": _sold(each, PAST * horizon),
                "says": {output.name: round(float(np.exp(answers[output.name][place][1])), 4) for output in others},
            }
        )
    series.sort(key=lambda each: -each["expected"])
    return {
        "model": served.model,
        "version": served.version,
        "level": card.own_settings.get("level", "item"),
        "step": step,
        "horizon": horizon,
        "from": series[0]["periods"][0]["period"] if series else None,
        "count": len(rows),
        "coverage": _covered(paths, served, ahead),
        "plan": served.artefact.session.forecaster.reads(card.plan),
        "means": {output.name: dict(output.head.means) for output in others},
        "series": series,
    }


def _covered(paths: Paths, served: Served, output: str) -> float | None:
    """Which share of the values of the test part lay in such a band, as the ledger has it of the version's evaluation;
    None where it says nothing of it.
    """
    with suppress(ClickflowError, OSError):
        lines = [e for e in ledger.read(ledger.path(paths)) if (e.model, e.version) == (served.model, served.version)]
        for line in reversed(lines):
            coverage = (line.facts.get("metrics") or {}).get(f"{output}.coverage_80")
            if coverage is not None:
                return float(coverage)
    return None


def _selling(store: Path, part: str, horizon: int, q: str) -> list[int]:
    """The sequences of a part whose key holds `q`, those first of which most was sold in the last steps."""
    import pyarrow.compute as pc
    from pyarrow import parquet

    split = open_split(store, part)
    ends = np.asarray(split.end, np.int64)
    before = np.concatenate([[0.0], np.cumsum(np.nan_to_num(np.asarray(split.quantity, np.float64)))])
    units = before[ends] - before[np.maximum(ends - horizon, np.asarray(split.begin, np.int64))]
    keys = parquet.read_table(store / "vocabulary.parquet", columns=["item_id"])["item_id"]
    named = pc.match_substring(keys, q, ignore_case=True).to_numpy()
    there = named[np.asarray(split.item)[ends - 1] - FIRST_ITEM]
    order = np.argsort(-units, kind="stable")
    return [row for row in order.tolist() if there[row]]


def _sold(question: Question, most: int) -> list[dict[str, Any]]:
    """The last steps of a series."""
    days = ((datetime.fromtimestamp((step.time or 0) / 1e6, UTC), step.quantity) for step in question.steps[-most:])
    return [{"period": str(at.date()), "units": units} for at, units in days]


def _left(paths: Paths | None, name: str, file: str) -> Path | None:
    """The folder `name` below reports/, where it holds the file. Raises DataError where it is not as it was written."""
    folder = None if paths is None else paths.root / "reports" / name
    if paths is None or folder is None or not (folder / file).is_file():
        return None
    if (folder / integrity.SEAL).is_file():
        try:
            integrity.verify(folder, home=paths.home)
        except DataError as error:
            raise DataError(
                error.what,
                kept="nothing is answered from it; every other answer is as it was",
                next_step=f"remove reports/{name}, then `clickflow {name} --out reports/{name}` makes it anew",
            ) from error
    return folder


def _which(folder: Path) -> str | None:
    """What tells a report from every other: the hash of its files; None of one from before there were hashes."""
    return str(read_json(file)["seal"]) if (file := folder / integrity.SEAL).is_file() else None


def _table(file: Path) -> Any:
    return _table_of(file, file.stat().st_mtime_ns)


@lru_cache(6)
def _table_of(file: Path, _stamp: int) -> Any:
    from pyarrow import parquet

    return parquet.read_table(file)
