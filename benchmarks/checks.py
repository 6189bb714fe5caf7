"""Seconds of CPU time of a check in an exercise: a right answer on its visible cases."""

import time
from statistics import median

from benchmarks.measure import Section, interleaved, timed_row
from minivit.checks import verdicts
from teaching.keys import KEYS

GOAL = "≤ 0.3 s"


def check_sections(*, quick, repeats):
    keys = dict(list(KEYS.items())[:2]) if quick else KEYS
    seconds = interleaved({id: _checking(key) for id, key in keys.items()}, repeats)
    slowest = max(seconds, key=lambda id: median(seconds[id]))
    rows = [timed_row(f"the slowest of {len(keys)} checks, {slowest}", seconds[slowest], goal=GOAL)]
    return [Section(title="Checks in the exercises", rows=rows)]


def _checking(key):
    def action():
        started = time.process_time()
        found = verdicts(key.question, key.reference, key.question.visible)
        assert {verdict.name for verdict in found} == {"passed"}
        return time.process_time() - started

    return action
