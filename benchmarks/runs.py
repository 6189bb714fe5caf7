"""The final runs of the records, arm by arm, and contrasts of arms that have all their seeds."""

from collections import defaultdict
from functools import cache

from benchmarks.study import BETTER, FULL_SEEDS, PLAN
from minivit import evidence
from minivit.evidence import final_runs
from minivit.recipes import FULL


def contrast(plus, minus=(), **value):
    """`evidence.contrast` of arms with every planned seed; None where one of them lacks a seed.

    So that nobody looks before the end and stops, or goes on, where the interval is a good one.
    """
    return evidence.contrast(plus, minus, **value) if all(map(is_whole, (*plus, *minus))) else None


def is_whole(runs):
    """Whether these runs of one arm have every seed that is planned for it."""
    planned = runs and _planned(runs[0].scale, _arm(runs[0]))
    return bool(planned) and planned <= {run.seed for run in runs}


def _planned(scale, arm):
    """The seeds that the plan of this scale has for an arm."""
    if scale != "laptop":
        return {*FULL_SEEDS} if scale == FULL.name else set()
    return _laptop_seeds().get(arm, set())


@cache
def _laptop_seeds():
    seeds = defaultdict(set)
    for run in (run for question in PLAN for run in question.runs()):
        seeds[_arm(run)].add(run.seed)
    return seeds


def _arm(run):
    return run.base, run.attention, run.variant


class Runs:
    """The final runs of an arm, and what one arm gains over another. used: all it has given."""

    def __init__(self, records, base=BETTER, scale="laptop"):
        self.records, self.base, self.scale, self.used = records, base, scale, []
        self.by_arm = defaultdict(list)  # asked some hundred times for a page
        for run in records:
            self.by_arm[_arm(run)].append(run)

    def __call__(self, attention, variant="", base=None, rate="own"):
        arm = base or self.base, attention, variant
        found = final_runs(*arm, rate=rate, scale=self.scale, records=self.by_arm.get(arm, []))
        self.used += found
        return found

    def gain(self, attention="mimetic", over="plain", variant="", base=None, rate="own"):
        """The contrast of two arms."""
        ours, other = (self(arm, variant, base, rate) for arm in (attention, over))
        return contrast([ours], [other])

    def excess(self, variant, than=""):
        """How much larger mimetic's gain over plain is in one variant than in another."""
        mimetic, plain = self("mimetic", variant), self("plain", variant)
        return contrast([mimetic, self("plain", than)], [plain, self("mimetic", than)])
