"""A log where the next item mostly follows from the last one, as packed splits in memory."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from small_models import spec as small_spec

from clickflow.models.sizes import Sizes
from clickflow.params.models import Model, RankingHead
from clickflow.params.training import Training
from clickflow.sequences.features import derived, statistics
from clickflow.sequences.store import PackedSplit
from clickflow.training.associations import count

ITEMS = 60
KNOWN = ITEMS + 2
ACTIONS = ("view", "cart", "purchase")
CPU = Training(device="cpu", precision="float32", threads=1, processes=1)


def packed(sequences: list[list[int]], actions: list[list[int]] | None = None) -> PackedSplit:
    """Sequences of item indexes as a split; a step a minute."""
    lengths = np.array([len(s) for s in sequences], np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    item = np.concatenate([np.asarray(s, np.int32) for s in sequences] or [np.zeros(0, np.int32)])
    time = np.arange(len(item), dtype=np.int64) * 60_000_000
    return PackedSplit(
        offsets=offsets,
        item=item,
        action=np.concatenate([np.asarray(a, np.uint8) for a in actions]) if actions else np.zeros(len(item), np.uint8),
        time=time,
        price=np.full(len(item), np.nan, np.float32),
        category=np.zeros(len(item), np.int32),
        **derived({"time": time}, offsets),
    )


def log(sessions: int, seed: int) -> PackedSplit:
    """Sessions of 2 to 12 steps: an item's successor follows in 80 of 100 cases; a cart is followed by a purchase."""
    draw = np.random.default_rng(seed)
    sequences, actions = [], []
    for length in draw.integers(2, 13, sessions):
        item = [int(draw.integers(ITEMS) ** 2 / ITEMS)]
        while len(item) < length:
            item.append((item[-1] * 7 + 3) % ITEMS if draw.random() < 0.8 else int(draw.integers(ITEMS)))
        action = draw.choice([0, 0, 1], int(length))
        action[1:][action[:-1] == 1] = 2
        sequences.append([2 + i for i in item])
        actions.append(action.tolist())
    return packed(sequences, actions)


def sizes(split: PackedSplit, known: int = KNOWN) -> Sizes:
    """What the card of a store of `split` would say."""
    table = statistics({name: getattr(split, name) for name in ("gap", "since_start", "price")})
    return Sizes(
        known=known,
        actions=ACTIONS,
        categories=2,
        statistics={name: (values["mean"], values["std"]) for name, values in table.items()},
        item_codes=np.concatenate([np.zeros(2, np.int64), 1 + np.arange(known - 2) % 5])[:, None],
        associations=count(split, known)[0],
    )


def model(*, epochs: int = 2, tokens: int = 256, patience: int = 9, negatives: int = 20, **choices: object) -> Model:
    """A small model; `choices` as in `small_models.spec`. It draws fewer negatives than there are items."""
    spec = small_spec(**{"features": ("action", "gap"), **choices})  # type: ignore[arg-type]
    return replace(
        spec,
        encoder=replace(spec.encoder, units=24),
        heads={
            name: replace(head, negatives=negatives) if isinstance(head, RankingHead) else head
            for name, head in spec.heads.items()
        },
        budget=replace(spec.budget, epochs=epochs, batch_tokens=tokens, patience=patience, checkpoint_seconds=0.0),
    )


def popularity_recall(train: PackedSplit, test: PackedSplit, k: int) -> float:
    """Recall of always answering the `k` most frequent items."""
    top = np.argsort(-np.bincount(train.item), kind="stable")[:k]
    targets: NDArray[np.int32] = np.delete(test.item, test.offsets[:-1])
    return float(np.isin(targets, top).mean())
