"""Reads a folder of submissions: whose each is, and what it says. Nothing in them is run here."""

import hashlib
import json
import os
import warnings
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import nbformat

from teaching.file_names import facts, letters, read_time, readable, same, short
from teaching.roster import Learner

MOST_BYTES = 10_000_000
MOST_CELLS = 500
MOST_NAMES = 5  # of files, in one note
NOTHING = "nothing was handed in"


@dataclass(frozen=True)
class Submission:
    """One learner's notebook. problem: why there are no cells to run, in words, or empty.

    name, late, note: for the instructor's table; nobody's mark depends on them.
    """

    learner: str
    path: Path
    digest: str
    cells: tuple[str, ...]
    problem: str = ""
    name: str = ""
    late: str = ""
    note: str = ""
    timed: bool = False  # whether it is known when it was handed in
    aside: tuple[str, ...] = ()  # names of the learner's other notebooks, which were not read


@dataclass(frozen=True)
class Found:
    """A notebook, or a folder that should hold one, and what its name says.

    other: a file that is no notebook; it counts only where its learner handed in nothing else.
    loose: other, and beside everybody's: without a learner it is nobody's (a readme, a table).
    beside: notebooks that were left aside, since this one has the exercise's name.
    """

    path: Path
    user: str
    name: str = ""
    late: bool = False
    attempt: int = 0
    time: datetime | None = None
    other: bool = False
    loose: bool = False
    beside: tuple[Path, ...] = ()


def read_folder(folder, roster=None, *, exercise="", due=None):
    """Submissions: in the roster's order, where there is one, then those that are in no roster.

    Takes LEARNER.ipynb, a notebook in LEARNER/ or LEARNER/ASSIGNMENT/, and names as Canvas, Moodle
    and nbgrader write them. Who handed in nothing has a submission with a problem; of several
    notebooks the latest counts. Raises ValueError for a folder that is missing or empty.
    """
    people, theirs, notes, strangers = list(roster or []), {}, {}, {}
    names = _names(people)
    found = _scan(Path(folder), exercise, names[0])
    for each in found:
        learner, note = _owner(each, *names)
        if learner is None and each.loose:
            continue
        if learner is None:
            taken = same(each.user) in names[0]
            id = short(f"{each.name}_{each.user}") if taken else each.user
            learner = strangers.setdefault(same(id), Learner(id, each.name))
        theirs.setdefault(learner.id, []).append(each)
        if learner not in people:
            people.append(learner)
            notes[learner.id] = note or ("not in the roster" if roster else "")
    return [
        _submission(learner, theirs.get(learner.id, []), due, notes.get(learner.id, ""))
        for learner in people
    ]


def _names(people):
    """{id: learner}, {alias: learner}, {name in letters alone: learner}.

    An alias or a name that two share stands for neither.
    """
    aliases, names = {}, {}
    for learner in people:
        for alias in learner.aliases:
            aliases.setdefault(same(alias), set()).add(learner)
        last, comma, first = learner.name.partition(",")
        words = learner.name.split()
        orders = {learner.name, " ".join(words[-1:] + words[:-1]), first + last if comma else ""}
        for name in {letters(order) for order in orders} - {""}:
            names.setdefault(name, set()).add(learner)
    ids = {same(learner.id): learner for learner in people}
    return ids, _unshared(aliases), _unshared(names)


def _unshared(claims):
    return {key: one for key, (one, *others) in claims.items() if not others}


def _owner(found, ids, aliases, names):
    """(the learner whose this is, or None; a note). Where number and name disagree: nobody's."""
    user = same(found.user)
    named = names.get(letters(found.name))
    numbered = aliases.get(user) if found.name else ids.get(user) or aliases.get(user)
    if named and numbered and named != numbered:
        note = f"its number is {numbered.id}'s, its name is {named.id}'s: whose is it?"
        return None, note
    return numbered or named, ""


def _scan(folder, exercise, ids):
    if not folder.is_dir():
        file = "a file, not a folder; a zip has to be unpacked first"
        raise ValueError(f"{folder}: {file if folder.is_file() else 'no such folder'}")
    found = []
    for entry in sorted(folder.iterdir()):
        is_folder = entry.is_dir() and not entry.is_symlink()
        if entry.name.startswith("."):
            continue
        said = facts(entry.name if is_folder else entry.stem, ids)
        if is_folder:
            found += _in_folder(entry, exercise, said)
            continue
        other = not _is_notebook(entry)
        found.append(Found(path=entry, other=other, loose=other and "name" not in said, **said))
    if all(each.other for each in found):
        raise ValueError(f"{folder} holds no notebook (LEARNER.ipynb or LEARNER/….ipynb)")
    return found


def _in_folder(folder, exercise, said):
    """What one learner's folder holds: notebooks, or else what is there in their place."""
    inside, aside = _notebooks(folder, exercise)
    if not inside:
        others = _files(folder)
        empty = [Found(path=folder / "no notebook", **said)]
        return [Found(path=path, other=True, **said) for path in others] or empty
    times = {path: said.get("time") or _timestamp(path.parent) for path in inside}
    return [Found(path=path, beside=aside, **{**said, "time": times[path]}) for path in inside]


def _is_notebook(path):
    return path.suffix.lower() == ".ipynb"


def _files(folder):
    """All files below a learner's folder; not what programs put there, as .ipynb_checkpoints."""
    found = []
    # A linked folder could be one of the instructor's, with the solution in it: none is followed.
    for at, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        found += [Path(at, name) for name in files if not name.startswith(".")]
    return sorted(found)


def _notebooks(folder, exercise):
    """(notebooks below a learner's folder, those left aside): the exercise's name goes first."""
    paths = [path for path in _files(folder) if _is_notebook(path)]
    named = [path for path in paths if exercise and path.stem == exercise]
    return named or paths, tuple(path for path in paths if named and path not in named)


def only_notebook(folder, exercise=""):
    """(the notebook in a learner's folder, ""), or (None, why none can be taken)."""
    paths, _ = _notebooks(folder, exercise)
    if len(paths) == 1:
        return paths[0], ""
    return None, f"{len(paths)} notebooks; hand in one" if paths else NOTHING


def _timestamp(folder):
    try:
        return read_time((folder / "timestamp.txt").read_text(encoding="utf-8")[:100])
    except (OSError, UnicodeDecodeError):
        return None


def _submission(learner, found, due, remark):
    others = [each.path for each in found if each.other]
    taken, note = _latest([each for each in found if not each.other])
    if taken is None and others and not note:
        note = f"no notebook was handed in, but {_listed(others)}"
    if taken is None:
        digest = hashlib.sha256(b"").hexdigest()
        problem = note or NOTHING
        submission = Submission(learner.id, Path(""), digest, (), problem)
        notes = []
    else:
        submission = read(learner.id, taken.path)
        others = [each for each in taken.beside if read("", each).digest != submission.digest]
        aside = f"graded by its name, {readable(taken.path.name)}; not read: {_listed(others)}"
        notes = [note, aside if others else ""]
        submission = replace(submission, aside=tuple(readable(path.name) for path in others))
    late = _late(learner, taken, due) if taken else ""
    note = "; ".join(filter(None, [*notes, remark]))
    timed = bool(taken and taken.time)
    return replace(submission, name=learner.name, late=late, note=note, timed=timed)


def _listed(paths):
    """Names of files, and how many more there are."""
    names = [readable(path.name) for path in paths[:MOST_NAMES]]
    more = len(paths) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _latest(found):
    """(the Found that counts, a note for the instructor); (None, why) where none can be told."""
    if len(found) < 2:
        return (found[0] if found else None), ""
    digests = {read("", each.path).digest for each in found}
    order = {(each.time, each.attempt) for each in found}
    names = ", ".join(readable(Path(*each.path.parts[-2:])) for each in found)
    if len(digests) == 1:
        return found[0], ""
    if len(order) < len(found) or len({each.time is None for each in found}) > 1:
        return None, f"{len(found)} notebooks, and it can't be told which counts: {names}"
    taken = max(found, key=lambda each: (each.time or datetime.min, each.attempt))
    return taken, f"the latest of {len(found)} notebooks: {readable(taken.path.name)}"


def _late(learner, found, due):
    """How late, in words; nothing is taken off here."""
    if due and found.time:
        hours = (found.time - due.for_(learner)).total_seconds() / 3600
        return f"{hours:.1f} h" if hours > 0 else ""
    said = learner.late or ("LATE in Canvas" if found.late else "")
    has = f", extension {learner.extension_hours:g} h" if learner.extension_hours else ""
    return said and said + has


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
        return refused("there is no notebook that can be read")
    if len(data) > MOST_BYTES:
        words = f"the notebook is larger than {MOST_BYTES // 10**6} MB"
        return refused(f"{words}: clear its outputs, save it and hand it in again", data)
    if not data:
        return refused("the file is empty")
    try:
        with warnings.catch_warnings(action="ignore"):  # of cell ids; nothing here reads them
            # Some editors save UTF-16, or put a mark in front of UTF-8.
            content = _bare(json.loads(data.decode(json.detect_encoding(data))))
            notebook = nbformat.reads(json.dumps(content), as_version=4)
        cells = tuple(str(c.source) for c in notebook.cells if c.cell_type == "code")
    except Exception as error:  # nbformat raises whatever a file makes it stumble over
        words = f"the file is not a notebook ({type(error).__name__}); it is cut off, or of another"
        return refused(f"{words} format. Does it open in JupyterLab?", data)
    if len(cells) > MOST_CELLS:
        return refused(f"the notebook has more than {MOST_CELLS} code cells", data)
    return Submission(learner, path, hashlib.sha256(data).hexdigest(), cells)


def _bare(content):
    """The notebook with nothing in it but its cells' code: nbformat checks whatever else there is.

    A file of 10 MB can hold millions of outputs, or tags, and would keep it busy for hours.
    """
    bare = {name: content[name] for name in ("nbformat", "nbformat_minor") if name in content}
    bare["metadata"] = {}
    if content.get("nbformat", 4) >= 4:
        return bare | {"cells": _bare_cells(content["cells"])}
    sheets = content["worksheets"]  # as notebooks had them until 2015
    return bare | {"worksheets": [{"cells": _bare_cells(c for s in sheets for c in s["cells"])}]}


def _bare_cells(cells):
    """Code cells alone, and no more than one too many."""
    found = []
    for cell in cells:
        if cell["cell_type"] == "code" and len(found) <= MOST_CELLS:
            source = cell.get("source", cell.get("input", ""))
            source = source if isinstance(source, str) else "".join(source)
            rest = {"metadata": {}, "outputs": [], "execution_count": None}
            found.append({"cell_type": "code", "source": source, "input": source, **rest})
    return found
