"""The Makefile on a machine that is made up: stamps, an interrupted install, no usable Python."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from teaching import student_release

ROOT = Path(__file__).resolve().parents[1]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="there is no make here")

# Stands for the system's Python and for the one in .venv, which it makes by copying itself. It
# writes what it was asked to a log; `pip install` fails where there is a file `broken`.
PYTHON = """#!/bin/sh
here=$(pwd)
case "$*" in
  *version_info\\ \\<*) exit ${TOO_OLD:-0} ;;
  *version_info*) echo python3.12 ;;
  *ensurepip*) exit ${NO_ENSUREPIP:-0} ;;
  *print*works*) echo works ;;
  --version) echo Python 3.9.9 ;;
  "-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
esac
echo "$* DATA=$MINIVIT_DATA SCALE=$MINIVIT_SCALE" >> log
case "$*" in *"pip install"*) test ! -e "$here/broken" ;; esac
"""


@pytest.fixture
def machine(tmp_path):
    """A folder with this Makefile and a made-up Python; its path holds a space, as some do."""
    folder = tmp_path / "my projects" / "minivit"
    (folder / "lessons").mkdir(parents=True)
    (folder / "lessons" / "05_training_on_cifar10.ipynb").touch()
    (folder / "pyproject.toml").touch()
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "python").write_text(PYTHON)
    (folder / "python").chmod(0o755)
    return folder


def make(folder, *words, **environment):
    """Runs make; returns (exit status, all it printed, the lines that it added to the log)."""
    log = folder / "log"
    log.unlink(missing_ok=True)
    kept = {"PATH": os.environ["PATH"], **environment}
    command = ["make", "PYTHON=./python", *words]
    done = subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True)
    asked = log.read_text().splitlines() if log.exists() else []
    return done.returncode, done.stdout + done.stderr, asked


def installs(asked):
    return [line.split(" DATA")[0] for line in asked if "pip install" in line]


def listed(machine):
    status, printed, _ = make(machine)
    assert status == 0
    return re.findall(r"^make ([\w-]+) +\S", printed, re.MULTILINE)


def test_make_alone_lists_every_target(machine):
    (machine / "teaching").mkdir()
    (phony,) = re.findall(r"^\.PHONY: (help .*)$", MAKEFILE, re.MULTILINE)
    assert listed(machine) == phony.split() == re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE)


def test_in_a_learners_copy_it_lists_what_works_there(machine):
    assert not {"tests", "teaching", "tools"} & {*student_release.FOLDERS}
    assert listed(machine) == ["help", "lab", "wheel", "clean"]


def test_lab_installs_once_and_opens_the_lesson(machine):
    status, _, asked = make(machine, "lab")
    assert status == 0 and installs(asked) == ["-m pip install -e .[lab]"]
    assert "jupyterlab" in asked[-1] and "/lessons/05_training_on_cifar10.ipynb" in asked[-1]
    assert "root_dir=. " in asked[-1]  # else the exercises are out of the learner's sight
    _, _, asked = make(machine, "lab")
    assert not installs(asked) and not any("venv" in line for line in asked)
    (machine / "lessons" / "00_start_here.ipynb").touch()
    assert "00_start_here.ipynb" in make(machine, "lab")[2][-1]


def test_test_works_alone_and_serves_lab(machine):
    status, printed, asked = make(machine, "test")
    assert status == 0 and installs(asked) == ["-m pip install -e .[lab,test]"]
    order = [printed.index(heading) for heading in ("1 of 4", "2 of 4", "3 of 4", "4 of 4")]
    assert order == sorted(order)
    # No test is left out, and none runs twice.
    first, second = (re.search(r"-m (?!pytest)(.*) DATA=", line)[1] for line in asked[-3:-1])
    assert second == "integration and not slow" and first == f"not {second}"
    assert "--nbval-lax" in asked[-1] and "SCALE=smoke" in asked[-1]
    assert not installs(make(machine, "test")[2]) and not installs(make(machine, "lab")[2])


def test_test_after_lab_installs_the_rest(machine):
    make(machine, "lab")
    assert installs(make(machine, "test")[2]) == ["-m pip install -e .[lab,test]"]


def test_an_install_that_broke_off_is_taken_up_again(machine):
    (machine / "broken").touch()
    status, _, asked = make(machine, "lab")
    assert status != 0 and not any("jupyterlab" in line for line in asked)
    (machine / "broken").unlink()
    status, _, asked = make(machine, "lab")
    assert status == 0 and installs(asked)


def test_changed_requirements_are_installed(machine):
    make(machine, "lab")
    later = (machine / ".venv" / ".lab").stat().st_mtime + 10
    os.utime(machine / "pyproject.toml", (later, later))
    assert installs(make(machine, "lab")[2])


def test_a_python_that_is_gone_is_replaced(machine):
    make(machine, "lab")
    (machine / ".venv" / "bin" / "python").unlink()
    status, _, asked = make(machine, "lab")
    assert status == 0 and installs(asked) and any("venv --clear" in line for line in asked)


def test_an_environment_made_by_hand_is_not_cleared(machine):
    (machine / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(machine / "python", machine / ".venv" / "bin" / "python")
    assert not any("--clear" in line for line in make(machine, "lab")[2])


@pytest.mark.parametrize(
    "environment, sentence",
    [
        ({"TOO_OLD": "1"}, "is Python 3.9.9, and minivit needs Python 3.11 or newer"),
        ({"NO_ENSUREPIP": "1"}, "sudo apt-get install python3.12-venv"),
    ],
)
def test_unusable_python_gets_a_sentence(machine, environment, sentence):
    status, printed, asked = make(machine, "test", **environment)
    assert status != 0 and sentence in printed and not installs(asked)


def test_no_python_gets_a_sentence(machine):
    status, printed, _ = make(machine, "lab", "PYTHON=no-such-python")
    assert status != 0 and "There is no no-such-python here" in printed


def test_data_folder(machine):
    assert " DATA= " in make(machine, "lab")[2][-1]
    assert f" DATA={machine}/some dir " in make(machine, "lab", MINIVIT_DATA="some dir")[2][-1]
    assert " DATA=/some dir " in make(machine, "lab", "MINIVIT_DATA=/some dir")[2][-1]
    (machine.parent / "shared" / "data").mkdir(parents=True)
    assert f" DATA={machine.parent}/shared/data " in make(machine, "lab")[2][-1]
