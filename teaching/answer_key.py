"""The answer key: `python -m teaching.answer_key [FILE]` (make key), from keys and mutants alone.

For each question: the contract in short, how points are counted, a reference answer, what a right
answer is free in, and every wrong answer that the graders are tested with, with the message that
its author gets. It goes into dist/, which git ignores, and into no student release.
"""

import argparse
import functools
import inspect
import sys
import textwrap
from pathlib import Path

from minivit.checks import explain, verdicts
from minivit.storage import write_text
from teaching.exercises import ROOT
from teaching.keys import KEYS


def page(keys=None):
    """The whole key in Markdown."""
    parts = [
        "# Answer key",
        "Points are in proportion to the cases that pass, visible and hidden ones alike. There is "
        "no discretion in the code part: if an answer that you find right loses points, that is a "
        "bug of the judge (guide, “When a judge is wrong”).",
    ]
    for key in (keys or KEYS).values():
        parts += _question(key)
    return "\n\n".join(parts) + "\n"


def _question(key):
    question = key.question
    cases = len(question.visible) + question.hidden
    each = question.points / cases
    yield f"## {question.id} · lesson {question.lesson}, {question.points} points"
    yield (
        f"`{question.signature}`. About {question.minutes} minutes, difficulty "
        f"{question.difficulty} of 5. {len(question.visible)} visible and {question.hidden} hidden "
        f"cases: {each:.2f} points each."
    )
    yield question.statement.strip()
    yield f"**A right answer is free in:** {question.tolerates}."
    yield f"**One right answer**\n\n```python\n{source(key.reference)}\n```"
    yield f"Also accepted, and tested: {', '.join(key.alternatives)}."
    yield "**Wrong answers you will see**"
    says = {diagnosis.id: diagnosis for diagnosis in question.diagnoses}
    lines = ["| what was done | what its author reads | hint |", "| --- | --- | --- |"]
    for mutant in key.mutants:
        known = says.get(mutant.expects)
        words = known.says if known else _finding(question, mutant.answer)
        cells = (mutant.name, words, str(known.hint) if known else "")
        lines.append("| " + " | ".join(_cell(each) for each in cells) + " |")
    yield "\n".join(lines)
    if key.misses:
        yield f"**Wrong, and known to pass:** {key.misses}."


def _finding(question, answer):
    """What a judge says before it looks for a known mistake, on the first visible case it fails."""
    return explain(verdicts(question, answer, stop=True)[-1])


def _cell(words):
    return " ".join(words.split()).replace("|", "\\|")


def source(function):
    """Source of an answer, with what it takes from its own module named."""
    function = function.func if isinstance(function, functools.partial) else function
    return textwrap.dedent(inspect.getsource(function)).strip()


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m teaching.answer_key")
    parser.add_argument("file", type=Path, nargs="?", default=ROOT / "dist" / "answer_key.md")
    target = parser.parse_args(arguments).file
    write_text(target, page())
    print(f"wrote {target}: {len(KEYS)} questions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
