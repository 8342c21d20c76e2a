"""The machine: Python and its packages, memory, disk, clock, GPU."""

import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime

from clickflow.doctor.finding import Finding, fault, warning, well
from clickflow.orchestration.machine import gpus
from clickflow.system.errors import ClickflowError
from clickflow.system.paths import Paths
from clickflow.system.process import git

GB = 2**30

PLATFORM_GB = 2.0
"""What the platform takes with one run at work; measured by tests/platform/live/test_up_down.py."""

DISK_GB = (2.0, 10.0)
"""Free space below which work fails soon, and below which it may."""


def packages(paths: Paths) -> list[Finding]:
    """Python, and the packages against constraints.txt."""
    python = f"Python {platform.python_version()}"
    file = paths.root / "constraints.txt"
    if not file.is_file():
        return [warning("python", f"{python}; {file} is not there to compare versions with", "use a whole checkout")]
    wanted = dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", file.read_text(encoding="utf-8"), re.MULTILINE))
    there = {
        _name(package.metadata["Name"]): package.version
        for package in importlib.metadata.distributions()
        if package.metadata
    }
    missing = sorted(_needed() - there.keys())
    other = sorted(
        f"{name} {there[_name(name)]} (tested: {version})"
        for name, version in wanted.items()
        if (there.get(_name(name)) or version).split("+")[0] != version.split("+")[0]
    )
    if missing:
        return [fault("python", f"{python}; not installed: {', '.join(missing)}", "make environment")]
    if "clickflow" not in importlib.metadata.entry_points(group="airflow.plugins").names:
        words = f"{python}; installed from an older checkout: Airflow does not find the plugin of this one"
        return [fault("python", words, "make environment")]
    if other:
        shown = ", ".join(other[:4]) + (f" and {len(other) - 4} more" if len(other) > 4 else "")
        return [warning("python", f"{python}; other versions than constraints.txt: {shown}", "make environment")]
    return [well("python", f"{python}, packages as in constraints.txt")]


def memory(_: Paths) -> list[Finding]:
    """Free memory, against what the platform and one run need."""
    import psutil

    free = psutil.virtual_memory().available / GB
    words = f"{free:.1f} GB are free"
    if free < PLATFORM_GB:
        mend = "end other programs; a run by hand needs less: ingest.memory_gb, sequences.memory_gb in params.yaml"
        return [warning("memory", f"{words}, and the platform with a run takes {PLATFORM_GB:.0f} GB", mend)]
    return [well("memory", words)]


def disk(paths: Paths) -> list[Finding]:
    """Space and write rights of the home, where runs, data and models go."""
    home = paths.home
    above = next(folder for folder in (home, *home.parents) if folder.exists())
    if not os.access(above, os.W_OK | os.X_OK):
        return [fault("home", f"{above} cannot be written", "chown it, or choose another: CLICKFLOW_HOME=/path")]
    probe = above / f".clickflow-doctor-{os.getpid()}"
    try:
        probe.write_text("x")
        skew = abs(probe.stat().st_mtime - time.time())
    except OSError as error:
        return [fault("home", f"{above} cannot be written: {error.strerror}", "make room, or move it: CLICKFLOW_HOME")]
    finally:
        probe.unlink(missing_ok=True)
    free = shutil.disk_usage(above).free / GB
    words = f"{home}, {free:.0f} GB free"
    findings = []
    if free < DISK_GB[0]:
        findings.append(
            fault("home", words, "clickflow prune removes old runs; dvc gc their data; or move CLICKFLOW_HOME")
        )
    elif free < DISK_GB[1]:
        findings.append(warning("home", words, "clickflow prune removes old runs; dvc gc their data"))
    else:
        findings.append(well("home", words))
    if skew > 5:
        findings.append(
            warning("clock", f"the clock of the disk is {skew:.0f} s away from this machine's", "set both by NTP")
        )
    return findings


def clock(paths: Paths) -> list[Finding]:
    """The clock: a commit from the future says that it is slow, and every token and heartbeat depends on it."""
    now = datetime.now(UTC)
    try:
        committed = int(git(paths.root, "log", "-1", "--format=%ct").strip())
    except (ClickflowError, ValueError):
        committed = 0
    if committed > now.timestamp() + 300:
        when = datetime.fromtimestamp(committed, UTC)
        return [warning("clock", f"it is {now:%F %T} UTC, and the commit is of {when:%F %T}", "set the clock, by NTP")]
    return [well("clock", f"{now:%F %T} UTC")]


def gpu(_: Paths) -> list[Finding]:
    """Whether training will find the GPU that is there."""
    count = gpus()
    if not count:
        if shutil.which("nvidia-smi"):
            mend = "nvidia-smi says why; a driver that was updated needs a reboot"
            return [warning("gpu", "nvidia-smi is there and shows no GPU: training uses the CPU", mend)]
        return [well("gpu", "none: training uses the CPU")]
    said = _torch()
    if said is None:
        return [fault("gpu", f"{count}, but torch cannot be loaded", "make environment")]
    if said["devices"]:
        return [well("gpu", f"{count}; torch sees {said['devices']} ({said['name']}), CUDA {said['cuda']}")]
    if said["cuda"] is None:
        mend = "install torch with CUDA: unset UV_TORCH_BACKEND and PIP_FIND_LINKS, make clean, make environment"
        return [fault("gpu", f"{count}, but this torch is built for the CPU alone: training would use the CPU", mend)]
    driver = _driver()
    mend = f"update the driver to one for CUDA {said['cuda']}, or install a torch for CUDA {driver or 'of the driver'}"
    words = f"{count}, but torch (CUDA {said['cuda']}) does not see it; the driver is for CUDA {driver or '?'}"
    return [fault("gpu", words, mend)]


_ASK_TORCH = """
import json, torch
devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
name = torch.cuda.get_device_name() if devices else ""
print(json.dumps({"devices": devices, "name": name, "cuda": torch.version.cuda}))
"""


def _torch() -> dict[str, str | int | None] | None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", _ASK_TORCH], capture_output=True, text=True)
    if done.returncode:
        return None
    said: dict[str, str | int | None] = json.loads(done.stdout.splitlines()[-1])
    return said


def _driver() -> str:
    """The newest CUDA version that the driver serves."""
    try:
        said = subprocess.run(["nvidia-smi"], capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.search(r"CUDA Version:\s*([\d.]+)", said)
    return match.group(1) if match else ""


def _needed() -> set[str]:
    try:
        said = importlib.metadata.requires("clickflow") or []
    except importlib.metadata.PackageNotFoundError:
        return {"clickflow"}
    return {_name(re.split(r"[\s\[<>=!~;]", line)[0]) for line in said if "extra ==" not in line}


def _name(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()
