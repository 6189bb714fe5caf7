"""The key of a question: what no learner may have."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minivit.checks.question import Case, Question


@dataclass(frozen=True)
class Mutant:
    """A wrong answer that a learner would write, and the message that is meant for it.

    expects: the id of a diagnosis, or an aspect of the judge where the mistake shows there already.
    """

    name: str
    answer: Callable
    expects: str


@dataclass(frozen=True)
class Key:
    """hidden(rng) → the hidden cases, drawn anew for each learner and term.

    alternatives: name → a correct answer that differs from the reference.
    misses: wrong answers that are known to pass, for whoever reads the code of a submission.
    """

    question: Question
    reference: Callable
    hidden: Callable[[np.random.Generator], tuple[Case, ...]]
    mutants: tuple[Mutant, ...]
    alternatives: dict[str, Callable]
    misses: str = ""


def stub(*args, **kwargs):
    """What the learner starts with."""
    raise NotImplementedError
