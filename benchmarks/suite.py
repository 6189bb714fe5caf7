"""How long `make test` takes, part by part: one run, of minutes."""

import os
import re
import subprocess
import sys
import time
from collections import Counter

from benchmarks.measure import ROOT, Row, Section

# A summary of pytest: "1754 passed, 6 skipped in 428.31s (0:07:08)".
SUMMARY = re.compile(r"^=*\s*(\d[^\n]*?) in ([\d.]+)s\b", re.MULTILINE)
# One of pytest's durations: "0.52s call     lessons/05_training.ipynb::Cell 12".
CELL = re.compile(r"^([\d.]+)s (?:setup|call|teardown) +lessons/(\S+)\.ipynb::", re.MULTILINE)
FAILED = re.compile(r"^(?:FAILED|ERROR) .*", re.MULTILINE)
EACH = {"PYTEST_ADDOPTS": "--durations=0 --durations-min=0.01"}
PARTS = (
    ("unit tests, parity", "< 60 s (design)"),
    ("kill matrix, browsers, several processes", ""),
    ("lessons and solutions at smoke", "≤ 360 s"),
)


def suite_sections(*, quick, repeats):
    """One run, whatever `repeats` says. quick: one small file of tests instead of everything."""
    small = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/test_make.py"]
    started = time.perf_counter()
    done = subprocess.run(
        small if quick else ["make", "test"],
        cwd=ROOT,
        env=os.environ | EACH,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    seconds = time.perf_counter() - started
    return [Section(title="The project's own tests", rows=rows(done, seconds))]


def rows(done, seconds):
    """A Row for each summary of pytest in the output of a finished process, and one for all.

    Raises RuntimeError with what failed, or else the end of the output: half a run is no number.
    """
    if done.returncode:
        failed = "\n".join(FAILED.findall(done.stdout)) or done.stdout[-2000:]
        raise RuntimeError(f"the tests failed, so their time says nothing:\n{failed}")
    parts = [
        Row(what=f"{what}: {counts}", median=f"{float(spent):.0f} s", goal=goal)
        for (what, goal), (counts, spent) in zip(PARTS, SUMMARY.findall(done.stdout), strict=False)
    ]
    whole = Row(
        what="all of it, style included", median=f"{seconds:.0f} s", goal="≤ 900 s (design)"
    )
    return [*parts, *_slowest_lesson(done.stdout), whole]


def _slowest_lesson(output):
    """A Row, if there are lessons: its cells and the start of its kernel, beside another's."""
    spent = Counter()
    for seconds, lesson in CELL.findall(output):
        spent[lesson] += float(seconds)
    for lesson, seconds in spent.most_common(1):
        what = f"the slowest of {len(spent)} lessons, {lesson}, two at a time"
        yield Row(what=what, median=f"{seconds:.0f} s", goal="≤ 60 s")
