"""The artefact that ships: an ONNX model, its vocabulary, and a card with the hash of each; numpy and onnxruntime.

What is loaded is what the card speaks of: the bytes are hashed before they are used. See docs/reference/artefact.md.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.artefact import soundness
from clickflow.heads import HEADS
from clickflow.heads.head import Store, several
from clickflow.system.errors import DataError
from clickflow.system.files import read_json, sha256

MODEL, VOCABULARY, CATEGORIES, CARD = "model.onnx", "vocabulary.parquet", "categories.parquet", "card.json"
POPULARITY = "popularity.parquet"
HASHES = {"model_sha256": MODEL, "vocabulary_sha256": VOCABULARY, "categories_sha256": CATEGORIES}
"""Which entry of the card holds the hash of which file."""
OF_RANKINGS = {"popularity_sha256": POPULARITY}
"""Likewise, of models that rank items; not in cards from before there was such a file."""
FILES = (MODEL, "forecast.json")
"""What the model's file may be: ONNX, or of a model of series (`artefact.series`), as `file` of the card says."""
VERSION = 1
"""Version of the artefact's layout; a card of another one is refused."""


@dataclass(frozen=True)
class Answered:
    """A head of an artefact: the kind of its answer, the names of its outputs, and of kind classes their names."""

    kind: str
    outputs: tuple[str, ...]
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Sizes:
    """What the card says of the store that the model was trained on; see `heads.Store`."""

    known: int
    actions: tuple[str, ...]
    categories: int = 0


@dataclass(frozen=True)
class Artefact:
    """A loaded artefact, ready to answer."""

    folder: Path
    card: Mapping[str, Any]
    """card.json; the keys stand in docs/reference/artefact.md."""
    session: Any
    """The onnxruntime session; of a model of series `artefact.series.Forecasting`."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns [B, T] the model reads, `item` among them; none of a model of hand-made features alone."""
        return tuple(self.card["inputs"])

    @property
    def forecasts(self) -> bool:
        """Whether it is a model of series, whose session reads a packed split as of origins."""
        return file_of(self.card) != MODEL

    @property
    def kind(self) -> str:
        """Of model, as in `clickflow.models.kinds`."""
        return str((self.card.get("spec") or {}).get("kind", "network"))

    @property
    def unit(self) -> str:
        """What one sequence is, of those that it was trained on."""
        return str(self.card.get("unit") or (self.card.get("spec") or {}).get("unit", "session"))

    @property
    def features(self) -> tuple[str, ...]:
        """The hand-made features [N, F] the model reads, of its unit, in order; none of a network of steps alone."""
        return tuple(self.card.get("features", ()))

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the answers of all heads, in order."""
        return tuple(self.card["outputs"])

    @property
    def heads(self) -> dict[str, Answered]:
        """The heads by name, in the order of their outputs."""
        said: Mapping[str, Any] = self.card.get("heads") or described(
            self.outputs, _Sizes(self.known, tuple(self.card["actions"]))
        )
        heads = {
            name: Answered(head["kind"], tuple(head["outputs"]), tuple(head.get("classes", ())))
            for name, head in said.items()
        }
        return dict(sorted(heads.items(), key=lambda head: self.outputs.index(head[1].outputs[0])))

    @property
    def known(self) -> int:
        """The width of rankings; indexes 0 (padding) and 1 (unknown) are no answers."""
        return int(self.card["known"])

    @property
    def max_length(self) -> int:
        """How many steps the model was made to read; T should not be larger."""
        return int(self.card["max_length"])

    def scores(
        self,
        batch: Mapping[str, npt.NDArray[Any]],
        rows: npt.NDArray[Any] | None = None,
        columns: npt.NDArray[Any] | None = None,
        *,
        features: npt.NDArray[Any] | None = None,
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Answers to N questions, of most kinds log-probabilities: {output: float32 [N, answers]}.

        Of a model with `inputs`, `batch` holds at least these, each [B, T], right-padded with 0, and (rows[k],
        columns[k]) asks what follows step columns[k] of row rows[k]. Of one with `features`, `features` [N, F] are
        theirs, NaN where one does not exist. Raises DataError where an input is missing or the shapes do not fit.
        """
        feed = self.feed(batch, rows, columns, features=features)
        return dict(zip(self.outputs, self.session.run(list(self.outputs), feed), strict=True))

    def feed(
        self,
        batch: Mapping[str, npt.NDArray[Any]],
        rows: npt.NDArray[Any] | None = None,
        columns: npt.NDArray[Any] | None = None,
        *,
        features: npt.NDArray[Any] | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """What the session reads of what `scores` is given."""
        feed = {} if not self.inputs or rows is None or columns is None else self._steps(batch, rows, columns)
        if self.features:
            if features is None or np.ndim(features) != 2 or np.shape(features)[1] != len(self.features):
                given = "none" if features is None else list(np.shape(features))
                raise DataError(f"{self.folder}: the model reads features [N, {len(self.features)}]; given: {given}")
            feed["features"] = _as(features, "float32")
        return feed

    def _steps(
        self, batch: Mapping[str, npt.NDArray[Any]], rows: npt.NDArray[Any], columns: npt.NDArray[Any]
    ) -> dict[str, npt.NDArray[Any]]:
        """The part of the feed that is of steps."""
        missing = [name for name in self.inputs if name not in batch]
        if missing:
            raise DataError(f"{self.folder}: the model reads {', '.join(self.inputs)}; {', '.join(missing)} not given")
        shapes = {np.shape(batch[name]) for name in self.inputs}
        if len(shapes) != 1 or len(next(iter(shapes))) != 2 or np.shape(rows) != np.shape(columns):
            given = ", ".join(f"{name} {list(np.shape(batch[name]))}" for name in self.inputs)
            raise DataError(
                f"{self.folder}: inputs are [B, T] and rows, columns [N]; given: {given}, rows {list(np.shape(rows))}, "
                f"columns {list(np.shape(columns))}"
            )
        feed = {name: _as(batch[name], self.card["inputs"][name]) for name in self.inputs}
        return feed | {"row": _as(rows, "int64"), "column": _as(columns, "int64")}

    def tables(self) -> tuple[Any, Any]:
        """The vocabulary and the categories, Arrow tables. Raises DataError where they are not those of the card."""
        items, categories = (_table(self.folder / name) for name in (VOCABULARY, CATEGORIES))
        _refuse(self.folder / VOCABULARY, soundness.of_vocabulary(self.card, items, categories))
        return items, categories

    def by_hour(self) -> tuple[Any, Any, Any]:
        """The columns `hour`, `index` and `count` of popularity.parquet; see `artefact.popularity`. Raises DataError
        where they are not of the card's items.
        """
        table = _table(self.folder / POPULARITY)
        _refuse(self.folder / POPULARITY, soundness.of_popularity(self.card, table))
        hour, index, count = (table[name].to_numpy() for name in soundness.HOURLY)
        return hour, index, count

    def item_ids(self) -> list[str]:
        """The item of every index; `""` for 0 (padding) and 1 (unknown)."""
        from pyarrow import parquet

        table = parquet.read_table(self.folder / VOCABULARY, columns=["item_id"])
        return ["", "", *table.column("item_id").to_pylist()]

    def categories(self) -> list[str]:
        """The category of every index; `""` for 0 (none) and 1 (unknown)."""
        from pyarrow import parquet

        table = parquet.read_table(self.folder / CATEGORIES, columns=["category"])
        return ["", "", *table.column("category").to_pylist()]


def load(folder: Path, *, threads: int = 0, opened: Callable[[Path, Mapping[str, Any]], Any] | None = None) -> Artefact:
    """The artefact in `folder`, its files checked against the card; `threads` 0 leaves their number to onnxruntime.
    `opened`: from the file of an ONNX model and its card to what is asked in a session's place.

    Raises DataError where a file is missing, is not the one that its card describes, or is no such model.
    """
    card = _card(folder)
    content: dict[str, bytes] = {}
    for entry, usual in {**HASHES, **{entry: file for entry, file in OF_RANKINGS.items() if entry in card}}.items():
        name = file_of(card) if usual == MODEL else usual
        path = folder / name
        if not path.is_file():
            raise DataError(f"the artefact in {folder} has no {name}", kept=NOT_LOADED, next_step=_AGAIN)
        if opened is not None and name == MODEL:  # who opens it reads what it needs
            digest = sha256(path)
        else:
            content[name] = path.read_bytes()
            digest = hashlib.sha256(content[name]).hexdigest()
        if digest != card[entry]:
            raise DataError(
                f"{path} is not the file that its card describes: sha256 {digest[:12]}…, "
                f"the card says {card[entry][:12]}…",
                kept=NOT_LOADED,
                next_step=_AGAIN,
            )
    name = file_of(card)
    if name == MODEL:
        model = folder / name
        session = opened(model, card) if opened else open_session(content.pop(name), threads=threads, where=model)
        _refuse(folder / name, soundness.of_session(card, session))
        return Artefact(folder, card, session)
    from clickflow.artefact.series import Forecasting

    return Artefact(folder, card, Forecasting.read(content[name], folder / name))


def file_of(card: Mapping[str, Any]) -> str:
    """The model's own file, as the card says. Raises DataError where it is none that there can be."""
    name = str(card.get("file", MODEL))
    if name not in FILES:
        raise DataError(
            f"the card names the file {name[:60]!r}; a model is {' or '.join(FILES)}", kept=NOT_LOADED, next_step=_AGAIN
        )
    return name


def model_file(folder: Path) -> Path:
    """The model's own file of an artefact, whether it is there or not."""
    try:
        card = read_json(folder / CARD)
    except (OSError, ValueError):
        card = {}
    return folder / file_of(card if isinstance(card, dict) else {})


def open_session(
    model: bytes,
    *,
    threads: int = 0,
    where: Path,
    held: Mapping[str, npt.NDArray[Any]] | None = None,
    in_order: bool = False,
) -> Any:
    """An onnxruntime session on the CPU. `held`: the constants of the model that lie elsewhere; they have to stay as
    long as the session. `in_order`: nodes are run as they stand in the graph. Raises DataError where the bytes are
    no ONNX model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # threads that spin while they wait take the processor from every other process
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if in_order:
        options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    if held:
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(each) for each in held.values()]
        options.add_external_initializers(list(held), values)
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class of its own for every fault
        raise DataError(
            f"{where} cannot be opened as an ONNX model: {error}", kept=NOT_LOADED, next_step=_AGAIN
        ) from error


NOT_LOADED = "nothing was loaded"
_AGAIN = "run `dvc checkout` to put the recorded files back, or `clickflow export MODEL` to make them again"


def _card(folder: Path) -> dict[str, Any]:
    path = folder / CARD
    try:
        card = read_json(path)
    except FileNotFoundError as error:
        raise DataError(
            f"there is no exported model in {folder}",
            kept=NOT_LOADED,
            next_step="run `clickflow export MODEL`, or `dvc pull`",
        ) from error
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}", kept=NOT_LOADED, next_step=_AGAIN) from error
    needed = {"version", "inputs", "outputs", "known", "actions", "max_length", *HASHES}
    if not isinstance(card, dict) or needed - card.keys():
        lacking = sorted(needed - card.keys()) if isinstance(card, dict) else sorted(needed)
        raise DataError(
            f"{path} is not the card of an artefact: it lacks {', '.join(lacking)}", kept=NOT_LOADED, next_step=_AGAIN
        )
    if card["version"] != VERSION:
        raise DataError(
            f"{path} is of version {str(card['version'])[:20]}; this clickflow reads version {VERSION}",
            kept=NOT_LOADED,
            next_step=_AGAIN,
        )
    _refuse(path, soundness.of_card(card))
    if unknown := [name for name in card.get("heads", {}) if name not in HEADS]:
        raise DataError(
            f"{path}: the model answers {', '.join(unknown)}, and no head here is called so",
            kept=NOT_LOADED,
            next_step="install the package that has it: docs/howto/add-a-head.md",
        )
    return card


def _table(path: Path) -> Any:
    from pyarrow import ArrowException, parquet

    try:
        return parquet.ParquetFile(path).read().combine_chunks()  # read_table would load pandas
    except (ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet", kept=NOT_LOADED, next_step=_AGAIN) from error


def _refuse(path: Path, faults: Iterable[str]) -> None:
    if said := list(faults)[:5]:
        raise DataError(f"{path}: {'; '.join(said)}", kept=NOT_LOADED, next_step=_AGAIN)


def described(outputs: Sequence[str], store: Store) -> dict[str, dict[str, Any]]:
    """What a card says of the heads with those `outputs`; of a card from before it did, the same."""
    described_heads: dict[str, dict[str, Any]] = {}
    for name in outputs:
        if name not in HEADS:
            continue
        head = HEADS[name]
        own = [each for each in outputs if each in (name, several(name))]
        classes = list(head.names(store))
        described_heads[name] = {"kind": head.kind, "outputs": own} | ({"classes": classes} if classes else {})
    return described_heads


def _as(values: npt.NDArray[Any], kind: str) -> npt.NDArray[Any]:
    return np.ascontiguousarray(values, np.dtype(kind))
