"""What a graded question is: a contract, visible cases, a judge, and the mistakes it knows.

The answer itself, hidden cases and wrong answers to test the judge with are in `teaching/keys/`,
which no learner's installation holds.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from minivit.checks.calls import Result


@dataclass(frozen=True)
class Case:
    """Arguments of one or several calls, judged together. See `calls` for what arguments may be.

    together: so many calls, and so short, that while grading a few processes make them, not one
    for each. What an answer remembers from call to call must not help it then.
    """

    title: str
    calls: tuple[dict, ...]
    together: bool = False


@dataclass(frozen=True)
class Finding:
    """The first thing a judge has against an answer.

    aspect: which part of the contract. text: what was expected, what came, how far off, and where.
    mine, target: two square matrices to be drawn side by side, where that helps. shows: what the
    second one is.
    """

    aspect: str
    text: str
    mine: np.ndarray | None = None
    target: np.ndarray | None = None
    shows: str = "target"


@dataclass(frozen=True)
class Diagnosis:
    """A known mistake. `says` holds no numbers of the answer, so hidden cases may show it too.

    hint: the number of the one that helps, or None. aspects: the findings that it may explain; the
    predicate is asked for no other.
    """

    id: str
    says: str
    hint: int | None
    matches: Callable[[Case, tuple[Result, ...]], bool]
    aspects: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """A graded question.

    judge(case, results) → a Finding or None; it may look only at what the contract fixes. hidden:
    how many cases are kept for grading. tolerates: what a right answer is free in, for the reader.
    first_hints: aspect → number of the hint to begin with where no diagnosis fits; 1 by default.
    withheld: functions of minivit that do the same, as "module.function": not there while grading.
    """

    id: str
    function: str
    signature: str
    lesson: str
    points: int
    minutes: int
    difficulty: int  # 1 to 5
    statement: str
    visible: tuple[Case, ...]
    hidden: int
    judge: Callable[[Case, tuple[Result, ...]], Finding | None]
    hints: tuple[str, str, str]
    diagnoses: tuple[Diagnosis, ...]
    tolerates: str
    first_hints: dict[str, int] = field(default_factory=dict)
    withheld: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What is said of one case: nothing (passed), or a finding and the mistake it looks like."""

    case: Case
    finding: Finding | None
    diagnosis: Diagnosis | None = None

    @property
    def passed(self):
        return self.finding is None

    @property
    def name(self):
        """The id of the message that the learner gets: the diagnosis where one fits."""
        if self.passed:
            return "passed"
        return self.diagnosis.id if self.diagnosis else self.finding.aspect


def judge(question, case, results) -> Verdict:
    """Judges the results of one case's calls. Never raises, whatever the arrays hold."""
    for result in results:
        if result.problem is not None:
            return Verdict(case, _of_problem(question, result.problem))
    # Numbers near the end of float64 overflow in a judge; the answer is wrong then, not the judge.
    with np.errstate(all="ignore"):
        try:
            finding = question.judge(case, results)
        except (np.linalg.LinAlgError, FloatingPointError) as error:
            return Verdict(case, Finding("finite", f"its numbers can't be computed with: {error}"))
        if finding is None:
            return Verdict(case, None)
        known = [each for each in question.diagnoses if finding.aspect in each.aspects]
        return Verdict(case, finding, next((d for d in known if _fits(d, case, results)), None))


def _fits(diagnosis, case, results):
    try:
        return bool(diagnosis.matches(case, results))
    except np.linalg.LinAlgError:
        return False


def _of_problem(question, problem):
    if problem.kind == "unwritten":
        return Finding("unwritten", f"{question.function} still raises NotImplementedError")
    if problem.kind == "missing":
        return Finding("missing", f"the notebook has no function {question.function}")
    if problem.kind == "stopped":
        return Finding("stopped", f"{question.function} did not come back: {problem.text}")
    line = f", in the line\n    {problem.line}" if problem.line else ""
    return Finding("raised", f"{question.function} raised {problem.text}{line}")
