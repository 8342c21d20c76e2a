"""Signatures of the ledger's lines: Ed25519 (RFC 8032). Who promotes holds the key, anybody can check a line.

The key is the variable CLICKFLOW_LEDGER_KEY, or the file `ledger.key` of the home, made at the first line that is
written. `ledger.pub` beside it holds the public keys that may have signed, one a line in hex: the newest last. Where
CLICKFLOW_LEDGER_PUBLIC_KEY is set (several: commas between), those keys count and no file does, so that whoever can
write in the home cannot put a key of their own in place.
"""

import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clickflow.system import console
from clickflow.system.errors import UsageError
from clickflow.system.files import write_text

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SECRET, PUBLIC = "CLICKFLOW_LEDGER_KEY", "CLICKFLOW_LEDGER_PUBLIC_KEY"
KEY_FILE, PUBLIC_FILE = "ledger.key", "ledger.pub"
LEAST = 32
"""Letters that a key must have at least."""


@dataclass(frozen=True)
class Signer:
    """The key that signs now; `public` says which (hex)."""

    public: str
    private: "Ed25519PrivateKey"

    @property
    def name(self) -> str:
        """What lines call it."""
        return name(self.public)

    def sign(self, message: bytes) -> str:
        """The signature of `message`, in hex."""
        return self.private.sign(message).hex()


def name(public: str) -> str:
    """A short name for a public key."""
    return public[:16]


def signer(home: Path) -> Signer:
    """The key that signs; made in `home` (mode 0600), and announced, where there is none.

    Raises UsageError where the key is too short, or is not one that CLICKFLOW_LEDGER_PUBLIC_KEY names.
    """
    secret, where = os.environ.get(SECRET, ""), SECRET
    if not secret:
        where = str(home / KEY_FILE)
        secret = _text(home / KEY_FILE) or _make(home)
    private = _private(secret, where)
    public = private.public_key().public_bytes_raw().hex()
    if (pinned := _pinned()) and public not in pinned:
        raise UsageError(
            f"the key in {where} is none of those that {PUBLIC} names: its lines would not be believed",
            kept="the ledger is unchanged",
            next_step=f"promote and roll back where the right key is, or set {SECRET} to it",
        )
    return Signer(public, private)


def publish(home: Path, public: str) -> None:
    """Let `ledger.pub` hold a key whose first line is written: from then on a ledger without signatures is none."""
    if public not in (known := _text(home / PUBLIC_FILE).split()):
        _write(home / PUBLIC_FILE, "".join(f"{key}\n" for key in [*known, public]), 0o644)


def trusted(home: Path) -> dict[str, str]:
    """The public keys (hex) whose lines count, by name."""
    keys = _pinned()
    if not keys:
        keys = _text(home / PUBLIC_FILE).split()
        if len(secret := _text(home / KEY_FILE)) >= LEAST:
            keys.append(_private(secret, KEY_FILE).public_key().public_bytes_raw().hex())
    return {name(key): key for key in keys}


def expected(home: Path) -> bool:
    """Whether a line was signed here before."""
    return bool(_text(home / PUBLIC_FILE))


def holds(public: str | None, signature: str, message: bytes) -> bool:
    """Whether `signature` is that of `message` under a public key; None holds nothing."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        if public is None:
            return False
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(bytes.fromhex(signature), message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _private(secret: str, where: str) -> "Ed25519PrivateKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if len(secret) < LEAST:
        raise UsageError(
            f"the ledger's key in {where} is shorter than {LEAST} characters",
            kept="the ledger is unchanged",
            next_step="make one with: python -c 'import secrets; print(secrets.token_hex(32))'",
        )
    return Ed25519PrivateKey.from_private_bytes(
        hashlib.blake2b(secret.encode(), digest_size=32, person=b"clickflow ledger").digest()
    )


def _make(home: Path) -> str:
    home.mkdir(parents=True, exist_ok=True)
    file, secret = home / KEY_FILE, secrets.token_hex(32)
    _write(file, secret + "\n", 0o600)
    before = _text(home / PUBLIC_FILE)
    again = "the ledger's key was gone: a new one signs from here on; " if before else "made a key for the ledger: "
    console.say(
        f"{again}{file}\n  it signs every line, and {PUBLIC_FILE} beside it checks them: keep both with the ledger, "
        "and the key secret"
    )
    return secret


def _pinned() -> list[str]:
    return [key.strip().lower() for key in os.environ.get(PUBLIC, "").split(",") if key.strip()]


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return ""


def _write(file: Path, text: str, mode: int) -> None:
    """Whole or not at all, and on disk; nobody else can read it at any moment where `mode` says so."""
    write_text(file, text, mode=mode)
