"""kill -9 in the middle of grading: what is there is whole, and the end is the same."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_grade import ANSWERS, ONE_WRONG, InProcess, run, submission

from teaching import grade as grading
from teaching.grade import NotReady, _alone_in

pytestmark = pytest.mark.integration

# Grades the class below with code run in its own process: what is killed here is the bookkeeping.
# Each record is written slowly, so that a kill often meets a file that is only half there.
DRIVER = """
import os, sys, time
sys.path.insert(0, {here!r})
import test_grade_kill as t
from teaching import grade as grading
grading.Sandbox = t.InProcess
fsync = os.fsync
os.fsync = lambda file: (time.sleep(0.02), fsync(file))
t.run(t.class_of(6), {out!r})
"""


def class_of(count):
    return [submission(f"learner{n:02}", *(ONE_WRONG if n % 3 else ANSWERS)) for n in range(count)]


def outcome(out):
    """Everything that grading wrote, by name."""
    paths = [path for path in out.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(out)): path.read_bytes() for path in paths}


def test_killed_at_any_point_nothing_is_lost(tmp_path, monkeypatch):
    out, here = tmp_path / "out", str(Path(__file__).parent)
    kept = {}
    for records in (2, 4):  # killed once so many are written
        code = DRIVER.format(here=here, out=str(out))
        grader = subprocess.Popen([sys.executable, "-c", code])
        deadline = time.monotonic() + 600
        while len(list((out / "records").glob("*.json"))) < records:
            assert grader.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        grader.send_signal(signal.SIGKILL)
        grader.wait()
        now = outcome(out)
        assert not any(name.startswith("grades") for name in now)
        assert all(now[name] == data for name, data in kept.items())  # none was done again
        kept = {name: data for name, data in now.items() if name.endswith(".json")}
        assert len(kept) < 6
    monkeypatch.setattr(grading, "Sandbox", InProcess)
    finished = run(class_of(6), out)
    run(class_of(6), tmp_path / "whole")
    assert outcome(out) == outcome(tmp_path / "whole")
    assert [each["points"] for each in finished[:3]] == [16, 12, 12]


def test_two_graders_do_not_share_a_folder(tmp_path):
    with _alone_in(tmp_path), pytest.raises(NotReady, match="another grading is running in"):
        run([submission("ann", *ANSWERS)], tmp_path)
