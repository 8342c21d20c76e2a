"""The shape of a text (`99,99 AAA`): what a log, an error or a report may show of a value without revealing it."""

import re

LONGEST = 40
_VALUE = re.compile(r"^[+-]?\d|\d{5}|\d:\d\d|.@\S+\.|[{}\"=\x00-\x1f\ufffd]")
_MARKS = re.compile(r"[,;\t|]")


def shape(text: str) -> str:
    """Every letter as a or A, every digit as 9, all else as it is: `19,90 EUR` is `99,99 AAA`.

    It shows what a wrong format looks like. The text itself stands in the source and in quarantine, with their rights.
    """
    said = "".join(_sign(letter) for letter in text[:LONGEST])
    return f"{said}…" if len(text) > LONGEST else said


def _sign(letter: str) -> str:
    if letter.isnumeric():
        return "9"
    if letter.isalpha():
        return "A" if letter.isupper() else "a"
    return letter


def like_a_value(text: str) -> bool:
    """Whether a text that stands where a column's name should is more like a value: a number, a time, an address, JSON,
    or several of which one is.
    """
    pieces = (piece.strip(" '\"") for piece in _MARKS.split(text))
    return any(_VALUE.search(piece) for piece in pieces)
