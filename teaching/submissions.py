"""Reads a folder of submissions: whose each is, and what it says. Nothing in them is run here."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import nbformat

MOST_BYTES = 10_000_000
MOST_CELLS = 500


@dataclass(frozen=True)
class Submission:
    """One learner's notebook. problem: why there are no cells to run, in words, or empty."""

    learner: str
    path: Path
    digest: str
    cells: tuple[str, ...]
    problem: str = ""


def read_folder(folder):
    """Submissions in the order of their learners: LEARNER.ipynb, or one notebook in LEARNER/.

    A folder without a notebook is a submission with a problem. Raises ValueError for a folder that
    is missing or empty, and where two submissions are one learner's.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    found = {}
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        is_folder = entry.is_dir() and not entry.is_symlink()
        if not is_folder and entry.suffix != ".ipynb":
            continue
        learner = entry.name if is_folder else entry.stem
        if learner in found:
            raise ValueError(f"{learner} has two submissions in {folder}")
        found[learner] = read(learner, _only_notebook(entry) if is_folder else entry)
    if not found:
        raise ValueError(f"{folder} holds no notebook (LEARNER.ipynb or LEARNER/….ipynb)")
    return list(found.values())


def _only_notebook(folder):
    notebooks = sorted(folder.glob("*.ipynb"))
    return notebooks[0] if len(notebooks) == 1 else folder / f"{len(notebooks)} notebooks"


def read(learner, path):
    """One submission, whatever the file holds."""

    def refused(problem, data=b""):
        return Submission(learner, path, hashlib.sha256(data).hexdigest(), (), problem)

    try:
        # A link could name a file of the instructor's; a pipe would never end.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError:
        return refused("there is no notebook, or not exactly one, that can be read")
    if len(data) > MOST_BYTES:
        return refused(f"the notebook is larger than {MOST_BYTES // 10**6} MB", data)
    try:
        notebook = nbformat.reads(data.decode("utf-8"), as_version=4)
        cells = tuple(str(c.source) for c in notebook.cells if c.cell_type == "code")
    except Exception as error:  # nbformat raises whatever a file makes it stumble over
        return refused(f"the file is not a notebook ({type(error).__name__})", data)
    if len(cells) > MOST_CELLS:
        return refused(f"the notebook has {len(cells)} code cells; at most {MOST_CELLS}", data)
    return Submission(learner, path, hashlib.sha256(data).hexdigest(), cells)
