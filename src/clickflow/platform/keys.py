"""Passwords and secrets of the platform: made once, kept in files that only their owner can read, never printed."""

import base64
import json
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from clickflow.system.files import read_record, write_text

PASSWORDS, MLFLOW = "passwords.json", "mlflow.json"
"""Of Airflow's users, and of MLflow's."""
SECRETS, SIGNING = "secrets.json", "jwt.pem"


def passwords(folder: Path, users: Iterable[str], name: str = PASSWORDS) -> Path:
    """The file of passwords, `{"user": "password"}`; who is not in it yet gets one."""
    file = folder / name
    known = _read(file)
    missing = {user: secrets.token_urlsafe(12) for user in users if user not in known}
    if missing:
        write_private(file, json.dumps({**known, **missing}, indent=2) + "\n")
    return file


def password(folder: Path, user: str, name: str = PASSWORDS) -> str:
    """The password of a user; empty where there is none yet."""
    return _read(folder / name).get(user, "")


def signing_key(folder: Path) -> Path:
    """The private key (Ed25519, PEM) that signs the tokens of people and of tasks; made once.

    Only the API server and the scheduler read it. Who has a token, or the secret of Edge workers, cannot make another.
    """
    file = folder / SIGNING
    if not file.exists():
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        pem = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_private(file, pem.decode())
    return file


def secret(folder: Path) -> dict[str, str]:
    """What Edge workers sign with (`jwt`), and what Airflow encrypts (`fernet`) and signs sessions with (`session`)."""
    file = folder / SECRETS
    known = _read(file)
    wanted = {
        "jwt": secrets.token_urlsafe(48),
        "fernet": base64.urlsafe_b64encode(os.urandom(32)).decode(),
        "session": secrets.token_urlsafe(32),
    }
    if wanted.keys() - known.keys():
        known = {**wanted, **known}
        write_private(file, json.dumps(known, indent=2) + "\n")
    return known


def write_private(file: Path, text: str) -> None:
    """Write a file that nobody else can read at any moment."""
    write_text(file, text, mode=0o600)


def _read(file: Path) -> dict[str, str]:
    kept, why = "nothing was started", "without one, remove it: new ones are made, and everybody signs in anew"
    return {str(k): str(v) for k, v in read_record(file, "secrets of the platform", kept=kept, why=why).items()}
