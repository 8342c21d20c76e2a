"""DVC in processes that have it imported: to import it takes longer than most of its commands do.

A server imports DVC and forks for each command, which gets folder, variables, standard streams and a session of its own
from who asks for it, and is killed where that one ends. Runs that a test makes in its own process ask the server; the
command line and DAGs start DVC as always.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clickflow.system import process

_SERVER = """
import json, os, select, signal, socket, sys, threading, traceback
import dvc.cachemgr, dvc.cli.parser, dvc.data_cloud, dvc.lock, dvc.repo.artifacts, dvc.repo.brancher, dvc.repo.datasets
import dvc.repo.graph, dvc.repo.index, dvc.repo.metrics, dvc.repo.params, dvc.repo.plots, dvc.repo.reproduce
import dvc.repo.stage, dvc.repo.trie, dvc.repo.worktree, dvc.rwlock, dvc.scm, dvc.stage.cache, dvc_http, networkx

def watched(asked):
    asked.recv(1)  # nothing comes but the end
    os.killpg(0, signal.SIGKILL)

def serve(asked):
    _, streams, _, _ = socket.recv_fds(asked, 1, 3)
    job = json.loads(asked.makefile("rb").readline())
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["env"])
    sys.argv = ["-c", *job["words"]]
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(write_through=True)
    threading.Thread(target=watched, args=[asked], daemon=True).start()
    code = 0
    try:
        exec(compile(job["code"], "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    asked.sendall(b"%d\\n" % code)
    os._exit(0)

listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(64)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
print("ready", flush=True)
while True:
    ready, _, _ = select.select([listener, 0], [], [])
    if 0 in ready:
        break  # whoever has started the server is gone
    asked, _ = listener.accept()
    if os.fork() == 0:
        listener.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        serve(asked)
    asked.close()
"""

_ASK = """
import json, os, signal, socket, sys
asked = socket.socket(socket.AF_UNIX)
asked.connect({server!r})
socket.send_fds(asked, [b"x"], [0, 1, 2])
job = {{"code": {code!r}, "words": sys.argv[1:], "cwd": os.getcwd(), "env": dict(os.environ)}}
asked.sendall(json.dumps(job).encode() + b"\\n")
code = asked.recv(16)
sys.exit(int(code)) if code else os.kill(os.getpid(), signal.SIGKILL)
"""


@contextmanager
def served(folder: Path) -> Iterator[None]:
    """Within, `clickflow.system.process.dvc` asks a server, whose socket lies in `folder`."""
    server, code = str(folder / "dvc"), process._DVC
    command = [sys.executable, "-c", _SERVER, server]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(process, "_DVC", _ASK.format(server=server, code=code))
            yield
        assert child.stdin
        child.stdin.close()
        child.wait()
