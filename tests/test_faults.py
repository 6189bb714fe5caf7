"""Kill −9, two builders of one cache, a disk that is full: files are whole, and work goes on."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

# atomic_path as somebody might shorten it. A small record is written within microseconds, and no
# kill may hit them: here it stays half-written for as long as a large file would.
CARELESS = """
import contextlib, time
import minivit.storage

@contextlib.contextmanager
def atomic_path(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{")
    time.sleep(0.005)
    yield path

minivit.storage.atomic_path = atomic_path
"""


def kill_often(only, points, before=""):
    """Runs benchmarks.faults in a process of its own: this one has used too much to be forked."""
    code = f"{before}\nfrom benchmarks.faults import main\n"
    code += f"main(['--only', {only!r}, '--points', '{points}', '--seed', '3'])"
    return subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True
    )


@pytest.mark.parametrize("work", ["training", "records", "cache"])
def test_what_was_killed_goes_on_to_the_same_end(work):
    done = kill_often(work, 4)
    assert done.returncode == 0, done.stderr
    assert "| 4 |" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("work", ["training", "comparison", "records", "cache"])
def test_twenty_kills(work):
    done = kill_often(work, 20)
    assert done.returncode == 0, done.stderr


def test_a_file_written_in_place_is_found_half_written():
    done = kill_often("records", 8, CARELESS)
    assert "FaultError: half-written" in done.stderr


# Two builders of one cache.

BUILD = """
import sys, warnings
from minivit.archives import image_folders
from minivit.storage import tensor_digest
from pathlib import Path
warnings.simplefilter("error")
print("ready", flush=True)
sys.stdin.readline()
print(tensor_digest(image_folders(Path(sys.argv[1]))[0]))
"""


def test_two_processes_may_build_one_cache_at_once(tmp_path):
    from benchmarks.faults import write_noise

    archive, cache = tmp_path / "images.tar", tmp_path / "cache"
    write_noise(archive, 100)
    builders = [
        subprocess.Popen(
            [sys.executable, "-c", BUILD, str(archive)],
            env={**ENVIRONMENT, "MINIVIT_CACHE": str(cache)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    assert [builder.stdout.readline() for builder in builders] == ["ready\n"] * 2
    for builder in builders:
        builder.stdin.write("\n")
        builder.stdin.flush()
    digests = {builder.communicate()[0] for builder in builders}
    assert len(digests) == 1 and all(builder.returncode == 0 for builder in builders)
    assert len(list(cache.iterdir())) == 1


# A disk that is really full: 1 MB of memory, mounted by bubblewrap.

FULL = """
import sys
from pathlib import Path
import torch
from benchmarks.tiny import train_tiny
from minivit.storage import read_tensors, tensor_digest, write_tensors, write_text

disk, ballast = Path(sys.argv[1]), Path(sys.argv[1]) / "ballast"


def fill(_):
    with open(ballast, "ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(512))
        except OSError as error:
            print(error.strerror)


def refused(write):
    try:
        write()
    except OSError as error:
        return "what stood there before is unchanged" in str(error)


write_tensors(disk / "a.safetensors", {"a": torch.ones(3)})
write_text(disk / "a.json", "old")
assert refused(lambda: train_tiny(disk / "run.safetensors", epochs=5, callback=fill))
assert refused(lambda: write_tensors(disk / "a.safetensors", {"a": torch.ones(100_000)}))
assert refused(lambda: write_text(disk / "a.json", "x" * 100_000))
assert read_tensors(disk / "a.safetensors")[0]["a"].tolist() == [1, 1, 1]
assert (disk / "a.json").read_text() == "old"
names = {file.name for file in disk.iterdir()}
assert names == {"a.safetensors", "a.json", "run.safetensors", "ballast"}, names

ballast.unlink()
seen = []
model, history = train_tiny(disk / "run.safetensors", epochs=5, callback=seen.append)
assert [epoch.epoch for epoch in seen] == [2, 3, 4, 5]
whole, _ = train_tiny(disk / "whole.safetensors", epochs=5)
assert tensor_digest(model.state_dict()) == tensor_digest(whole.state_dict())
"""


def _bubblewrap_works():
    program = shutil.which("bwrap")
    test = ["bwrap", "--dev-bind", "/", "/", "--size", "4096", "--tmpfs", "/tmp", "true"]
    return program and subprocess.run(test, capture_output=True).returncode == 0


@pytest.mark.skipif(not _bubblewrap_works(), reason="needs a bubblewrap that mounts a small disk")
def test_a_full_disk_costs_nothing_that_was_there(tmp_path):
    mounts = ["--bind", "/", "/", "--dev", "/dev", "--size", "1000000", "--tmpfs", tmp_path]
    done = subprocess.run(
        ["bwrap", *mounts, sys.executable, "-B", "-c", FULL, tmp_path],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "No space left on device" in done.stdout
