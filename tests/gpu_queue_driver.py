"""Calls the GPU queue in forks of one process, stops some of them, prints what came of it as JSON.

`python tests/gpu_queue_driver.py FOLDER [STEP]`: kills at every STEPth write..
torch is imported once, and nothing is computed before a fork that could hold a lock in it.
"""

import json
import multiprocessing
import os
import select
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

# What the first training imports; without it every fork would.
import safetensors.torch  # noqa: F401
import torch._dynamo  # noqa: F401

from benchmarks import gpu_pool, gpu_queue
from benchmarks.epochs import noise_images
from benchmarks.gpu_jobs import Job
from benchmarks.gpu_state import unpack
from minivit.compare import Arm
from minivit.model import ViTConfig
from minivit.recipes import SMOKE
from minivit.storage import read_tensors

FOLDER, STEP = Path(sys.argv[1]), int([*sys.argv, 5][2])
IMAGES = noise_images(100), noise_images(100)
DIES, RAISES, ORPHANED = 7, 8, 9  # seeds
RECIPE = replace(
    SMOKE,
    model=ViTConfig(dim=16, depth=1, heads=2, patch_size=8),
    training=replace(SMOKE.training, epochs=3, batch_size=20, warmup_epochs=0.5),
    subset=60,
    validation=20,
)


def run(attention, seed):
    return Job(kind="run", arm=Arm(base="torch_default", attention=attention, seed=seed))


RUNS = [run("plain", 0), run("mimetic", 0), run("plain", 1)]
MEASURE = Job(kind="steps", arm=RUNS[0].arm, seconds=1)


def call(name, jobs, at=None, how=None):
    """One call of the queue on FOLDER/name, which gets the signal `how` at its write number `at`.

    SIGKILL goes to all of its processes, as when a machine is taken away; SIGTERM to the first.
    Returns how many files were written, by all of its processes.
    """
    count = FOLDER / f"{name}.count"
    count.unlink(missing_ok=True)
    pid = os.fork()
    if not pid:
        os.setsid()
        code = 1
        try:
            _queue(name, jobs, count, at, how)
            code = 0
        except SystemExit as stopped:
            code = stopped.code
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) in ((0,) if at is None else (-9, 143)), (name, status)
    return count.stat().st_size if count.exists() else 0


def _queue(name, jobs, count, at, how):
    real, first = os.replace, os.getpid()

    def counted(source, target):
        with open(count, "ab") as file:
            file.write(b"x")
        if count.stat().st_size == at:
            os.killpg(0, how) if how == signal.SIGKILL else os.kill(first, how)
        real(source, target)

    os.replace = counted
    place = FOLDER / name
    log = os.open(FOLDER / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    arguments = ["--quick", "--minutes", "10", "--out", f"{place}/out", "--work", f"{place}/work"]
    gpu_queue.main(arguments, lambda results: iter(jobs))


def failing(do):
    """`do`, but for jobs that die, raise, or lose their parent and go on."""

    def faulty(job, *rest):
        if job.arm.seed == DIES:
            os.kill(os.getpid(), signal.SIGKILL)
        if job.arm.seed == RAISES:
            raise RuntimeError("this one is broken")
        if job.arm.seed == ORPHANED:
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(600)
        return do(job, *rest)

    return faulty


def orphaned():
    """Seconds until all processes of a queue are gone, of which only the first was killed."""
    alive, held = os.pipe()  # held open by all of them; its other end reads nothing but their end
    try:
        call("orphaned", [run("plain", ORPHANED)], at=0)
    finally:
        os.close(held)
    started = time.monotonic()
    select.select([alive], [], [], 120)
    return time.monotonic() - started


def outcome(name):
    """What lies in the folder of results."""
    out = FOLDER / name / "out"
    entries = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    sizes = {file.name: file.stat().st_size for file in out.iterdir()}
    log = (FOLDER / f"{name}.log").read_text()
    return {"name": name, "entries": entries, "files": sizes, "log": log}


def stopped(at, how, fresh):
    """Stopped at a write, then called again: on the same machine, or with only `out` kept."""
    name = f"{how.name}-{at}-{'fresh' if fresh else 'same'}"
    call(name, RUNS, at, how)
    kept = unpack(FOLDER / name / "out", FOLDER / f"{name}.kept")
    if fresh:
        shutil.rmtree(FOLDER / name / "work", ignore_errors=True)
    call(name, RUNS)
    epochs = {f: read_tensors(FOLDER / f"{name}.kept" / f)[1]["epochs"] for f in kept}
    return outcome(name) | {"kept": epochs}


def main():
    gpu_queue.cifar10 = gpu_pool.cifar10 = lambda data: IMAGES
    gpu_queue.QUICK = RECIPE
    gpu_pool.Pool.context = multiprocessing.get_context("fork")
    writes = call("whole", RUNS)
    seen = {"whole": outcome("whole"), "written again": call("whole", RUNS)}
    kills = [(at, signal.SIGKILL, at % 2 == 0) for at in range(1, writes + 1, STEP)]
    seen["stopped"] = [stopped(*how) for how in [*kills, (9, signal.SIGTERM, True)]]
    gpu_pool.do = failing(gpu_pool.do)
    call("failing", [MEASURE, run("plain", DIES), RUNS[0], run("plain", RAISES), RUNS[1]])
    seen["failing"] = outcome("failing")
    seen["seconds an orphan lives"] = orphaned()
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
