"""Does jobs in processes of its own, and notices at once when one of them dies.

One pipe to each process, no queue: a queue has locks, and a process that is killed while it holds
one lets all others wait for ever. Each end of a pipe has one owner, so that the caller reads an end
of file when a process dies. A process whose caller dies ends at once, in the midst of its job.
"""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any

import torch

PART = 1 << 20  # bytes; images of a training set are 185 MB


@dataclass(frozen=True, eq=False)
class _Worker:
    process: Any
    pipe: Any


def in_processes(run, jobs, processes, heard):
    """Yields (job, result) of each job as it is done, in so many processes on one CPU thread each.

    run: called as run(job, callback=...), must be picklable. jobs: anything but None. heard: called
    here with (job, news) for whatever `run` gives its callback. When the generator is closed, or a
    job fails, the processes are ended. Raises RuntimeError with the job's name and error where one
    fails, and where a process dies.
    """
    todo, workers = list(jobs), []
    left = len(todo)
    try:
        with _ctrl_c_later():
            for _ in range(min(processes, left)):
                _start(workers)
        # Plain bytes: torch would hand tensors over in shared memory, which containers are short
        # of. And not with the process's arguments: those are written while this side still holds
        # the other end of their pipe, so a process that dies before it reads them stops us here.
        packed = pickle.dumps(run)
        for worker in workers:
            with suppress(ConnectionError):  # it died: the end of file below says so
                _send(worker.pipe, packed)
            _give(worker, todo)
        busy = list(workers)
        while left:
            for worker in _with_news(busy):
                job, kind, content = _receive(worker)
                if kind == "failed":
                    raise RuntimeError(f"{job}: {content}")
                if kind == "news":
                    heard(job, content)
                else:
                    left -= 1
                    if _give(worker, todo) is None:
                        busy.remove(worker)  # it ends by itself
                    yield job, content
    finally:
        for worker in workers:
            worker.process.terminate()
            worker.process.join()
            worker.pipe.close()


def _start(workers):
    context = multiprocessing.get_context("spawn")  # a fork of a process that used torch can hang
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    there.close()
    workers.append(_Worker(process, here))


def _send(pipe, packed):
    """Sends bytes in parts: Windows keeps a whole message in memory that is scarce there."""
    pipe.send(len(packed))
    for start in range(0, len(packed), PART):
        pipe.send_bytes(packed, start, min(PART, len(packed) - start))


def _received(pipe):
    """The bytes that `_send` sends."""
    return b"".join(pipe.recv_bytes() for _ in range(0, pipe.recv(), PART))


def _give(worker, todo):
    """Sends the next job, or None where there is none; returns it."""
    job = todo.pop(0) if todo else None
    with suppress(ConnectionError):
        worker.pipe.send(job)
    return job


def _with_news(workers):
    by_pipe = {worker.pipe: worker for worker in workers}
    return [by_pipe[pipe] for pipe in connection.wait(list(by_pipe))]


def _receive(worker):
    try:
        return worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join()
        raise RuntimeError(
            f"a training process died (exit code {worker.process.exitcode}; −9 is often too little "
            'memory, 1 a script that starts processes outside of `if __name__ == "__main__":`); '
            "what was done is kept: run the same again to go on"
        ) from None


@contextmanager
def _ctrl_c_later():
    """Holds Ctrl-C back inside the block; processes that start in it never get it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe):
    """The life of one process: gets `run`, then jobs until there are none, and tells of each."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the caller, which ends this one
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_the_caller, daemon=True).start()
    try:
        run = pickle.loads(_received(pipe))
        for job in iter(pipe.recv, None):
            pipe.send((job, *_do(run, job, pipe)))
    except (EOFError, OSError):  # an OSError of the job itself is an answer: `_do`
        sys.exit("the caller is gone; what was done is kept")


def _end_with_the_caller():
    """Ends this process when its caller is gone. Files are whole or absent, so this loses none."""
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _do(run, job, pipe):
    try:
        return "done", run(job, callback=lambda news: pipe.send((job, "news", news)))
    except Exception as error:
        return "failed", f"{type(error).__name__}: {error}"
