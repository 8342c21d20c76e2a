"""An S3 server on loopback for tests: rclone, which keeps a folder behind the S3 protocol."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

KEY, SECRET = "clickflow-key", "clickflow-secret"


@contextmanager
def served(folder: Path, bucket: str) -> Iterator[dict[str, str]]:
    """Serve `folder`; yields the variables that point every S3 client there."""
    rclone_api = pytest.importorskip("rclone_api")
    program = Path(rclone_api.__file__).parent / "bin/rclone"
    (folder / bucket).mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    words = ["serve", "s3", "--auth-key", f"{KEY},{SECRET}", "--addr", address, "--vfs-cache-mode", "off", str(folder)]
    with (folder.parent / "rclone.log").open("wb") as log:
        server = subprocess.Popen([str(program), "--config", os.devnull, *words], stdout=log, stderr=log)
    try:
        host, port = address.split(":")
        until = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex((host, int(port))) == 0:
                    break
            assert server.poll() is None and time.monotonic() < until, "the S3 server did not start"
            time.sleep(0.1)
        yield {
            "AWS_ENDPOINT_URL": f"http://{address}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        server.kill()
        server.wait()
