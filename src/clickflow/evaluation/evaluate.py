"""The stage `evaluate`: the exported artefact, its baselines and the champion on the same rows, and the report."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from clickflow.artefact.artefact import Artefact, load
from clickflow.baselines import positions
from clickflow.baselines.history import history
from clickflow.evaluation import (
    customers,
    examples,
    headline,
    measure,
    oracle,
    reference,
    report,
    scoring,
    seen,
    vocabularies,
)
from clickflow.evaluation.earlier import REFERENCE, Earlier
from clickflow.evaluation.measure import Measured
from clickflow.evaluation.systems import ACTIONS, AHEAD, CANDIDATE, CHAMPION, PREDICTIONS
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
            "model_sha256": candidate.card["model_sha256"],
            "size_mb": round(candidate.card["size_bytes"] / 1e6, 3),
            "latency_ms_p95_class": candidate.card["latency_ms_p95_class"],
            "parity": candidate.card["parity"],
        },
    }
    with replacing(paths.evaluation(name), seal=integrity.seal) as fresh:
        write(fresh, measured, content, candidate, params.evaluation)
        write_json(fresh / paths.measured(name).name, content)
        confidence = params.evaluation.confidence
        write_json(fresh / REFERENCE, reference.of(candidate, paths.sequences(unit), card, content, confidence))
    write_json(paths.metrics(name), headline.short(content))
    emit(content, as_json=False, text=lambda: report.console_table(content))
    for line in (*headline.warnings(content), *headline.notes(content)):
        say(line)
    for baseline in content["not_converged"]:
        say(f"the baseline {baseline} of next_action had not converged: it may be weaker than it could be")
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
    test = scoring.held_out(store, card, split, settings.max_sequences, candidate.max_length, owners)
    known_part = open_split(store, "train")
    past = history(known_part, known=card.known)
    train = positions.training(known_part, len(card.actions), candidate.max_length)
    possible = None
    if truth is not None and oracle.available(truth):
        possible = oracle.best(truth, test, card.known)
    with progress("evaluating", measure.work(test, settings, champion is not None)) as advance:
        made = measure.measure(
            test, past, train, candidate, champion, settings, seed, advance, best_champion=best, best=possible
        )
    targets = test.next_item[test.followed]
    made.metrics["data"] = headline.data(card)
    made.metrics["champion_fit"] = vocabularies.fit(store, card, champion, targets) if champion else None
    if made.ranks and (baseline := headline.best_baseline(made.metrics, f"recall@{max(settings.cutoffs)}")):
        made = replace(made, examples=examples.examples(test, past, candidate, made.ranks, baseline, seed))
    return made


def write(folder: Path, measured: Measured, content: dict[str, Any], candidate: Artefact, settings: Evaluation) -> None:
    """Write predictions.parquet, ahead.parquet, actions.parquet, figures/ and report.html into `folder`."""
    from pyarrow import parquet

    if measured.ranks:
        parquet.write_table(predictions(measured), folder / PREDICTIONS, compression="zstd")
    if measured.ahead:
        parquet.write_table(ahead(measured), folder / AHEAD, compression="zstd")
    if measured.actions:
        parquet.write_table(actions(measured), folder / ACTIONS, compression="zstd")
    drawn = report.draw(measured, content, settings)
    (folder / "figures").mkdir()
    for figure in drawn:
        (folder / "figures" / f"{figure.name}.png").write_bytes(figure.png)
    write_text(
        folder / "report.html",
        report.page(content, drawn, measured.test.card, candidate.card, settings, measured.examples),
    )


def predictions(measured: Measured) -> "pa.Table":
    """One row a prediction of the next item: where it stands, the ranks of all systems, and its slices."""
    import pyarrow as pa

    test, rows = measured.test, measured.test.followed
    columns = {
        "sequence": pa.array(test.asked.sequence[rows].astype(np.int32)),
        "customer": pa.array(test.customer[test.asked.sequence[rows]]),
        "position": pa.array(test.asked.position[rows].astype(np.int32)),
        "target": pa.array(test.next_item[rows].astype(np.int32)),
    }
    for system in dict.fromkeys([CANDIDATE, CHAMPION, *measured.ranks]):
        found = measured.ranks.get(system)
        columns[f"rank_{system}"] = pa.nulls(len(rows), pa.int32()) if found is None else pa.array(found)
    labels = measured.item_slices.labels
    columns["tied"] = pa.array(tied(test))
    for system, before in measured.seen.items():
        columns[f"seen_{system}"] = pa.nulls(len(rows), pa.bool_()) if before is None else pa.array(before)
    columns["length"] = pa.array(test.asked.length[rows].astype(np.int32))
    parts = [name for name in ("day", "hour", "popularity") if name in labels]
    columns |= {name: pa.array(labels[name].tolist(), pa.string()) for name in parts}
    return pa.table(columns)


def tied(test: scoring.HeldOut) -> "npt.NDArray[np.bool_]":
    """Of the rows `test.followed`, those whose answer has the time of the step before it."""
    time, before = np.asarray(test.split.time), test.asked.event[test.followed]
    found: npt.NDArray[np.bool_] = time[before + 1] == time[before]
    return found


def ahead(measured: Measured) -> "pa.Table":
    """One row an item of one of the next steps: how far ahead, and the ranks of all systems."""
    import pyarrow as pa

    test, rows = measured.test, measured.test.followed
    items = test.ahead(next(iter(measured.ahead.values())).shape[1])
    there, step = items >= 0, np.broadcast_to(np.arange(1, items.shape[1] + 1), items.shape)
    columns: dict[str, Any] = {
        "sequence": np.broadcast_to(test.asked.sequence[rows][:, None], items.shape),
        "customer": np.broadcast_to(test.customer[test.asked.sequence[rows]][:, None], items.shape),
        "position": np.broadcast_to(test.asked.position[rows][:, None], items.shape),
        "step": step,
        "target": items,
        **{f"rank_{system}": found for system, found in measured.ahead.items()},
    }
    return pa.table({name: pa.array(column[there].astype(np.int32)) for name, column in columns.items()})


def actions(measured: Measured) -> "pa.Table":
    """One row a position: the action that followed, what each system predicted, and its loss, -ln p of the truth."""
    import pyarrow as pa

    test = measured.test
    rows = np.arange(len(test.asked))
    columns = {
        "sequence": pa.array(test.asked.sequence.astype(np.int32)),
        "customer": pa.array(test.customer[test.asked.sequence]),
        "position": pa.array(test.asked.position.astype(np.int32)),
        "target": pa.array(test.next_action.astype(np.int8)),
    }
    for system, logs in measured.actions.items():
        columns[f"predicted_{system}"] = pa.array(logs.argmax(axis=1).astype(np.int8))
        columns[f"loss_{system}"] = pa.array((-logs[rows, test.next_action]).round(6))
        columns[f"confidence_{system}"] = pa.array(np.exp(logs.max(axis=1)).round(6))
    return pa.table(columns)
