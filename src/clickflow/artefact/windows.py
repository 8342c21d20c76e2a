"""Positions of packed sequences as the inputs of an exported model.

One *question* is one position of a sequence: given its steps up to and including that one, what comes next? A model
reads the last `max_length` steps. A sequence that is not longer is one window, read once for all its questions (the
model is causal, which the export checks); each position further on has a window of its own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.heads.head import Store
from clickflow.sequences.features import FEATURES

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Questions:
    """All questions about some sequences of a split, in the order of sequence and position."""

    sequence: Ints
    """[n] index of the sequence in its split."""
    position: Ints
    """[n] how many steps of the sequence lie before the last one read."""
    length: Ints
    """[n] steps of the whole sequence."""
    event: Ints
    """[n] the last step read, as an index into the flat columns."""
    first: Ints
    """[n] the first step of the question's window, as an index into the flat columns."""
    window: Ints
    """[n] steps of the window; questions with the same `first` and `window` share it."""
    until: Ints
    """[n] index after the last step that the answer may come from."""

    def __len__(self) -> int:
        return len(self.sequence)

    @property
    def column(self) -> Ints:
        """[n] where in its window the last step read stands."""
        return self.event - self.first

    @property
    def begin(self) -> Ints:
        """[n] the first step of the sequence, as an index into the flat columns."""
        return self.event - self.position

    def now(self, split: Any) -> Ints:
        """[n] when it is asked, microseconds since 1970 UTC: at the cut-off, or at the time of the last step read."""
        if split.cut_off is None:
            return np.asarray(split.time)[self.event]
        return np.asarray(split.cut_off)[self.sequence]

    @property
    def has_next(self) -> npt.NDArray[np.bool_]:
        """[n] whether another step follows in the sequence."""
        return self.position + 1 < self.length


def questions(offsets: npt.ArrayLike, sequences: npt.ArrayLike, max_length: int) -> Questions:
    """Every position of `sequences` (indexes into a split with these `offsets`), windows of `max_length` steps."""
    bounds, chosen = np.asarray(offsets, np.int64), np.asarray(sequences, np.int64)
    lengths = bounds[chosen + 1] - bounds[chosen]
    before = np.concatenate([[0], np.cumsum(lengths)])
    position = np.arange(before[-1]) - np.repeat(before[:-1], lengths)
    length, start = np.repeat(lengths, lengths), np.repeat(bounds[chosen], lengths)
    late = position >= max_length
    return Questions(
        sequence=np.repeat(chosen, lengths),
        position=position,
        length=length,
        event=start + position,
        first=np.where(late, start + position - max_length + 1, start),
        window=np.where(late, max_length, np.minimum(length, max_length)),
        until=start + length,
    )


def last(split: Any, sequences: npt.ArrayLike, max_length: int) -> Questions:
    """The question after the last step that is read of each of `sequences`."""
    chosen = np.asarray(sequences, np.int64)
    begin, end, until = (np.asarray(each)[chosen].astype(np.int64) for each in (split.begin, split.end, split.until))
    window = np.minimum(end - begin, max_length)
    return Questions(chosen, end - begin - 1, end - begin, end - 1, end - window, window, until)


def of_split(split: Any, sequences: npt.ArrayLike, max_length: int) -> Questions:
    """All questions about `sequences`, where their unit asks: at every step, or at the last."""
    if split.asks == "last":
        return last(split, sequences, max_length)
    return questions(split.offsets, sequences, max_length)


def blocks(questions: Questions, size: int) -> Iterator[Ints]:
    """Indexes of questions, at most `size` together; those of one window and windows of one length lie together."""
    order = np.lexsort((questions.event, questions.first, questions.window))
    for start in range(0, len(order), size):
        yield order[start : start + size]


@dataclass(frozen=True)
class Translation:
    """How the indexes of a store read in a model's own vocabulary; see `clickflow.evaluation.vocabularies`."""

    item: Ints
    """[items of the store]: the model's index; `UNKNOWN` where it lacks the item."""
    action: Ints
    """[event types]: the model's action index."""
    category: Ints
    """[categories of the store]: the model's category index."""
    store: Store | None = None
    """The store's card, by which hand-made features read its codes."""


def batch(
    split: Any, questions: Questions, chosen: Ints, names: Sequence[str], translation: Translation
) -> tuple[dict[str, npt.NDArray[Any]], Ints, Ints]:
    """The inputs `names` of the windows of some questions, right-padded with 0, and the rows and columns asked for.

    Returns ({name: [B, T]}, rows [N], columns [N]). Inputs have the types of `FEATURES`, numbers as they stand in the
    store (0 where one is missing).
    """
    key = np.stack([questions.first[chosen], questions.window[chosen]], axis=1)
    if (key[1:, 0] > key[:-1, 0]).all():  # a window each, in order: a server's, of which each is asked once
        windows, rows = key, np.arange(len(key))
    else:
        windows, rows = np.unique(key, axis=0, return_inverse=True)
    first, length = windows[:, :1], windows[:, 1:]
    step = np.arange(int(length.max()))
    inside = step < length
    at = np.where(inside, first + step, first)
    inputs: dict[str, npt.NDArray[Any]] = {}
    for name in names:
        column = np.asarray(getattr(split, name)[at])
        if name in ("item", "action", "category"):
            column = getattr(translation, name)[column]
        column = np.nan_to_num(column) if column.dtype.kind == "f" else column
        inputs[name] = np.where(inside, column, 0).astype(FEATURES[name].tensor)
    return inputs, rows.reshape(-1).astype(np.int64), questions.column[chosen]


def recent(items: npt.NDArray[Any], questions: Questions, chosen: Ints, max_length: int) -> Ints:
    """The items read by some questions, newest first: [N, max_length], 0 where the sequence had not begun.

    `items` are the flat item indexes, in whatever vocabulary the caller reads.
    """
    back = np.arange(max_length)
    inside = back <= questions.column[chosen][:, None]
    return np.where(inside, items[np.where(inside, questions.event[chosen][:, None] - back, 0)], 0).astype(np.int64)
