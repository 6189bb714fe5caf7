"""The exam without its answers, to print: `python -m teaching.exam_sheet` (make exam).

exam.md stays the only source: change its numbers, and make the sheet again. dist/exam.html is one
page that loads nothing; a browser prints it, with room to write below each question.
"""

import argparse
import re
import sys
from html import escape
from pathlib import Path

from minivit.storage import write_text
from teaching.exercises import ROOT

EXAM = Path(__file__).with_name("exam.md")
ANSWER = "**Answer.**"
TOTAL = re.compile(r"(\d+ marks in \d+ minutes), (.+?)\.", re.DOTALL)
NUMBERS = (
    "Numbers with an interval are the course's own: small networks, minutes of training, "
    "percentage points with 95 % intervals over seeds. † stands behind one that differs from 0 "
    "also where all questions that were asked of the records are asked at once (Holm's correction)."
)
STYLE = (
    "body{font:12pt serif;max-width:42rem;margin:2rem auto;padding:0 1rem}h2{font-size:1.1em}"
    "section{break-inside:avoid;padding-bottom:9rem}@page{margin:2cm}"
)


def questions(text):
    """[(heading, paragraphs)]. ValueError for a question that has no answer to be cut off."""
    found = []
    for part in re.split(r"(?m)^## ", text)[1:]:
        asked, answer, _ = part.partition(ANSWER)
        heading, _, body = asked.partition("\n")
        if not answer:
            raise ValueError(f"no {ANSWER} in the question {heading!r}: what would be cut off?")
        found.append((heading, [each for each in body.split("\n\n") if each.strip()]))
    return found


def sheet(text):
    """One HTML page of exam.md's text. ValueError where it does not say marks and minutes."""
    total = TOTAL.search(text)
    if not total:
        raise ValueError("the exam does not begin with its marks and minutes")
    marks = [int(mark) for mark in re.findall(r"(?m)^## .*\((\d+)\)$", text)]
    if sum(marks) != int(total[1].split()[0]):
        raise ValueError(f"the questions have {sum(marks)} marks, and it begins with {total[1]}")
    body = [f"<h1>Written exam</h1><p>{_inline(total[1])}, {_inline(total[2])}.</p>"]
    body.append(f"<p>{NUMBERS}</p><p>Name:</p>")
    for heading, paragraphs in questions(text):
        words = "".join(f"<p>{_inline(each)}</p>" for each in paragraphs)
        body.append(f"<section><h2>{_inline(heading)}</h2>{words}</section>")
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Written exam</title>'
        f"<style>{STYLE}</style>{''.join(body)}</html>\n"
    )


def _inline(words):
    """Marks of emphasis as tags, and each part of a question on a line of its own."""
    words = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", escape(" ".join(words.split()), quote=False))
    words = re.sub(r"\*(.+?)\*", r"<i>\1</i>", words)
    return re.sub(r" (?=\([a-z]\) )", "<br>", words)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m teaching.exam_sheet")
    parser.add_argument("file", type=Path, nargs="?", default=ROOT / "dist" / "exam.html")
    target = parser.parse_args(arguments).file
    try:
        write_text(target, sheet(EXAM.read_text(encoding="utf-8")))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"wrote {target}: the questions alone; print it from a browser")
    return 0


if __name__ == "__main__":
    sys.exit(main())
