"""The page's files as the server sends them; nothing else of the disk can be asked for."""

from functools import cache
from importlib.resources import files

MEDIA = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""No script and no style but the files themselves, no other host, no frame around it, and no HTML made of text."""
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


@cache
def every() -> dict[str, tuple[bytes, str]]:
    """Content and type of each file by its name."""
    folder = files("clickflow.online.page").joinpath("static")
    return {
        file.name: (file.read_bytes(), MEDIA[suffix])
        for file in folder.iterdir()
        if (suffix := f".{file.name.rpartition('.')[2]}") in MEDIA
    }
