"""Processes of a learner, as the zygote sees and ends them.

Behind namespaces that is every process but PID 1, the zygote itself. Without them, in a container
of one learner, it is every process of the learner's user.
"""

import contextlib
import os
import signal
import time
from pathlib import Path

COUNTED = ("RssAnon:", "RssShmem:", "VmSwap:")


class Processes:
    """The processes of `user`; user None: all but this one, which is PID 1 of its namespace."""

    def __init__(self, user=None):
        self.user = user

    def alive(self):
        """Numbers of those that have not ended."""
        return [pid for pid in self._listed() if self._is_theirs(pid) and _is_alive(pid)]

    def vanish(self, within=10):
        """Waits until none of theirs is listed, not even one that has ended; False after `within`.

        Of one that has ended the number stays until its exit status is taken, and under a heavy
        load the next learner might see it.
        """
        deadline = time.monotonic() + within
        while any(map(self._is_theirs, self._listed())):
            if time.monotonic() > deadline:
                return False
            self.reap()
            time.sleep(0.001)
        return True

    def _listed(self):
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]

    def _is_theirs(self, pid):
        if self.user is None:
            return pid != os.getpid()
        try:
            return f"\nUid:\t{self.user}\t" in Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return False

    def kill(self, keep=(), within=10):
        """Kills all but `keep`, again and again until none is left; False after `within` seconds.

        Only a machine under a heavy load needs more than a few milliseconds.
        """
        deadline = time.monotonic() + within
        if not keep and self.alive():
            self._kill_at_once()
        while others := [pid for pid in self.alive() if pid not in keep]:
            for pid in others:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.reap(keep)
            if time.monotonic() > deadline:
                return False
        self.reap(keep)
        return True

    def _kill_at_once(self):
        """No process can fork fast enough to get away from this one call."""
        if self.user is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
        elif (pid := os.fork()) == 0:
            with contextlib.suppress(OSError):
                os.setresuid(self.user, self.user, self.user)
                os.kill(-1, signal.SIGKILL)  # spares the caller
            os._exit(0)
        else:
            os.waitpid(pid, 0)

    def reap(self, keep=()):
        """Takes the exit status of orphans, which become children here; `keep` is left alone."""
        for name in filter(str.isdigit, os.listdir("/proc")):
            if int(name) not in keep and int(name) != os.getpid():
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(int(name), os.WNOHANG)


class Clock:
    """Seconds that a learner's processes have taken.

    `own` is CPU time, of all together. `clock` is time by the clock less the time in which the
    process that waited longest was ready and got no CPU: load is nobody's fault.
    """

    def __init__(self, processes):
        self.processes, self.seen = processes, {}
        self.started = self.last = time.monotonic()
        self.own = self.clock = 0.0
        self.tick(first=True)

    def tick(self, first=False):
        now, before = time.monotonic(), self.seen
        self.seen = {pid: _cpu_and_wait(pid) for pid in self.processes.alive()}
        # What is new has had all of its time since the last look.
        deltas = [_minus(each, before.get(pid, (0, 0))) for pid, each in self.seen.items()]
        elapsed, self.last = now - self.last, now
        if not first:
            waited = max((wait for _, wait in deltas), default=0)
            self.own += sum(cpu for cpu, _ in deltas)
            # A wait is counted where it ends, so it may be longer than the time since then.
            self.clock += elapsed - waited

    @property
    def elapsed(self):
        return self.last - self.started


def _minus(now, before):
    return now[0] - before[0], now[1] - before[1]


def _cpu_and_wait(pid):
    """Seconds on a CPU, and seconds ready but without one; zeros where the system keeps no count.

    /proc/PID/schedstat counts the first thread alone.
    """
    try:
        cpu, wait, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    except (OSError, ValueError):
        return 0, 0
    return int(cpu) / 1e9, int(wait) / 1e9


def _is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IndexError):
        return False


def memory_of(pid):
    """Bytes of memory that the process has written to: its own, shared, and moved to a disk.

    What processes share counts for each that has touched it: who holds how much is not to be seen
    from outside of a process that doesn't want it. It is little: `seccomp` and `bwrap` leave
    nothing to share but files in two small folders.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(COUNTED))
    except OSError:
        return 0
