"""Grades a class: `python -m teaching.grade SUBMISSIONS OUT` (make grade SUBMISSIONS=… OUT=…).

The solution is graded first, and nothing else is unless it gets full marks. Each learner's cells
run in a sandbox; then the functions that the exercise asks for are called there on visible and
hidden cases, and judged out here. OUT gets grades.csv, canvas.csv (where the roster has Canvas's
ids), changes.csv, feedback/LEARNER.md and .html, and gradescope/LEARNER/results.json. Killed at any
point, the same command goes on where it stopped; after a judge or a key was mended it grades again
and says whose marks changed (make regrade).
"""

import argparse
import hashlib
import json
import queue
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import minivit
from minivit.runtime import cpu_cores
from minivit.storage import write_text
from teaching import feedback
from teaching.asked import exercise, questions_of
from teaching.roster import read_due, read_roster
from teaching.sandbox.box import LIMITS, Sandbox, require
from teaching.session import grade_one
from teaching.submissions import NOTHING, read, read_folder
from teaching.term import TERM_FILE, read_secret


class NotReady(ValueError):
    """Grading can't begin: the solution fails, or OUT is in use or of another exercise."""


def grade(submissions, keys, secret, out, *, solution, limits=LIMITS, workers=None, say=print):
    """Grades Submissions into folder `out`; returns the records, in the order given.

    Raises NotReady where the solution, a Submission, does not get full marks.
    """
    with _alone_in(Path(out)):
        return _grade(submissions, keys, secret, Path(out), solution, limits, workers, say)


def _grade(submissions, keys, secret, out, solution, limits, workers, say):
    workers = workers or cpu_cores()
    _require_this_exercise(out, keys, say)
    mark = grader_digest(keys, secret, limits)
    records = {each.learner: _kept(out, each, mark) for each in submissions}
    todo = [each for each in submissions if records[each.learner] is None]
    before = {each.learner: _points_before(out, each, mark) for each in submissions}
    withheld = sorted({name for key in keys for name in key.question.withheld})
    if todo:
        with Sandbox(withheld) as box:
            require_full_marks(grade_one(box, solution, keys, secret, limits))
        say(f"the solution gets full marks; {len(todo)} of {len(submissions)} to be graded")

    def finish(box, submission, limits, alone=False):
        record = grade_one(box, submission, keys, secret, limits)
        record |= {"mark": mark, "alone": alone, "before": before[submission.learner]}
        write_text(_record_path(out, submission), json.dumps(record, indent=1))
        records[submission.learner] = record

    _in_parallel(todo, withheld, limits, workers, finish)
    again = [each for each in submissions if _unfair(records[each.learner])]
    if again:
        say(f"{len(again)} did not come back in time; each runs again, alone")
        slow = limits._replace(wall=4 * limits.wall)
        with Sandbox(withheld) as box:
            for submission in again:
                finish(box, submission, slow, alone=True)
    # What does not go into a mark is taken from the folder of today.
    ordered = [
        records[each.learner]
        | {"name": each.name, "late": each.late, "note": each.note, "timed": each.timed}
        | {"aside": list(each.aside)}
        for each in submissions
    ]
    feedback.write_all(ordered, keys, out)
    return ordered


def _in_parallel(submissions, withheld, limits, workers, finish):
    """One sandbox for each worker, submissions handed to whichever is free."""
    boxes = queue.SimpleQueue()
    workers = min(workers, len(submissions))

    def task(submission):
        box = boxes.get()
        try:
            finish(box, submission, limits)
        finally:
            boxes.put(box)

    opened = [Sandbox(withheld) for _ in range(workers)]
    try:
        for box in opened:
            boxes.put(box.__enter__())
        with ThreadPoolExecutor(workers or 1) as pool:
            list(pool.map(task, submissions))
    finally:
        for box in opened:
            box.__exit__()


def grader_digest(keys, secret, limits):
    """Changes with all that a mark depends on besides the submission: marks are redone then.

    How a file is read and graded, judges, keys, the sandbox, minivit as learners' code imports it,
    the secret, the limits. Whose a file is (roster.py) is another matter: see `_kept`.
    """
    digest = hashlib.sha256(secret + repr((limits, [key.question.id for key in keys])).encode())
    here, package = Path(__file__).parent, Path(minivit.__file__).parent
    files = [here / f"{name}.py" for name in ("grade", "session", "submissions", "term")]
    for folder in (package, here / "keys", here / "sandbox"):
        files += sorted(folder.rglob("*.py"))
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _record_path(out, submission):
    return out / "records" / f"{submission.learner}.json"


def _kept(out, submission, mark):
    """The record of an earlier run, if it is of this very file and this very grader."""
    try:
        record = json.loads(_record_path(out, submission).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = (record["digest"], record["mark"]) == (submission.digest, mark)
    return record if same else None


def _require_this_exercise(out, keys, say):
    """Raises NotReady where OUT holds marks of questions that are not asked: they would be lost.

    Where it holds fewer than are asked, that is said: QUESTIONS= may have been forgotten.
    """
    asked, held = {key.question.id for key in keys}, set()
    for path in sorted((out / "records").glob("*.json")):
        try:
            held |= {each["id"] for each in json.loads(path.read_text("utf-8"))["questions"]}
        except (OSError, ValueError, KeyError, TypeError):
            continue
    names = ", ".join(sorted(held))
    if held and not held & asked:
        raise NotReady(
            f"{out} holds marks of another exercise ({names}): name a folder of its own for each, "
            "or they would be lost"
        )
    if held - asked:
        raise NotReady(
            f"{out} holds marks of {names}; {', '.join(sorted(held - asked))} are not asked for "
            "now and would be lost. Grade all that it holds, or name another folder"
        )
    if held and held != asked:
        say(f"{out} had marks of {names}; now it gets those of {', '.join(sorted(asked))}")


def _points_before(out, submission, mark):
    """{question: points} of this very file under the grader before this one; {} if there is none.

    It goes into the new record, so that a kill in the middle loses no change.
    """
    try:
        record = json.loads(_record_path(out, submission).read_text(encoding="utf-8"))
        if record["digest"] != submission.digest:
            return {}
        if record["mark"] == mark:
            return record["before"]
        return {each["id"]: each["points"] for each in record["questions"]}
    except (OSError, ValueError, KeyError):
        return {}


@contextmanager
def _alone_in(out):
    """No second grader in one folder; what a killed one left half-written is removed."""
    import fcntl  # Windows has none: `require` has refused by now

    out.mkdir(parents=True, exist_ok=True)
    with open(out / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise NotReady(f"another grading is running in {out}; wait for its end") from None
        for path in out.rglob(".*.part"):
            path.unlink()
        yield


def _unfair(record):
    """Stopped while others ran beside it: it may have been the others' fault."""
    return record["stopped"] and not record["alone"]


def require_full_marks(record):
    """Raises NotReady, with what is wrong, unless a solution's record has all points."""
    if record["points"] == record["of"]:
        return
    lines = [f"the solution gets {record['points']} of {record['of']} points; nothing was graded"]
    lines += [f"cell {number}: {text}" for number, _, text in record["cells"]]
    lines += [
        f"{question['id']}, {case['title']}: {case['said']}"
        for question in record["questions"]
        for case in question["cases"]
        if not case["passed"]
    ]
    raise NotReady("\n".join([*lines, record["problem"]]))


def main(arguments=None):
    options = _parser().parse_args(arguments)
    try:
        _require_folders(options.submissions, options.out)
        require()
        secret = read_secret(TERM_FILE)
        notebook = exercise(options.exercise)
        roster = read_roster(options.roster) if options.roster else None
        due = read_due(options.deadline, options.opened)
        settings = {"exercise": notebook.stem, "due": due}
        folder = read_folder(options.submissions, roster, **settings)
        if options.regrade and not any((options.out / "records").glob("*.json")):
            raise ValueError(f"{options.out} holds no marks yet: grade first, with `make grade`")
        keys, solution = questions_of(notebook, options.questions), read("solution", notebook)
        settings = {"solution": solution, "workers": options.workers}
        records = grade(folder, keys, secret, options.out, **settings)
        title = options.column or notebook.stem
        if feedback.write_canvas(records, roster or [], title, options.out):
            without = [each.id for each in roster if not each.canvas]
            lacks = f"; not in it, without canvas_id: {', '.join(without)}" if without else ""
            nothing = [record["learner"] for record in records if record["unread"]]
            if nothing:
                lacks += f"; nor, since nothing of theirs was read: {', '.join(nothing)}"
            print(f"for Canvas: {options.out / 'canvas.csv'}{lacks}")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    _report(records, options)
    return 0


def _require_folders(submissions, out):
    """ValueError unless both are named, and marks are not written among the submissions."""
    if Path() in (submissions, out):  # what `make grade` without them comes to
        raise ValueError("name two folders: make grade SUBMISSIONS=folder OUT=folder EXERCISE=…")
    if out.resolve().is_relative_to(submissions.resolve()):
        raise ValueError(
            f"OUT, {out}, lies in SUBMISSIONS, {submissions}: what is written there would be taken "
            "for submissions the next time. Name another folder"
        )


def _parser():
    parser = argparse.ArgumentParser(prog="python -m teaching.grade")
    parser.add_argument("submissions", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--exercise", help="a notebook's name in solutions/, if there are several")
    parser.add_argument("--roster", type=Path, help="CSV: id,name, or Canvas's or Moodle's export")
    parser.add_argument("--deadline", help="2026-10-05T23:59+02:00; late ones are only marked so")
    parser.add_argument("--opened", help="begin of a timed session, for time factors")
    parser.add_argument("--column", help='Canvas\'s name of the assignment: "Exercise 4 (31415)"')
    parser.add_argument(
        "--questions", default="", help="some of the exercise's alone: qk-head,cut-diagonal"
    )
    parser.add_argument("--regrade", action="store_true", help="list whose marks changed")
    parser.add_argument("--workers", type=int, help="sandboxes side by side (one per core)")
    return parser


def _report(records, options):
    print(f"{len(records)} graded: {options.out / 'grades.csv'}")
    absent = [each["learner"] for each in records if feedback.note(each) == NOTHING]
    if absent:
        print(f"{len(absent)} handed in nothing: {', '.join(absent)}")
    looks = [each for each in records if feedback.note(each) not in ("", NOTHING)]
    if looks:
        print(f"{len(looks)} need a look (column note): {', '.join(r['learner'] for r in looks)}")
    untimed = [each for each in records if each["file"] and not each["timed"]]
    if options.deadline:
        due = read_due(options.deadline, options.opened).deadline.astimezone()
        late = [each["learner"] for each in records if each["late"]]
        print(
            f"due {due:%Y-%m-%d %H:%M %z}: {len(late)} late; extensions are counted where a file "
            "has a time. What Canvas or Moodle calls late is by their own due date"
        )
    if options.deadline and untimed:
        print(
            f"{len(untimed)} of them carry no time, so the deadline says nothing of these: look on "
            "your platform who was late"
        )
    changed = feedback.changes(records)
    if options.regrade or changed:
        print(f"{len(changed)} marks differ from the grading before, see changes.csv")
        for learner, question, old, new in changed if options.regrade else ():
            print(f"  {learner}: {question} {old:g} → {new:g}")


if __name__ == "__main__":
    sys.exit(main())
