"""Whether a comparison with the champion is fair: what it may have learned from does not count."""

from typing import Any

from clickflow.evaluation.draws import Draws, too_few
from clickflow.evaluation.evidence import CHAMPION, Evidence
from clickflow.params import Gate


def share(evidence: Evidence) -> float | None:
    """The share of the test rows that the champion may have learned from; None where it is not known."""
    seen = evidence.predictions.seen.get(CHAMPION) if evidence.predictions else None
    return None if seen is None else float(seen.mean()) if len(seen) else 0.0


def found(evidence: Evidence) -> dict[str, Any]:
    """For the evidence of a rule: that share, and the end of the champion's data."""
    said = (evidence.metrics.get("seen") or {}).get(CHAMPION) or {}
    return {"seen_by_champion": share(evidence), "champion_seen_until": said.get("until")}


def left_out(evidence: Evidence) -> str:
    """What was left out, to be put behind a sentence; empty where nothing was."""
    seen = share(evidence)
    if not seen or not evidence.champion_version:
        return ""
    return (
        f"; {seen:.1%} of the test rows were left out: version {evidence.champion_version} may have learned from them"
    )


def why_not(gate: Gate, evidence: Evidence, draws: Draws) -> str | None:
    """Why candidate and champion cannot be compared on these rows; None where they can."""
    seen, version = share(evidence), evidence.champion_version
    if seen is None:
        return (
            f"it is not known until when the data of version {version} reach, so it may have learned from the test "
            f"rows; `clickflow rollback` to a version that says it, or to 0, mends that"
        )
    left = draws.predictions.customer[draws.unseen > 0]
    few = f"{len(left):,} rows are left, {gate.min_slice:,} are needed" if len(left) < gate.min_slice else too_few(left)
    if seen and few:
        return (
            f"version {version} may have learned from {seen:.1%} of the test rows; of the others {few}: test on later "
            f"data (sequences.test_share, sequences.until)"
        )
    return None
