"""One submission: its cells run in a sandbox, its functions are called there, judged out here."""

import re

from minivit.checks import explain, judge
from minivit.checks.calls import Problem, Result
from teaching.file_names import readable
from teaching.sandbox.box import SandboxEnded
from teaching.term import hidden_cases

MOST_WORDS = 2_000  # characters that are said of one case, or of one cell
MOST_PROBLEMS = 50  # cells that are named
FEW = 20  # processes for the calls of a case that says `together`
OTHER = "it has none of the functions that are asked for; is it another exercise's?"
NEVER_ENDED = "its cells did not come back, so it has none of the functions that are asked for"
NOT_RUN = Result(problem=Problem("stopped", "not run, something before it did not come back"))


class Session:
    """One submission in a sandbox. Whatever it does to the sandbox, calls have a Result."""

    def __init__(self, box, submission, functions, limits):
        self.box, self.problem = box, submission.problem
        self.cells, self.names, self.alive = [], (), False
        if self.problem:
            return
        try:
            cells, self.names = box.open(submission.cells, functions, limits)
            self.cells = [(at, kind, _words(text)) for at, kind, text in cells[:MOST_PROBLEMS]]
            self.alive = True
        except SandboxEnded as error:
            self.problem, self.names = str(error), functions
            box.restart()

    def call_all(self, function, given):
        if not self.alive:
            return len(given) * (NOT_RUN,)
        try:
            return self.box.call_all(function, given)
        except SandboxEnded as error:
            self.problem, self.alive = str(error), False
            self.box.restart()
            return len(given) * (Result(problem=Problem("stopped", str(error))),)

    def close(self):
        if self.alive:
            try:
                self.box.close()
            except SandboxEnded:
                self.box.restart()


def grade_one(box, submission, keys, secret, limits):
    """The record of one submission: plain data, and nothing out of an answer to a hidden case."""
    session = Session(box, submission, [key.question.function for key in keys], limits)
    asked = [_Asked(session, key) for key in keys]
    # What is said of a visible case may carry what a learner's code has put aside. So all of them
    # come before the first hidden one.
    for each in asked:
        each.answer(each.key.question.visible)
    for each in asked:
        each.answer(hidden_cases(each.key, secret, submission.learner))
    session.close()
    answers = [each.answers for each in asked]
    results = [each for pairs in answers for _, given in pairs for each in given]
    kinds = [kind for _, kind, _ in session.cells] + [r.problem.kind for r in results if r.problem]
    judged = [_judged(*pair) for pair in zip(keys, answers, strict=True)]
    other = ""
    if not session.names and not session.problem:
        other = NEVER_ENDED if "stopped" in [kind for _, kind, _ in session.cells] else OTHER
    if submission.problem:  # nothing was looked at, so there is nothing to be said
        for case in [case for each in judged for case in each["cases"]]:
            case["said"] = ""
    for each, key in zip(judged, keys, strict=True):
        each["defined"] = _times_defined(key.question.function, submission.cells)
    return {
        "learner": submission.learner,
        "file": readable(submission.path.name),
        "digest": submission.digest,
        "problem": session.problem or other,
        "unread": bool(submission.problem),
        "aside": list(submission.aside),
        "cells": session.cells,
        "stopped": "stopped" in kinds or session.problem != submission.problem,
        "questions": judged,
        "points": round(sum(each["points"] for each in judged), 2),
        "of": sum(key.question.points for key in keys),
    }


class _Asked:
    """One question put to a submission. answers: [(case, results)] of the cases so far."""

    def __init__(self, session, key):
        self.session, self.key, self.answers = session, key, []
        self.last = None  # after a call that did not come back no more are made; nor to a stub

    def answer(self, cases):
        for case in cases:
            processes = min(len(case.calls), FEW) if case.together else len(case.calls)
            results = [None] * len(case.calls)
            # Dealt out in turn: calls that are dear, such as late epochs, then stand apart.
            for first in range(processes):
                results[first::processes] = self._call_all(case.calls[first::processes])
            self.answers.append((case, tuple(results)))

    def _call_all(self, given):
        function = self.key.question.function
        if function not in self.session.names:
            return len(given) * (Result(problem=Problem("missing", "")),)
        if self.last:
            return len(given) * (self.last,)
        results = self.session.call_all(function, given)
        kind = results[-1].problem and results[-1].problem.kind
        self.last = {"stopped": NOT_RUN, "unwritten": results[-1]}.get(kind)
        return results


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
                "said": "" if verdict.passed else _words(explain(verdict, numbers=visible)),
            }
        )
    passed = sum(each["passed"] for each in said)
    points = round(question.points * passed / len(said), 2)
    return {"id": question.id, "points": points, "of": question.points, "cases": said}


def _times_defined(function, cells):
    """In how many cells. The last one counts, and it may be a copy that was forgotten there."""
    definition = re.compile(rf"^def {function}\(", re.MULTILINE)
    return sum(bool(definition.search(source)) for source in cells)


def _words(text):
    """Words in which a learner's code may have had a say: not too many, and all can be written."""
    return readable(text[:MOST_WORDS])
