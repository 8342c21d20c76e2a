"""The shape of a text (`99,99 AAA`): what a log, an error or a report may show of a value without revealing it."""

LONGEST = 40


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
