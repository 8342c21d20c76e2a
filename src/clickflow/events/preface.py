"""What may stand before the columns of a delimited text: blank lines, Excel's `sep=;`, remarks that begin with `#`."""

import re

SEP = re.compile(rb'"?sep=([^"\r\n]{1,4})"?[ \t]*(?:\r?\n|\Z)', re.IGNORECASE)
FIELDS = re.compile(rb"#+[ \t]*(?:fields:)?[ \t]*", re.IGNORECASE)
"""How a remark begins that names the columns, as web servers write it."""


def past_blank(text: bytes, at: int, line: int) -> tuple[int, int]:
    """Where the first line that holds something begins, and its number."""
    while text[at : at + 1] == b"\n" or text[at : at + 2] == b"\r\n":
        at += 1 + (text[at : at + 1] == b"\r")
        line += 1
    return at, line


def past_sep(text: bytes, at: int, line: int) -> tuple[int, int, str | None]:
    """Where the columns begin, the line's number, and the delimiter that `sep=` names, where such a line is there."""
    at, line = past_blank(text, at, line)
    said = SEP.match(text, at)
    if said is None:
        return at, line, None
    return said.end(), line + 1, said[1].decode("utf-8", "replace")


def past_remarks(text: bytes, at: int, line: int) -> tuple[int, int, bytes]:
    """Where the remarks end (and the blank lines among them), that line's number, and the last remark without its
    sign.
    """
    remark = b""
    while text[at : at + 1] == b"#":
        end = text.find(b"\n", at)
        end = len(text) if end < 0 else end
        remark = FIELDS.sub(b"", text[at:end].removesuffix(b"\r"), count=1)
        at, line = past_blank(text, min(end + 1, len(text)), line + 1)
    return at, line, remark
