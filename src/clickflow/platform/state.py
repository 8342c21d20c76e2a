"""What is known of the platform that runs: its ports and settings, kept in its folder while it does."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

from clickflow.platform import settings
from clickflow.platform.configuration import Ports
from clickflow.platform.settings import Settings
from clickflow.system import locks
from clickflow.system.errors import ClickflowError
from clickflow.system.files import read_json, sha256_json, write_json
from clickflow.system.paths import Paths

FILE = "state.json"

PATIENCE = 900.0
"""Seconds to wait for another `up` or `down`."""


@dataclass(frozen=True)
class Running:
    """A platform that runs. `settings`: those it was started with; `fingerprint`: a hash of what it was started by."""

    settings: Settings
    ports: Ports
    fingerprint: str


def save(chosen: Settings, ports: Ports) -> None:
    """Note what is being started."""
    said = {"ports": asdict(ports), "executor": chosen.executor, "users": chosen.users, "asked": fingerprint_of(chosen)}
    write_json(chosen.folder / FILE, said)


def load(paths: Paths) -> Running:
    """What runs. Raises ClickflowError where nothing does, or where that cannot be read.

    Variables of the caller decide nothing but the home.
    """
    plain = settings.read(paths, {})
    try:
        said = read_json(plain.folder / FILE)
        started = replace(plain, executor=said["executor"], users=said["users"])
        return Running(started, Ports(**said["ports"]), said["asked"])
    except FileNotFoundError:
        raise ClickflowError("the platform does not run", next_step="start it: clickflow up") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ClickflowError(
            f"{plain.folder / FILE} was written by another version of clickflow, or is damaged",
            kept="what runs goes on; runs, models and Airflow's database stay",
            next_step="end it and start it anew: clickflow down, then clickflow up",
        ) from error


def fingerprint_of(chosen: Settings) -> str:
    """A hash of the settings and of the variables that services and tasks read: another one means a restart."""
    env = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("CLICKFLOW_", "AIRFLOW__", "MLFLOW_TRACKING_", "AWS_"))
    }
    return sha256_json([asdict(chosen), env])


@contextmanager
def alone(chosen: Settings) -> Iterator[None]:
    """One `up` or `down` of a platform at a time."""
    file = chosen.folder / "up.lock"
    refusal = ClickflowError(
        f"another `clickflow up` or `down` has been at work here for over {PATIENCE:.0f} s",
        kept="nothing was changed",
        next_step=f"see what it is doing: `fuser {file}` names it",
    )
    chosen.folder.mkdir(parents=True, exist_ok=True)
    chosen.folder.chmod(0o700)
    waiting = "another `clickflow up` or `down` is at work here; waiting for it"
    with locks.held(file, refusal, waiting=waiting, patience=PATIENCE):
        yield
