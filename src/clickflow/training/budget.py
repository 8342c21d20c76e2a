"""How often training goes over the data where params.yaml does not say: the larger the log, the sooner it is learned by
heart.
"""

from dataclasses import replace

from clickflow.params import Model

MOST, LEAST = 6, 2
SMALL = 200_000
"""Training steps up to which the most epochs are worth their time; beyond, as many as the cube root of it gives
(docs/experiments.md).
"""


def settled(spec: Model, events: int) -> Model:
    """`spec` with a number of epochs, for a training part of so many steps."""
    if spec.budget.epochs is not None:
        return spec
    epochs = max(LEAST, min(MOST, round(MOST * (SMALL / max(1, events)) ** (1 / 3))))
    return replace(spec, budget=replace(spec.budget, epochs=epochs))
