"""Grades a class: `python -m teaching.grade SUBMISSIONS OUT` (make grade SUBMISSIONS=… OUT=…).

The solution is graded first, and nothing else is unless it gets full marks. Each learner's cells
run in a sandbox; then the functions that the exercise asks for are called there on visible and
hidden cases, and judged out here. OUT gets grades.csv, feedback/LEARNER.md and .html, and
gradescope/LEARNER/results.json. Killed at any point, the same command goes on where it stopped.
"""

import argparse
import hashlib
import json
import queue
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from minivit import checks
from minivit.checks import explain, judge
from minivit.checks.calls import Problem, Result
from minivit.runtime import cpu_cores
from minivit.storage import write_text
from teaching import feedback
from teaching.exercises import SOLUTIONS
from teaching.keys import KEYS
from teaching.sandbox.box import LIMITS, Sandbox, SandboxEnded, require
from teaching.submissions import read, read_folder
from teaching.term import TERM_FILE, hidden_cases, read_secret

NOT_RUN = Result(problem=Problem("stopped", "not run, something before it did not come back"))


class NotReady(Exception):
    """Grading can't begin: the solution itself does not get full marks."""


def questions_of(notebook):
    """The keys of the questions that an exercise notebook asks, in its order."""
    text = "\n".join(read("", notebook).cells)
    asked = {text.find(f'check("{id}"'): key for id, key in KEYS.items()}
    return [asked[place] for place in sorted(asked) if place >= 0]


def grade(submissions, keys, secret, out, *, solution, limits=LIMITS, workers=None, say=print):
    """Grades Submissions into folder `out`; returns the records, in the order given.

    Raises NotReady where the solution, a Submission, does not get full marks.
    """
    out, workers = Path(out), workers or cpu_cores()
    mark = grader_digest(keys, secret, limits)
    records = {each.learner: _kept(out, each, mark) for each in submissions}
    todo = [each for each in submissions if records[each.learner] is None]
    withheld = sorted({name for key in keys for name in key.withheld})
    if todo:
        with Sandbox(withheld) as box:
            _require_full_marks(grade_one(box, solution, keys, secret, limits))
        say(f"the solution gets full marks; {len(todo)} of {len(submissions)} to be graded")

    def finish(box, submission, limits, alone=False):
        record = grade_one(box, submission, keys, secret, limits)
        record |= {"mark": mark, "alone": alone}
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
    ordered = [records[each.learner] for each in submissions]
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


class Session:
    """One submission in a sandbox. Whatever it does to the sandbox, calls have a Result."""

    def __init__(self, box, submission, functions, limits):
        self.box, self.problem = box, submission.problem
        self.cells, self.names, self.alive = [], (), False
        if self.problem:
            return
        try:
            self.cells, self.names = box.open(submission.cells, functions, limits)
            self.alive = True
        except SandboxEnded as error:
            self.problem, self.names = str(error), functions
            box.restart()

    def call(self, function, arguments):
        if not self.alive:
            return NOT_RUN
        try:
            return self.box.call(function, arguments)
        except SandboxEnded as error:
            self.problem, self.alive = str(error), False
            self.box.restart()
            return Result(problem=Problem("stopped", str(error)))

    def close(self):
        if self.alive:
            try:
                self.box.close()
            except SandboxEnded:
                self.box.restart()


def grade_one(box, submission, keys, secret, limits):
    """The record of one submission: plain data, and nothing out of an answer to a hidden case."""
    session = Session(box, submission, [key.question.function for key in keys], limits)
    answers = [_answers(session, key, secret, submission.learner) for key in keys]
    session.close()
    results = [each for pairs in answers for _, given in pairs for each in given]
    kinds = [kind for _, kind, _ in session.cells] + [r.problem.kind for r in results if r.problem]
    judged = [_judged(*pair) for pair in zip(keys, answers, strict=True)]
    return {
        "learner": submission.learner,
        "file": submission.path.name,
        "digest": submission.digest,
        "problem": session.problem,
        "cells": session.cells,
        "stopped": "stopped" in kinds or session.problem != submission.problem,
        "questions": judged,
        "points": round(sum(each["points"] for each in judged), 2),
        "of": sum(key.question.points for key in keys),
    }


def _answers(session, key, secret, learner):
    """[(case, results)] of one question.

    After a call that did not come back no more are made; nor after one to a stub.
    """
    function, answers, last = key.question.function, [], None
    for case in (*key.question.visible, *hidden_cases(key, secret, learner)):
        results = []
        for arguments in case.calls:
            if function not in session.names:
                result = Result(problem=Problem("missing", ""))
            else:
                result = last or session.call(function, arguments)
                kind = result.problem and result.problem.kind
                last = {"stopped": NOT_RUN, "unwritten": result}.get(kind)
            results.append(result)
        answers.append((case, tuple(results)))
    return answers


def _judged(key, answers):
    """Points in proportion to the cases that passed, and what is said of each."""
    question, said = key.question, []
    for number, (case, results) in enumerate(answers):
        verdict, visible = judge(question, case, results), number < len(question.visible)
        said.append(
            {
                "title": case.title if visible else "hidden case",
                "visible": visible,
                "passed": verdict.passed,
                # What a learner wrote must not carry a hidden input out: fixed words only.
                "said": "" if verdict.passed else explain(verdict, numbers=visible),
            }
        )
    passed = sum(each["passed"] for each in said)
    points = round(question.points * passed / len(said), 2)
    return {"id": question.id, "points": points, "of": question.points, "cases": said}


def grader_digest(keys, secret, limits):
    """Changes with judges, keys, the sandbox, the secret and the limits: marks are redone then."""
    digest = hashlib.sha256(secret + repr((limits, [key.question.id for key in keys])).encode())
    for folder in (Path(checks.__file__).parent, Path(__file__).parent):
        for path in sorted(folder.rglob("*.py")):
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


def _unfair(record):
    """Stopped while others ran beside it: it may have been the others' fault."""
    return record["stopped"] and not record["alone"]


def _require_full_marks(record):
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
    parser = argparse.ArgumentParser(prog="python -m teaching.grade")
    parser.add_argument("submissions", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--exercise", help="a notebook's name in solutions/, if there are several")
    parser.add_argument("--workers", type=int, help="sandboxes side by side (one per core)")
    options = parser.parse_args(arguments)
    try:
        require()
        secret = read_secret(TERM_FILE)
        notebook = _exercise(options.exercise)
        folder = read_folder(options.submissions)
        keys, solution = questions_of(notebook), read("solution", notebook)
        settings = {"solution": solution, "workers": options.workers}
        records = grade(folder, keys, secret, options.out, **settings)
    except (ValueError, NotReady) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(records)} graded: {options.out / 'grades.csv'}")
    return 0


def _exercise(name):
    notebooks = {path.stem: path for path in sorted(SOLUTIONS.glob("*.ipynb"))}
    if name is None and len(notebooks) == 1:
        return next(iter(notebooks.values()))
    if name not in notebooks:
        raise ValueError(f"--exercise is {name!r}; it must be one of {', '.join(notebooks)}")
    return notebooks[name]


if __name__ == "__main__":
    sys.exit(main())
