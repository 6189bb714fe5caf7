"""Grading a class, without a sandbox: marks, records, going on after a kill, feedback."""

import csv
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import minivit
from minivit.checks import examples
from minivit.checks.calls import call
from teaching import grade as grading
from teaching.exercises import EXERCISES, SOLUTIONS
from teaching.grade import NotReady, grade, questions_of
from teaching.keys import KEYS as ALL_KEYS
from teaching.sandbox import box as boxes
from teaching.sandbox import bwrap, seccomp
from teaching.sandbox.box import LIMITS, Sandbox, SandboxEnded, learner_package
from teaching.submissions import MOST_BYTES, Submission, read, read_folder

pytestmark = pytest.mark.integration

NOTEBOOK = SOLUTIONS / "01_patches_attention_and_forms.ipynb"  # 3, 5, 4 and 4 points
KEYS = questions_of(NOTEBOOK)
SOLUTION = read("solution", NOTEBOOK)
SECRET = b"s" * 32
SLOW = "SLOW"  # a cell that stands for one that does not come back in time
END = "END"  # one that ends the sandbox


class InProcess:
    """Stands for a sandbox where the code is our own: runs it right here."""

    opened, restarts = [], 0

    def __init__(self, withheld):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def open(self, cells, functions, limits):
        type(self).opened.append((cells, limits))
        self.space, problems = {}, []
        for number, source in enumerate(cells, start=1):
            if source == END:
                raise SandboxEnded("it ended the sandbox")
            if source == SLOW:
                problems.append((number, "stopped", "the cells ran too long"))
                continue
            try:
                exec(source, self.space)
            except Exception as error:
                problems.append((number, "raised", repr(error)))
        return problems, [name for name in functions if name in self.space]

    def call_all(self, function, given):
        return tuple(call(self.space[function], arguments) for arguments in given)

    def close(self):
        pass

    def restart(self):
        type(self).restarts += 1


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    monkeypatch.setattr(grading, "Sandbox", InProcess)
    monkeypatch.setattr(InProcess, "opened", [])
    monkeypatch.setattr(InProcess, "restarts", 0)


def submission(learner, *cells, problem=""):
    digest = hashlib.sha256(repr(cells).encode()).hexdigest()
    return Submission(learner, Path(f"{learner}.ipynb"), digest, cells, problem)


def run(submissions, out, **changes):
    settings = {"solution": SOLUTION, "workers": 1, "say": lambda _: None, **changes}
    return grade(submissions, KEYS, SECRET, out, **settings)


ANSWERS = SOLUTION.cells
ZEROS = (
    "def logit_form(weight, bias, heads):\n    return torch.zeros(heads, *2 * [len(bias) // 3 + 1])"
)
ONE_WRONG = (*ANSWERS, ZEROS)


def test_marks(tmp_path):
    class_ = [
        submission("ann", *ANSWERS),
        submission("bob", *ONE_WRONG),
        submission("cyd", "x = <b>", "logit_form = 3"),
        submission("dan", problem="the file is not a notebook"),
        submission("eve", END),
    ]
    records = run(class_, tmp_path)
    assert [record["points"] for record in records] == [16, 12, 0, 0, 0]
    assert InProcess.restarts == 2  # eve's, and again when she runs alone
    rows = list(csv.DictReader(io.StringIO((tmp_path / "grades.csv").read_text("utf-8"))))
    assert [float(row["points"]) for row in rows] == [16, 12, 0, 0, 0]
    assert float(rows[1]["logit-form"]) == 0 and "not a notebook" in rows[3]["note"]
    assert "ended the sandbox" in rows[4]["note"]
    results = json.loads((tmp_path / "gradescope/bob/results.json").read_text("utf-8"))
    assert results["score"] == 12
    assert [test["max_score"] for test in results["tests"]] == [3, 5, 4, 4]


@pytest.mark.parametrize("problem", ["", "the file is empty"])
def test_gradescope_has_its_words_from_one_record_alone(problem):
    """There is no class and no roster, whose facts a grading adds to each record."""
    given = submission("bob", *([] if problem else ONE_WRONG), problem=problem)
    record = grading.grade_one(InProcess([]), given, KEYS, SECRET, LIMITS)
    found = grading.feedback.gradescope(record)
    assert found["score"] == (0 if problem else 12) and len(found["tests"]) == 4
    assert problem in found["output"]


def test_feedback_says_what_is_wrong_and_is_only_text(tmp_path):
    run([submission("bob", "raise ValueError('<script>x</script>')", *ONE_WRONG)], tmp_path)
    page = (tmp_path / "feedback/bob.md").read_text("utf-8")
    assert "12 of 16 points" in page and "head 0" in page and "hidden case: did not pass" in page
    html = (tmp_path / "feedback/bob.html").read_text("utf-8")
    assert "&lt;script&gt;" in html and "<script>" not in html and "src=" not in html
    assert page.startswith("# Exercises for lesson 01: ") and "try other sizes" in page
    results = json.loads((tmp_path / "gradescope/bob/results.json").read_text("utf-8"))
    assert "code cell 1: ValueError" in results["output"]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "grades.csv").read_text("utf-8"))))
    assert "a cell did not run to its end (ValueError" in rows[0]["note"]


def test_nothing_is_said_of_an_answer_that_was_not_read(tmp_path):
    run([submission("dan", problem="the file is empty")], tmp_path)
    page = (tmp_path / "feedback/dan.md").read_text("utf-8")
    assert "the file is empty." in page and "no function" not in page
    assert "There was nothing to grade" in page and page.count("#") == 1, "no lines of questions"


def test_the_notebook_of_another_exercise_is_named_so(tmp_path):
    (record,) = run([submission("ann", "def treat(layer):\n    pass")], tmp_path)
    assert "another exercise's?" in record["problem"] and not record["stopped"]
    assert "another exercise's?" in (tmp_path / "grades.csv").read_text("utf-8")


def test_what_all_cases_fail_by_is_said_once_and_a_forgotten_copy_is_named(tmp_path):
    stub = "def logit_form(weight, bias, heads):\n    raise NotImplementedError"
    run([submission("ann", *ANSWERS, stub)], tmp_path)
    page = (tmp_path / "feedback/ann.md").read_text("utf-8")
    assert page.count("still raises NotImplementedError") == 1
    assert page.count("defines it in 2 cells; the last one counts") == 1
    assert "try other sizes" not in page


def test_grading_stops_unless_the_solution_gets_full_marks(tmp_path):
    with pytest.raises(NotReady, match="of 16 points; nothing was graded"):
        run([submission("ann", *ANSWERS)], tmp_path, solution=submission("solution", *ONE_WRONG))
    assert not (tmp_path / "grades.csv").exists()


def test_marks_of_another_exercise_are_not_written_over(tmp_path):
    run([submission("ann", *ANSWERS)], tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    other = read("solution", SOLUTIONS / "04_building_the_initializer.ipynb")
    with pytest.raises(NotReady, match="holds marks of another exercise"):
        keys = questions_of(SOLUTIONS / "04_building_the_initializer.ipynb")
        class_ = [submission("ann", *other.cells)]
        grade(class_, keys, SECRET, tmp_path, solution=other, workers=1, say=lambda _: None)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert len(run([submission("ann", *ANSWERS)], tmp_path)) == 1  # the same again is welcome


def test_it_goes_on_after_a_kill(tmp_path, monkeypatch):
    class_ = [submission(name, *ANSWERS) for name in ("ann", "bob", "cyd")]
    real, seen = InProcess.open, []

    def killed(self, cells, functions, limits):
        seen.append(cells)
        if len(seen) == 4:  # solution, ann, bob, then
            raise KeyboardInterrupt
        return real(self, cells, functions, limits)

    monkeypatch.setattr(InProcess, "open", killed)
    with pytest.raises(KeyboardInterrupt):
        run(class_, tmp_path)
    first = {path.name: path.read_bytes() for path in (tmp_path / "records").iterdir()}
    assert set(first) == {"ann.json", "bob.json"}
    monkeypatch.setattr(InProcess, "open", real)
    assert [record["points"] for record in run(class_, tmp_path)] == [16, 16, 16]
    assert len(InProcess.opened) == 3 + 2  # before the kill, then the solution and cyd
    assert all((tmp_path / "records" / name).read_bytes() == data for name, data in first.items())


def test_a_record_is_kept_only_for_the_same_file_secret_and_limits(tmp_path):
    ann = submission("ann", *ANSWERS)
    run([ann], tmp_path)
    for changes, again in [({}, 0), ({"limits": LIMITS._replace(call=4)}, 2), ({}, 2)]:
        InProcess.opened.clear()
        run([ann], tmp_path, **changes)
        assert len(InProcess.opened) == again
    InProcess.opened.clear()
    run([submission("ann", *ONE_WRONG)], tmp_path)
    assert len(InProcess.opened) == 2


@pytest.mark.parametrize(
    "file",
    ["submissions", "session", "grade", "term", "keys/key", "sandbox/zygote", "sandbox/places"],
)
def test_a_record_is_of_the_modules_that_decide_marks(tmp_path, monkeypatch, file):
    """A mended one grades again: `make regrade` would keep the old marks."""
    copy = tmp_path / "teaching"
    shutil.copytree(Path(grading.__file__).parent, copy)
    monkeypatch.setattr(grading, "__file__", str(copy / "grade.py"))
    given = (KEYS, SECRET, LIMITS)
    before = grading.grader_digest(*given)
    assert grading.grader_digest(*given) == before
    with open(copy / f"{file}.py", "a") as module:
        module.write("# mended\n")
    assert grading.grader_digest(*given) != before


def test_what_was_stopped_runs_again_alone_with_more_time(tmp_path):
    records = run([submission("ann", SLOW, *ANSWERS), submission("bob", *ANSWERS)], tmp_path)
    limits = [given for cells, given in InProcess.opened if SLOW in cells]
    assert len(limits) == 2 and limits[1].wall > limits[0].wall
    assert records[0]["alone"] and records[0]["points"] == 16


def test_hidden_cases_are_the_learners_own(tmp_path, monkeypatch):
    sent = {}

    def kept(self, function, given):
        (arguments,) = given  # each call in a process of its own
        sent.setdefault(InProcess.learner, []).append(float(arguments["kernel"].flat[0]))
        return (call(self.space[function], arguments),)

    monkeypatch.setattr(InProcess, "call_all", kept)
    for learner in ("ann", "bob"):
        InProcess.learner = learner
        given = (InProcess(()), submission(learner, ANSWERS[2]), KEYS[:1], SECRET, LIMITS)
        grading.grade_one(*given)
    visible = len(KEYS[0].question.visible)
    assert sent["ann"][:visible] == sent["bob"][:visible]
    assert not set(sent["ann"][visible:]) & set(sent["bob"][visible:])


def test_a_case_that_says_so_takes_few_processes_and_the_others_one_for_each_call(monkeypatch):
    notebook = SOLUTIONS / "05_training_on_cifar10.ipynb"
    keys = [key for key in questions_of(notebook) if key.question.id == "own-stream"]
    sizes, whole = [], InProcess.call_all

    def counted(self, function, given):
        sizes.append(len(given))
        return whole(self, function, given)

    monkeypatch.setattr(InProcess, "call_all", counted)
    solved = submission("ann", *read("solution", notebook).cells)
    record = grading.grade_one(InProcess(()), solved, keys, SECRET, LIMITS)
    assert record["points"] == record["of"]
    together = [size for size in sizes if size > 1]
    assert len(together) == 2 * 20 and sum(together) > 600 and sizes.count(1) > 20


# Reading a folder.


def test_folder_of_files_and_of_folders(tmp_path):
    shutil.copy(NOTEBOOK, tmp_path / "ann.ipynb")
    (tmp_path / "bob").mkdir()
    shutil.copy(NOTEBOOK, tmp_path / "bob" / "homework final (2).ipynb")
    (tmp_path / "cyd").mkdir()
    (tmp_path / "readme.txt").write_text("x")
    ann, bob, cyd = read_folder(tmp_path)
    assert (ann.learner, bob.learner, cyd.learner) == ("ann", "bob", "cyd")
    assert ann.cells == bob.cells and ann.digest == bob.digest and "no notebook" in cyd.problem


def test_folder_without_notebooks_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no such folder"):
        read_folder(tmp_path / "none")
    with pytest.raises(ValueError, match="holds no notebook"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"cells": 3}', "[" * 100_000, '{"nbformat": 4}', "\udcff"]
)
def test_a_file_that_is_no_notebook_is_a_problem_in_words(tmp_path, text):
    path = tmp_path / "x.ipynb"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert read("x", path).problem and read("x", path).cells == ()


def test_a_huge_file_a_link_and_a_pipe_are_not_read(tmp_path):
    huge = tmp_path / "huge.ipynb"
    with open(huge, "wb") as file:
        file.truncate(200_000_000)
    assert f"larger than {MOST_BYTES // 10**6} MB" in read("x", huge).problem
    (tmp_path / "link.ipynb").symlink_to(NOTEBOOK)
    os.mkfifo(tmp_path / "pipe.ipynb")
    for name in ("link", "pipe"):
        found = read("x", tmp_path / f"{name}.ipynb")
        assert found.problem and not found.cells


def test_changed_cells_and_points_change_nothing(tmp_path):
    """Checks deleted, points edited, cells renamed and split: answers are found by their names."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in notebook.cells:
        cell.metadata["nbgrader"] = {"points": 1000, "grade_id": "x"}
        cell.id = f"moved-{cell.id}"
        cell.source = cell.source.split("\n\n\ncheck(")[0]
    path = tmp_path / "eve.ipynb"
    path.write_text(nbformat.writes(notebook))
    assert run([read("eve", path)], tmp_path / "out")[0]["points"] == 16


def test_an_input_that_was_put_aside_is_no_hidden_one(tmp_path):
    first, second = (key.question for key in KEYS[:2])
    thief = (
        "kept = []\n"
        f"def {first.function}(**given):\n    kept.append(given)\n"
        f"def {second.function}(**given):\n    raise ValueError(f'kept {{len(kept)}} inputs')"
    )
    (record,) = run([submission("eve", thief)], tmp_path)
    told = [case["said"] for case in record["questions"][1]["cases"] if case["visible"]]
    visible = sum(len(case.calls) for case in first.visible)
    assert all(f"kept {visible} inputs" in said for said in told) and told


def test_what_is_handed_out_gets_nothing(tmp_path):
    stub = read("new", EXERCISES / NOTEBOOK.name)
    assert run([stub], tmp_path)[0]["points"] == 0


# The sandbox, as far as it needs no bubblewrap.


def test_package_for_grading_lacks_what_is_asked_for(tmp_path):
    package = learner_package(tmp_path, ALL_KEYS["qk-head"].question.withheld)
    text = (package / "init.py").read_text("utf-8")
    assert "linalg.svd" not in text and "def mimetic_" in text
    assert not (package / "checks" / "questions").exists()
    compile(text, "init.py", "exec")
    with pytest.raises(ValueError, match="no function 'nothing'"):
        learner_package(tmp_path / "again", ["init.nothing"])


def test_package_for_grading_has_the_examples_of_a_notebook_and_no_judge(tmp_path):
    learner_package(tmp_path, ALL_KEYS["sick-layer"].question.withheld)
    code = (
        "import sys; from minivit.checks import check, examples\n"
        "check('sick-layer', None)\n"
        "print(examples('sick-layer'))\n"
        "assert not [name for name in sys.modules if 'question' in name]\n"
        "examples('other')"
    )
    where = {"env": {**os.environ, "PYTHONPATH": str(tmp_path)}, "cwd": tmp_path}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, **where)
    assert done.stdout == f"{examples('sick-layer')}\n"
    assert "'other' is not a question; the questions are" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")
def test_what_a_sandbox_shows_can_be_read_by_its_user(tmp_path, monkeypatch):
    closed = tmp_path / "minivit"
    shutil.copytree(Path(minivit.__file__).parent, closed)
    for path in (closed, *closed.rglob("*")):  # as in the container, where learners are others
        path.chmod(0o700 if path.is_dir() else 0o600)
    monkeypatch.setattr(minivit, "__file__", str(closed / "__init__.py"))
    monkeypatch.setattr(Sandbox, "_start", lambda self: None)
    with Sandbox(ALL_KEYS["qk-head"].question.withheld) as box:
        inside = Path(box.folder.name)
        for path in (inside, *inside.rglob("*")):
            assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path


@pytest.mark.parametrize(
    "said, advice",
    [
        ("bwrap: setting up uid map: Permission denied", "Ubuntu from 23.10 on"),
        ("bwrap: execvp true: No such file", "apt-get install bubblewrap"),
    ],
)
def test_the_advice_fits_why_bubblewrap_cant_run(monkeypatch, said, advice):
    done = subprocess.CompletedProcess([], 1, "", said)
    monkeypatch.setattr(boxes.sys, "platform", "linux")
    monkeypatch.setattr(boxes.shutil, "which", lambda _: "/usr/bin/bwrap")
    monkeypatch.setattr(boxes.seccomp, "program", lambda: b"")
    monkeypatch.setattr(boxes.subprocess, "run", lambda *_, **__: done)
    with pytest.raises(ValueError, match=said) as error:
        boxes.require()
    assert advice in str(error.value)


def test_on_windows_grading_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "in").mkdir()
    code = (
        "import sys, minivit\n"
        "sys.modules['fcntl'], sys.platform = None, 'win32'\n"
        "from teaching.grade import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    run = [sys.executable, "-c", code, str(tmp_path / "in"), str(tmp_path / "out")]
    done = subprocess.run(
        run, cwd=Path(minivit.__file__).parents[1], capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stderr.startswith("bubblewrap (bwrap) is not here.")


def test_nothing_is_graded_without_a_sandbox(tmp_path, monkeypatch, capsys):
    (tmp_path / "in").mkdir()
    shutil.copy(NOTEBOOK, tmp_path / "in" / "ann.ipynb")
    monkeypatch.setattr(boxes.shutil, "which", lambda _: None)
    assert grading.main([str(tmp_path / "in"), str(tmp_path / "out")]) == 1
    assert "bubblewrap" in capsys.readouterr().err and not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="no system call filter for 'riscv64'"):
        seccomp.program("riscv64")


def test_keys_in_a_folder_that_is_shown_inside_are_refused(monkeypatch):
    monkeypatch.setattr(bwrap, "SYSTEM", (str(Path(bwrap.__file__).parents[2]),))
    with pytest.raises(ValueError, match="learners' code can read"):
        bwrap.command_line("x", 3, 61_000)
