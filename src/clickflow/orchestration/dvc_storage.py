"""Where the bytes of a run lie: the DVC cache of this machine and the DVC remote that all machines share."""

import configparser
import os
from pathlib import Path

from clickflow.orchestration import repository
from clickflow.system.errors import ClickflowError, UsageError
from clickflow.system.process import git

REMOTE = "clickflow"
"""The DVC remote of runs where the repository names none, or `CLICKFLOW_DVC_REMOTE` another."""

VARIABLE = "CLICKFLOW_DVC_REMOTE"


def is_shared(origin: str) -> bool:
    """Whether workers on other machines may take part in a run: only then is there a reason to send them more."""
    return bool(os.environ.get(VARIABLE)) or not repository.is_checkout(origin)


def configure(folder: Path, origin: str, home: Path, *, link_types: str = "") -> None:
    """Write .dvc/config.local of a clone: a cache, and a remote by absolute name.

    The clones of a checkout use its cache: objects are named by their content, so that what one task has made, the next
    finds without a copy, and a stage done before, here or by hand, is not done again. Clones of a repository elsewhere
    have a cache of this home. What is lost there comes from the remote. The checkout's own settings count; relative
    folders in them are meant from it, not from the clone.
    """
    config = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    checkout = Path(origin) if repository.is_checkout(origin) else None
    config.read([folder / ".dvc/config", *([checkout / ".dvc/config.local"] if checkout else [])], encoding="utf-8")
    for section in ("core", "cache"):
        if not config.has_section(section):
            config.add_section(section)
    for section in config.sections():
        if "remote " in section and config.has_option(section, "url"):
            url = config.get(section, "url").strip("\"'")
            if checkout or not _relative(url):
                config.set(section, "url", _absolute(url, checkout))
            else:
                config.remove_section(section)  # of a folder that only the other machine has
    cache = config.get("cache", "dir", fallback="").strip("\"'")
    own = str(home / "dvc-cache") if _relative(cache or ".") else cache
    config.set("cache", "dir", _absolute(cache or "cache", checkout) if checkout else own)
    if link_types:
        config.set("cache", "type", link_types)
    config.set("core", "analytics", "false")
    config.set("core", "autostage", "false")
    _choose_remote(config, home)
    _check_folder(config, repository.at(origin, home))
    with (folder / ".dvc/config.local").open("w", encoding="utf-8") as file:
        config.write(file)


def ensure_remote(checkout: Path, home: Path) -> str:
    """The name of the remote that runs of a checkout use; put into its .dvc/config.local where that lacks it."""
    config = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    files = [checkout / ".dvc/config", checkout / ".dvc/config.local"]
    config.read(files, encoding="utf-8")
    known = set(config.sections())
    if not config.has_section("core"):
        config.add_section("core")
    _choose_remote(config, home)
    name, section = config.get("core", "remote").strip("\"'"), f"'remote \"{REMOTE}\"'"
    if name == REMOTE and section not in known:
        with files[1].open("a", encoding="utf-8") as file:
            file.write(f"[{section}]\n    url = {config.get(section, 'url')}\n")
    return name


def _choose_remote(config: configparser.ConfigParser, home: Path) -> None:
    said = os.environ.get(VARIABLE, "").strip()
    if said and _relative(said):
        raise UsageError(
            f"{VARIABLE}: {said} is a relative folder, and the workspaces of runs lie in many places",
            kept="nothing was run",
            next_step="give an absolute folder or a URL such as s3://bucket/folder or ssh://user@host/folder",
        )
    named = config.get("core", "remote", fallback="").strip("\"'")
    section = f"'remote \"{REMOTE}\"'"
    if not said and named and any(f'remote "{named}"' in known for known in config.sections()):
        return
    config.set("core", "remote", REMOTE)
    if not config.has_section(section):
        config.add_section(section)
    if said or not config.has_option(section, "url"):
        config.set(section, "url", _absolute(said, None) if said else str(home / "dvc-remote"))


def _check_folder(config: configparser.ConfigParser, origin: Path) -> None:
    """Refuse a remote that is an empty or missing folder although runs are recorded: a disk that is not mounted.

    DVC would begin it anew without a word, and keep there a part of a run whose rest nobody finds.
    """
    name = config.get("core", "remote").strip("\"'")
    url = config.get(f"'remote \"{name}\"'", "url", fallback="").strip("\"'")
    if not url or "://" in url or (Path(url) / "files").exists():
        return
    if git(origin, "for-each-ref", "--count=1", repository.RUNS):
        raise ClickflowError(
            f"the DVC remote {url} is empty or not there, and runs are recorded whose bytes it had",
            kept="the runs, and what this machine's cache has",
            next_step=f"mount it or move it back, then clear the task; to begin an empty one: mkdir -p {url}/files",
        )


def _relative(path: str) -> bool:
    return "://" not in path and not Path(path).expanduser().is_absolute()


def _absolute(path: str, checkout: Path | None) -> str:
    if "://" in path:
        return path
    expanded = Path(path).expanduser()
    return str((checkout / ".dvc" / expanded).resolve() if checkout else expanded.absolute())
