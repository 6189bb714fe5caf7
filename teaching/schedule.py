"""Four schedules, with the minutes and points that lessons and questions state themselves.

`python -m teaching.schedule` prints them, `--write` puts them into guide.md, between its markers.
"""

import argparse
import re
import sys
from pathlib import Path

import nbformat

from minivit.checks import QUESTIONS
from minivit.storage import write_text
from teaching.exercises import ROOT, SOLUTIONS

GUIDE = Path(__file__).with_name("guide.md")
MARKS = ("<!-- schedules -->", "<!-- /schedules -->")
FIELD = re.compile(r"\|\s*\*\*Minutes\*\*\s*\|\s*about (\d+)")

# Items: the number of a lesson, "exercises" and a number, or the id of one question. What is not in
# the repository yet is left out. Of 90 minutes in class, 10 are kept for talking.
PLANS = {
    "One lab of 90 minutes": (
        ("at home, before", ("00", "01b")),  # 01b repeats what it needs of 01a
        ("in class", ("04", "qk-head")),
        ("at home, after", ("cut-diagonal", "05")),
    ),
    "One week, five times 90 minutes": (
        ("Monday, in class", ("00", "01a")),
        ("at home", ("01b", "exercises 01")),
        ("Tuesday, in class", ("02",)),
        ("at home", ("exercises 02",)),
        ("Wednesday, in class", ("03",)),
        ("at home", ("exercises 03",)),
        ("Thursday, in class", ("04",)),
        ("at home", ("exercises 04",)),
        ("Friday, in class", ("05",)),
    ),
    "Two weeks, twice 90 minutes each": (
        ("1, first class", ("00", "01a")),
        ("at home", ("01b", "exercises 01")),
        ("1, second class", ("02",)),
        ("at home", ("exercises 02", "03")),
        ("2, first class", ("04",)),
        ("at home", ("exercises 04",)),
        ("2, second class", ("05",)),
        ("at home", ("exercises 05",)),
    ),
    "Three weeks, twice 90 minutes each": (
        ("1, first class", ("00", "01a")),
        ("at home", ("01b", "exercises 01")),
        ("1, second class", ("02",)),
        ("at home", ("exercises 02",)),
        ("2, first class", ("03",)),
        ("at home", ("exercises 03",)),
        ("2, second class", ("04",)),
        ("at home", ("exercises 04",)),
        ("3, first class", ("05",)),
        ("at home", ("exercises 05", "06", "exercises 06")),
        ("3, second class", ("07",)),
        ("at home", ("exercises 07", "08")),
    ),
}


def minutes_of(path):
    """The minutes that a notebook states in its opening card. ValueError where it states none."""
    opening = nbformat.read(path, as_version=4).cells[:3]
    found = FIELD.search("\n".join(cell.source for cell in opening))
    if not found:
        raise ValueError(f"{path}: no line “| **Minutes** | about …” in its first three cells")
    return int(found[1])


def items():
    """{item: (title, minutes)} of all that there is."""
    known = {
        question.id: (f"question {question.id}", question.minutes)
        for question in QUESTIONS.values()
    }
    for folder, words in ((ROOT / "lessons", ""), (SOLUTIONS, "exercises ")):
        for path in sorted(folder.glob("[0-9]*.ipynb")):
            number, _, title = path.stem.partition("_")
            known[words + number] = (f"{words}{number} {title.replace('_', ' ')}", minutes_of(path))
    return known


def slots(plan):
    """[(when, [(title, minutes)])] of what there is of a plan."""
    known = items()
    rows = [(when, [known[item] for item in wanted if item in known]) for when, wanted in plan]
    return [(when, found) for when, found in rows if found]


def points_of(item):
    """The points of "exercises 04" or of one question; 0 of a lesson."""
    lesson = item.removeprefix("exercises ")
    asked = (q for q in QUESTIONS.values() if q.id == item or item != lesson == q.lesson)
    return sum(question.points for question in asked)


def points_table():
    """Lines of a table: each exercise, its questions in their order, and their points."""
    yield from ("| exercise | questions and their points | points |", "| --- | --- | --- |")
    for lesson in dict.fromkeys(question.lesson for question in QUESTIONS.values()):
        asked = [question for question in QUESTIONS.values() if question.lesson == lesson]
        what = " · ".join(f"{question.id} ({question.points})" for question in asked)
        yield f"| {lesson} | {what} | {points_of(f'exercises {lesson}')} |"
    yield f"| all | | {sum(question.points for question in QUESTIONS.values())} |"


def text():
    lines = [
        "Made by `python -m teaching.schedule --write` from the notebooks' own fields. They are "
        "estimates until a class has tried them; of each 90 minutes, 10 are for talking.",
    ]
    for title, plan in PLANS.items():
        lines += ["", f"### {title}", "", "| when | what | minutes |", "| --- | --- | --- |"]
        for when, found in slots(plan):
            what = " · ".join(f"{name} ({minutes})" for name, minutes in found)
            lines.append(f"| {when} | {what} | {sum(minutes for _, minutes in found)} |")
        points = sum(points_of(item) for _, wanted in plan for item in wanted)
        lines += ["", f"Graded in it: {points} points."]
    lines += ["", "### Points", "", *points_table()]
    return "\n".join(lines)


def written(guide):
    """The guide's text with today's schedules in it."""
    before, rest = guide.split(MARKS[0])
    return f"{before}{MARKS[0]}\n{text()}\n{MARKS[1]}{rest.split(MARKS[1])[1]}"


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m teaching.schedule")
    parser.add_argument("--write", action="store_true", help=f"into {GUIDE.name}")
    if parser.parse_args(arguments).write:
        write_text(GUIDE, written(GUIDE.read_text(encoding="utf-8")))
    else:
        print(text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
