"""What comes out of grading: grades.csv, a page for each learner, and Gradescope's results.json.

Text that a learner wrote (names, messages of errors) is data here: escaped, and in code blocks.
"""

import csv
import io
import json
from html import escape

from minivit.checks import QUESTIONS
from minivit.storage import write_text
from teaching.roster import CANVAS
from teaching.session import OTHER

# The last words of a page on which a hidden case failed.
HIDDEN = (
    "Every case of a question counts alike, visible or hidden. Of a hidden one nothing is said but "
    "the known mistake that it shows, where there is one: try other sizes and numbers."
)


def write_all(records, keys, out):
    """Writes everything for these records into folder `out`, each file whole or not at all."""
    write_text(out / "grades.csv", grades(records, keys))
    header = ("learner", "question", "before", "now")
    write_text(out / "changes.csv", _table([header, *changes(records)]))
    for record in records:
        learner, blocks = record["learner"], page(record)
        write_text(out / "feedback" / f"{learner}.md", markdown(blocks))
        write_text(out / "feedback" / f"{learner}.html", html(blocks, learner))
        results = json.dumps(gradescope(record), indent=1, ensure_ascii=False)
        write_text(out / "gradescope" / learner / "results.json", results)


def grades(records, keys):
    """One line for each learner: points for each question, their sum, and what needs a look."""
    names = [key.question.id for key in keys]
    lines = [["learner", "name", "file", *names, "points", "of", "late", "note"]]
    for record in records:
        points = [each["points"] for each in record["questions"]]
        who = (record["learner"], record["name"], record["file"])
        lines.append([*who, *points, record["points"], record["of"], record["late"], note(record)])
    return _table(lines)


def note(record):
    """What the instructor should look at; empty where all is as usual, or nothing was handed in."""
    stopped = "something did not come back" if record["stopped"] else ""
    raised = [text for _, kind, text in record["cells"] if kind == "raised"]
    lost = raised and record["points"] < record["of"]
    cell = f"a cell did not run to its end ({' '.join(raised[0].split())[:80]})" if lost else ""
    if record["problem"] == OTHER and cell:  # then that cell is the likelier reason
        return "; ".join(filter(None, (cell, record["note"])))
    other = "0 points: is another notebook the one that was meant?"
    other = other if record["aside"] and not record["points"] else ""
    formal = record["problem"] or stopped or cell or "; ".join(_formalities(record))
    return "; ".join(filter(None, (other, formal, record["note"])))


def _formalities(record):
    """Why a right answer may have lost its points: its function is there twice, or not at all.

    Counted are `def`s at the left margin; an answer may be bound in another way.
    """
    for question in record["questions"]:
        if question["points"] < question["of"] and question["defined"] != 1:
            times = question["defined"]
            words = f"defined in {times} cells" if times else "no def of it at the left margin"
            yield f"{question['id']}: {words}"


def _table(lines):
    table = io.StringIO()
    csv.writer(table).writerows([[_plain(cell) for cell in line] for line in lines])
    return table.getvalue()


def _plain(cell):
    """Text that a spreadsheet can't take for a formula: names of files are the learners' own."""
    if isinstance(cell, float):
        return f"{cell:.10g}"
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@") else cell


def changes(records):
    """(learner, question, points before, points now) where a mended grader gives another mark."""
    return [
        (record["learner"], question["id"], record["before"][question["id"]], question["points"])
        for record in records
        for question in record["questions"]
        if record["before"].get(question["id"], question["points"]) != question["points"]
    ]


def write_canvas(records, roster, title, out):
    """canvas.csv, to import into the gradebook; False where the roster has no ids of Canvas's.

    Of whom nothing was read has no line: a 0 would take the place of what was typed in by hand.

    title: Canvas's own name of the assignment, with the number in brackets, as its export shows it.
    """
    points = {r["learner"]: r["points"] for r in records if not r["unread"]}
    theirs = [learner for learner in roster if learner.canvas]
    rows = [[*each.canvas, points[each.id]] for each in theirs if each.id in points]
    if theirs:
        possible = ["    Points Possible", "", "", "", "", records[0]["of"]]
        write_text(out / "canvas.csv", _table([[*CANVAS, title], possible, *rows]))
    return bool(theirs)


def page(record):
    """The learner's page as blocks: ("title" | "heading" | "text" | "code" | "item", words)."""
    lessons = ", ".join(dict.fromkeys(QUESTIONS[q["id"]].lesson for q in record["questions"]))
    points = f"{record['points']:g} of {record['of']:g} points"
    blocks = [("title", f"Exercises for lesson {lessons}: {points}"), *_opening(record)]
    for question in () if record["unread"] else record["questions"]:
        passed, cases = sum(case["passed"] for case in question["cases"]), len(question["cases"])
        points = f"{question['points']:g} of {question['of']} points"
        blocks.append(("heading", f"{question['id']}: {points}, {passed} of {cases} cases passed"))
        blocks += _of_question(question)
    if _failed_hidden(blocks):
        blocks.append(("text", HIDDEN))
    return blocks


def _of_question(question):
    """What is said below a question's points."""
    if question["defined"] > 1 and question["points"] < question["of"]:
        words = f"Your notebook defines it in {question['defined']} cells; the last one counts."
        return [("text", words), *_cases(question["cases"])]
    return _cases(question["cases"])


def _failed_hidden(blocks):
    return ("item", "hidden case: did not pass") in blocks


def _opening(record):
    """What is said above all questions: why there are no marks, and which cells failed."""
    if record["problem"]:
        end = "" if record["problem"].endswith("?") else "."
        what = "Your notebook could not be graded to its end"
        what = "There was nothing to grade" if record["unread"] else what
        yield "text", f"{what}: {record['problem']}{end}"
    if record["aside"]:
        words = f"Graded was {record['file']}; not read: {', '.join(record['aside'])}."
        yield "text", words
    if record["cells"]:
        yield "text", "These cells did not run to their end:"
        for number, _, text in record["cells"]:
            yield "code", f"code cell {number}: {text}" if number else text


def _cases(cases):
    """A line for each case, and what is said of it; once, where all fail for the same reason."""
    said = {case["said"] for case in cases if case["visible"]}
    told = {case["said"] for case in cases if not case["visible"]} - {""}
    if len(said) == 1 and not told and not any(case["passed"] for case in cases):
        return [("code", each) for each in said if each]
    blocks, before = [], ""
    for case in cases:
        mark = "passed" if case["passed"] else "did not pass"
        blocks.append(("item", f"{case['title']}: {mark}"))
        if case["said"] and case["said"] != before:  # once, of several in a row
            blocks.append(("code", case["said"]))
        before = case["said"]
    return blocks


def markdown(blocks):
    """The blocks as Markdown."""
    shapes = {"title": "# {}\n", "heading": "\n## {}\n", "text": "{}\n", "item": "- {}"}
    lines = []
    for kind, words in blocks:
        if kind == "code":
            indented = "\n".join(f"      {line}" for line in words.splitlines())
            lines.append(f"\n{indented}\n")
        else:
            lines.append(shapes[kind].format(words))
    return "\n".join(lines) + "\n"


def html(blocks, learner):
    """The blocks as one page that loads nothing."""
    tags = {"title": "h1", "heading": "h2", "text": "p", "item": "p", "code": "pre"}
    style = (
        ":root{color-scheme:light dark}"  # as the reader's system is
        "body{font:16px system-ui;max-width:48rem;margin:2rem auto;padding:0 1rem}"
        "pre{white-space:pre-wrap;background:#8882;padding:.6rem}"
    )
    body = "\n".join(f"<{tags[kind]}>{escape(words)}</{tags[kind]}>" for kind, words in blocks)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(learner)}</title>'
        f"<style>{style}</style>{body}</html>\n"
    )


def gradescope(record):
    """results.json as Gradescope reads it: a test for each question; the page's words."""
    tests = []
    for question in record["questions"]:
        blocks = _of_question(question)
        blocks += [("text", HIDDEN)] * _failed_hidden(blocks)
        lines = [words for _, words in blocks]
        tests.append(
            {
                "name": question["id"],
                "score": question["points"],
                "max_score": question["of"],
                "output": "\n".join(line.strip() for line in lines),
                "output_format": "text",
                "visibility": "visible",
            }
        )
    output = "\n".join(words for _, words in _opening(record))
    return {"score": record["points"], "tests": tests, "output": output}
