"""Tests the graders: every wrong answer has to fail with its own message, every right one to pass.

`python -m teaching.kill_matrix [--seeds 5] [--page FILE]` prints the table, or writes it as a
page, and exits with 1 if anything survives. The hidden cases are drawn anew for each seed, as they
are for each learner.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from minivit.checks import verdicts
from teaching.keys import KEYS
from teaching.keys.key import stub
from teaching.term import hidden_cases


class Row(NamedTuple):
    """One answer on all cases: `seen` counts the messages over the seeds; empty `wrong` is well."""

    question: str
    kind: str  # reference, alternative, mutant or stub
    name: str
    expects: str
    seen: Counter
    wrong: str


def rows(seeds, keys=None):
    """A Row for every answer of every key, each on the visible cases and `seeds` hidden sets."""
    for key in (keys or KEYS).values():
        sets = [hidden_cases(key, f"kill matrix {seed}".encode(), "class") for seed in range(seeds)]
        yield _row(key, sets, "reference", key.question.function, key.reference, "passed")
        for name, answer in key.alternatives.items():
            yield _row(key, sets, "alternative", name, answer, "passed")
        yield _row(key, sets, "stub", "as handed out", stub, "unwritten")
        for mutant in key.mutants:
            yield _row(key, sets, "mutant", mutant.name, mutant.answer, mutant.expects)


def _row(key, sets, kind, name, answer, expects):
    """Visible and hidden cases count apart: a wrong answer has to fail in both."""
    seen = Counter()
    for cases in [key.question.visible, *sets]:
        found = [verdict.name for verdict in verdicts(key.question, answer, cases)]
        failed = [each for each in found if each != "passed"]
        seen[failed[0] if failed else "passed"] += 1
    unlike = {each: count for each, count in seen.items() if each != expects}
    return Row(key.question.id, kind, name, expects, seen, f"seen: {unlike}" if unlike else "")


def page(table, seeds):
    """The table in Markdown."""
    lines = [
        "# Kill matrix",
        "",
        f"Made by `python -m teaching.kill_matrix --seeds {seeds}`: each answer on the visible "
        f"cases and on {seeds} drawn sets of hidden ones. A wrong answer has to fail in every set, "
        "and the first message has to be the one meant for it.",
    ]
    for question in dict.fromkeys(row.question for row in table):
        own = [row for row in table if row.question == question]
        lines += ["", f"## {question}", "", "| answer | | message expected | seen |"]
        lines += ["| --- | --- | --- | --- |"]
        for row in own:
            seen = ", ".join(f"{name} × {count}" for name, count in row.seen.items())
            mark = "" if not row.wrong else f" **{row.wrong}**"
            lines.append(f"| {row.name} | {row.kind} | {row.expects} | {seen}{mark} |")
    missed = [(key.question.id, key.misses) for key in KEYS.values() if key.misses]
    lines += ["", "## Wrong, and known to pass", ""]
    lines += [f"- {id}: {misses}." for id, misses in missed]
    kinds = Counter(row.kind for row in table)
    lines += [
        "",
        f"{', '.join(f'{n} {kind}s' for kind, n in kinds.items())}; survivors: "
        f"{sum(bool(row.wrong) for row in table)}.",
    ]
    return "\n".join(lines) + "\n"


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m teaching.kill_matrix")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--page", type=Path)
    options = parser.parse_args(arguments)
    table = list(rows(options.seeds))
    text = page(table, options.seeds)
    if options.page:
        options.page.write_text(text, encoding="utf-8")
    else:
        print(text)
    survivors = [row for row in table if row.wrong]
    for row in survivors:
        print(f"{row.question}: {row.kind} {row.name!r}: {row.wrong}", file=sys.stderr)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
