"""Hold the images of docker/ to bytes: every name that is pulled stands as NAME:TAG@sha256:DIGEST, the same everywhere.

python scripts/images.py            asks each registry what the tag is now, and writes that digest in docker/
python scripts/images.py --check    writes nothing: says which tags have moved on; ends with 1 where one has no digest,
                                    or a digest is not in its registry

The digest is computed from the bytes that the registry hands out, so it is of them and not of what a header says. Of an
image for several architectures it is the list's. Standard library only: it runs wherever there is Python.
"""

import argparse
import hashlib
import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
FILES = (
    "docker/.env.example",
    "docker/compose.yaml",
    "docker/Dockerfile",
    "docker/mlflow.Dockerfile",
    "docker/s3.Dockerfile",
)
"""docker/stand-in is for machines that can pull nothing: its base is made there."""
PULLED = re.compile(
    r"(?P<before>_IMAGE=|_IMAGE:-|ARG (?:DEBIAN|RCLONE)=)"
    r"(?P<name>[a-z0-9][a-z0-9./:_-]*?):(?P<tag>[A-Za-z0-9][\w.-]*)(?:@(?P<digest>sha256:[0-9a-f]{64}))?(?=[}\s]|$)",
    re.MULTILINE,
)
MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
LARGEST = 4 << 20
"""Bytes of a manifest: what registries take themselves."""


class Image(NamedTuple):
    """A name as it stands in a file; `digest`: None where there is none."""

    name: str
    tag: str
    digest: str | None = None

    @property
    def ours(self) -> bool:
        """It is built here (`clickflow-…:dev`), and no registry has it."""
        return self.name.startswith("clickflow-")


class Failed(Exception):
    """A registry did not answer as one does."""


def images(text: str) -> list[Image]:
    """What is pulled, by the variables and build arguments of a file."""
    pulled = (Image(each["name"], each["tag"], each["digest"]) for each in PULLED.finditer(text))
    return [image for image in pulled if not image.ours]


def pinned(text: str, digests: dict[tuple[str, str], str]) -> str:
    """The text with every image of `digests`, by name and tag, held to its digest."""

    def one(each: re.Match[str]) -> str:
        digest = digests.get((each["name"], each["tag"]))
        return f"{each['before']}{each['name']}:{each['tag']}@{digest}" if digest else each[0]

    return PULLED.sub(one, text)


def place(name: str) -> tuple[str, str]:
    """(address of the registry, the name there), as engines understand a name; on loopback it speaks HTTP."""
    host, _, rest = name.partition("/")
    if not rest or not ("." in host or ":" in host or host == "localhost"):
        host, rest = "docker.io", name
    if host == "docker.io":
        return "https://registry-1.docker.io", rest if "/" in rest else f"library/{rest}"
    plain = host.partition(":")[0] in ("localhost", "127.0.0.1")
    return f"http{'' if plain else 's'}://{host}", rest


def digest_of(image: Image, reference: str) -> str | None:
    """The digest of what a registry hands out for a tag or a digest; None: it has no such image. Raises Failed."""
    registry, name = place(image.name)
    url, headers = f"{registry}/v2/{name}/manifests/{reference}", {"Accept": MANIFESTS}
    try:
        try:
            body = _get(url, headers)
        except urllib.error.HTTPError as error:
            if error.code != 401:
                raise
            token = _token(error.headers.get("WWW-Authenticate", ""))
            body = _get(url, {**headers, "Authorization": f"Bearer {token}"})
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise Failed(f"{registry} answers {error.code} for {name}:{reference}") from error
    except (OSError, ValueError, KeyError) as error:
        raise Failed(f"{registry} cannot be asked for {name}: {error}") from error
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    if reference.startswith("sha256:") and digest != reference:
        raise Failed(f"{registry} hands out other bytes for {name}@{reference}: {digest}")
    return digest


def _get(url: str, headers: dict[str, str]) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as answer:
        body: bytes = answer.read(LARGEST + 1)
    if len(body) > LARGEST:
        raise ValueError(f"more than {LARGEST:,} bytes")
    return body


def _token(challenge: str) -> str:
    """Of a registry that lets nobody in without one: it says where anybody gets it."""
    parts = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    wanted = {key: parts[key] for key in ("service", "scope") if key in parts}
    given = json.loads(_get(f"{parts['realm']}?{urllib.parse.urlencode(wanted)}", {}))
    return str(given.get("token") or given["access_token"])


def check(pulled: Iterable[Image]) -> bool:
    """Say of each image how it stands; whether all are held to bytes that their registry has."""
    fine = True
    for image in pulled:
        if image.digest is None:
            state, ok = "has no digest", False
        elif digest_of(image, image.digest) is None:
            state, ok = f"{image.digest} is not in its registry", False
        else:
            now = digest_of(image, image.tag)
            state, ok = "is what the tag is now" if now == image.digest else f"the tag has moved on, to {now}", True
        print(f"{image.name}:{image.tag}: {state}")
        fine &= ok
    return fine


def main(root: Path = ROOT) -> int:
    """What the command line asks for; its exit code."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--check", action="store_true", help="write nothing")
    only_check = arguments.parse_args().check
    texts = {root / name: (root / name).read_text(encoding="utf-8") for name in FILES}
    pulled = sorted({image for text in texts.values() for image in images(text)}, key=str)
    try:
        if only_check:
            return 0 if check(pulled) else 1
        digests: dict[tuple[str, str], str] = {}
        for image in pulled:
            digest = digest_of(image, image.tag)
            if digest is None:
                raise Failed(f"there is no {image.name}:{image.tag}")
            digests[image.name, image.tag] = digest
            print(f"{image.name}:{image.tag} {'stays' if digest == image.digest else f'is now {digest}'}")
    except Failed as error:
        print(f"{error}\nnothing was changed; try again where the registry is in reach", file=sys.stderr)
        return 1
    for file, text in texts.items():
        if (fresh := pinned(text, digests)) != text:
            file.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
