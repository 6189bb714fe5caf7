"""What comes out of grading: grades.csv, a page for each learner, and Gradescope's results.json.

Text that a learner wrote (names, messages of errors) is data here: escaped, and in code blocks.
"""

import csv
import io
import json
from html import escape

from minivit.storage import write_text
from teaching.roster import CANVAS


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
        stopped = "something did not come back" if record["stopped"] else ""
        note = "; ".join(filter(None, (record["problem"] or stopped, record["note"])))
        who = (record["learner"], record["name"], record["file"])
        lines.append([*who, *points, record["points"], record["of"], record["late"], note])
    return _table(lines)


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

    title: Canvas's own name of the assignment, with the number in brackets, as its export shows it.
    """
    points = {record["learner"]: record["points"] for record in records}
    rows = [[*learner.canvas, points[learner.id]] for learner in roster if learner.canvas]
    if rows:
        possible = ["    Points Possible", "", "", "", "", records[0]["of"]]
        write_text(out / "canvas.csv", _table([[*CANVAS, title], possible, *rows]))
    return bool(rows)


def page(record):
    """The learner's page as blocks: ("title" | "heading" | "text" | "code" | "item", words)."""
    blocks = [("title", f"{record['points']:g} of {record['of']:g} points")]
    if record["problem"]:
        blocks.append(
            ("text", f"Your notebook could not be graded to its end: {record['problem']}.")
        )
    if record["cells"]:
        blocks.append(("text", "These cells did not run to their end; the others did:"))
        blocks += [("code", f"cell {number}: {text}") for number, _, text in record["cells"]]
    for question in record["questions"]:
        passed, cases = sum(case["passed"] for case in question["cases"]), len(question["cases"])
        points = f"{question['points']:g} of {question['of']} points"
        blocks.append(("heading", f"{question['id']}: {points}, {passed} of {cases} cases passed"))
        for case in question["cases"]:
            mark = "passed" if case["passed"] else "did not pass"
            blocks.append(("item", f"{case['title']}: {mark}"))
            if case["said"]:
                blocks.append(("code", case["said"]))
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
        "body{font:16px system-ui;max-width:48rem;margin:2rem auto;padding:0 1rem;"
        "color:#222;background:#fff}pre{white-space:pre-wrap;background:#f3f3f3;padding:.6rem}"
    )
    body = "\n".join(f"<{tags[kind]}>{escape(words)}</{tags[kind]}>" for kind, words in blocks)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(learner)}</title>'
        f"<style>{style}</style>{body}</html>\n"
    )


def gradescope(record):
    """results.json as Gradescope reads it: a test for each question."""
    tests = []
    for question in record["questions"]:
        lines = [
            f"{case['title']}: {'passed' if case['passed'] else 'did not pass'}\n{case['said']}"
            for case in question["cases"]
        ]
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
    return {"score": record["points"], "tests": tests, "output": record["problem"]}
