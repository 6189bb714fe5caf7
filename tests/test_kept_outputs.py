"""What lessons keep of the records is what the records say now: `make lessons` where it is not."""

import copy
from pathlib import Path

import nbformat
import pytest

from tools import keep

pytestmark = pytest.mark.integration

LESSONS = Path(__file__).parents[1] / "lessons"
# All that it prints comes from records and algebra; of the others, lines that give an interval.
FROM_RECORDS = "07_is_it_real"


def printed(outputs):
    return "".join(o.text for o in outputs if o.output_type == "stream").splitlines()


def counts(line, everything):
    setup = line.startswith(("minivit ", "device: "))
    return not setup if everything else "], n = " in line


def stale(notebook, seen, everything):
    """(cell, the line kept, the line now) for each line that differs."""
    for number, outputs in seen.items():
        both = (printed(each) for each in (notebook.cells[number].outputs, outputs))
        kept, now = ([line for line in lines if counts(line, everything)] for lines in both)
        longest = max(len(kept), len(now))
        padded = (lines + [None] * (longest - len(lines)) for lines in (kept, now))
        yield from ((number, *pair) for pair in zip(*padded, strict=True) if len({*pair}) > 1)


@pytest.mark.parametrize("name", ["00_start_here", "05_training_on_cifar10", FROM_RECORDS])
def test_what_a_lesson_keeps_is_what_it_says_now(name, monkeypatch):
    monkeypatch.setenv("MINIVIT_SOURCE", "synthetic")  # no images are needed for what is compared
    notebook = nbformat.read(LESSONS / f"{name}.ipynb", as_version=4)
    seen = keep.run(notebook, LESSONS, training=False, pictures=False)
    everything = name == FROM_RECORDS
    assert [*stale(notebook, seen, everything)] == []
    intervals = [line for each in seen.values() for line in printed(each) if counts(line, False)]
    assert len(intervals) >= 3, "nothing was compared"
    if not everything:
        return
    code = {number for number, cell in enumerate(notebook.cells) if cell.cell_type == "code"}
    assert code - {*seen} <= {48, 49, 65}, "only what trains, draws that, or sums it up"
    # The mistake that this is to catch: one cell kept when there were fewer runs.
    old = copy.deepcopy(notebook)
    (spread,) = (
        o for c in old.cells for o in c.get("outputs", []) if "σ between" in o.get("text", "")
    )
    spread.text = spread.text.replace("σ between seeds: 0.", "σ between seeds: 1.")
    assert len([*stale(old, seen, everything)]) == 1
