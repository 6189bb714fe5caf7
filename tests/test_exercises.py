"""Exercise notebooks: generated, without solutions, with the words of their questions."""

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest

from minivit.checks import QUESTIONS
from teaching import exercises
from teaching.exercises import BEGIN, END, EXERCISES, SOLUTIONS, exercise, without_solution
from teaching.sandbox.box import LIMITS

ROOT = Path(__file__).resolve().parents[1]
PAIRS = [(path, EXERCISES / path.name) for path in sorted(SOLUTIONS.glob("*.ipynb"))]


def code(path):
    notebook = nbformat.read(path, as_version=4)
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_exercises_are_what_solutions_make_of_them():
    assert exercises.drift() == [], "run make exercises"


@pytest.mark.parametrize("path", [exercise for _, exercise in PAIRS], ids=lambda path: path.stem)
def test_rules_say_which_packages_there_are_while_grading(path):
    text = " ".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
    assert "nor any package that the course does not install" in text
    named = re.search(r"\(it installs (\w+), (\w+) and (\w+)\)", text).groups()
    installed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert set(named) <= {re.match(r"[\w-]+", each).group() for each in installed}


def test_questions_stand_in_the_order_of_the_exercises():
    asked = [
        word.split('"')[1]
        for path, _ in PAIRS
        for cell in code(path)
        for word in cell.split("\n")
        if word.startswith('check("')
    ]
    assert asked == list(QUESTIONS)


def test_drift_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(exercises, "EXERCISES", tmp_path)
    assert exercises.drift() == [path.name for path, _ in PAIRS]
    assert exercises.main([]) == 0 and exercises.drift() == []
    changed = tmp_path / PAIRS[0][0].name
    changed.write_text(changed.read_text(encoding="utf-8").replace("points", "marks"))
    (tmp_path / "left_over.ipynb").write_text("{}")
    assert exercises.drift() == [changed.name, "left_over.ipynb"]
    assert exercises.main(["--check"]) == 1


def test_solution_is_cut_at_its_own_indent():
    source = f"def f(x):\n    {BEGIN}\n    return x\n    {END}\n\n\ncheck('f', f)"
    stub = "def f(x):\n    # your answer here\n    raise NotImplementedError\n\n\ncheck('f', f)"
    assert without_solution(source) == stub
    bare = "# your answer here\nraise NotImplementedError"
    assert without_solution(f"{BEGIN}\nx = 1\n{END}") == bare


@pytest.mark.parametrize(
    "source", [f"{BEGIN}\nx", f"x\n{END}", f"{BEGIN}\n{BEGIN}\nx\n{END}", f"{END}\n{BEGIN}"]
)
def test_lone_markers_are_refused(source):
    with pytest.raises(ValueError, match="do not come in pairs"):
        without_solution(source)


@pytest.mark.parametrize("solved, given", PAIRS)
def test_learners_copy_holds_no_solution_and_runs(solved, given):
    """Every stub fails cleanly: the check says so, and no cell raises."""
    text = given.read_text(encoding="utf-8")
    assert BEGIN not in text and END not in text and "nbgrader" not in text
    notebook = nbformat.read(given, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    said = io.StringIO()
    namespace = {}
    with contextlib.redirect_stdout(said):
        for source in code(given):
            exec(source, namespace)
    asked = [id for id in QUESTIONS if f'check("{id}"' in text.replace('\\"', '"')]
    assert said.getvalue().count("still raises NotImplementedError") == len(asked) > 0


@pytest.mark.parametrize("solved, given", PAIRS)
def test_words_of_the_question_stand_in_the_notebook(solved, given):
    notebook = nbformat.read(solved, as_version=4)
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for source in code(solved):
        for id, question in QUESTIONS.items():
            if f'check("{id}"' in source:
                assert source.rstrip().endswith(f'check("{id}", {question.function})')
                assert question.statement.strip() in prose
                assert f"{question.points} points · about {question.minutes} minutes" in prose
                assert all(hint in prose for hint in question.hints)


def test_every_question_is_asked_once():
    asked = [line for solved, _ in PAIRS for source in code(solved) for line in source.splitlines()]
    for id in QUESTIONS:
        assert sum(line.startswith(f'check("{id}"') for line in asked) == 1


def test_setup_cell_is_the_lessons():
    lesson = SOLUTIONS.parent / "lessons" / "05_training_on_cifar10.ipynb"
    setup = next(source for source in code(lesson) if "find_spec" in source)
    assert all(setup in code(solved) for solved, _ in PAIRS)


def test_every_notebook_has_the_same_rules():
    """What the checks count on: the names they call by, and arguments that stay as they are."""
    rules = set()
    for solved, _ in PAIRS:
        text = "\n".join(cell.source for cell in nbformat.read(solved, as_version=4).cells)
        rules |= {line for line in text.splitlines() if line.startswith("| **Rules** |")}
    (rule,) = rules
    limits = f"for {LIMITS.call:g} seconds, all cells together for {LIMITS.cells:g}, in 1 GB."
    assert limits in rule and LIMITS.memory == 1e9
    assert "of their arguments" in rule and "leaves what it is given as it is" in rule


@pytest.mark.slow
@pytest.mark.parametrize("solved, given", PAIRS)
def test_nbgrader_takes_the_source(solved, given, tmp_path):
    """`nbgrader generate_assignment` accepts it, and cuts what we cut."""
    pytest.importorskip("nbgrader")
    folder = tmp_path / "source" / "one"
    folder.mkdir(parents=True)
    shutil.copy(solved, folder)
    run = [sys.executable, "-m", "nbgrader", "generate_assignment", "one", "--create"]
    # It calls alembic by its name.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path}
    done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    release = code(tmp_path / "release" / "one" / solved.name)
    ours = [
        source.replace("# your answer here", "# YOUR CODE HERE").replace(
            "raise NotImplementedError", "raise NotImplementedError()"
        )
        for source in code(given)
    ]
    assert release == ours
    assert exercise(nbformat.read(solved, as_version=4)).cells
