"""The processes of the GPU queue: each does one job after the other and dies with its parent."""

import gc
import multiprocessing
import os
import signal
import threading
from dataclasses import dataclass
from functools import cache
from multiprocessing import connection
from typing import Any

import torch

from benchmarks.gpu_jobs import Job, do
from minivit.compare import prepare
from minivit.data import cifar10


@dataclass(eq=False)
class Worker:
    """A process that does one job after the other, and the pipe to it."""

    process: Any
    pipe: Any
    job: Job | None = None


class Pool:
    """The processes. They start when there is a job for them and stay until one of them fails."""

    context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork

    def __init__(self, *arguments):
        self.arguments, self.workers = arguments, []

    @property
    def running(self):
        return [worker.job for worker in self.workers if worker.job]

    def give(self, job, *when):
        """when: deadline and expected, as `do` takes them."""
        idle = (w for w in self.workers if not w.job and w.process.is_alive())
        worker = next(idle, None) or self._start()
        worker.job = job
        worker.pipe.send((job, *when))

    def answers(self, timeout):
        """Yields (job, kind, content), as `serve` sends them, of what comes within `timeout`."""
        busy = {worker.pipe: worker for worker in self.workers if worker.job}
        for pipe in connection.wait(list(busy), max(timeout, 0)):
            worker = busy[pipe]
            try:
                kind, content = pipe.recv()
            except (EOFError, OSError):
                worker.process.join()
                kind, content = "failed", f"its process died (exit code {worker.process.exitcode})"
            yield worker.job, kind, content
            if kind == "failed":  # a GPU error leaves a process unusable
                self.stop([worker])
                return
            worker.job = None

    def stop(self, workers=None):
        for worker in workers or list(self.workers):
            worker.process.kill()
            worker.process.join()
            worker.pipe.close()
            self.workers.remove(worker)

    def _start(self):
        here, there = self.context.Pipe()
        process = self.context.Process(target=serve, args=(there, *self.arguments))
        process.start()
        there.close()
        self.workers.append(Worker(process, here))
        return self.workers[-1]


def serve(pipe, data, recipe, work):
    """The life of one process: gets the first arguments of `do`, sends (kind, content).

    kind: "done", "unfinished", or "failed" and then content is the reason in words.
    """
    threading.Thread(target=_die_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this one
    torch.set_num_threads(1)
    images = cifar10(data)
    task, shape = cache(lambda role: prepare(recipe, images, work, role=role)), None
    while True:
        job, *order = pipe.recv()
        try:
            recent, shape = shape, _shape(job.arm.recipe(recipe))
            if shape != recent:
                torch.compiler.reset()  # it keeps code for 8 shapes, and then compiles no more
            answer = do(job, *order, task(job.role))
        except Exception as error:
            answer = "failed", f"{type(error).__name__}: {error}"[:1000]
        gc.collect()
        torch.cuda.empty_cache()  # for the others; does nothing where there is no CUDA
        pipe.send(answer)


def _shape(recipe):
    return recipe.model, recipe.training.batch_size


def _die_with_parent():
    # Nobody else would: a kill of the parent leaves its children, and two would write one file.
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
