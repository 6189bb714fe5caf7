"""The pack for instructors: minutes, the answer key, and that what it names is there."""

import re
from pathlib import Path

import pytest

from teaching import answer_key, exam_sheet, schedule
from teaching.exercises import ROOT
from teaching.keys import KEYS

PAGES = sorted((ROOT / "teaching").glob("*.md"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_minutes_are_the_notebooks_own(tmp_path):
    """What the guide states is what lessons, exercises and questions state today."""
    today = {title: str(minutes) for title, minutes in schedule.items().values()}
    guide = schedule.GUIDE.read_text(encoding="utf-8")
    part = guide.split(schedule.MARKS[0])[1].split(schedule.MARKS[1])[0]
    schedules, _ = part.split("### Points")
    stated = re.findall(r"(?:\| |· )([^|·]+) \((\d+)\)", schedules)
    assert len(stated) > 10
    for title, minutes in stated:
        assert today[title] == minutes, f"{title}: run python -m teaching.schedule --write"
    notebook = tmp_path / "x.ipynb"
    text = '{"cells":[{"cell_type":"markdown","metadata":{},"id":"a","source":"%s"}],"metadata":{},'
    text += '"nbformat":4,"nbformat_minor":5}'
    notebook.write_text(text % "| **Minutes** | about 35, ten of them |")
    assert schedule.minutes_of(notebook) == 35
    notebook.write_text(text % "# none")
    with pytest.raises(ValueError, match="no line"):
        schedule.minutes_of(notebook)


def test_readme_and_lesson_00_state_the_hours():
    minutes = {item: number for item, (_, number) in schedule.items().items()}
    core = sum(minutes[item] for item in minutes if re.fullmatch(r"0[0-7][ab]?", item))
    asked = sum(number for item, number in minutes.items() if item.startswith("exercises"))
    said = {6.5: "six and a half", 9: "nine"}
    core, asked = (said[round(2 * number / 60) / 2] for number in (core, asked))
    readme = " ".join((ROOT / "README.md").read_text("utf-8").split())
    assert f"about {core} hours without the side paths" in readme
    assert f"about {asked} hours more" in readme
    first = (ROOT / "lessons" / "00_start_here.ipynb").read_text("utf-8")
    assert f"about {core} hours of lessons and {asked} of exercises" in first


def test_points_are_the_questions_own_and_add_up_to_100():
    guide = schedule.GUIDE.read_text(encoding="utf-8")
    points = guide.split("### Points")[1].split(schedule.MARKS[1])[0]
    stated = dict(re.findall(r"(?:\| |· )([\w-]+) \((\d+)\)", points))
    assert stated == {id: str(key.question.points) for id, key in KEYS.items()}
    sums = [int(sum_) for sum_ in re.findall(r"^\| 0\d .* \| (\d+) \|$", points, re.MULTILINE)]
    assert len(sums) == 7 and sum(sums) == 100 and "| all | | 100 |" in points
    assert "Graded in it: 8 points" in guide, "one lab: qk-head and cut-diagonal"


def test_classes_fit_into_their_minutes_and_no_lesson_is_forgotten():
    for plan in schedule.PLANS.values():
        for when, found in schedule.slots(plan):
            if "class" in when:
                assert sum(minutes for _, minutes in found) <= 80, when
    *_, longest = schedule.PLANS.values()
    planned = {item for _, wanted in longest for item in wanted}
    assert {path.stem.split("_")[0] for path in (ROOT / "lessons").glob("[0-9]*")} <= planned


def test_key_holds_every_question_with_its_mutants():
    page = answer_key.page()
    for id, key in KEYS.items():
        part = page.split(f"## {id} ·")[1].split("\n## ")[0]
        for mutant in key.mutants:
            (row,) = [
                line
                for line in part.splitlines()
                if line.startswith(f"| {answer_key._cell(mutant.name)} |")
            ]
            # A message without a known mistake is the judge's own, on a case that was run just now.
            says = row.split(" | ")[1]
            assert len(says) > 8 and not says.startswith("passed"), row
        assert answer_key.source(key.reference) in part
        assert f"known to pass:** {key.misses}." in part if key.misses else "to pass:" not in part
        for diagnosis in key.question.diagnoses:
            if diagnosis.id in {mutant.expects for mutant in key.mutants}:
                assert answer_key._cell(diagnosis.says) in part


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_what_a_page_names_is_there(path):
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"`make ([a-z-]+)", text):
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target
    for module in re.findall(r"python -m ((?:teaching|minivit)[\w.]*)", text):
        at = Path(*module.split("."))
        assert (ROOT / at.with_suffix(".py")).exists() or (ROOT / at / "__main__.py").exists()
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (path.parent / link).exists(), link
    for name in re.findall(r"`((?:teaching|minivit|tests|lessons|solutions)/[\w./]+\.\w+)`", text):
        assert (ROOT / name).exists(), name


def test_container_file_copies_what_is_there():
    text = (ROOT / "teaching" / "Containerfile").read_text(encoding="utf-8")
    copied = [name for line in re.findall(r"^COPY (.*) \S+$", text, re.M) for name in line.split()]
    assert "teaching" in copied and all((ROOT / name).exists() for name in copied)
    # The term's secret is mounted, never built in; the owner alone reads the keys.
    assert ".term" in (ROOT / "teaching" / "Containerfile.dockerignore").read_text().split()
    assert "chmod -R go-rwx /minivit" in text


def test_every_grade_command_of_the_pages_names_all_that_it_needs():
    pages = [path.read_text(encoding="utf-8") for path in PAGES]
    commands = [each for page in pages for each in re.findall(r"make grade SUBM[^`\n]*", page)]
    assert len(commands) > 1
    for command in commands:
        assert "OUT=" in command and "EXERCISE=" in command, command


def test_the_sheet_of_the_exam_has_all_questions_and_no_answer(tmp_path):
    text = exam_sheet.EXAM.read_text(encoding="utf-8")
    assert exam_sheet.main([str(tmp_path / "exam.html")]) == 0
    page = (tmp_path / "exam.html").read_text(encoding="utf-8")
    answers = [part.split("\n## ")[0] for part in text.split(exam_sheet.ANSWER)[1:]]
    assert page.count("<section>") == len(answers) == 10 and "60 marks in 90 minutes" in page
    assert "Answer" not in page and "**" not in page and "src=" not in page
    for answer in answers:
        for words in re.split(r"\(\d\)|\([a-z]\)", " ".join(answer.split())):
            assert len(words) < 20 or words.strip() not in page
    with pytest.raises(ValueError, match="the questions have 54 marks, and it begins with 60"):
        exam_sheet.sheet(text.partition("## 10 ·")[0])
    with pytest.raises(ValueError, match="what would be cut off"):
        exam_sheet.questions("## 1 · A question (4)\n\nWhy?\n")
    with pytest.raises(ValueError, match="marks and minutes"):
        exam_sheet.sheet("# Ten questions\n")
