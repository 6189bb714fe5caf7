"""Numbers of each learner's own, for the mark on a sentence: `python -m teaching.variants ROSTER`.

Prints a CSV: heads, α, β and a seed for lesson 04's `mean_diagonal(192, heads, alpha, beta, seed)`,
and what the lesson's own function gives for them. They are drawn from the term's secret: the same
roster gives the same table again, and nobody can know it beforehand.
"""

import argparse
import ast
import csv
import sys
from pathlib import Path

import nbformat
import torch

from teaching.exercises import ROOT
from teaching.roster import read_roster
from teaching.term import TERM_FILE, read_secret, variant_rng

LESSON = ROOT / "lessons" / "04_building_the_initializer.ipynb"
COLUMNS = ("id", "heads", "alpha", "beta", "seed", "mean_diagonal")
HEADS = (1, 2, 3, 4, 6, 8, 12, 16)  # they divide 192


def variant(secret, learner):
    """(heads, alpha, beta, seed) of one learner."""
    rng = variant_rng(secret, "own variant", learner)
    alpha, beta = (round(float(size), 2) for size in rng.uniform(0.2, 1.2, size=2))
    return int(rng.choice(HEADS)), alpha, float(rng.choice([-1, 1])) * beta, int(rng.integers(1000))


def lessons_function():
    """`mean_diagonal` as lesson 04 defines it, with the function that it calls."""
    space = {"torch": torch}
    for cell in nbformat.read(LESSON, as_version=4).cells:
        if cell.cell_type == "code":
            _define(cell.source, {"split", "mean_diagonal"}, space)
    return space["mean_diagonal"]


def _define(source, names, space):
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name in names:
            exec(compile(ast.Module([node], []), str(LESSON), "exec"), space)


def rows(learners, secret):
    """A row of COLUMNS for each learner."""
    mean_diagonal = lessons_function()
    for learner in learners:
        heads, alpha, beta, seed = variant(secret, learner.id)
        mean = mean_diagonal(192, heads, alpha, beta, seed)
        yield learner.id, heads, alpha, beta, seed, f"{mean:.3f}"


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m teaching.variants", description=__doc__)
    parser.add_argument("roster", type=Path, help="CSV: id,name, or Canvas's or Moodle's export")
    try:
        learners = read_roster(parser.parse_args(arguments).roster)
        secret = read_secret(TERM_FILE)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows(rows(learners, secret))
    return 0


if __name__ == "__main__":
    sys.exit(main())
