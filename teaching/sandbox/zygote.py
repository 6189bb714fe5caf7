"""The first process in a sandbox: imports torch once, then forks for each learner and each call.

It is trusted and runs none of the learner's code itself. Three kinds of process:

    zygote    talks to the grader, watches time, memory and processes, kills, wipes
    learner   one per submission: runs its cells, then waits for calls (`inside`)
    call      one per call, forked from the learner: gets one input, sends arrays back (calls of a
              Case that says `together` share some)

A learner can't signal the zygote (PID 1 of its namespace, or root in a container), nor read its
memory (not dumpable); and the zygote looks into nothing that it passes on, and wipes it, so that a
fork for the next learner has nothing of the one before. Visible inside: this folder's `frames`,
`processes`, `places`, `inside`, and `calls`, next to the package to be used.
"""

import contextlib
import ctypes
import itertools
import os
import select
import signal
import socket
import sys
import time
from json import loads
from pathlib import Path

import calls  # minivit/checks/calls.py
from frames import Pipe, wipe
from inside import OUT_OF_MEMORY, in_learner
from places import Places
from processes import Clock, Processes, memory_of

MOST_FRAMES = 1_000  # that a learner may send before it has run its cells
ATTEMPTS = 4  # at running the cells
LAST = "of all cells the imports, functions and classes were taken alone"
UNREADABLE = "what came back can't be read"


def main():
    user, in_container = int(sys.argv[1]), sys.argv[2] == "container"
    if in_container:
        # Each learner's process gives up root by itself; orphans become children of this one.
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
        filter = Path(__file__).with_name("filter").read_bytes()
    else:
        filter = b""
        lower_rights(user)
    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
    processes = Processes(user if in_container else None)
    places = Places(processes.user)
    warm_up()
    grader = Pipe(os.dup(0), os.dup(1), 2 * calls.MOST_BYTES)
    grader.send(b"!")
    while (frame := grader.receive()) is not None:
        learner = Learner(loads(frame[1])["limits"], grader.receive()[1], processes, user, filter)
        learner.run_cells(grader)
        while (frame := grader.receive()) is not None and frame[0] == b"c":
            learner.call(frame[1], grader)
        grader.send(b"y" if learner.end() and places.empty() else b"n")


def lower_rights(user):
    """From root to `user`, if root started the sandbox."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)


def warm_up():
    """Imports what submissions import. It starts no thread: a fork would not have it."""
    import torch

    torch.set_num_threads(1)
    wanted = ("numpy", "scipy.stats", "minivit", "minivit.figures")
    for name in (*wanted, "IPython.core.inputtransformer2"):
        with contextlib.suppress(ImportError):
            __import__(name)


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
    """What the zygote knows of one learner: its process, its limits, its cells as bytes."""

    def __init__(self, limits, cells, processes, user, filter):
        self.limits = limits  # seconds: cells, call, wall (a factor); bytes: memory
        self.cells, self.processes, self.user, self.filter = cells, processes, user, filter
        self.pid, self.pipe = None, None
        self.before = memory_of(os.getpid())

    def run_cells(self, grader):
        """Runs the cells in a fork; sends (number, kind, text) of those that it had to stop, and
        what the learner's process then says.

        Of a cell that never ends, or ends the process, the next attempt takes the imports,
        functions and classes alone, and where these do it too, nothing; the last attempt takes no
        more of any cell. So a few slow cells cost no answer that stands beside them.
        """
        stopped, bare, told = {}, set(), bytearray()
        for attempt in range(ATTEMPTS):
            try:
                told = self._attempt(stopped, bare, attempt == ATTEMPTS - 1)
                self.processes.kill(keep={self.pid})
                break
            except Stopped as reason:
                if self.at in stopped:
                    bare.add(self.at)
                stopped[self.at] = (self.at, "stopped", str(reason))
                self._kill_all()
                if attempt == ATTEMPTS - 2:
                    stopped.setdefault(0, (0, "stopped", LAST))
        grader.send(b"p", calls.pack(list(stopped.values())))
        grader.send(b"d", told)
        wipe(told)

    def _attempt(self, stopped, bare, last):
        ours, theirs = socket.socketpair()
        self.at = 0
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            in_learner(theirs.detach(), self, set(stopped), set(bare), last)
        theirs.close()
        descriptor = ours.detach()
        os.set_blocking(descriptor, False)
        self.pipe = Pipe(descriptor, descriptor, calls.MOST_BYTES)
        clock = Clock(self.processes)
        for _ in range(MOST_FRAMES):
            letter, told = self._next(clock, "cells")
            if letter == b"d":
                return told
            if letter != b"a" or not told.isdigit() or len(told) > 4:
                raise Stopped(UNREADABLE)
            self.at = int(told)
        raise Stopped("too many messages")

    def call(self, request, grader):
        """Has one call made and sends what came back, or why nothing did."""
        letter, told = b"s", b"the process had ended before"
        if self.pid is not None:
            try:
                letter, told = self._call(request)
            except (Stopped, OSError) as reason:
                told = (str(reason) if isinstance(reason, Stopped) else "it ended").encode()
                self._after_stop()
            if self.pid and not self.processes.kill(keep={self.pid}):
                self._kill_all()
        grader.send(letter, told)
        for data in (request, told):
            if isinstance(data, bytearray):
                wipe(data)

    def _call(self, request):
        clock = Clock(self.processes)
        try:
            self.pipe.send(b"c", request, self._patience(clock, "call", writing=True))
        except Stopped:
            self._kill_all()  # it has half a request, and would take the next one for the rest
            raise
        letter, told = self._next(clock, "call")
        if letter == b"s" and told.isdigit() and len(told) < 8:
            return b"s", why_ended(int(told), self._may("call")).encode()
        if letter != b"r":
            raise Stopped(UNREADABLE)
        return letter, told

    def _after_stop(self):
        """Ends the call, not the learner, and takes the answer that the learner then sends."""
        if self.pid is None or not self.processes.kill(keep={self.pid}):
            return self._kill_all()
        try:
            wipe(self._next(Clock(self.processes), "call")[1])
        except Stopped:
            self._kill_all()

    def _next(self, clock, what):
        """The learner's next frame."""
        try:
            told = self.pipe.receive(self._patience(clock, what))
        except ValueError as error:
            raise Stopped(UNREADABLE) from error
        if told is None:
            raise Stopped(self._why_gone(what))
        return told

    def _patience(self, clock, what, writing=False):
        """A function that waits until the learner has written, or can be written to; it raises
        Stopped once there is too little time left, too much memory taken, or too many processes."""
        line = self.pipe.read  # both ways
        ends = ([], [line]) if writing else ([line], [])
        times = itertools.count(1)

        def wait():
            # Of one that sends a byte now and then there is always something to be read.
            if next(times) % 50 == 0:
                self._look(clock, what)
            while not any(select.select(*ends, [], 0.05)):
                self._look(clock, what)

        return wait

    def _look(self, clock, what):
        seconds, wall = self.limits[what], self.limits[what] * self.limits["wall"]
        end_without_grader()
        self.processes.reap({self.pid})
        clock.tick()
        # One process has its limit from the kernel; this is for all of them together.
        if clock.own > 2 * seconds + 2 or clock.clock > wall or clock.elapsed > 100 * wall:
            raise Stopped(f"it ran too long: {self._may(what)}")
        self._check_size()

    def _may(self, what):
        whose = {"cells": "all cells together", "call": "a call"}[what]
        return f"{whose} may compute for {self.limits[what]:g} seconds"

    def _why_gone(self, what):
        for _ in range(100):
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self.pid = None
                return why_ended(status, self._may(what))
            time.sleep(0.05)
        return "the process closed its line"

    def _check_size(self):
        alive = self.processes.alive()
        if sum(max(0, memory_of(pid) - self.before) for pid in alive) > self.limits["memory"]:
            raise Stopped("it took too much memory")
        if len(alive) > self.limits["processes"]:
            raise Stopped("it started too many processes")

    def _kill_all(self):
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self.pid = None
        self.processes.kill()
        if self.pipe:
            os.close(self.pipe.read)
            self.pipe = None

    def end(self):
        """Kills what is left; False where something of it can be seen all the same."""
        self._kill_all()
        wipe(self.cells)
        return self.processes.vanish()


def why_ended(status, may):
    """may: how long it may compute, in words."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number in (signal.SIGXCPU, signal.SIGKILL):
            return f"it ran too long: {may}"
        return f"the process was ended by signal {number}"
    if os.WEXITSTATUS(status) == OUT_OF_MEMORY:
        return "it took too much memory, or too many processes"
    return "the process ended itself"


if __name__ == "__main__":
    main()
