"""How long training lasts where params.yaml names no number of epochs: until the validation part improves no more.

The larger a log, the fewer epochs until a network overfits it, but how few depends on the log, not on its size alone.
So the learning rate is constant after its warm-up; the weights are averaged (`training.averages`), which does what a
decaying rate does and needs no planned end; and a few times an epoch the loss on the validation part is measured:
`budget.patience` says when to stop. Without a validation part the number of epochs follows from the size.
"""

MOST, LEAST = 6, 2
SMALL = 200_000
"""Training steps up to which the most epochs are worth their time; beyond, as many as the cube root of it gives
(docs/experiments.md).
"""
OPEN = 12
"""Epochs at most where the validation part decides."""
LOOKS, LONG = (2, 4), 1000
"""How often an epoch the validation part is asked, and how many steps make an epoch a long one, which is looked at
more.
"""

GAIN = 0.002
"""By how much of itself a loss must fall for training to go on for it; the weights kept are the best all the same."""


def by_size(events: int) -> int:
    """The number of epochs for a training part of so many steps."""
    epochs: int = round(MOST * (SMALL / max(1, events)) ** (1 / 3))
    return max(LEAST, min(MOST, epochs))


def looks(batches: int) -> list[int]:
    """After how many of an epoch's batches the validation part is asked, where it decides."""
    number = min(LOOKS[batches >= LONG], batches)
    return [round(batches * (look + 1) / number) for look in range(number)]
