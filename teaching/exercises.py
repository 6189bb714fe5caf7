"""Makes the learner's notebooks: exercises/ from solutions/, the only source.

`python -m teaching.exercises` writes them, `--check` only says which differ. Between the lines
`### BEGIN SOLUTION` and `### END SOLUTION` (nbgrader's format, so that `nbgrader
generate_assignment` takes the sources too) a learner finds `raise NotImplementedError`.
"""

import argparse
import re
import sys
from pathlib import Path

import nbformat

from minivit.storage import write_text

ROOT = Path(__file__).resolve().parents[1]
SOLUTIONS, EXERCISES = ROOT / "solutions", ROOT / "exercises"
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
STUB = "# your answer here\n{indent}raise NotImplementedError"


def exercise(notebook):
    """A copy of a solved notebook without solutions, outputs and grading metadata.

    Raises ValueError, with the cell, where the two markers do not come in pairs.
    """
    copy = nbformat.from_dict(notebook)
    for cell in copy.cells:
        cell.metadata.pop("nbgrader", None)
        if cell.cell_type == "code":
            cell.source = without_solution(cell.source)
            cell.outputs, cell.execution_count = [], None
    return copy


def without_solution(source):
    """The source of one cell with each marked region replaced by a stub of the same indent."""
    region = re.compile(rf"^([ \t]*){BEGIN}[ \t]*\n(.*?)^[ \t]*{END}[ \t]*$", re.DOTALL | re.M)
    rest = region.sub(lambda found: found[1] + STUB.format(indent=found[1]), source)
    if BEGIN in rest or END in rest or any(BEGIN in found[2] for found in region.finditer(source)):
        first = source.strip().splitlines()[0]
        raise ValueError(f"{BEGIN} and {END} do not come in pairs in the cell {first!r}")
    return rest


def generated():
    """{path in exercises/: text that belongs there}."""
    texts = {}
    for path in sorted(SOLUTIONS.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        texts[EXERCISES / path.name] = nbformat.writes(exercise(notebook)) + "\n"
    return texts


def drift():
    """Names in exercises/ that are not what solutions/ makes of them, missing and left over too."""
    texts = generated()
    paths = {*texts, *EXERCISES.glob("*.ipynb")}
    read = {path: path.read_text(encoding="utf-8") if path.exists() else None for path in paths}
    return sorted(path.name for path in paths if read[path] != texts.get(path))


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m teaching.exercises")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 on drift")
    if parser.parse_args(arguments).check:
        names = drift()
        print("\n".join([*names, "run make exercises"]) if names else "exercises/ is up to date")
        return 1 if names else 0
    for path in EXERCISES.glob("*.ipynb"):
        if path not in generated():
            path.unlink()
    for path, text in generated().items():
        write_text(path, text)
        print(f"wrote {path.parent.name}/{path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
