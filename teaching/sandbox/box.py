"""A sandbox for learners' code: bubblewrap around a zygote (`zygote.py`), seen from the grader.

Inside there is a read-only Python with its packages, a copy of minivit without the functions that
the exercise asks for, two small writable folders, and nothing else: no key, no other submission, no
network, no other process. Judges and expected values stay out here; inputs go in one at a time.

bubblewrap is Linux only. Where it can't run, `require` says so, and nothing is graded: there is no
second-best way that starts by itself.
"""

import ast
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from json import dumps
from pathlib import Path
from typing import NamedTuple

import minivit
from minivit.checks import QUESTIONS, calls
from minivit.checks.calls import Problem, Result, belongs, pack, unpack
from teaching.sandbox import seccomp
from teaching.sandbox.frames import Pipe

HERE = Path(__file__).resolve().parent
SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc/ld.so.cache", "/etc/alternatives")
INSIDE = ("zygote", "inside", "frames", "processes")  # what is copied in, beside `calls`
FIRST_USER = 61_000  # started by root, each sandbox runs as a user of its own


FORBIDDEN = (
    "This system does not let bubblewrap make namespaces (Ubuntu from 23.10 on, for one): see "
    "“Where bubblewrap can't run” in teaching/grading.md. Nothing was graded."
)


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
        said = done.stderr.strip()[:200]
        forbidden = "uid map" in said or "namespace" in said
        raise ValueError(f"bubblewrap can't run here: {said}. {FORBIDDEN if forbidden else advice}")


def learner_package(folder, withheld):
    """Writes the package that a learner's code imports while it is graded into `folder`.

    It is minivit without judges and without the bodies of `withheld`, "module.function" each; the
    visible cases are there as data. Raises ValueError for a function that is not there.
    """
    target = Path(folder) / "minivit"
    unwanted = shutil.ignore_patterns("__pycache__", "checks", "*.pyc")
    shutil.copytree(Path(minivit.__file__).parent, target, ignore=unwanted)
    (target / "checks").mkdir()
    shutil.copy(HERE / "no_checks.py", target / "checks" / "__init__.py")
    shutil.copy(calls.__file__, target / "checks")
    (target / "checks" / "examples").write_bytes(pack(_visible_cases()))
    for name in withheld:
        module, function = name.rsplit(".", 1)
        path = target / f"{module}.py"
        path.write_text(_without_body(path.read_text(encoding="utf-8"), function), encoding="utf-8")
    return target


def _visible_cases():
    """{question: {title: arguments}}, what `minivit.checks.examples` gives in a notebook."""
    return {
        question.id: {case.title: case.calls[0] for case in question.visible}
        for question in QUESTIONS.values()
    }


def _without_body(source, function):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name == function:
            lines = source.splitlines()
            indent = " " * node.body[0].col_offset
            says = f'raise RuntimeError("{function} is not there while grading")'
            lines[node.body[0].lineno - 1 : node.end_lineno] = [indent + says]
            return "\n".join(lines) + "\n"
    raise ValueError(f"minivit has no function {function!r} to withhold")


class Sandbox:
    """One bubblewrap with its zygote; takes one learner after the other. Close it after use.

    container: no bubblewrap, but a second user inside a container of one learner (`container`).
    """

    def __init__(self, withheld, *, container=False):
        self.withheld, self.container, self.process = tuple(withheld), container, None

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="minivit-grade-")
        inside = Path(self.folder.name)
        learner_package(inside / "lib", self.withheld)
        for source in (*(HERE / f"{name}.py" for name in INSIDE), calls.__file__):
            shutil.copy(source, inside)
        (inside / "filter").write_bytes(seccomp.program(families=(seccomp.AF_UNIX,)))
        # Inside another user reads it, and what was copied may be closed to all but its owner.
        for path in (inside, *inside.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        self._start()
        return self

    def __exit__(self, *_):
        self._stop()
        self.folder.cleanup()

    def _start(self):
        user = free_user()
        filter_read, filter_write = os.pipe()
        os.write(filter_write, seccomp.program())
        os.close(filter_write)
        settings = {"stdin": -1, "stdout": -1, "stderr": -1, "bufsize": 0}
        if self.container:
            zygote = [sys.executable, "-B", "-s", f"{self.folder.name}/zygote.py", str(user)]
            command = [*zygote, "container"]
            settings |= {"env": environment(self.folder.name), "cwd": self.folder.name}
        else:
            command = command_line(self.folder.name, filter_read, user)
        try:
            self.process = subprocess.Popen(command, pass_fds=[filter_read], **settings)
        finally:
            os.close(filter_read)
        streams = self.process.stdout.fileno(), self.process.stdin.fileno()
        self.pipe = Pipe(*streams, 2 * calls.MOST_BYTES)
        self._receive(b"!")

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
        self._send(b"o", dumps({"limits": limits._asdict()}).encode())
        self._send(b"p", pack({"cells": cells, "functions": functions}))
        stopped, told = _unpacked(self._receive(b"p")[1]), self._receive(b"d")[1]
        told = _unpacked(told) if told else {}
        raised = told.get("problems") if isinstance(told, dict) else ()
        names = told.get("names") if isinstance(told, dict) else ()
        problems = [*stopped, *(each for each in _items(raised) if _is_problem(each))]
        return problems, [name for name in functions if name in _items(names)]

    def call(self, function, arguments) -> Result:
        """One call in the opened submission."""
        self._send(b"c", pack({"function": function, "arguments": arguments}))
        letter, data = self._receive(b"r", b"s")
        if letter == b"s":
            return Result(problem=Problem("stopped", data.decode()))
        told = _unpacked(data)
        result = told.get("result") if isinstance(told, dict) else None
        unreadable = Result(problem=Problem("stopped", "what came back can't be read"))
        honest = isinstance(result, Result) and belongs(result, arguments)
        return result if honest else unreadable

    def close(self):
        """Ends the submission; a sandbox that is not clean afterwards is started anew."""
        self._send(b"e")
        if self._receive(b"y", b"n")[0] == b"n":
            self.restart()

    def _send(self, letter, data=b""):
        try:
            self.pipe.send(letter, data)
        except OSError as error:
            raise SandboxEnded("it ended the sandbox") from error

    def _receive(self, *letters):
        frame = self.pipe.receive()
        if frame is None or frame[0] not in letters:
            raise SandboxEnded(f"it ended the sandbox{self._last_words()}")
        return frame

    def _last_words(self):
        self.process.kill()
        words = self.process.communicate()[1].decode(errors="replace").strip()
        return f" ({words[-300:]})" if words else ""


def _unpacked(data):
    """What a learner's process sent; None where it is not one of our frames."""
    try:
        return unpack(bytes(data))
    except ValueError:
        return None


def _items(value):
    return value if isinstance(value, tuple) else ()


def free_user():
    """A user id that no other sandbox has: processes of one user share the limit on their number.

    So a fork bomb in one sandbox must not have the same user as its neighbour, in this grader or in
    another one on this machine. Drawn at random: nobody has to keep a list.
    """
    first, _, count = map(int, Path("/proc/self/uid_map").read_text().split()[-3:])
    last = first + count - 1
    if last >= 2**31:
        return 2**30 + secrets.randbelow(2**30)
    if last < FIRST_USER:
        raise ValueError(f"user ids up to {last} exist in this container; {FIRST_USER} is needed")
    return FIRST_USER + secrets.randbelow(last - FIRST_USER + 1)


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
    settings = ["--clearenv"]
    for name, value in environment("/grader").items():
        settings += ["--setenv", name, value]
    python = [sys.executable, "-B", "-s", "/grader/zygote.py", str(user), "namespaces"]
    isolation = [*_namespaces(), "--new-session", "--as-pid-1", "--seccomp", str(seccomp_fd)]
    return ["bwrap", *isolation, *mounts, *settings, *python]


def environment(folder):
    """All that a learner's code finds in its environment."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "PYTHONPATH": f"{folder}/lib",
        "PYTHONHASHSEED": "0",  # the order of sets is part of an answer now and then
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "Agg",
        "MINIVIT_CACHE": "/tmp/cache",
        "IPYTHONDIR": "/tmp/ipython",
    }


def _prefixes():
    return [path for path in (sys.base_prefix, sys.prefix) if not path.startswith("/usr")]


def _installed_copies():
    """Folders of an installed minivit (or teaching) inside the prefixes: masked, they hold all."""
    places = [Path(entry) for entry in sys.path if entry.startswith((sys.prefix, sys.base_prefix))]
    copies = [place / name for place in places for name in ("minivit", "teaching")]
    return sorted({str(copy) for copy in copies if copy.is_dir()})
