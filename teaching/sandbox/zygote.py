"""The first process in a sandbox: imports torch once, then forks for each learner and each call.

It is trusted and runs none of the learner's code itself. Three kinds of process:

    zygote (PID 1)   talks to the grader, watches time, memory and processes, kills, wipes
    learner          one per submission: runs its cells, then waits for calls
    call             one per call, forked from the learner: gets one input, sends arrays back

A learner can't signal PID 1 of its namespace, nor read its memory (no capabilities, not dumpable).
What a learner's processes send back may be forged by them: it is their own answer, and the grader
reads it as data. Only this file and `calls.py` are visible inside, next to the package to be used.
"""

import contextlib
import ctypes
import linecache
import os
import resource
import select
import shutil
import signal
import socket
import struct
import sys
import time
import types
from pathlib import Path

import calls  # minivit/checks/calls.py

MOST_FRAMES = 1_000  # that a learner may send before it has run its cells
ATTEMPTS = 3  # at running the cells: one that never ends, or ends the process, is left out
OUT_OF_MEMORY = 77  # exit status
OWN_TMP = ("/tmp", "/dev/shm")


def main():
    lower_rights(int(sys.argv[1]))
    warm_up()
    grader = Pipe(os.dup(0), os.dup(1))
    grader.send({"ready": True})
    while (request := grader.receive()) is not None:
        learner = Learner(request)
        grader.send({"cells": learner.run_cells(), "names": learner.names})
        while (request := grader.receive()) is not None and "function" in request:
            grader.send({"result": learner.call(request)})
        grader.send({"clean": learner.end()})


def lower_rights(user):
    """From root to `user`, if root started the sandbox; this memory unreadable."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE


def warm_up():
    """Imports what submissions import. It starts no thread: a fork would not have it."""
    import torch

    torch.set_num_threads(1)
    for name in ("numpy", "minivit", "minivit.figures", "IPython.core.inputtransformer2"):
        with contextlib.suppress(ImportError):
            __import__(name)


class Pipe:
    """Frames over file descriptors: four bytes of length, then `calls.pack`."""

    def __init__(self, read, write):
        self.read, self.write = read, write

    def send(self, value):
        data = calls.pack(value)
        view = memoryview(struct.pack("<I", len(data)) + data)
        while view:
            view = view[os.write(self.write, view) :]

    def receive(self, wait=None):
        """The next frame; None at the end of the stream. wait(): called before each blocking read.

        Raises ValueError for a frame that is too long, or not one of ours.
        """
        header = self._exactly(4, wait)
        if header is None:
            return None
        (length,) = struct.unpack("<I", header)
        if length > calls.MOST_BYTES:
            raise ValueError(f"{length:,} bytes came back; at most {calls.MOST_BYTES:,} may")
        data = self._exactly(length, wait)
        return None if data is None else calls.unpack(data)

    def _exactly(self, count, wait):
        parts = []
        while count:
            if wait:
                wait()
            try:
                part = os.read(self.read, min(count, 1 << 20))
            except ConnectionResetError:
                return None
            if not part:
                return None
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


def end_without_grader():
    """Ends the whole sandbox once nobody holds the other end of its input: the grader was killed.

    bubblewrap's --die-with-parent does not reach a zygote that runs as another user.
    """
    line = select.poll()
    line.register(0, 0)
    if any(event & select.POLLHUP for _, event in line.poll(0)):
        os._exit(1)


class Stopped(Exception):
    """The learner's processes had to be ended. str() is the reason, in the grader's words."""


class Learner:
    """What the zygote knows of one learner: its process, its limits, its cells."""

    def __init__(self, request):
        self.cells, self.functions = request["cells"], request["functions"]
        self.limits = request["limits"]  # seconds: cells, call, wall (a factor); bytes: memory
        self.names, self.pid, self.pipe = (), None, None
        self.before = memory_of(os.getpid())

    def run_cells(self):
        """Runs the cells in a fork; returns (number, kind, text) of those that went wrong."""
        problems = {}
        for _ in range(ATTEMPTS):
            try:
                told = self._attempt(problems)
                kill_others({1, self.pid})
                return [*problems.values(), *told["problems"]]
            except Stopped as reason:
                problems[self.at] = (self.at, "stopped", str(reason))
                self._kill_all()
        return list(problems.values())

    def _attempt(self, skip):
        ours, theirs = socket.socketpair()
        self.at, self.names = 0, ()
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            in_learner(theirs.detach(), self, set(skip))
        theirs.close()
        self.pipe = Pipe(ours.detach(), None)
        self.pipe.write = self.pipe.read
        deadline = time.monotonic() + self.limits["cells"] * self.limits["wall"]
        for _ in range(MOST_FRAMES):
            told = self._next(deadline, "the cells")
            if type(told.get("at")) is int:
                self.at = told["at"]
                continue
            self.names = tuple(n for n in self.functions if n in told.get("names", ()))
            return {"problems": told.get("problems", ())}
        raise Stopped("too many messages")

    def call(self, request):
        """The Result of one call, or a Problem of kind "stopped"."""
        if self.pid is None:
            return calls.Result(problem=calls.Problem("stopped", "the process had ended before"))
        deadline = time.monotonic() + self.limits["call"] * self.limits["wall"]
        try:
            self.pipe.send(request)
            told = self._next(deadline, "a call")
            result = told.get("result")
            if not isinstance(result, calls.Result):
                raise Stopped("what came back can't be read")
            return result
        except (Stopped, OSError) as reason:
            text = str(reason) if isinstance(reason, Stopped) else "the process ended"
            self._after_stop()
            return calls.Result(problem=calls.Problem("stopped", text))
        finally:
            if self.pid and not kill_others({1, self.pid}):
                self._kill_all()

    def _after_stop(self):
        """Ends the call, not the learner, and takes the answer that the learner then sends."""
        if self.pid is None or not kill_others({1, self.pid}):
            return self._kill_all()
        try:
            self._next(time.monotonic() + 2, "a call")
        except Stopped:
            self._kill_all()

    def _next(self, deadline, what):
        """The learner's next frame, with an eye on time, memory and the number of processes."""

        def wait():
            while not select.select([self.pipe.read], [], [], 0.05)[0]:
                end_without_grader()
                reap(self.pid)
                if time.monotonic() > deadline:
                    raise Stopped(f"{what} ran too long")
                self._check_size()

        try:
            told = self.pipe.receive(wait)
        except ValueError as error:
            raise Stopped("what came back can't be read") from error
        if told is None:
            raise Stopped(self._why_gone())
        if not isinstance(told, dict):
            raise Stopped("what came back can't be read")
        return told

    def _why_gone(self):
        for _ in range(40):
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self.pid = None
                return why_ended(status)
            time.sleep(0.05)
        return "the process closed its line"

    def _check_size(self):
        others = [pid for pid in processes() if pid != 1]
        if sum(max(0, memory_of(pid) - self.before) for pid in others) > self.limits["memory"]:
            raise Stopped("it took too much memory")
        if len(others) > self.limits["processes"]:
            raise Stopped("it started too many processes")

    def _kill_all(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)  # everything in this namespace but PID 1
        self.pid = None
        kill_others({1})
        if self.pipe:
            os.close(self.pipe.read)
            self.pipe = None

    def end(self):
        """Kills what is left, empties the writable folders; False where something stayed behind."""
        self._kill_all()
        for folder in OWN_TMP:
            for entry in os.scandir(folder):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    os.unlink(entry.path)
        return processes() == [1] and not any(os.listdir(folder) for folder in OWN_TMP)


def why_ended(status):
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number in (signal.SIGXCPU, signal.SIGKILL):
            return "it ran too long"
        return f"the process was ended by {signal.Signals(number).name}"
    if os.WEXITSTATUS(status) == OUT_OF_MEMORY:
        return "it took too much memory, or too many processes"
    return "the process ended itself"


def processes():
    """Numbers of the processes in this namespace that have not ended."""
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if is_alive(pid)]


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IndexError):
        return False


def memory_of(pid):
    """Bytes of memory of its own that the process has written to."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    return 0


def kill_others(keep):
    """Kills every process but `keep`, again and again until none is left; False after a second."""
    deadline = time.monotonic() + 1
    while others := [pid for pid in processes() if pid not in keep]:
        for pid in others:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        reap(*keep)
        if time.monotonic() > deadline:
            return False
    reap(*keep)
    return True


def reap(*keep):
    """Takes the exit status of orphans, which become children of PID 1; `keep` is left alone."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        if int(name) not in keep and int(name) != 1:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(int(name), os.WNOHANG)


# From here on: inside the learner's process, beside code that may be hostile.


def in_learner(line, learner, skip):
    """Runs the cells, says what went wrong, then forks for each call. Never returns."""
    pipe = Pipe(line, line)
    exit_now, fork, pid_now, own = os._exit, os.fork, os.getpid, os.getpid()
    limits = learner.limits
    silence(keep=line)
    limit(limits, limits["cells"], spare=30)
    space = notebook_namespace()
    problems = []
    for number, source in enumerate(learner.cells, start=1):
        pipe.send({"at": number})
        if number not in skip:
            problem = run_cell(source, number, space)
            if pid_now() != own:
                exit_now(0)  # a fork that the cell made: only one process goes on
            # What such a cell holds would stay for the calls: it is left out next time.
            if problem.startswith(("MemoryError", "BlockingIOError")):
                exit_now(OUT_OF_MEMORY)
            problems += [(number, "raised", problem)] if problem else []
    names = [name for name in learner.functions if callable(space.get(name))]
    pipe.send({"problems": problems[:50], "names": names})
    limit(limits, 30)  # waiting and forking have time of their own
    while (request := pipe.receive()) is not None:
        with contextlib.suppress(ChildProcessError):  # dead children count against the limit
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        read, write = os.pipe()
        pid = fork()
        if pid == 0:
            os.close(line)
            os.close(read)
            limit(limits, limits["call"])
            function = space.get(request["function"])
            Pipe(read, write).send({"result": calls.call(function, request["arguments"])})
            exit_now(0)
        os.close(write)
        try:
            told = Pipe(read, None).receive()
        except ValueError:
            told = {}
        os.close(read)
        _, status = os.waitpid(pid, 0)
        if told is None:
            stopped = calls.Problem("stopped", why_ended(status))
            told = {"result": calls.Result(problem=stopped)}
        pipe.send(told)
    exit_now(0)


def silence(keep):
    """Standard streams lead nowhere, and no descriptor of the zygote stays open but `keep`."""
    nowhere = os.open("/dev/null", os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    os.closerange(3, keep)
    os.closerange(keep + 1, 256)
    os.setsid()


def limit(limits, seconds, spare=1):
    """Limits of this process and its children: CPU time, address space, files, processes.

    spare: seconds by which the process itself may raise its limit on CPU time later.
    """
    spent = resource.getrusage(resource.RUSAGE_SELF)
    until = int(spent.ru_utime + spent.ru_stime + seconds) + 1
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    space = pages * os.sysconf("SC_PAGE_SIZE") + limits["memory"]
    wanted = {
        resource.RLIMIT_CPU: (until, until + spare),
        resource.RLIMIT_AS: (space, space),
        resource.RLIMIT_FSIZE: (calls.MOST_BYTES, calls.MOST_BYTES),
        resource.RLIMIT_NPROC: (limits["processes"], limits["processes"]),
        resource.RLIMIT_NOFILE: (256, 256),
        resource.RLIMIT_CORE: (0, 0),
    }
    for which, pair in wanted.items():
        hard = resource.getrlimit(which)[1]
        if hard != resource.RLIM_INFINITY:
            pair = tuple(min(each, hard) for each in pair)  # it can only become stricter
        resource.setrlimit(which, pair)


class NoShell:
    """Stands for IPython's shell: magics and shell lines do nothing, %%time runs its cell."""

    def __init__(self, space):
        self.user_ns = space

    def run_cell_magic(self, name, line, cell):
        if name in ("time", "capture", "prun"):
            exec(cell, self.user_ns)

    def getoutput(self, *_, **__):
        return []

    def __getattr__(self, name):
        return lambda *_, **__: None


def notebook_namespace():
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    shell = NoShell(module.__dict__)
    module.__dict__["get_ipython"] = lambda: shell
    return module.__dict__


def run_cell(source, number, space):
    """Runs one cell; what it raises, in words, or an empty string."""
    from IPython.core.inputtransformer2 import TransformerManager

    name = f"<cell {number}>"
    try:
        code = TransformerManager().transform_cell(source)
        linecache.cache[name] = (len(code), None, code.splitlines(True), name)
        exec(compile(code, name, "exec"), space)
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:300]}"
    return ""


if __name__ == "__main__":
    main()
