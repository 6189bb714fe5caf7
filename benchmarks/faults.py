"""Kill −9 at seeded moments: no file is half-written, and what was killed goes on to the same end.

`OMP_NUM_THREADS=1 python -m benchmarks.faults` prints a table of counts. For each kill the work
starts in an empty folder, is killed after a random share of the time that it takes undisturbed,
every file it left is read, then it is begun again and must end as it does undisturbed.
"""

import argparse
import contextlib
import io
import multiprocessing
import os
import random
import signal
import sys
import tarfile
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from unittest.mock import patch

import torch
from PIL import Image

from benchmarks.tiny import train_tiny
from minivit.archives import image_folders
from minivit.compare import Arm, compare, prepare
from minivit.data import cifar10
from minivit.model import ViTConfig
from minivit.recipes import SMOKE
from minivit.records import load_records, write_record
from minivit.storage import atomic_path, read_tensors, tensor_digest

FORK = multiprocessing.get_context("fork")  # torch is imported once, not for every kill
PATIENCE = 300  # seconds, after which begun-again work counts as hanging


@dataclass(frozen=True)
class Work:
    """Something that writes files into a folder and may be begun again.

    do: called with the folder; returns what must be the same after a kill, without seconds.
    """

    name: str
    do: Callable


class FaultError(AssertionError):
    """A kill left a damaged file, or what was begun again did not end as it should."""


def kill_often(work, points, seed=0):
    """Kills the work at so many moments; returns a Counter of what came of it.

    "kills", "in time" (before the work was done), "left unfinished" (temporary files), "same end".
    Raises FaultError at the first file that is not whole and the first other end, and where most
    kills came too late to tell anything.
    """
    moments, counts = random.Random(seed), Counter()
    wanted, seconds = _undisturbed(work)
    for point in range(points):
        # A worker whose parent was killed may still write there.
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            share = moments.random()
            counts["in time"] += _begin_and_kill(work, folder, share * seconds, point)
            counts["kills"] += 1
            counts["left unfinished"] += len(list(Path(folder).rglob("*.part")))
            _check_files(Path(folder))
            found = _finish(work, folder)
        if found != wanted:
            raise FaultError(
                f"{work.name}, killed at {share:.0%}: ended with {found}, not {wanted}"
            )
        counts["same end"] += 1
    if counts["in time"] < points / 2:
        raise FaultError(f"{work.name}: {counts['in time']} of {points} kills came before its end")
    return counts


def _undisturbed(work):
    with tempfile.TemporaryDirectory() as folder:
        _finish(work, folder)
    with tempfile.TemporaryDirectory() as folder:  # the second time is the one that counts
        started = time.perf_counter()
        return _finish(work, folder), time.perf_counter() - started


def _begin_and_kill(work, folder, seconds, point):
    """Returns whether the kill came before the end.

    Of work in several processes it hits by turns all of them, the first alone, and one other alone.
    """
    child = FORK.Process(target=_alone, args=(work, folder))
    child.start()
    time.sleep(seconds)
    in_time = child.is_alive()
    others = _children(child.pid)  # in the order of their start: Python's own helper comes first
    victims = [[child.pid, *others], [child.pid], others[-1:] or [child.pid]][point % 3]
    for pid in victims:
        _kill(pid)
    child.join(PATIENCE)
    if child.is_alive():
        raise FaultError(f"{work.name}: a process of it was killed, and it hangs")
    return in_time


def _alone(work, folder):
    with open(os.devnull, "w") as nowhere:
        sys.stderr = nowhere  # the traceback of a comparison whose worker was killed
        work.do(Path(folder))


def _children(pid):
    import psutil

    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except psutil.NoSuchProcess:
        return []


def _kill(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _check_files(folder):
    """Reads all that stands under its own name; what is not ready has another."""
    try:
        for file in folder.rglob("[!.]*.safetensors"):
            read_tensors(file)
        for place in {file.parent for file in folder.rglob("[!.]*.json")}:
            load_records(place)
    except ValueError as error:
        raise FaultError(f"half-written: {error}") from error


def _finish(work, folder):
    """Runs the work to its end in a process of its own; returns what it gives."""
    there, here = FORK.Pipe()
    child = FORK.Process(target=_tell, args=(work, folder, here))
    child.start()
    here.close()
    if not there.poll(PATIENCE):
        _kill(child.pid)
        raise FaultError(f"{work.name}: begun again, it was not done after {PATIENCE} s")
    try:
        found = there.recv()
    except EOFError:
        found = "nothing, its process ended"
    child.join()
    if isinstance(found, Exception):
        raise FaultError(f"{work.name}: begun again, it failed: {found}") from found
    return found


def _tell(work, folder, pipe):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a damaged cache is built again, with a warning
            pipe.send(work.do(Path(folder)))
    except Exception as error:
        pipe.send(RuntimeError(f"{type(error).__name__}: {error}"))


# What is killed.


def _training(folder):
    model, history = train_tiny(folder / "run.safetensors", epochs=20)
    return _untimed(asdict(epoch) for epoch in history.epochs), tensor_digest(model.state_dict())


def _comparison(folder):
    recipe = replace(
        SMOKE,
        model=ViTConfig(dim=16, depth=1, heads=2, patch_size=8),
        training=replace(SMOKE.training, epochs=20, batch_size=20),
        subset=40,
        validation=20,
    )
    task = prepare(recipe, cifar10(source="synthetic"), folder)
    arms = [Arm(base="torch_default", attention=name) for name in ("plain", "mimetic")]
    return [_untimed(record.epochs) for record in compare(arms, task, processes=2)]


def _records(folder):
    record = load_records()[0]
    for seed in range(200):
        write_record(replace(record, seed=seed), folder)
    return len(load_records(folder))


def _cache(folder):
    archive = folder / "images.tar"
    if not archive.exists():
        with atomic_path(archive) as temporary:
            write_noise(temporary, 400)
    with patch.dict(os.environ, MINIVIT_CACHE=str(folder)):
        tensors, about = image_folders(archive)
    return tensor_digest(tensors), about


def write_noise(path, n):
    pixels = random.Random(0)
    with tarfile.open(path, "w") as archive:
        for i in range(n):
            image = io.BytesIO()
            Image.frombytes("RGB", (64, 64), pixels.randbytes(64 * 64 * 3)).save(image, "BMP")
            split = ("train", "test")[i % 2]
            member = tarfile.TarInfo(f"{split}/{'ab'[i % 4 // 2]}/{i}.png")
            member.size = image.tell()
            archive.addfile(member, io.BytesIO(image.getvalue()))


def _untimed(epochs):
    return [{name: v for name, v in epoch.items() if name != "seconds"} for epoch in epochs]


WORKS = [
    Work("training", _training),
    Work("comparison in two processes", _comparison),
    Work("writing 200 records", _records),
    Work("building a cache", _cache),
]


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--points", type=int, default=20, help="kills of each work (default 20)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="works whose name holds this")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # a process that used more may not be forked
    print("| killed −9 | kills | before its end | temporary files left | same end |")
    print("| --- | --- | --- | --- | --- |")
    for work in WORKS:
        if options.only in work.name:
            found = kill_often(work, options.points, options.seed)
            counts = found["kills"], found["in time"], found["left unfinished"], found["same end"]
            print(f"| {work.name} | {' | '.join(map(str, counts))} |", flush=True)


if __name__ == "__main__":
    main()
