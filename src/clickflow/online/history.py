"""What is asked online: the steps of a visit or of a customer so far, as a shop names them."""

from msgspec import Struct


class Step(Struct, frozen=True, gc=False):
    """One event on an item. What is None was not said."""

    item: str
    """Its id, as in the log."""
    action: str = "view"
    """A type of event of the contract."""
    time: int | None = None
    """Microseconds since 1970 UTC; None: as the step before it."""
    category: str | None = None
    """As in the log; of the event, not of the item. Empty: said to be none."""
    price: float | None = None
    """NaN: said to be none."""
    quantity: float | None = None
    """Pieces."""


class Question(Struct, frozen=True):
    """Steps in the order in which they happened, the oldest first, and as of when it is asked."""

    steps: tuple[Step, ...] = ()
    now: int | None = None
    """Microseconds since 1970 UTC; steps at or after it are not read by models of customers. None: right after the
    last step.
    """
