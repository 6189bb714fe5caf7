"""What needs a fresh process: import time, first load of the data, peak memory."""

import os
import tempfile

from benchmarks.measure import Row, Section, fresh_process, interleaved, ratio, timed_row

# Not ru_maxrss: on Linux a child starts with the peak of the process that started it.
PEAK = """
import json, pathlib, time
def peak():
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20
"""
LOAD = """
from minivit.data import cifar10
import lzma, numpy, safetensors.torch, PIL.Image
before, started = peak(), time.perf_counter()
cifar10()
print(json.dumps([time.perf_counter() - started, peak() - before]))
"""
ARM = """
import sys, torch
from dataclasses import replace
from benchmarks.epochs import noise_images
from minivit.compare import Arm, prepare, run_arm
from minivit.data import cifar10
from minivit.recipes import SCALES
if __name__ == "__main__":
    torch.set_num_threads(1)
    recipe = SCALES[{scale!r}]
    recipe = replace(recipe, training=replace(recipe.training, epochs=1, warmup_epochs=0.0))
    data = cifar10() if {real} else (noise_images({n}), noise_images(100))
    run_arm(Arm(base="torch_default", attention="mimetic"), prepare(recipe, data, {folder!r}))
    print(json.dumps(peak()))
"""


def process_sections(*, quick, repeats):
    return [_imports(repeats), _data(quick), _memory(quick)]


def _imports(repeats):
    seconds = interleaved(
        {name: lambda n=name: _import(n) for name in ("torch", "minivit")}, repeats
    )
    rows = [
        timed_row("import torch", seconds["torch"]),
        timed_row(
            "import minivit",
            seconds["minivit"],
            ratio=ratio(seconds["minivit"], seconds["torch"]),
            goal="≤ 1.2× torch",
        ),
    ]
    return Section(title="Import, in fresh processes", rows=rows)


def _import(name):
    code = "import json, time; started = time.perf_counter(); import {0}"
    return fresh_process(code.format(name) + "; print(json.dumps(time.perf_counter() - started))")


def _data(quick):
    whats = {"first load of the archive": "≤ 25 s, ≤ 1 GB", "load from the cache": "≤ 1 s, ≤ 1 GB"}
    if quick or not os.environ.get("MINIVIT_DATA"):
        why = "not measured here: needs MINIVIT_DATA, the place of the archive"
        rows = [Row(what=what, median=why, goal=goal) for what, goal in whats.items()]
    else:
        with tempfile.TemporaryDirectory() as cache:  # once each: the first load is first only once
            loads = [fresh_process(PEAK + LOAD, MINIVIT_CACHE=cache) for _ in whats]
        rows = [
            Row(what=what, median=f"{spent:.1f} s, {gib:.2f} GiB", goal=goal)
            for (what, goal), (spent, gib) in zip(whats.items(), loads, strict=True)
        ]
    return Section(title="Data: seconds, and peak memory above import (one run)", rows=rows)


def _memory(quick):
    real, scale = bool(os.environ.get("MINIVIT_DATA")) and not quick, "smoke" if quick else "laptop"
    with tempfile.TemporaryDirectory() as folder:
        code = ARM.format(scale=scale, real=real, n=1000 if quick else 50_000, folder=folder)
        gib = fresh_process(PEAK + code)
    what = f"data loaded, one epoch of one arm, scale {scale}, {'real' if real else 'noise'} images"
    row = Row(what=what, median=f"{gib:.2f} GiB", goal="" if quick else "≤ 2 GB")
    return Section(title="Peak memory of one compare process", rows=[row])
