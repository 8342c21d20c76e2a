"""What every export does, whatever the kind of model: write the artefact, and check on real sequences that it equals
the trained model, does not look ahead, and how fast it answers.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.artefact import asking, popularity
from clickflow.artefact.artefact import (
    CARD,
    CATEGORIES,
    HASHES,
    MODEL,
    OF_RANKINGS,
    POPULARITY,
    VERSION,
    VOCABULARY,
    Artefact,
    file_of,
    load,
    open_session,
)
from clickflow.artefact.windows import Ints, Questions, Translation, batch, blocks, of_split
from clickflow.heads import outputs
from clickflow.heads.head import SIZES
from clickflow.params.export import Export
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.sequences.store import Card, PackedSplit, open_split
from clickflow.system import integrity
from clickflow.system.console import emit, progress, say
from clickflow.system.errors import ClickflowError, DataError
from clickflow.system.files import replacing, sha256, write_json
from clickflow.system.moments import iso

STEPS = ("event_types", "drop_repeats")
"""Settings of a unit that say what of a history is a step, which its card repeats."""
CHECKED = 96
"""Sequences on which the artefact is held against the trained model."""
WARM_UP, ROUNDS, REQUESTS = 30, 5, 60
"""Latency: requests before the first measured one, rounds, and requests in each."""


Expected = Callable[[PackedSplit, Questions, Ints], Mapping[str, npt.NDArray[Any]]]
"""By output, what the trained model itself answers to some questions, [N, A]."""


@dataclass(frozen=True)
class Written:
    """An artefact that was written and checked: its `folder`, the `content` of its card, its `model`, what that was
    held against, the milliseconds its requests took; the store, its card, and the sequences it was checked on.
    """

    folder: Path
    content: Mapping[str, Any]
    model: bytes
    expected: Expected
    taken: npt.NDArray[np.float64]
    store: Path
    card: Card
    split: PackedSplit
    questions: Questions


def write(
    out: Path,
    model: bytes,
    about: Mapping[str, Any],
    store: Path,
    card: Card,
    expected: Expected,
    export: Export,
    smaller: Callable[[Written], Mapping[str, Any]] | None = None,
) -> None:
    """Write the artefact of a trained model into the folder `out`, and check it on sequences of the packed store in
    `store`, whose card is `card`.

    `about`: what its card says beside what all cards do; `smaller` may put a smaller form of the model in its place,
    and returns what the card then says otherwise (`artefact.compression`). Raises ClickflowError where its answers are
    not `expected`, or look ahead; `out` is then as it was.
    """
    with replacing(out, seal=integrity.seal) as fresh:
        (fresh / file_of(about)).write_bytes(model)
        vocabulary(store, card, fresh)
        ranks = card.clock and any(outputs.named(name).kind == "ranking" for name in about["outputs"])
        if ranks:
            popularity.write(open_split(store, "train"), card.known, fresh / POPULARITY)
        content = {
            "version": VERSION,
            "size_bytes": len(model),
            "data_sha256": card.sha256,
            "seen_until": iso(card.boundaries["test"]),
            "source": dict(card.settings.get("source") or {}),
            "steps": steps_of(card),
            **about,
            **{entry: sha256(fresh / (file_of(about) if file == MODEL else file)) for entry, file in HASHES.items()},
            **({entry: sha256(fresh / file) for entry, file in OF_RANKINGS.items()} if ranks else {}),
        }
        write_json(fresh / CARD, content)
        artefact = load(fresh)
        split, questions = real(store, card, artefact.max_length, together=artefact.forecasts)
        content["parity"] = digits(parity(expected, artefact, card, split, questions, export.tolerance))
        causality(artefact, card, split, questions, export.tolerance)
        taken = latencies(artefact, card, split, questions, export.latency_batch)
        p95 = within(taken, 0.95)
        content["latency_ms_p95_class"], content["latency_batch"] = ladder(p95), export.latency_batch
        if smaller:
            content |= smaller(Written(fresh, content, model, expected, taken, store, card, split, questions))
        write_json(fresh / CARD, content)
    name, counted = content["model"], f"{export.latency_batch} {card.unit}"
    if export.latency_batch > 1 and not card.unit.endswith("s"):
        counted += "s"
    emit(
        {
            "model": name,
            "size_bytes": content["size_bytes"],
            "parity": content["parity"],
            "latency_ms_p95": round(p95, 3),
            **({"compression": content["compression"]} if smaller else {}),
        },
        as_json=False,
        text=lambda: (
            f"{name}: {content['size_bytes'] / 1e6:,.1f} MB, equal to the trained model within {content['parity']:g}, "
            f"p95 {p95:.2f} ms for {counted} on one CPU thread"
        ),
    )


def steps_of(store: Card) -> dict[str, Any]:
    """How a history became steps: whether their times are a clock's, and `STEPS`, as far as the store says them."""
    return {"clock": store.clock} | {name: store.own_settings[name] for name in STEPS if name in store.own_settings}


def parity(
    expected: Expected, artefact: Artefact, card: Card, split: PackedSplit, questions: Questions, tolerance: float
) -> float:
    """The largest difference of an answer between the trained model and the artefact, over blocks of several shapes.

    Raises ClickflowError where it is above `tolerance`, or no number.
    """
    worst = 0.0
    one_to_one = identity(split, card)
    for size in (1, 5, 64, 512):
        for chosen in list(blocks(questions, size))[:: max(1, len(questions) // size // 4)]:
            exported, trained = (
                asking.answers(artefact, split, questions, chosen, one_to_one),
                expected(split, questions, chosen),
            )
            for name, values in exported.items():
                difference = _difference(name, values, trained[name])
                if not difference <= tolerance:
                    raise ClickflowError(
                        f"the exported model is not the trained one: {name} differs by {difference:.3g} in "
                        f"{len(chosen)} questions about at most {int(questions.window[chosen].max())} steps; "
                        f"export.tolerance is {tolerance:g}",
                        kept="the trained model; the exported folder is as it was",
                        next_step="if the difference is acceptable raise export.tolerance in params.yaml",
                    )
                worst = max(worst, difference)
    return worst


def causality(artefact: Artefact, card: Card, split: PackedSplit, questions: Questions, tolerance: float) -> None:
    """Hold answers in the middle of a sequence against those of the sequence cut off there.

    Raises ClickflowError where a later step changed an answer: every metric would be worthless.
    """
    one_to_one = identity(split, card)
    if artefact.forecasts:
        _of_the_past(artefact, card, split, questions, tolerance)
        return
    inner = np.flatnonzero(questions.until > questions.event + 1)
    for k in inner[:: max(1, len(inner) // 16)]:
        step, end = int(questions.column[k]) + 1, int(questions.event[k]) + 1
        ended = split.with_columns(**{name: values[:end] for name, values in split.columns.items()})
        short = replace(questions, window=np.minimum(questions.window, questions.column + 1))
        whole = asking.answers(artefact, split, questions, np.array([k]), one_to_one)
        before = asking.answers(artefact, ended, short, np.array([k]), one_to_one)
        for name, values in whole.items():
            difference = _difference(name, values, before[name])
            if not difference <= tolerance:
                raise ClickflowError(
                    f"the exported model looks ahead: {name} at step {step} of {questions.window[k]} changes by "
                    f"{difference:.3g} when the later steps are taken away",
                    kept="the trained model; the exported folder is as it was",
                    next_step="make the encoder, or the features, causal",
                )


def _of_the_past(artefact: Artefact, card: Card, split: PackedSplit, questions: Questions, tolerance: float) -> None:
    """Hold the answers as of the first origin against those where all that came later was different. Series are read
    beside each other, so the later steps of all are changed.
    """
    now = questions.now(split)
    chosen, one_to_one = np.flatnonzero(now == now.min()), identity(split, card)
    later = np.asarray(split.time) >= now.min()
    held = split.columns
    columns = {name: np.where(later, held[name] * 3 + 7, held[name]) for name in ("quantity", "price")}
    whole, other = (
        asking.answers(artefact, each, questions, chosen, one_to_one) for each in (split, split.with_columns(**columns))
    )
    for name, values in whole.items():
        difference = _difference(name, values, other[name])
        if not difference <= tolerance:
            raise ClickflowError(
                f"the exported model looks ahead: {name} changes by {difference:.3g} when what came later is changed",
                kept="the trained model; the exported folder is as it was",
            )


def within(taken: npt.NDArray[np.float64], share: float) -> float:
    """Milliseconds within which such a share of the requests [rounds, requests] is answered, in the quickest round."""
    return float(np.quantile(taken, share, axis=1).min())


def _panel_latency(artefact: Artefact, card: Card, split: PackedSplit, questions: Questions, sequences: int) -> float:
    """Milliseconds of processor time for so many series, of all of the last origin forecast together."""
    now = questions.now(split)
    chosen = np.flatnonzero(now == now.max())
    fresh = split.with_columns()  # of which nothing is kept yet
    started = time.thread_time()
    asking.answers(artefact, fresh, questions, chosen, identity(split, card))
    series = int((np.asarray(split.cut_off) == now.max()).sum())
    return (time.thread_time() - started) * 1000 * sequences / max(series, sequences)


def latencies(
    artefact: Artefact, card: Card, split: PackedSplit, questions: Questions, sequences: int
) -> npt.NDArray[np.float64]:
    """Milliseconds of processor time that requests take on one thread, after a warm-up, [rounds, requests].

    A request is the latest step of `sequences` sequences. On an idle machine this is the time that passes; on a busy
    one that would measure the neighbours. Hand-made features are computed within it. Series of an origin are forecast
    together: theirs is their part of that time.
    """
    if artefact.forecasts:
        return np.array([[_panel_latency(artefact, card, split, questions, sequences)]])
    single = Artefact(
        artefact.folder,
        artefact.card,
        open_session((artefact.folder / MODEL).read_bytes(), threads=1, where=artefact.folder / MODEL),
    )
    one_to_one = identity(split, card)
    last = np.flatnonzero(questions.position + 1 == questions.length)
    requests: list[Callable[[], object]] = []
    for start in range(min(len(last), REQUESTS)):
        chosen = np.resize(last[start:], sequences)
        if single.features:
            requests.append(partial(asking.answers, single, split, questions, chosen, one_to_one))
        else:
            requests.append(partial(single.scores, *batch(split, questions, chosen, single.inputs, one_to_one)))
    taken = []
    with progress("latency", WARM_UP + ROUNDS * REQUESTS) as advance:
        for k in range(WARM_UP + ROUNDS * REQUESTS):
            request = requests[k % len(requests)]
            started = time.thread_time()
            request()
            taken.append((time.thread_time() - started) * 1000)
            advance()
    return np.reshape(taken[WARM_UP:], (ROUNDS, REQUESTS))


def _difference(name: str, values: npt.NDArray[Any], others: npt.NDArray[Any]) -> float:
    """The largest of an output; of sizes as a share of the largest number of their answer, where that is above 1: a
    median of 2 where 300 are expected is as exact as these.
    """
    apart = np.abs(values - others)
    if outputs.named(name).kind in SIZES:
        apart = apart / np.maximum(1, np.abs(others).max(axis=-1, keepdims=True))
    return float(apart.max())


def ladder(value: float, steps: Sequence[float] = (1.0, 2.0, 5.0, 10.0), least: float = 1.0) -> float:
    """The next of 1, 2, 5, 10, 20, 50 … that is not smaller: a class that two measurements agree on."""
    power = 10.0 ** math.floor(math.log10(max(value, least)))
    return float(f"{next(step * power for step in steps if value <= step * power):.3g}")


def digits(value: float) -> float:
    """One digit, rounded up: a claim that holds."""
    if value == 0:
        return 0.0
    power = math.floor(math.log10(value))
    return float(f"{math.ceil(value / 10.0**power)}e{power}")


def identity(split: PackedSplit, card: Card) -> Translation:
    """The store's own vocabulary is the model's; the graph itself reads what it does not know as unknown."""
    return Translation(
        item=np.arange(int(split.item.max(initial=1)) + 1),
        action=np.arange(256),
        category=np.arange(int(split.category.max(initial=1)) + 1),
        store=card,
    )


def real(folder: Path, store: Card, max_length: int, *, together: bool = False) -> tuple[PackedSplit, Questions]:
    """Sequences of the validation part (training, where that is empty): spread over time, and the longest.

    `together`: those of an origin are answered at once, in seconds, so they are of the first and the last one alone.
    """
    split = open_split(folder, "valid")
    if split.n_sequences == 0:
        say("the validation part is empty: the artefact is checked on sequences of the training part")
        split = open_split(folder, "train")
    if split.n_sequences == 0:
        raise DataError(f"the store {folder} holds no sequences", next_step=f"run `clickflow sequences {store.unit}`")
    able = np.arange(split.n_sequences)
    if together and (origin := split.cut_off) is not None:
        able = able[(origin == np.min(origin)) | (origin == np.max(origin))]
    spread = able[np.linspace(0, len(able) - 1, min(CHECKED, len(able))).astype(np.int64)]
    longest = able[np.argsort(-split.lengths[able], kind="stable")[:4]]
    return split, of_split(split, np.unique(np.concatenate([spread, longest])), max_length)


def same_data(trained: Path, trained_card: Mapping[str, Any], folder: Path, store: Card) -> None:
    """Refuse a store that the model was not trained on."""
    if trained_card["known"] != store.known or trained_card.get("data_sha256", store.sha256) != store.sha256:
        raise DataError(
            f"{trained} was trained on other data than {folder} holds now",
            next_step="run `dvc repro`, which trains again, or `dvc checkout` for the data it was trained on",
        )


def weights(file: Path, expected: str | None) -> str:
    """The sha256 of a trained model's file. Raises DataError where it is not the one that its card describes; a card
    of before has none (None).
    """
    digest = sha256(file)
    if expected is not None and digest != expected:
        raise DataError(
            f"{file} is not the file that its card describes", next_step="run `dvc checkout`, or train again"
        )
    return digest


def vocabulary(folder: Path, store: Card, fresh: Path) -> None:
    """The items that the model knows, and the categories, as they stand in the store."""
    from pyarrow import parquet

    from clickflow.sequences.writer import categories_schema, vocabulary_schema, write_table

    items = parquet.read_table(folder / VOCABULARY).slice(0, store.known - FIRST_ITEM)
    write_table(fresh / VOCABULARY, [items], vocabulary_schema())
    write_table(fresh / CATEGORIES, [parquet.read_table(folder / CATEGORIES)], categories_schema())
