"""Reads a folder of submissions: whose each is, and what it says. Nothing in them is run here."""

import hashlib
import os
import re
import unicodedata
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import nbformat

from teaching.roster import Learner

MOST_BYTES = 10_000_000
MOST_CELLS = 500
NOTHING = "nothing was handed in"

# Names that platforms give to what they hand out; `user` is their own number or login.
PLATFORMS = tuple(
    map(
        re.compile,
        (
            # Moodle: "Jane Doe_31415_assignsubmission_file_", a folder, or the start of a file name
            r"(?P<name>.+?)_(?P<user>\d+)_assignsubmission_file_.*",
            # Canvas: "doejane_LATE_314_15926_homework-1", 314 the user, 1 the second attempt
            r"(?P<name>.+?)_(?P<late>LATE_)?(?P<user>\d+)_\d+_.*?(-(?P<attempt>\d+))?",
            # nbgrader's inbound folder: "jane+04+2026-10-05 21:14:03.123456 UTC+x7"
            r"(?P<user>[^+]+)\+[^+]+\+(?P<time>\d{4}-\d\d-\d\d [^+]+)(\+.*)?",
        ),
    )
)


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


@dataclass(frozen=True)
class Found:
    """A notebook, or a folder that should hold one, and what its name says.

    other: a file that is no notebook; it counts only where its learner handed in nothing else.
    """

    path: Path
    user: str
    name: str = ""
    late: bool = False
    attempt: int = 0
    time: datetime | None = None
    other: bool = False


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
        if learner is None and each.other:
            continue  # nobody's: a readme, a table of marks
        if learner is None:
            taken = _same(each.user) in names[0]
            id = _short(f"{each.name}_{each.user}") if taken else each.user
            learner = strangers.setdefault(_same(id), Learner(id, each.name))
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
            aliases.setdefault(_same(alias), set()).add(learner)
        last, comma, first = learner.name.partition(",")
        words = learner.name.split()
        orders = {learner.name, " ".join(words[-1:] + words[:-1]), first + last if comma else ""}
        for name in {_letters(order) for order in orders} - {""}:
            names.setdefault(name, set()).add(learner)
    ids = {_same(learner.id): learner for learner in people}
    return ids, _unshared(aliases), _unshared(names)


def _unshared(claims):
    return {key: one for key, (one, *others) in claims.items() if not others}


def _owner(found, ids, aliases, names):
    """(the learner whose this is, or None; a note). Where number and name disagree: nobody's."""
    user = _same(found.user)
    named = names.get(_letters(found.name))
    numbered = aliases.get(user) if found.name else ids.get(user) or aliases.get(user)
    if named and numbered and named != numbered:
        note = f"its number is {numbered.id}'s, its name is {named.id}'s: whose is it?"
        return None, note
    return numbered or named, ""


def _same(text):
    """One spelling for all: macOS writes ü as two characters, into names of files too."""
    return unicodedata.normalize("NFC", text).casefold()


def _letters(name):
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFKD", name)).casefold()


def _scan(folder, exercise, ids):
    if not folder.is_dir():
        file = "a file, not a folder; a zip has to be unpacked first"
        raise ValueError(f"{folder}: {file if folder.is_file() else 'no such folder'}")
    found = []
    for entry in sorted(folder.iterdir()):
        is_folder = entry.is_dir() and not entry.is_symlink()
        if entry.name.startswith("."):
            continue
        said = _said(entry.name if is_folder else entry.stem, ids)
        if not is_folder:
            found.append(Found(path=entry, other=not _is_notebook(entry), **said))
            continue
        inside = _notebooks(entry, exercise) or [entry / "no notebook"]
        times = {path: said.get("time") or _timestamp(path.parent) for path in inside}
        found += [Found(path=path, **{**said, "time": times[path]}) for path in inside]
    if all(each.other for each in found):
        raise ValueError(f"{folder} holds no notebook (LEARNER.ipynb or LEARNER/….ipynb)")
    return found


def readable(name):
    """A name from a disk in characters that can be written: the others as backslashes and codes."""
    return str(name).encode("utf-8", "backslashreplace").decode()


def _said(name, ids):
    """What the name of a file or a folder says: user, and more where a platform wrote it.

    No platform wrote what is somebody's id as it stands. Else the pattern that finds the shortest
    name is the platform's. What comes after it the learner chose, and may have made look like
    another learner's.
    """
    name = readable(name)
    if _same(name) in ids:
        return {"user": name}
    matches = [match.groupdict() for pattern in PLATFORMS if (match := pattern.fullmatch(name))]
    if not matches:
        return {"user": _short(name)}
    words = min(matches, key=lambda words: len(words.get("name") or words["user"]))
    return {
        "user": _short(words["user"]),
        "name": _short(words.get("name") or ""),
        "late": bool(words.get("late")),
        "attempt": int(words.get("attempt") or 0),
        "time": _read_time(words["time"]) if "time" in words else None,
    }


def _short(name):
    """Files are named after a learner: at most 150 bytes."""
    if len(name.encode()) <= 150:
        return name
    return f"{name[:25]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _is_notebook(path):
    return path.suffix.lower() == ".ipynb"


def _notebooks(folder, exercise):
    """Notebooks in a learner's folder, or one below; those named after the exercise go first."""
    paths = filter(_is_notebook, [*folder.glob("*"), *folder.glob("*/*")])
    # A linked folder could be one of the instructor's, with the solution in it.
    paths = [path for path in paths if path.parent == folder or not path.parent.is_symlink()]
    paths = sorted(path for path in paths if ".ipynb_checkpoints" not in path.parts)
    named = [path for path in paths if exercise and path.stem == exercise]
    return named or paths


def only_notebook(folder, exercise=""):
    """(the notebook in a learner's folder, ""), or (None, why none can be taken)."""
    paths = _notebooks(folder, exercise)
    if len(paths) == 1:
        return paths[0], ""
    return None, f"{len(paths)} notebooks; hand in one" if paths else NOTHING


def _timestamp(folder):
    try:
        return _read_time((folder / "timestamp.txt").read_text(encoding="utf-8")[:100])
    except (OSError, UnicodeDecodeError):
        return None


def _read_time(text):
    """nbgrader's time, in UTC unless it has an offset; None for what can't be read."""
    try:
        time = datetime.fromisoformat(re.sub(r" ?(UTC|GMT)$", "+00:00", text.strip()))
    except ValueError:
        return None
    return time.astimezone(UTC) if time.tzinfo else None


def _submission(learner, found, due, remark):
    others = [readable(each.path.name) for each in found if each.other]
    taken, note = _latest([each for each in found if not each.other])
    if taken is None and others and not note:
        note = f"no notebook was handed in, but {', '.join(others)}"
    if taken is None:
        digest = hashlib.sha256(b"").hexdigest()
        problem = note or NOTHING
        submission = Submission(learner.id, Path(""), digest, (), problem)
        notes = []
    else:
        submission, notes = read(learner.id, taken.path), [note]
    late = _late(learner, taken, due) if taken else ""
    note = "; ".join(filter(None, [*notes, remark]))
    timed = bool(taken and taken.time)
    return replace(submission, name=learner.name, late=late, note=note, timed=timed)


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
        return refused(f"the notebook is larger than {MOST_BYTES // 10**6} MB", data)
    try:
        notebook = nbformat.reads(data.decode("utf-8"), as_version=4)
        cells = tuple(str(c.source) for c in notebook.cells if c.cell_type == "code")
    except Exception as error:  # nbformat raises whatever a file makes it stumble over
        return refused(f"the file is not a notebook ({type(error).__name__})", data)
    if len(cells) > MOST_CELLS:
        return refused(f"the notebook has {len(cells)} code cells; at most {MOST_CELLS}", data)
    return Submission(learner, path, hashlib.sha256(data).hexdigest(), cells)
