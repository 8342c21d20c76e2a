"""The stage `evaluate`: candidate, baselines and champion on the same held-out rows, and the report of it."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clickflow.artefact.artefact import Artefact, load
from clickflow.evaluation import (
    customers,
    examples,
    headline,
    held_out,
    measure,
    oracle,
    overall,
    paragraph,
    reference,
    report,
    seen,
    slices,
    vocabularies,
)
from clickflow.evaluation.answers import KINDS
from clickflow.evaluation.earlier import REFERENCE, Earlier
from clickflow.evaluation.held_out import Training
from clickflow.evaluation.measure import Measured
from clickflow.evaluation.systems import CANDIDATE, CHAMPION
from clickflow.forecasting import local
from clickflow.heads.head import SIZES
from clickflow.params.evaluation import Evaluation
from clickflow.params.schema import Params
from clickflow.sequences.store import open_split, read_card
from clickflow.system import integrity
from clickflow.system.console import emit, progress, say
from clickflow.system.errors import DataError
from clickflow.system.files import replacing, write_json, write_text
from clickflow.system.paths import Paths

if TYPE_CHECKING:
    import pyarrow as pa


def run(params: Params, paths: Paths, name: str, champion: Earlier | None = None, best: Earlier | None = None) -> None:
    """Write `reports/<name>/evaluation`, with every figure, and `reports/<name>/metrics.json`, a dozen of them.

    `champion`: of the version that params.yaml names, and `best`, the best champion of the past where that is another;
    the registry hands them in. Raises DataError where artefact or store are missing, changed, or do not belong
    together.
    """
    unit = params.model(name).unit
    integrity.verify(paths.exported(name), paths.sequences(unit), paths.truth, home=paths.home)
    candidate = load(paths.exported(name))
    measured = evaluate(
        candidate,
        paths.sequences(unit),
        params.evaluation,
        params.seed,
        champion=seen.loaded(champion) if champion else None,
        best=seen.loaded(best) if best else None,
        truth=paths.truth,
    )
    card = read_card(paths.sequences(unit))
    content = measured.metrics | {
        "model": name,
        "champion_version": champion.version if champion else 0,
        "best_version": best.version if best else champion.version if champion else 0,
        "data_sha256": card.sha256,
        "artefact": {
            "kind": candidate.kind,
            "model_sha256": candidate.card["model_sha256"],
            "size_mb": round(candidate.card["size_bytes"] / 1e6, 3),
            "latency_ms_p95_class": candidate.card["latency_ms_p95_class"],
            "parity": candidate.card["parity"],
            **({"compression": forms} if (forms := candidate.card.get("compression")) else {}),
        },
    }
    with replacing(paths.evaluation(name), seal=integrity.seal) as fresh:
        write(fresh, measured, content, candidate, params.evaluation)
        write_json(fresh / paths.measured(name).name, content)
        confidence = params.evaluation.confidence
        write_json(fresh / REFERENCE, reference.of(candidate, paths.sequences(unit), card, content, confidence))
    write_json(paths.metrics(name), headline.short(content))
    emit(content, as_json=False, text=lambda: report.console_table(content))
    if content["summary"]:
        say(content["summary"])
    for line in (*headline.warnings(content), *headline.notes(content)):
        say(line)
    for baseline in content["not_converged"]:
        say(f"the baseline {baseline} had not converged: it may be weaker than it could be")
    say(f"report: {paths.evaluation(name) / 'report.html'}")


def evaluate(
    candidate: Artefact,
    store: Path,
    settings: Evaluation,
    seed: int,
    *,
    champion: Artefact | None = None,
    best: Artefact | None = None,
    truth: Path | None = None,
) -> Measured:
    """Measure a candidate on the test part of the packed store in `store`, beside everything it is compared with.

    `champion`, and `best`, the best champion of the past where that is another, are scored on the same rows, each
    through its own vocabulary. `truth`: data/truth of a simulated log. Raises
    DataError where the candidate does not speak the store's vocabulary, or there is nothing to test on.
    """
    card = read_card(store)
    if candidate.known != card.known or candidate.card.get("data_sha256", card.sha256) != card.sha256:
        raise DataError(
            f"the artefact in {candidate.folder} was made from other data than {store} holds now",
            kept="the last evaluation",
            next_step="run `dvc repro`, or `dvc checkout` for the data it was made from",
        )
    split = open_split(store, "test")
    if split.n_sequences == 0:
        raise DataError(f"the test part of {store} is empty", next_step="raise sequences.test_share, or ingest more")
    owners = customers.of(store, "test")
    test = held_out.latest(store, card, split, settings.max_sequences, candidate.max_length, owners)
    test = replace(
        test, group=customers.groups(store, "test", split.horizon), apart=customers.attributes(store, "test")
    )
    training = Training(open_split(store, "train"), card, candidate.max_length)
    before = open_split(store, "valid") if settings.costs else None
    valid = None
    if before is not None and before.n_sequences:
        valid = held_out.latest(store, card, before, settings.max_sequences, candidate.max_length)
    known_truth = oracle.Truth(truth) if truth is not None and oracle.available(truth) else None
    earlier = sum(version is not None for version in (champion, best))
    with local.remembering(), progress("evaluating", measure.work(test, candidate, settings, earlier)) as advance:
        measured = measure.measure(
            test,
            training,
            candidate,
            champion,
            settings,
            seed,
            advance,
            best_champion=best,
            truth=known_truth,
            valid=valid,
        )
    measured.metrics["data"] = headline.data(card)
    measured.metrics["same_days"] = candidate.card.get("same_days") or {}
    measured.metrics["champion_fit"] = None
    if champion:
        answered = {CANDIDATE: measure.answered(candidate), CHAMPION: measure.answered(champion)}
        fit = vocabularies.fit(store, card, champion, measure.items_in_question(test))
        measured.metrics["champion_fit"] = {**fit, "answered": answered}
    measured.metrics["summary"] = paragraph.of(measured.metrics, settings)
    metric = f"recall@{max(settings.cutoffs)}"
    if measured.ranked and (baseline := headline.best_baseline(measured.metrics, metric)):
        shown = examples.examples(test, training.history, candidate, measured.ranked, baseline, seed)
        measured = replace(measured, examples=shown)
    return replace(measured, overall=overall.overall(test, candidate, measured.answers, seed))


def write(folder: Path, measured: Measured, content: dict[str, Any], candidate: Artefact, settings: Evaluation) -> None:
    """Write the rows of every output, figures/ and report.html into `folder`."""
    from pyarrow import parquet

    for name, each in measured.answers.items():
        parquet.write_table(rows(measured, name), folder / each.output.evidence, compression="zstd")
    drawn = report.draw(measured, content, settings)
    (folder / "figures").mkdir()
    for figure in drawn:
        (folder / "figures" / f"{figure.name}.png").write_bytes(figure.png)
    write_text(
        folder / "report.html",
        report.page(content, drawn, measured.test.card, candidate.card, settings, measured.examples, measured.overall),
    )


def rows(measured: Measured, name: str) -> "pa.Table":
    """One row a question of an output: where it stands, what all systems answered, what they may have seen, and its
    slices.
    """
    import pyarrow as pa

    test, each = measured.test, measured.answers[name]
    questions, at, kind = test.questions, each.at, KINDS[each.output.kind]
    step = 1 if each.step is None else each.step
    columns: dict[str, Any] = {
        "sequence": questions.sequence[at].astype(np.int32),
        "customer": test.customer[questions.sequence[at]],
        "position": questions.position[at].astype(np.int32),
        **({} if each.step is None else {"step": each.step.astype(np.int32)}),
        "target": each.target.astype(np.float64 if each.output.kind in SIZES else np.int32),
    }
    for system in dict.fromkeys([CANDIDATE, CHAMPION, *each.systems]):
        answers = each.systems.get(system)
        columns |= kind.unanswered(system, len(at)) if answers is None else kind.written(system, answers, each.target)
    columns["tied"] = test.tied(at, step)
    for system, before in measured.seen.get(name, {}).items():
        columns[f"seen_{system}"] = pa.nulls(len(at), pa.bool_()) if before is None else before
    columns["length"] = questions.length[at].astype(np.int32)
    labels = measured.slicing[name].labels
    columns |= {part: pa.array(labels[part].tolist(), pa.string()) for part in slices.DIMENSIONS[1:] if part in labels}
    return pa.table(
        {name: column if isinstance(column, pa.Array) else pa.array(column) for name, column in columns.items()}
    )
