"""Makes up a class, for a dry run: `python -m teaching.sample_class FOLDER [--learners 200]`.

Of every 20 submissions one holds an endless loop (in a cell, or in a function), one crashes (raises
in a cell, or ends its process), and four are stubs; the rest are the solution with one or no
function replaced by a plausible wrong one.
"""

import argparse
from pathlib import Path

import nbformat

from minivit.storage import write_text
from teaching.exercises import EXERCISES, SOLUTIONS

EXERCISE = "01_patches_attention_and_forms"
LOOPS = (
    "while True:\n    pass",
    "def logit_form(weight, bias, heads):\n    while True:\n        pass",
)
CRASHES = ("raise RuntimeError('not mine')", "import os\n\nos._exit(1)")
SLIPS = (
    "",
    "def patch_matrix(kernel):\n    return kernel.flatten(1).T",
    "def products(qkv, out, heads):\n    return qkv, out",
    "def read_from(x, y, W_Q, W_K, W_V, W_O, allowed):\n    allowed.zero_()\n    return x",
)


def sample(number, name):
    """The notebook of made-up learner `number`, from exercise `name`."""
    place, turn = number % 20, number // 20
    folder = EXERCISES if place in range(2, 6) else SOLUTIONS
    notebook = nbformat.read(folder / name, as_version=4)
    extra = {0: LOOPS[turn % 2], 1: CRASHES[turn % 2]}.get(place, SLIPS[place % 4])
    # A loop that stands in a cell would keep everything after it from being defined: put it first.
    at = 0 if extra.startswith("while") else len(notebook.cells)
    notebook.cells.insert(at, nbformat.v4.new_code_cell(extra))
    return notebook


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m teaching.sample_class")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--learners", type=int, default=200)
    hint = "another one gets stubs, loops and crashes, and no plausible wrong answers"
    parser.add_argument("--exercise", default=EXERCISE, help=f"(default: {EXERCISE}; {hint})")
    options = parser.parse_args(arguments)
    for number in range(options.learners):
        text = nbformat.writes(sample(number, f"{options.exercise}.ipynb"))
        write_text(options.folder / f"learner{number:03}.ipynb", text)
    print(f"{options.learners} submissions in {options.folder}, of EXERCISE={options.exercise}")


if __name__ == "__main__":
    main()
