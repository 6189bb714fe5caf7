"""Gradescope: the bundle, and grading in a container of one learner with a second user id."""

import json
import os
import subprocess
import sys
import zipfile

import nbformat
import pytest
from attacks import ATTACKS, FULL, HONEST, IF, KEY, LIMITS, NOTHING, attempt
from test_grade import KEYS, NOTEBOOK, ZEROS
from test_grade_attacks import marked

from teaching.gradescope import bundle
from teaching.sandbox import container
from teaching.sandbox.box import Sandbox

pytestmark = pytest.mark.integration


def needs():
    """Why a second user can't run learners' code here: "" where it can."""
    try:
        container.require([])
    except ValueError as error:
        return str(error)
    return ""


PROBLEM = needs()
root = pytest.mark.skipif(bool(PROBLEM), reason=PROBLEM)


def test_bundle_has_what_a_run_needs(tmp_path):
    path = bundle(NOTEBOOK, tmp_path / "x.zip", "s" * 32)
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        assert archive.getinfo("run_autograder").external_attr >> 16 & 0o777 == 0o700
        setup = archive.read("setup.sh").decode()
        for script in ("setup.sh", "run_autograder"):
            text = archive.read(script).decode()
            assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0
    wanted = {"teaching/keys/qk_head.py", "minivit/checks/calls.py", ".term", "setup.sh"}
    assert wanted < names and f"solutions/{NOTEBOOK.name}" in names
    assert not any("__pycache__" in name for name in names)
    with pytest.raises(ValueError, match="no-such"):
        bundle(NOTEBOOK, tmp_path / "y.zip", "s" * 32, "patch-matrix,no-such")
    assert not (tmp_path / "y.zip").exists()
    assert "'numpy>=" in setup and "nbformat" in setup and "'torch>" not in setup


def test_a_bundle_packed_on_windows_keeps_its_scripts_modes(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.platform", "win32")
    with zipfile.ZipFile(bundle(NOTEBOOK, tmp_path / "x.zip", "s" * 32)) as archive:
        assert archive.getinfo("run_autograder").create_system == 3


@root
def test_keys_that_the_second_user_could_read_are_refused(tmp_path):
    open_to_all = tmp_path / "keys"
    open_to_all.mkdir()
    (open_to_all / "key.py").write_text("x")
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(0o755)
    with pytest.raises(ValueError, match=r"learners' code could read .*keys"):
        container.require([open_to_all])
    open_to_all.chmod(0o700)
    container.require([open_to_all])


def test_nobody_but_root_grades_this_way(monkeypatch):
    monkeypatch.setattr(container.os, "geteuid", lambda: 1000)
    with pytest.raises(ValueError, match="needs root on Linux"):
        container.sandbox((), [])


# Not all attacks: those that a namespace stops, and this kind of sandbox has to stop otherwise.
CHOSEN = (
    "endless loop in a cell",
    "os._exit in a function",
    "fork bomb in a function",
    "kills everything it can",
    "memory of PID 1",
    "files of PID 1",
    "user namespace",
    "writes into the grader's files",
    "forged messages",
)


@pytest.fixture(scope="module")
def box():
    with Sandbox(KEY.question.withheld, container=True) as sandbox:
        yield sandbox


@root
@pytest.mark.slow
@pytest.mark.parametrize("name", CHOSEN)
def test_attack_gains_nothing_in_a_container(box, name):
    cells, honest = ATTACKS[name]
    assert marked(box, cells)["points"] == honest
    assert marked(box, [HONEST], "next")["points"] == FULL


@root
@pytest.mark.slow
def test_no_network_no_keys_and_nothing_left_in_a_container(box, tmp_path):
    (tmp_path / "key.py").write_text("x")
    tmp_path.chmod(0o700)
    for code in (
        "import socket\nsocket.socket(socket.AF_INET)",
        f"open({str(tmp_path / 'key.py')!r})",
        "import os\nos.kill(os.getppid(), 9)",
        "import os\nos.setuid(0)",
    ):
        assert marked(box, attempt(code))["points"] == NOTHING, code
    leave = "import os\nopen('/tmp/minivit-note', 'w')\nif os.fork() == 0:\n    while True: pass"
    assert marked(box, [leave, HONEST], limits=LIMITS)["points"] == FULL
    look = "import os\nworked = os.path.exists('/tmp/minivit-note')"
    assert marked(box, [look, IF], "next")["points"] == NOTHING


@root
@pytest.mark.slow
@pytest.mark.parametrize("asked", ["", "logit-form, patch-matrix"])
def test_a_submission_is_graded_from_the_bundle(tmp_path, asked):
    base = tmp_path / "autograder"
    with zipfile.ZipFile(bundle(NOTEBOOK, tmp_path / "x.zip", "s" * 32, asked)) as archive:
        archive.extractall(base / "source")
    for name in ("submission", "results"):
        (base / name).mkdir()
    users = [{"email": "ann@x.edu"}]
    (base / "submission_metadata.json").write_text(json.dumps({"users": users}))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(ZEROS))
    nbformat.write(notebook, base / "submission" / "mine.ipynb")
    base.chmod(0o700)
    code = f"import pathlib, teaching.gradescope as g\ng.run(pathlib.Path({str(base)!r}))"
    settings = {**os.environ, "PYTHONPATH": str(base / "source")}
    where = {"cwd": base / "source", "env": settings}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, **where)
    assert done.returncode == 0, done.stderr
    results = json.loads((base / "results" / "results.json").read_text())
    graded = [key.question for key in KEYS if not asked or key.question.id in asked]
    assert [each["name"] for each in results["tests"]] == [question.id for question in graded]
    scores = [0 if question.id == "logit-form" else question.points for question in graded]
    assert [each["score"] for each in results["tests"]] == scores
    assert results["score"] == sum(scores) > 0
