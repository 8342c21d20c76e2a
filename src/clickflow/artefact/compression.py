"""Smaller forms of a model side by side, and which of them ships.

Each is measured on the validation part beside the model as it was trained: the primary of each head, bytes, and the
time of a request. One that loses too much, or gains too little, is off; of the others the best that keeps within the
gate's budgets ships. The table stands in the card, with times as classes, so that the same model gives the same bytes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from clickflow.artefact import checks, quality
from clickflow.artefact.artefact import CARD, MODEL, Artefact, load
from clickflow.artefact.windows import of_split
from clickflow.heads import outputs
from clickflow.params.export import Export
from clickflow.params.gate import Gate
from clickflow.sequences.store import open_split
from clickflow.system.console import say
from clickflow.system.files import sha256, write_json

NONE = "none"
"""The model as it was trained."""
STEPS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0)
"""Of the classes of a variant's times."""
FASTEST = 0.01
"""Milliseconds: the least class."""


@dataclass(frozen=True)
class Variant:
    """A smaller form of a model: its bytes, and what its answers may not differ from by more than `tolerance`."""

    name: str
    model: bytes
    expected: checks.Expected
    tolerance: float


def smaller(variants: Iterable[Variant], export: Export, gate: Gate, written: checks.Written) -> dict[str, Any]:
    """Put the variant that ships into the artefact `written`; returns what its card says of it. Raises ClickflowError
    where a variant does not answer as its own weights do, or looks ahead.
    """
    wanted = quality.metrics(tuple(written.content["outputs"]), gate)
    plain = load(written.folder)
    models, rows, kept = {NONE: written.model}, {}, {}
    rows[NONE], kept[NONE] = _row(written, plain, written.taken, wanted), dict(written.content)
    for variant in variants:
        content = _put(written, variant.model)
        artefact = load(written.folder)
        held = (artefact, written.card, written.split, written.questions)
        own = checks.parity(variant.expected, *held, variant.tolerance)
        apart = checks.parity(written.expected, *held, np.inf)
        checks.causality(*held, export.tolerance)
        taken = checks.latencies(*held, export.latency_batch)
        content |= {
            "parity": checks.digits(own),
            "latency_ms_p95_class": checks.ladder(checks.within(taken, 0.95)),
            "latency_batch": export.latency_batch,
        }
        models[variant.name], kept[variant.name] = variant.model, content
        rows[variant.name] = _row(written, artefact, taken, wanted) | {
            "parity": content["parity"],
            "tolerance": variant.tolerance,
            "apart": checks.digits(apart),
        }
    chosen = _chosen(rows, kept, wanted, export, gate)
    _put(written, models[chosen])
    for row in rows.values():
        row["quality"] = {
            outputs.full(name, wanted[name], written.content["outputs"]): round(value, 6)
            for name, value in row["quality"].items()
        }
    for line in table(rows):
        say(line)
    return {**kept[chosen], "compression": {"chosen": chosen, "variants": rows}}


def _put(written: checks.Written, model: bytes) -> dict[str, Any]:
    """Write a model into the artefact's folder, and a card that speaks of it; returns the card's content."""
    (written.folder / MODEL).write_bytes(model)
    content = {**written.content, "size_bytes": len(model), "model_sha256": sha256(written.folder / MODEL)}
    write_json(written.folder / CARD, content)
    return content


def _row(written: checks.Written, artefact: Artefact, taken: Any, wanted: Mapping[str, str]) -> dict[str, Any]:
    """What is measured of a variant."""
    split = open_split(written.store, "valid")
    if split.n_sequences == 0:
        split = written.split
    most = quality.most_questions(written.card.known)
    each = max(1.0, split.n_events / split.n_sequences) if split.asks == "every" else 1.0
    spread = np.linspace(0, split.n_sequences - 1, min(split.n_sequences, max(1, round(most / each))))
    questions = of_split(split, np.unique(spread.astype(np.int64)), artefact.max_length)
    translation = checks.identity(split, written.card)
    times = {name: checks.within(taken, share) for name, share in (("p50", 0.5), ("p99", 0.99))}
    say(f"{artefact.card['size_bytes'] / 1e6:,.1f} MB, p50 {times['p50']:.3f} ms, p99 {times['p99']:.3f} ms")
    return {
        "quality": quality.measure(artefact, split, questions, written.card, translation, wanted),
        "questions": len(questions),
        "size_bytes": artefact.card["size_bytes"],
        **{f"latency_ms_{name}_class": checks.ladder(value, STEPS, FASTEST) for name, value in times.items()},
    }


def _chosen(
    rows: dict[str, dict[str, Any]],
    kept: Mapping[str, Mapping[str, Any]],
    wanted: Mapping[str, str],
    export: Export,
    gate: Gate,
) -> str:
    """Which one ships; writes into each row how it compares, and why it does not."""
    plain, fitting = rows[NONE], {}
    main = quality.main(tuple(wanted), gate)
    for name, row in rows.items():
        row["quality_loss"] = round(quality.loss(plain["quality"], row["quality"], wanted), 5)
        row["primary_loss"] = round(quality.loss(plain["quality"], row["quality"], {main: wanted[main]}), 5)
        row["smaller"] = round(plain["size_bytes"] / row["size_bytes"], 2)
        row["quicker"] = round(plain["latency_ms_p50_class"] / row["latency_ms_p50_class"], 2)
        row["why"] = _off(name, row, export) or _beyond(kept[name], gate)
        if not row["why"]:
            fitting[name] = row
    chosen = min(fitting, key=lambda name: (fitting[name]["primary_loss"], fitting[name]["size_bytes"]), default=NONE)
    for name, row in fitting.items():
        equal = row["primary_loss"] == rows[chosen]["primary_loss"]
        better = "answers as well and is smaller" if equal else "answers better"
        row["why"] = "" if name == chosen else f"within the gate's budgets, as {chosen} is, which {better}"
    if not fitting:
        rows[NONE]["why"] += "; ships all the same, as nothing else fits: the gate judges it"
    return chosen


def _off(name: str, row: Mapping[str, Any], export: Export) -> str:
    """Why a variant is off; nothing where it is on."""
    if name == NONE:
        return ""
    if row["quality_loss"] > export.max_quality_loss:
        return f"off: loses {row['quality_loss']:.2%}; export.max_quality_loss is {export.max_quality_loss:.2%}"
    if max(row["smaller"], row["quicker"]) < export.min_compression:
        return (
            f"off: {row['smaller']:g} times smaller, {row['quicker']:g} times as quick; export.min_compression is "
            f"{export.min_compression:g}"
        )
    return ""


def _beyond(content: Mapping[str, Any], gate: Gate) -> str:
    """Which of the gate's budgets a variant breaks."""
    if content["size_bytes"] > gate.max_size_mb * 1e6:
        return f"{content['size_bytes'] / 1e6:.1f} MB are above gate.max_size_mb, {gate.max_size_mb:g}"
    if content["latency_ms_p95_class"] > gate.max_latency_ms:
        return f"{content['latency_ms_p95_class']:g} ms are above gate.max_latency_ms, {gate.max_latency_ms:g}"
    return ""


def table(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The rows for a console."""
    lines = []
    for name, row in rows.items():
        figures = ", ".join(f"{metric} {value:.4f}" for metric, value in row["quality"].items())
        lines.append(
            f"{name}: {figures}; {row['size_bytes'] / 1e6:,.2f} MB ({row['smaller']:g} times smaller), p50 within "
            f"{row['latency_ms_p50_class']:g} ms, p99 within {row['latency_ms_p99_class']:g} ms; "
            f"{row['why'] or 'ships'}"
        )
    return lines
