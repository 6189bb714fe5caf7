"""A sandbox for learners' code: bubblewrap around a zygote (`zygote.py`), seen from the grader.

Inside there is a read-only Python with its packages, a copy of minivit without the functions that
the exercise asks for, two small writable folders, and nothing else: no key, no other submission, no
network, no other process. Judges and expected values stay out here; inputs go in one at a time.

bubblewrap is Linux only. Where it can't run, `require` says so, and nothing is graded: there is no
second-best way that starts by itself.
"""

import contextlib
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from json import dumps, loads
from pathlib import Path
from typing import NamedTuple

from minivit.checks import calls
from minivit.checks.calls import Problem, Result, belongs, pack, unpack
from teaching.sandbox import seccomp
from teaching.sandbox.bwrap import command_line, environment, namespaces
from teaching.sandbox.frames import Pipe
from teaching.sandbox.package import learner_package

HERE = Path(__file__).resolve().parent
INSIDE = ("zygote", "inside", "frames", "processes", "places")  # what is copied in, beside `calls`
FIRST_USER = 61_000  # started by root, each sandbox runs as a user of its own
# The zygote looks at the clock, and knows which of it is load. This is for a zygote that hangs:
# three attempts at the cells, on a machine with ten times the work it can do.
PATIENCE, AT_LEAST = 30, 60.0


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
    """The sandbox is gone, or does not answer: the submission that was in it ended it."""


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
        ["bwrap", *namespaces(), "--ro-bind", "/", "/", "true"], capture_output=True, text=True
    )
    if done.returncode:
        said = done.stderr.strip()[:200]
        forbidden = "uid map" in said or "namespace" in said
        raise ValueError(f"bubblewrap can't run here: {said}. {FORBIDDEN if forbidden else advice}")


class Sandbox:
    """One bubblewrap with its zygote; takes one learner after the other. Close it after use.

    container: no bubblewrap, but a second user inside a container of one learner (`container`).
    """

    def __init__(self, withheld, *, container=False):
        self.withheld, self.container, self.process = tuple(withheld), container, None
        self.limits, self.zygote = LIMITS, None

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
        told_read, told_write = os.pipe()
        settings = {"stdin": -1, "stdout": -1, "stderr": -1, "bufsize": 0}
        if self.container:
            zygote = [sys.executable, "-B", "-s", f"{self.folder.name}/zygote.py", str(user)]
            command = [*zygote, "container"]
            settings |= {"env": environment(self.folder.name), "cwd": self.folder.name}
        else:
            bwrap, *rest = command_line(self.folder.name, filter_read, user)
            command = [bwrap, "--info-fd", str(told_write), *rest]
        try:
            fds = () if self.container else (filter_read, told_write)
            self.process = subprocess.Popen(command, pass_fds=fds, **settings)
        finally:
            os.close(filter_read)
            os.close(told_write)
        with open(told_read) as told:
            self.zygote = _process_in(told.read())
        streams = self.process.stdout.fileno(), self.process.stdin.fileno()
        os.set_blocking(streams[1], False)
        self.pipe = Pipe(*streams, 2 * calls.MOST_BYTES)
        self._allow(20)
        self._receive(b"!")

    def _stop(self):
        if self.process:
            self._kill()
            self.process = None

    def _kill(self):
        """Ends the sandbox and all in it; what it said on its standard error."""
        # PID 1 of the namespace, and all with it. Where it runs as another user, the end of
        # bubblewrap does not reach it; and one that hangs does not see that nobody is there.
        if self.zygote is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.zygote, signal.SIGKILL)
            os.close(self.zygote)
            self.zygote = None
        self.process.kill()
        return self.process.communicate()[1]

    def restart(self):
        """A fresh sandbox in place of one that a learner has ended or left something behind in."""
        self._stop()
        self._start()

    def open(self, cells, functions, limits):
        """Runs a submission's cells. Returns ([(number, kind, text)], names that are there)."""
        self.limits = limits
        self._allow(limits.cells * limits.wall)
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
        return self.call_all(function, (arguments,))[0]

    def call_all(self, function, given) -> tuple[Result, ...]:
        """A call with each of the `given` arguments, all in one process and in the time of one."""
        self._allow(self.limits.call * self.limits.wall)
        self._send(b"c", pack({"function": function, "arguments": given}))
        letter, data = self._receive(b"r", b"s")
        if letter == b"s":
            return len(given) * (Result(problem=Problem("stopped", data.decode())),)
        told = _unpacked(data)
        results = _items(told.get("results")) if isinstance(told, dict) else ()
        if len(results) == len(given) and all(map(_is_of, results, given)):
            return results
        return len(given) * (Result(problem=Problem("stopped", "what came back can't be read")),)

    def close(self):
        """Ends the submission; a sandbox that is not clean afterwards is started anew."""
        self._allow(10)
        self._send(b"e")
        if self._receive(b"y", b"n")[0] == b"n":
            self.restart()

    def _allow(self, seconds):
        """From now on: how long something may take that takes `seconds` at most, by the clock."""
        self.deadline = time.monotonic() + AT_LEAST + PATIENCE * seconds

    def _wait_for(self, stream, event):
        """A function that waits until the sandbox can be read or written; not for ever."""
        line = select.poll()
        line.register(stream, event)

        def wait():
            left = self.deadline - time.monotonic()
            if left <= 0 or not line.poll(1000 * left):
                raise SandboxEnded("it did not come back, and the sandbox was ended")

        return wait

    def _send(self, letter, data=b""):
        try:
            self.pipe.send(letter, data, self._wait_for(self.pipe.write, select.POLLOUT))
        except OSError as error:
            raise SandboxEnded("it ended the sandbox") from error

    def _receive(self, *letters):
        frame = self.pipe.receive(self._wait_for(self.pipe.read, select.POLLIN))
        if frame is None or frame[0] not in letters:
            raise SandboxEnded(f"it ended the sandbox{self._last_words()}")
        return frame

    def _last_words(self):
        words = self._kill().decode(errors="replace").strip()
        return f" ({words[-300:]})" if words else ""


def _process_in(told):
    """A descriptor of the process that bubblewrap names; None where it has started none."""
    try:
        return os.pidfd_open(loads(told)["child-pid"])
    except (ValueError, OSError):
        return None


def _unpacked(data):
    """What a learner's process sent; None where it is not one of our frames."""
    try:
        return unpack(bytes(data))
    except ValueError:
        return None


def _is_of(result, arguments):
    return isinstance(result, Result) and belongs(result, arguments)


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
