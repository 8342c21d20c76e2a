"""The stage `validate`: the events checked against the suites in expectations/."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.markup import escape

from clickflow.events import manifest, refusals
from clickflow.params.schema import Params
from clickflow.quality import docs, evidence, judge, suites, verdict
from clickflow.quality.figures import row_figures
from clickflow.quality.log import find_files, open_log
from clickflow.quality.profile import Profile, measure, sample
from clickflow.system import console, files, integrity
from clickflow.system.errors import DataError, UsageError
from clickflow.system.paths import Paths


def run(params: Params, paths: Paths) -> None:
    """Write reports/validation.json and reports/data_docs.

    Raises DataError (exit code 3), after both are written, where a critical expectation fails: with each rule, what was
    observed, the bound, how many rows are concerned and up to five of them. Warnings are said and stand in both.
    Raises UsageError where there are no events, or where a suite cannot be used.
    """
    integrity.verify(paths.events, home=paths.home)
    card = _ingest_card(paths.ingest_card)
    day_files = find_files(paths.events)
    as_of = _utc(params.source.as_of)
    latest = as_of + timedelta(minutes=params.ingest.future_tolerance_minutes) if as_of else None
    rows = row_figures(latest)
    card["duplicates"] = params.ingest.duplicates
    card["refused_files"] = _refused(card["sources"], params.ingest.max_file_quarantine_share)
    known = suites.parameters(params.quality)
    # the clock is looked at only where an age is asked for and no moment is given: nothing else depends on it
    dated = params.quality.max_age_days is not None and manifest.clock(paths.events)
    now = (as_of or datetime.now(UTC)) if dated else None

    with files.scratch_folder(paths.data_docs) as scratch:
        log = open_log(day_files, params.quality.memory_gb, scratch / "spill")
        with console.progress("validating", total=len({file.parent for file in day_files})) as advance:
            profile = measure(log, rows, card, now, advance)
        tables = _tables(profile, log.columns, sample(log, int(profile.log["events"] or 0)))
        context = scratch / "context"
        rules = suites.prepare(paths.root / "expectations", context, known, _columns(tables))
        judge.write_tables(context, tables)
        moment = profile.last_event or datetime(1970, 1, 1, tzinfo=UTC)
        judged = judge.judge(context, rules, known, moment)

        findings = []
        for rule in rules:
            if rule.unchecked is not None:
                findings.append(verdict.Finding(rule, None))
                continue
            success, result = judged[rule.id]["success"], judged[rule.id]["result"]
            shown = None
            if not success and rule.table in ("log", "drift") and rule.columns:
                shown = evidence.of_figure(rule.columns[0], rule.bound, log, profile, rows, card)
            elif not success:
                shown = evidence.of_table(result, rule.table, tables[rule.table].to_pylist())
            observed = result.get("observed_value", result.get("unexpected_count"))
            findings.append(verdict.Finding(rule, success, observed, shown))
        log.connection.close()

        docs.write_site(context / judge.SITE, paths.data_docs, findings, profile)
    files.write_json(paths.validation, verdict.report(findings, profile, log.columns))
    _tell(findings, paths)


def _tell(findings: list[verdict.Finding], paths: Paths) -> None:
    """Say the warnings and the outcome; raise where something critical failed."""
    site = (paths.data_docs / "index.html").relative_to(paths.root)
    broken, odd = verdict.critical(findings), verdict.warnings(findings)
    for finding in odd:
        for line in finding.lines():
            console.say(f"[yellow]{finding.rule.severity}[/] {escape(line)}")
    checked = [finding for finding in findings if finding.success is not None]
    if not broken:
        console.say(
            f"validate: {len(checked) - len(odd)} of {len(checked)} expectations hold, {len(odd)} warnings, "
            f"{len(findings) - len(checked)} not checked; Data Docs: {site}"
        )
        return
    said = "\n".join(f"  {line}" for finding in broken for line in finding.lines())
    raise DataError(
        f"the events break {len(broken)} critical expectation{'s' if len(broken) > 1 else ''}:\n{said}",
        kept=f"the verdict in {paths.validation.relative_to(paths.root)} and the Data Docs, open {site}",
        next_step="correct the source and run `clickflow ingest` again, or, where the bound is wrong for this shop, "
        "set it in params.yaml (quality) or in expectations/",
    )


def _ingest_card(path: Path) -> dict[str, Any]:
    """reports/ingest.json: the counts as ints, the reasons, and the sources."""
    try:
        raw = files.read_json(path)
        counts: dict[str, Any] = {name: int(raw[name]) for name in ("read", "accepted", "quarantined")}
        counts |= {name: dict(raw.get(name) or {}) for name in ("unread", "currencies")}
        counts |= {name: int(raw.get(name) or 0) for name in ("ignored", "forgotten")}
        return counts | {"reasons": dict(raw.get("reasons") or {}), "sources": list(raw.get("sources") or [])}
    except FileNotFoundError as error:
        raise UsageError(
            f"there is no {path}, which says how many rows were read and accepted",
            kept="nothing was written",
            next_step="run `clickflow ingest` first, or `dvc repro validate`, which does both",
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} does not hold the counts read, accepted and quarantined: {error!r}",
            kept="nothing was written",
            next_step="run `clickflow ingest` again",
        ) from error


def _refused(sources: list[dict[str, Any]], bound: float) -> list[dict[str, Any]]:
    """The files of which more than `bound` was refused, the worst and newest first."""
    return [
        {
            "file": each["source"],
            "refused": refusals.refused(each),
            "read": refusals.wanted(each),
            **each["reasons"],
        }
        for each in refusals.above(sources, bound)
    ]


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment


def _tables(profile: Profile, columns: tuple[dict[str, Any], ...], rows: pa.Table) -> dict[str, pa.Table]:
    """The tables that the suites may read."""
    return {
        "columns": pa.Table.from_pylist(list(columns)),
        "log": pa.Table.from_pylist([dict(profile.log)]),
        "drift": pa.Table.from_pylist([dict(profile.drift)]),
        "days": pa.Table.from_pylist([dict(day) for day in profile.days]),
        "sample": rows,
    }


def _columns(tables: Mapping[str, pa.Table]) -> dict[str, dict[str, list[Any]]]:
    """Column → values of each table; of the sample the names alone, it has more than one row."""
    return {
        name: {column: table[column][:2].to_pylist() for column in table.column_names} for name, table in tables.items()
    }
