"""The first indexes of items and of categories mean no item: those of the vocabulary begin at `FIRST_ITEM`."""

PADDING, UNKNOWN, FIRST_ITEM = 0, 1, 2
"""Padding is never stored; unknown is what models read for an index from `Card.known` on."""
