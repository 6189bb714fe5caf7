"""A sandbox for learners' code: bubblewrap around a zygote (`zygote.py`), seen from the grader.

Inside there is a read-only Python with its packages, a copy of minivit without the functions that
the exercise asks for, two small writable folders, and nothing else: no key, no other submission, no
network, no other process. Judges and expected values stay out here; inputs go in one at a time.

bubblewrap is Linux only. Where it can't run, `require` says so, and nothing is graded: there is no
second-best way that starts by itself.
"""

import ast
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import minivit
from minivit.checks import calls
from minivit.checks.calls import Problem, Result, pack, unpack
from teaching.sandbox import seccomp

HERE = Path(__file__).resolve().parent
SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc/ld.so.cache", "/etc/alternatives")
FIRST_USER = 61_000  # started by root, each sandbox runs as a user of its own


class Limits(NamedTuple):
    """Of one learner. Seconds are CPU time; `wall` times as much may pass by the clock."""

    cells: float = 8.0
    call: float = 3.0
    wall: float = 3.0
    memory: int = 1_000_000_000  # bytes, of all processes together, on top of what torch takes
    processes: int = 24


LIMITS = Limits()


class SandboxEnded(Exception):
    """The sandbox is gone: the submission that was in it ended it."""


def require():
    """Raises ValueError, with what to do, where there is no working bubblewrap."""
    advice = (
        "Learners' code is run in bubblewrap only, which needs Linux: `sudo apt-get install "
        "bubblewrap`, or grade on a Linux machine. Nothing was graded."
    )
    if sys.platform != "linux" or not shutil.which("bwrap"):
        raise ValueError(f"bubblewrap (bwrap) is not here. {advice}")
    seccomp.program()
    done = subprocess.run(
        ["bwrap", *_namespaces(), "--ro-bind", "/", "/", "true"], capture_output=True, text=True
    )
    if done.returncode:
        raise ValueError(f"bubblewrap can't run here: {done.stderr.strip()[:200]}. {advice}")


def learner_package(folder, withheld):
    """Writes the package that a learner's code imports while it is graded into `folder`.

    It is minivit without checks and without the bodies of `withheld`, "module.function" each.
    Raises ValueError for a function that is not there.
    """
    target = Path(folder) / "minivit"
    unwanted = shutil.ignore_patterns("__pycache__", "checks", "*.pyc")
    shutil.copytree(Path(minivit.__file__).parent, target, ignore=unwanted)
    (target / "checks").mkdir()
    stub = '"""Checks do not run while grading."""\n\n\ndef check(*_, **__):\n    pass\n'
    stub += "\n\ndef examples(*_, **__):\n    return {}\n"
    (target / "checks" / "__init__.py").write_text(stub, encoding="utf-8")
    for name in withheld:
        module, function = name.rsplit(".", 1)
        path = target / f"{module}.py"
        path.write_text(_without_body(path.read_text(encoding="utf-8"), function), encoding="utf-8")
    return target


def _without_body(source, function):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name == function:
            lines = source.splitlines()
            indent = " " * node.body[0].col_offset
            says = f'raise NotImplementedError("{function} is not there while grading")'
            lines[node.body[0].lineno - 1 : node.end_lineno] = [indent + says]
            return "\n".join(lines) + "\n"
    raise ValueError(f"minivit has no function {function!r} to withhold")


class Sandbox:
    """One bubblewrap with its zygote; takes one learner after the other. Close it after use."""

    def __init__(self, withheld, number=0):
        self.withheld, self.number, self.process = tuple(withheld), number, None

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="minivit-grade-")
        inside = Path(self.folder.name)
        inside.chmod(0o755)
        learner_package(inside / "lib", self.withheld)
        for source in (HERE / "zygote.py", calls.__file__):
            shutil.copy(source, inside)
        self._start()
        return self

    def __exit__(self, *_):
        self._stop()
        self.folder.cleanup()

    def _start(self):
        filter_read, filter_write = os.pipe()
        os.write(filter_write, seccomp.program())
        os.close(filter_write)
        user = FIRST_USER + self.number
        command = command_line(self.folder.name, filter_read, user)
        try:
            self.process = subprocess.Popen(
                command, stdin=-1, stdout=-1, stderr=-1, pass_fds=[filter_read], bufsize=0
            )
        finally:
            os.close(filter_read)
        if self._receive() != {"ready": True}:
            raise SandboxEnded("the sandbox did not start")

    def _stop(self):
        if self.process:
            self.process.kill()  # PID 1 of the namespace dies with bubblewrap, and all with it
            self.process.communicate()
            self.process = None

    def restart(self):
        """A fresh sandbox in place of one that a learner has ended or left something behind in."""
        self._stop()
        self._start()

    def open(self, cells, functions, limits):
        """Runs a submission's cells. Returns ([(number, kind, text)], names that are there)."""
        request = {"cells": cells, "functions": functions, "limits": limits._asdict()}
        told = self._ask(request)
        problems = [each for each in told["cells"] if _is_problem(each)]
        return problems, [name for name in functions if name in told["names"]]

    def call(self, function, arguments) -> Result:
        """One call in the opened submission."""
        result = self._ask({"function": function, "arguments": arguments})["result"]
        return result if isinstance(result, Result) else Result(problem=Problem("stopped", ""))

    def close(self):
        """Ends the submission; a sandbox that is not clean afterwards is started anew."""
        if not self._ask({"end": True})["clean"]:
            self.restart()

    def _ask(self, request):
        data = pack(request)
        try:
            self.process.stdin.write(struct.pack("<I", len(data)) + data)
            return self._receive()
        except (OSError, ValueError) as error:
            raise SandboxEnded("it ended the sandbox") from error

    def _receive(self):
        (length,) = struct.unpack("<I", self._exactly(4))
        return unpack(self._exactly(min(length, 2 * calls.MOST_BYTES)))

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            part = self.process.stdout.read(count - len(data))
            if not part:
                raise SandboxEnded(f"it ended the sandbox{self._last_words()}")
            data += part
        return data

    def _last_words(self):
        self.process.kill()
        words = self.process.communicate()[1].decode(errors="replace").strip()
        return f" ({words[-300:]})" if words else ""


def _is_problem(each):
    types = (int, str, str)
    return isinstance(each, tuple) and tuple(map(type, each)) == types


def _namespaces():
    shared = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    root = os.geteuid() == 0
    # Root needs no user namespace; one would map every user inside to root outside, whom the limit
    # on processes does not bind. The zygote gives up both capabilities before it imports anything.
    rights = ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    return [*shared, *(rights if root else ["--unshare-user"]), "--die-with-parent"]


def command_line(folder, seccomp_fd, user):
    """bubblewrap's command line. ValueError where a folder to be shown inside would show keys."""
    shown = [path for path in dict.fromkeys([*SYSTEM, *_prefixes()]) if os.path.lexists(path)]
    keys = HERE.parent
    for path in shown:
        if keys.is_relative_to(Path(path).resolve()):
            raise ValueError(f"{keys} lies in {path}, which learners' code can read; move it away")
    small = ["--perms", "1777", "--size"]
    # Mounted first: the environment may lie below /tmp, and a later mount would hide it.
    mounts = [*small, "32000000", "--tmpfs", "/tmp"]
    for path in shown:
        if os.path.islink(path) and path in SYSTEM:
            mounts += ["--symlink", os.readlink(path), path]
        else:
            for parent in reversed(Path(path).parents[:-1]):
                mounts += ["--perms", "0755", "--dir", str(parent)]  # by itself it makes them 0700
            mounts += ["--ro-bind", path, path]
    for path in _installed_copies():
        mounts += ["--tmpfs", path]
    mounts += ["--ro-bind", folder, "/grader", "--proc", "/proc", "--dev", "/dev"]
    mounts += [*small, "16000000", "--tmpfs", "/dev/shm"]
    mounts += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp"]
    settings = {
        "PATH": "/usr/bin:/bin",
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "PYTHONPATH": "/grader/lib",
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "Agg",
        "MINIVIT_CACHE": "/tmp/cache",
        "IPYTHONDIR": "/tmp/ipython",
    }
    environment = ["--clearenv"]
    for name, value in settings.items():
        environment += ["--setenv", name, value]
    python = [sys.executable, "-B", "-s", "/grader/zygote.py", str(user)]
    isolation = [*_namespaces(), "--new-session", "--as-pid-1", "--seccomp", str(seccomp_fd)]
    return ["bwrap", *isolation, *mounts, *environment, *python]


def _prefixes():
    return [path for path in (sys.base_prefix, sys.prefix) if not path.startswith("/usr")]


def _installed_copies():
    """Folders of an installed minivit (or teaching) inside the prefixes: masked, they hold all."""
    places = [Path(entry) for entry in sys.path if entry.startswith((sys.prefix, sys.base_prefix))]
    copies = [place / name for place in places for name in ("minivit", "teaching")]
    return sorted({str(copy) for copy in copies if copy.is_dir()})
