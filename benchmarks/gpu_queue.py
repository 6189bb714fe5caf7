"""The measurements and runs that want a GPU, in order of value, in as many calls as it takes.

    python -m benchmarks.gpu_queue --minutes 9 --out DIR --data ARCHIVE

goes on where DIR says that the last call stopped, and ends in time. Where jaxtyping is missing and
there is no network, carry its two wheels in a folder that git ignores and put them on the path:

    pip download --no-deps --dest .whl jaxtyping wadler-lindig     (before, with a network)
    PYTHONPATH=$(echo .whl/*.whl | tr ' ' :) python3 -m benchmarks.gpu_queue …

GPU.md says the rest; the jobs are in `gpu_plan.py`. From top to bottom: which job next, a call.
"""

import argparse
import math
import signal
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.gpu_plan import queue
from benchmarks.gpu_pool import Pool
from benchmarks.gpu_report import report
from benchmarks.gpu_state import Results, epochs_done, pack, unpack
from minivit.compare import prepare
from minivit.data import cifar10
from minivit.protocol import check_role
from minivit.recipes import FULL, SMOKE
from minivit.records import package_digest
from minivit.runtime import pick_device

START = 60  # seconds before a first epoch, until that was measured
MEASURING = 20  # epochs that a measurement may take as long as
BROKEN = 2  # failures after which a call in which nothing ends well gives up
CLOSING = 15  # seconds at the end for packing, or a tenth of the time where that is less
# For --quick; as many images as the largest batch of a candidate.
QUICK = replace(SMOKE, model=replace(SMOKE.model, dim=16, depth=1), subset=256)
FROM_THE_START = {"devices": [], "rounded": [], "epochs": 0, "epoch_seconds": []}
say = partial(print, flush=True)


def choose(todo, running, left, results):
    """Returns (job, will it end): what to start with `left` seconds left, beside `running`.

    The first that fits, or the very first if it is a run and nothing is known of its shape: what
    comes after it is worth less. If none fits, the first run of which some epochs do; (None, True)
    where the first must wait for what is running or where there is nothing to start.
    """
    for job in todo:
        if running and not _may_join(job, running, results):
            return None, True
        if job is todo[0] and job.kind == "run" and epoch_seconds(job, results) is None:
            return job, False
        if seconds_needed(job, results) <= left:
            return job, True
    runs = [job for job in todo if job.kind == "run"]
    for job in runs:
        unknown = epoch_seconds(job, results) is None
        if (unknown and job is runs[0]) or seconds_needed(job, results, epochs=3) <= left:
            return job, False
    return None, True


def _may_join(job, running, results):
    together = [job, *running]
    if any(j.alone or j.kind != "run" for j in together):
        return False
    return len(running) < results.processes


def seconds_needed(job, results, epochs=None):
    """Seconds for a job, or for some epochs of it, by what this folder knows, or else infinity."""
    epoch = epoch_seconds(job, results)
    if job.kind != "run":  # on a slower device by the epochs that fit into it on an H200, and more
        return max(job.seconds, MEASURING * (epoch or 0))
    if epoch is None:
        return math.inf
    left = results.recipe(job.arm).training.epochs - epochs_done(results.checkpoint(job))
    start = max((start for start, _ in results.paces(job)), default=START)
    return 1.1 * (start + epoch * min(left, epochs or left))


def epoch_seconds(job, results):
    """Seconds that an epoch will take, beside as many others as will run; None if not known."""
    n = 1 if job.alone or job.kind != "run" else results.processes
    alone, beside = ([epoch for _, epoch in results.paces(job, a)] for a in (True, False))
    if n == 1:
        return median(alone or beside) if alone or beside else None
    return median(beside) if beside else n * median(alone) if alone else None


def work_off(jobs, results, pool, deadline, clock=time.monotonic):
    """Runs what jobs(results) lists until nothing is left to start or the deadline has come."""
    failed, ended_well, partly = set(), False, None
    while clock() < deadline:
        out = {*pool.running, *failed}
        todo = [job for job in jobs(results) if job not in out and not results.settled(job)]
        job, ends = choose(todo, pool.running, deadline - clock(), results)
        if job and not ended_well and len(failed) >= BROKEN:
            say(f"{len(failed)} jobs failed and none ended well: this call starts nothing else")
            job = None
        if job and not ends and partly in pool.running:
            job = None  # one run at most is started that will not end: so much can be carried on
        if job:
            partly = partly if ends else job
            say(f"starts{'' if ends else ', and may not end'}: {results.key(job)}")
            pool.give(job, deadline, epoch_seconds(job, results))
        elif not pool.running:
            return
        for answered, kind, content in pool.answers(0 if job else deadline - clock()):
            if kind == "failed":
                failed.add(answered)
            ended_well |= kind != "failed"
            note(answered, kind, content, results)
    for job in pool.running:
        if job.kind != "run":  # it was started because it fits: it hangs
            note(job, "failed", "it had not ended when the time was up", results)


def note(job, kind, content, results):
    """Puts what came of a job into the results, and says it."""
    if kind == "failed":
        entry = results.of(job)
        same_code = entry.get("source") == package_digest()
        failures = 1 + (entry.get("failures", 0) if same_code else 0)
        results.put(job, state="failed", failures=failures, error=content)
        say(f"failed: {results.key(job)}: {content}")
        return
    alone = job.alone or results.processes == 1
    results.put(job, state=kind, alone=alone, error=None, **content)
    if kind == "done" and job.kind == "run":
        results.checkpoint(job).unlink(missing_ok=True)
    say(f"{kind}: {results.key(job)}")


def main(arguments=None, jobs=queue):
    options = _parser().parse_args(arguments)
    if not options.quick and pick_device().type != "cuda":
        raise SystemExit("no CUDA device here; --quick tries the queue without one")
    end = time.monotonic() + 60 * options.minutes
    out, work = Path(options.out), Path(options.work)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what is done is packed
    for leftover in [*out.glob(".*.part"), *work.rglob(".*.part")]:  # of a call that was killed
        leftover.unlink()
    recipe = QUICK if options.quick else FULL
    results = Results(out, prepare(recipe, cifar10(options.data), work), options.processes)
    if options.quick:
        final, jobs = jobs, lambda results: (replace(j, role="live") for j in final(results))
    _check_protocol(jobs(results), recipe)
    go_on(jobs, results, out, work)
    pool = Pool(options.data, recipe, work)
    try:
        work_off(jobs, results, pool, end - min(CLOSING, 6 * options.minutes))
    finally:
        pool.stop()
        keep(jobs, results, out, work)
    known = list(jobs(results))
    done = sum(results.of(job).get("state") == "done" for job in known)
    say(f"{done} of {len(known)} jobs known by now are done", *report(results), sep="\n")


def _check_protocol(jobs, recipe):
    """Says before any time is spent what would make every final run fail."""
    try:
        for job in jobs:
            check_role(job.role, recipe, job.arm)
    except ValueError as error:
        raise SystemExit(
            f"{error}. On another machine whose .git is older than the code that came with it, "
            "commit there; gpu_report finds the commit by the code"
        ) from error


def go_on(jobs, results, out, work):
    """Takes the unfinished runs out of the folder; an entry says at which epoch one was rounded.

    A run starts again, and forgets where it was and what it lost, where no checkpoint came along
    or other code made it (`checkpoint_path`).
    """
    rounded = unpack(out, work)
    for job in jobs(results):
        path, entry = results.checkpoint(job), results.of(job)
        if job.kind != "run" or entry.get("state") == "done":
            continue
        epochs = epochs_done(path)
        if rounded.get(path.relative_to(work).as_posix()):
            before = entry.get("rounded", [])
            results.put(job, state="unfinished", epochs=epochs, rounded=[*before, epochs])
        elif entry and not epochs:
            # No code has run by this: that it failed stays with the code that failed.
            results.put(job, **FROM_THE_START, source=entry["source"])


def keep(jobs, results, out, work):
    """Packs the unfinished runs into the folder, the most valuable ones first."""
    # One that failed, too: until it has failed too often it goes on where it was.
    runs = [job for job in jobs(results) if job.kind == "run" and not results.settled(job)]
    paths = [results.checkpoint(job) for job in runs]
    for path, fate in pack([path for path in paths if epochs_done(path)], out, work):
        say(f"kept, {fate}: {path.stem} at epoch {epochs_done(path)}")


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_queue",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, required=True, help="when to be done, from now")
    parser.add_argument("--out", required=True, help="the folder to bring back and to go on from")
    parser.add_argument("--data", help="an archive or folder of images (default: $MINIVIT_DATA)")
    parser.add_argument(
        "--work", default="runs/gpu_queue", help="checkpoints (default %(default)s)"
    )
    parser.add_argument(
        "--processes", type=int, default=1, help="runs side by side (default %(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run? no numbers")
    return parser


if __name__ == "__main__":
    main()
