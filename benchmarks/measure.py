"""How things are measured: interleaved repeats, ratios within one run, fresh processes."""

import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import torch

from minivit.runtime import cpu_cores

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a table. `ratio`: how it stands to what it is compared with, in words."""

    what: str
    median: str
    spread: str = ""
    ratio: str = ""
    goal: str = ""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One table, with the notes that a reader needs to judge it.

    picture: a file name and a plotly figure, kept beside the table.
    """

    title: str
    rows: list[Row]
    notes: tuple[str, ...] = ()
    picture: tuple | None = None


def interleaved(actions, repeats):
    """Seconds of each action, as lists: A B C A B C …, after one round that is not counted.

    actions: a dict of name → function that does the work once and may return its own seconds.
    What slows the machine for a while slows all of them, so ratios within a round hold.
    """
    seconds = {name: [] for name in actions}
    for round_ in range(repeats + 1):
        for name, action in actions.items():
            started = time.perf_counter()
            own = action()
            spent = time.perf_counter() - started if own is None else own
            if round_:
                seconds[name].append(spent)
    return seconds


def ratio(numerator, denominator):
    """Median and quartiles of the ratio in each round, as text: "1.08× (1.05-1.10)"."""
    ratios = [a / b for a, b in zip(numerator, denominator, strict=True)]
    low, high = quartiles(ratios)
    return f"{median(ratios):.2f}× ({low:.2f}-{high:.2f})"


def timed_row(what, seconds, **columns):
    """A Row with the median of `seconds` and their quartiles."""
    low, high = quartiles(seconds)
    return Row(
        what=what, median=_readable(median(seconds)), spread=f"{low:.3g}-{high:.3g} s", **columns
    )


def quartiles(values):
    """The first and the third quartile of a list of numbers."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = quantiles(values, n=4, method="inclusive")
    return low, high


def _readable(seconds):
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"


def fresh_process(code, **environment):
    """Runs Python code in a process of its own, at the root; returns the JSON that it prints last.

    Raises RuntimeError with what it wrote to stderr where it fails.
    """
    # Compiled files may be kept: what is measured is the second start, not the first.
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=kept | {name: str(value) for name, value in environment.items()},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"a measured process failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def machine():
    """The machine in words: CPU, cores, system, versions, and how busy it is."""
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    parts = [
        _cpu_name(),
        f"{cpu_cores()} cores",
        f"{torch.get_num_threads()} threads",
        f"{platform.system()}, Python {platform.python_version()}, torch {torch.__version__}",
        f"load before the start {load}",
    ]
    return "; ".join(parts)


def _cpu_name():
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown CPU"
