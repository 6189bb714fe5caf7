"""Seconds to grade a class: `python -m benchmarks.grading [--learners 200] [--workers 2]`.

The class is `teaching.sample_class`: of every 20 submissions one never ends and one crashes.
"""

import argparse
import os
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.measure import Row, Section
from minivit.runtime import cpu_cores
from teaching import sample_class
from teaching.grade import exercise, grade, questions_of
from teaching.sandbox.box import Sandbox, require
from teaching.submissions import read, read_folder

GOAL = "≤ 300 s on 2 cores"


def grading_sections(*, quick, repeats):
    """One run, whatever `repeats` says: it takes minutes, most of them on endless loops."""
    learners = 4 if quick else 200
    what = (
        f"{learners} submissions of {sample_class.EXERCISE}, one in 20 endless, one in 20 crashes"
    )
    title = "Grading a class in its sandbox"
    try:
        require()
    except ValueError as error:
        rows = [Row(what=what, median=f"not measured here: {error}", goal=GOAL)]
        return [Section(title=title, rows=rows)]
    seconds, cpu, records, loads = measured(learners, workers=min(2, cpu_cores()))
    note = (
        f"{cpu:.0f} s of CPU time in the sandboxes, whatever else the machine did.",
        f"Load {loads[0]:.1f} before, {loads[1]:.1f} after: time that others take of the cores is "
        "in these seconds.",
        f"{sum(each['stopped'] for each in records)} had something that did not come back, and "
        f"ran again alone; mean mark {sum(each['points'] for each in records) / learners:.2f} of "
        f"{records[0]['of']}.",
    )
    rows = [Row(what=what, median=f"{seconds:.0f} s", goal=GOAL)]
    return [Section(title=title, rows=rows, notes=note)]


def measured(learners, workers):
    """(seconds, CPU seconds, records, load before and after) of one class."""
    notebook = exercise(sample_class.EXERCISE)
    with tempfile.TemporaryDirectory() as folder:
        submissions, out = Path(folder) / "in", Path(folder) / "out"
        sample_class.main([str(submissions), f"--learners={learners}"])
        before, started = os.getloadavg()[0], time.perf_counter()
        found = read_folder(submissions, exercise=notebook.stem)
        settings = {"solution": read("solution", notebook), "workers": workers}
        with cpu_of_sandboxes() as spent:
            records = grade(found, questions_of(notebook), b"benchmark" * 4, out, **settings)
        seconds = time.perf_counter() - started
    return seconds, sum(spent), records, (before, os.getloadavg()[0])


@contextmanager
def cpu_of_sandboxes():
    """A list that gets the CPU seconds of every sandbox as it ends, with all that ran in it."""
    spent, stop = [], Sandbox._stop

    def counted(box):
        if box.process and box.process.poll() is None:
            for process in psutil.Process(box.process.pid).children():
                spent.append(sum(process.cpu_times()[:4]))  # its own, and its children's
        stop(box)

    Sandbox._stop = counted
    try:
        yield spent
    finally:
        Sandbox._stop = stop


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.grading")
    parser.add_argument("--learners", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(arguments)
    seconds, cpu, records, loads = measured(options.learners, options.workers)
    print(
        f"{len(records)} submissions in {seconds:.0f} s with {options.workers} sandboxes, "
        f"{cpu:.0f} s of CPU time inside; "
        f"load {loads[0]:.1f} before, {loads[1]:.1f} after"
    )


if __name__ == "__main__":
    main()
