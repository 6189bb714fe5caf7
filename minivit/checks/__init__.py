"""Checks for exercises: `check("qk-head", write_qk_head_)` as the last line of a cell.

A check runs the visible cases of a question in this notebook and says of the first one that fails
what was tested, how far off the answer is, which known mistake it behaves like, and which hint
helps. Grading runs hidden cases beside them, with the same judge, elsewhere. Offline, and quick.
"""

import textwrap
import time

from minivit.checks.absent import absent
from minivit.checks.calls import call, live
from minivit.checks.question import Question, Verdict, judge
from minivit.checks.questions import QUESTIONS

__all__ = ["QUESTIONS", "Question", "Verdict", "check", "examples", "run_case", "verdicts"]

SECONDS = 3  # of computing that a call may take while grading
WIDTH = 100  # columns; JupyterLab breaks a longer line inside a word

# Findings to which no hint has anything to say.
UNEXPLAINED = ("raised", "stopped", "unwritten", "missing", "dtype", "untouched")
UNEXPLAINED += ("nothing", "kind")


def check(id, function):
    """Runs the visible cases of question `id` on `function` and prints what they show.

    Raises ValueError for an id that is not a question, or for something that can't be called.
    """
    question = _question(id, function)
    found, seconds = [], 0.0  # by the case whose calls take longest: grading stops single calls
    for case in question.visible:
        began = time.process_time()
        found += verdicts(question, function, [case])
        seconds = max(seconds, (time.process_time() - began) / len(case.calls))
        if not found[-1].passed:
            break
    print("\n".join([report(question, found), *_before_grading(question, function, seconds)]))
    failed = next((verdict for verdict in found if not verdict.passed), None)
    if failed and failed.finding.mine is not None:
        _draw(question, failed)


def _before_grading(question, function, seconds):
    """Lines on what would cost a right answer its points. seconds: those that a call computes."""
    together = {
        name for q in QUESTIONS.values() if q.lesson == question.lesson for name in q.withheld
    }
    missing = ", ".join(name.rpartition(".")[2] for name in absent(function, together))
    if missing:
        yield from _wrapped(
            f"Beware: it uses minivit's {missing}, which is not there while this notebook is "
            "graded. Write out what you need of it."
        )
    if seconds > SECONDS:
        yield from _wrapped(
            f"Beware: a call computes for {seconds:.1f} seconds here; while grading it may for "
            f"{SECONDS}."
        )


def examples(id):
    """Title → arguments of each visible case of a question (of its first call), to look at.

    Raises ValueError for an id that is not a question.
    """
    return {
        case.title: {name: live(value) for name, value in case.calls[0].items()}
        for case in _known(id).visible
    }


def _known(id):
    if id not in QUESTIONS:
        raise ValueError(f"{id!r} is not a question; the questions are {', '.join(QUESTIONS)}")
    return QUESTIONS[id]


def _question(id, function):
    question = _known(id)
    if not callable(function):
        raise ValueError(
            f"check takes the function itself, as in check({id!r}, {question.function}); "
            f"it got a {type(function).__name__}"
        )
    return question


def verdicts(question, function, cases=None, *, stop=False) -> list[Verdict]:
    """Judges `function` on the cases (by default the visible ones), in this process.

    stop: end after the first case that fails.
    """
    found = []
    for case in question.visible if cases is None else cases:
        found.append(run_case(question, function, case))
        if stop and not found[-1].passed:
            break
    return found


def run_case(question, function, case) -> Verdict:
    """One case: its calls, then the judge."""
    return judge(question, case, tuple(call(function, arguments) for arguments in case.calls))


def report(question, found) -> str:
    """What a learner reads: a line for each case that was run, then what to do."""
    lines = [f"  {'✓' if verdict.passed else '✗'} {verdict.case.title}" for verdict in found]
    last, passed = found[-1], sum(verdict.passed for verdict in found)
    if not last.passed:
        lines += ["", *_wrapped(explain(last))]
        lines += [f"Hint {n}: read it below this cell." for n in _hints(question, last)]
        lines += _arguments(question, last)
        lines.append("")
    total = len(question.visible)
    lines.append(
        f"{passed} of {total} visible checks; {question.hidden} hidden cases are graded later"
    )
    return "\n".join([f"{question.id} · {question.signature}", *lines])


def _wrapped(text):
    """Its lines, none wider than a notebook's output; what is indented is code and stays."""
    for line in text.splitlines():
        yield from [line] if line.startswith(" ") else textwrap.wrap(line, WIDTH) or [""]


def explain(verdict, *, numbers=True) -> str:
    """Why a case failed, in words. numbers=False leaves out all that comes from the answer."""
    parts = [f"{verdict.finding.aspect}: {verdict.finding.text}"] if numbers else []
    if verdict.diagnosis:
        parts.append(verdict.diagnosis.says)
    return "\n".join(parts)


def _hints(question, verdict):
    if verdict.diagnosis:
        return (verdict.diagnosis.hint,) if verdict.diagnosis.hint else ()
    aspect = verdict.finding.aspect
    return () if aspect in UNEXPLAINED else (question.first_hints.get(aspect, 1),)


def _arguments(question, verdict):
    """How to get at what the case passes, where no known mistake fits: to look for it by hand."""
    if verdict.diagnosis or len(verdict.case.calls) > 1:  # of several, which one it was is unknown
        return []
    if verdict.finding.aspect in ("unwritten", "missing", "nothing", "kind"):
        return []
    call = f'examples("{question.id}")["{verdict.case.title}"]'
    return [
        "",
        "The arguments of this case:",
        "    from minivit.checks import examples",
        f"    {call}",
    ]


def _draw(question, verdict):
    """The learner's matrix beside a target, on one colour range."""
    try:
        from minivit.figures import product_panels, show
    except ImportError:
        print('Install "minivit[course]" to see yours beside the target here.')
        return
    finding = verdict.finding
    panels = {"yours": finding.mine, finding.shows: finding.target}
    source = f"question {question.id}, case: {verdict.case.title}"
    show(product_panels(panels, title="Yours, and what it is held against", source=source))
