"""One learner's code beside another's: neither load, nor a neighbour, nor the one before counts."""

import multiprocessing
import os
import secrets
import threading

import pytest
from attacks import ATTACKS, FULL, HONEST, IF, KEY, LIMITS, NOTHING, in_call
from test_grade_attacks import marked

from teaching.sandbox import box as boxes
from teaching.sandbox.box import Sandbox, free_user

pytestmark = pytest.mark.slow


def test_a_fork_bomb_takes_no_process_from_the_sandbox_beside_it():
    """Started by root, all processes of one user share the limit on their number."""
    with Sandbox(KEY.question.withheld) as bombed, Sandbox(KEY.question.withheld) as quiet:
        bomb = ATTACKS["fork bomb in a cell"][0]
        beside = threading.Thread(target=lambda: marked(bombed, bomb))
        beside.start()
        marks = []
        while beside.is_alive():
            marks.append(marked(quiet, [HONEST], "next")["points"])
        beside.join()
    assert marks and set(marks) == {FULL}


def test_users_fit_into_the_container(monkeypatch, tmp_path):
    whole = {free_user() for _ in range(100)}
    assert len(whole) == 100 and min(whole) >= 2**30
    ranges = {"0 1000 1\n1 100000 65535\n": 65_535, "0 0 62000\n": 61_999}
    for text, last in ranges.items():
        (tmp_path / "map").write_text(text)
        monkeypatch.setattr(boxes, "Path", lambda _: tmp_path / "map")
        assert all(boxes.FIRST_USER <= free_user() <= last for _ in range(100))
    (tmp_path / "map").write_text("0 1000 1")
    with pytest.raises(ValueError, match="user ids up to 0 exist"):
        free_user()


def spin():
    while True:
        pass


@pytest.fixture
def one_busy_core():
    """This process and what it starts on one core, beside two processes that never rest."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    spinners = [multiprocessing.get_context("spawn").Process(target=spin) for _ in range(2)]
    for spinner in spinners:
        spinner.start()
    yield
    for spinner in spinners:
        spinner.kill()
    os.sched_setaffinity(0, cores)


def test_load_takes_no_time_from_a_learner(one_busy_core):
    """A second of work gets one and a half by the clock, and on this core needs more than that."""
    second = "import time\nwhile time.process_time() < 1: pass"
    limits = LIMITS._replace(call=2, wall=0.75)
    with Sandbox(KEY.question.withheld) as box:
        record = marked(box, in_call(second), limits=limits)
        assert record["points"] == FULL, record["questions"][0]["cases"]
        record = marked(box, in_call("import time\ntime.sleep(60)"), limits=limits)
        assert record["points"] == NOTHING and "too long" in str(record)


SCAN = r"""
import ctypes, re
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
found = set()
for line in open("/proc/self/maps"):
    span, rights = line.split()[:2]
    first, last = (int(end, 16) for end in span.split("-"))
    if rights[:2] == "rw" and last - first < 400_000_000 and "[v" not in line:
        found |= set(re.findall(rb"ann-[0-9a-f]{32}", ctypes.string_at(first, last - first)))
"""


def test_memory_holds_nothing_of_the_learner_before():
    """Neither her cells nor what her function got and gave: a copy of an answer is an answer."""
    own = f"\nkept = 'ann-' + '{secrets.token_hex(16)}'\n"
    known = f"ann-{secrets.token_hex(16)}"
    limits = LIMITS._replace(memory=2_000_000_000, cells=60)
    with Sandbox(KEY.question.withheld) as box:
        record = marked(box, [own, SCAN, "worked = bool(found)", IF], limits=limits)
        assert record["points"] == FULL, record  # it does find what is there
        for number in range(3):
            cells = [f"mine = '''{number} {known}'''\n" * 20, HONEST]
            cells.append("def products(qkv, out, heads):\n    raise ValueError(mine)")
            marked(box, cells, f"ann{number}")
        record = marked(box, [SCAN, "worked = bool(found)", IF], limits=limits)
    assert record["points"] == NOTHING and not record["cells"], record
