"""Segments and forecasts, as `clickflow profiles` and `clickflow demand` left them below reports/."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from clickflow.system.files import read_json
from clickflow.system.paths import Paths

SEGMENTS, DEMAND = "profiles", "demand"
"""Folders below reports/."""
MISSING: dict[str, Any] = {"missing": True}
SERIES = 60
"""Forecasts that are sent at once, the largest first."""
AMOUNTS = ("expected", "low_10", "middle", "high_90")


def segments(paths: Paths | None) -> dict[str, Any]:
    """Names, sizes, what is different and what they do later; `missing` where there are none."""
    folder = _left(paths, SEGMENTS, "segments.json")
    if folder is None:
        return MISSING
    card = read_json(folder / "card.json")
    kept = {name: card.get(name) for name in ("as_of", "customers", "horizon_days")}
    return {**kept, "segments": read_json(folder / "segments.json")["segments"]}


def segment_of(paths: Paths | None, user: str) -> dict[str, Any] | None:
    """The segment of a customer and who is most like them; None where that is not known."""
    row = _row(paths, user)
    if row is None or paths is None:
        return None
    told = read_json(paths.root / "reports" / SEGMENTS / "segments.json")["segments"]
    named = {each["name"]["en"]: each["name"] for each in told}
    name = row["segment_name"]
    return {"name": named.get(name, {"en": name}), "similar": [each for each in row["similar"][:5] if each]}


def row_of(paths: Paths | None, user: str) -> dict[str, Any] | None:
    """The segment of a customer, as of when, and what it goes by; None where that is not known."""
    row = _row(paths, user)
    if row is None or paths is None:
        return None
    own = {name: value for name, value in row.items() if isinstance(value, int | float)}
    card = read_json(paths.root / "reports" / SEGMENTS / "card.json")
    return {"segment": row["segment"], "name": row["segment_name"], "as_of": card["as_of"], "values": own}


def _row(paths: Paths | None, user: str) -> dict[str, Any] | None:
    import pyarrow.compute as pc

    folder = _left(paths, SEGMENTS, "profiles.parquet")
    if folder is None:
        return None
    table = _table(folder / "profiles.parquet")
    rows: list[dict[str, Any]] = table.filter(pc.equal(table["user_id"], user)).to_pylist()
    return rows[0] if rows else None


def forecasts(paths: Paths | None, q: str) -> dict[str, Any]:
    """The largest series whose id holds `q`, each with its periods and what to order; `missing`: there are none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    folder = _left(paths, DEMAND, "forecasts.parquet")
    if folder is None:
        return MISSING
    card = read_json(folder / "card.json")
    level = card["level"]
    stock, ahead = _table(folder / "stock.parquet"), _table(folder / "forecasts.parquet")
    if q:
        stock = stock.filter(pc.match_substring(stock[level], q, ignore_case=True))
    rows = stock.sort_by([("expected", "descending")]).slice(0, SERIES).to_pylist()
    wanted = [row[level] for row in rows]
    by_series: dict[str, list[dict[str, Any]]] = {name: [] for name in wanted}
    for period in ahead.filter(pc.is_in(ahead[level], pa.array(wanted, pa.string()))).to_pylist():
        by_series[period[level]].append({name: period[name] for name in ("period", *AMOUNTS)})
    past = card.get("past") or {}
    return {
        **{name: card[name] for name in ("level", "step", "horizon", "from", "count")},
        "coverage": (past.get("preset") or {}).get("coverage_80"),
        "series": [{**row, "id": row[level], "periods": by_series[row[level]]} for row in rows],
    }


def _left(paths: Paths | None, name: str, file: str) -> Path | None:
    """The folder `name` below reports/, where it holds the file."""
    folder = None if paths is None else paths.root / "reports" / name
    return folder if folder is not None and (folder / file).is_file() else None


def _table(file: Path) -> Any:
    return _table_of(file, file.stat().st_mtime_ns)


@lru_cache(4)
def _table_of(file: Path, _stamp: int) -> Any:
    from pyarrow import parquet

    return parquet.read_table(file)
