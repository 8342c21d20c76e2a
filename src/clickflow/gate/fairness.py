"""Whether a comparison with an earlier version is fair: rows that it may have learned from are left out."""

from typing import Any

from clickflow.evaluation.systems import CHAMPION
from clickflow.gate.draws import Draws, too_few, unseen
from clickflow.gate.evidence import Evidence
from clickflow.gate.resolved import ResolvedGate


def share(gate: ResolvedGate, evidence: Evidence, system: str = CHAMPION) -> float | None:
    """The share of the test rows that this version may have learned from; None where it is not known."""
    rows = evidence.rows.get(gate.output)
    seen = rows.seen.get(system) if rows else None
    return None if seen is None else float(seen.mean()) if len(seen) else 0.0


def facts(gate: ResolvedGate, evidence: Evidence, system: str = CHAMPION) -> dict[str, Any]:
    """For the evidence of a rule: that share, and the end of the version's data."""
    overlap = (evidence.metrics.get("seen") or {}).get(system) or {}
    return {f"seen_by_{system}": share(gate, evidence, system), f"{system}_seen_until": overlap.get("until")}


def left_out(gate: ResolvedGate, evidence: Evidence, system: str = CHAMPION) -> str:
    """What was left out, to be put behind a sentence; empty where nothing was."""
    seen, version = share(gate, evidence, system), _version(evidence, system)
    if not seen or not version:
        return ""
    return f"; {seen:.1%} of the test rows were left out: version {version} may have learned from them"


def _version(evidence: Evidence, system: str) -> int:
    return evidence.champion_version if system == CHAMPION else evidence.best_version


def why_not(gate: ResolvedGate, evidence: Evidence, draws: Draws, system: str = CHAMPION) -> str | None:
    """Why the candidate and this version cannot be compared on these rows; None where they can."""
    seen, version = share(gate, evidence, system), _version(evidence, system)
    if seen is None:
        return (
            f"it is not known until when the data of version {version} reach, so it may have learned from the test "
            f"rows; `clickflow rollback` to a version that says it, or to 0, mends that"
        )
    left = draws.rows.customer[unseen(draws.rows, system) > 0]
    few = f"{len(left):,} rows are left, {gate.min_slice:,} are needed" if len(left) < gate.min_slice else too_few(left)
    if seen and few:
        return (
            f"version {version} may have learned from {seen:.1%} of the test rows; of the others {few}: test on later "
            f"data (sequences.test_share, sequences.until)"
        )
    return None
