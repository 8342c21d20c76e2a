"""An SSH server on loopback for tests: OpenSSH's own, with keys made for it, that lets this user in."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SERVER = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/client.pub
PidFile none
PasswordAuthentication no
StrictModes no
UsePAM no
Subsystem sftp internal-sftp
"""

CLIENT = """
Host storage
    HostName 127.0.0.1
    Port {port}
    User {user}
    IdentityFile {folder}/client
"""


@contextmanager
def served(folder: Path) -> Iterator[Path]:
    """Serve this machine's files to host `storage`; yields a home whose ~/.ssh/config knows it."""
    program = shutil.which("sshd", path=f"{os.defpath}:/usr/sbin:/sbin")
    if program is None:
        pytest.skip("there is no sshd on this machine: sudo apt-get install openssh-server")
    (folder / "home/.ssh").mkdir(parents=True)
    for name in ("host", "client"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(words, check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "sshd_config").write_text(SERVER.format(port=port, folder=folder))
    (folder / "home/.ssh/config").write_text(CLIENT.format(port=port, folder=folder, user=getpass.getuser()))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where OpenSSH locks up what is not logged in yet
    with (folder / "sshd.log").open("wb") as log:
        server = subprocess.Popen([program, "-D", "-e", "-f", str(folder / "sshd_config")], stdout=log, stderr=log)
    try:
        until = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            server_log = (folder / "sshd.log").read_text()
            assert server.poll() is None and time.monotonic() < until, f"the SSH server did not start: {server_log}"
            time.sleep(0.1)
        yield folder / "home"
    finally:
        server.terminate()
        server.wait()
