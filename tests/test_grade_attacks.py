"""Submissions that try to gain, or to harm: each gets its honest mark, and the next learner too."""

import ast
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from attacks import ATTACKS, FULL, HONEST, IF, KEY, LIMITS, NOTHING, STOPS_READING, attempt

from teaching.sandbox import box as boxes
from teaching.sandbox.box import Sandbox, require
from teaching.session import grade_one
from teaching.submissions import Submission

try:
    require()
except ValueError as error:
    pytest.skip(str(error), allow_module_level=True)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def box():
    with Sandbox(KEY.question.withheld) as sandbox:
        yield sandbox


def marked(box, cells, learner="eve", limits=LIMITS):
    submission = Submission(learner, Path("x.ipynb"), "", tuple(cells))
    return grade_one(box, submission, [KEY], b"s" * 32, limits)


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_gains_nothing(box, name):
    cells, honest = ATTACKS[name]
    record = marked(box, cells)
    assert record["points"] == honest, record
    hidden = [case["said"] for case in record["questions"][0]["cases"] if not case["visible"]]
    assert "LEAK" not in str(hidden)
    assert marked(box, [HONEST], "next")["points"] == FULL


def test_an_honest_submission_costs_no_new_sandbox(box):
    """Nor where the environment lies below /tmp: what is shown there was not left by a learner."""
    marked(box, [HONEST])
    before = box.process.pid
    marked(box, [HONEST])
    assert box.process.pid == before


def test_keys_are_not_on_the_disk(box):
    """Every file that can be seen: none is a key, a judge, a solution or the term's secret."""
    look = (
        "import os\n"
        "seen = [os.path.join(at, n) for at, ds, fs in os.walk('/') for n in ds + fs]\n"
        "ends = ('.term', 'other_layout.py', 'qk_head.py', 'kill_matrix.py', 'initializer.ipynb')\n"
        "worked = any(n.endswith(ends) or '/teaching' in n for n in seen)\n"
        "raise ValueError(f'{worked}, {len(seen) > 10_000}')"
    )
    record = marked(box, [look, IF], limits=LIMITS._replace(cells=120))
    assert "False, True" in record["cells"][0][2] and record["points"] == NOTHING


def test_nothing_is_left_for_the_next_learner(box):
    leave = (
        "import os, time\n"
        "for at in ('/tmp', '/dev/shm'):\n"
        "    os.makedirs(f'{at}/a/b'); open(f'{at}/a/b/note', 'w').write('x')\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0: time.sleep(1000)\n"
        "    os._exit(0)"
    )
    assert marked(box, [leave, HONEST])["points"] == FULL
    look = (
        "import os\n"
        "own = (1, os.getpid())\n"
        "others = [p for p in os.listdir('/proc') if p.isdigit() and int(p) not in own]\n"
        "worked = bool(others or os.listdir('/tmp') or os.listdir('/dev/shm'))"
    )
    assert marked(box, [look, IF], "next")["points"] == NOTHING


NOTES = {
    "mode": "os.chmod(at, 0o555)",
    "times": "os.utime(at, ns=(5, 5))",
    "now": "os.utime(at)",
    "attribute": "os.setxattr(at, 'user.note', b'x')",
    "flags": "fcntl.ioctl(os.open(at, 0), 0x40086602, bytes([0x40, *7 * [0]]))",
    "entry": "os.symlink('x', at + '/note')",
}
PLACES = ("/tmp", "/dev/shm", "/dev/pts", "/dev/null", "/dev/zero", "/dev/full", "/dev/urandom")
SEEN = """
import fcntl, os
def flags(at):
    try: return fcntl.ioctl(os.open(at, os.O_RDONLY | os.O_DIRECTORY), 0x80086601, bytes(8))
    except OSError: return b""
def seen(at):
    is_now, names = os.stat(at), os.listdir(at) if at in ("/tmp", "/dev/shm") else []
    return is_now.st_mtime_ns, is_now.st_mode, is_now.st_uid, flags(at), os.listxattr(at), names
"""
LOOK = [SEEN, *(f"raise ValueError(repr(seen({at!r})))" for at in PLACES)]


@pytest.mark.parametrize("note", NOTES)
def test_no_note_is_left_on_a_folder(box, note):
    """The folders are a learner's own where grading was started by an ordinary user."""
    leave = f"for at in {PLACES}:\n    try: {NOTES[note]}\n    except OSError: pass"
    before, left = told(marked(box, LOOK)), told(marked(box, [SEEN, leave, *LOOK]))
    after = told(marked(box, LOOK, "next"))
    assert [each[1:] for each in after] == [each[1:] for each in before]
    for (old, *_), (noted, *_), (new, *_) in zip(before, left, after, strict=True):
        assert new != noted or noted == old  # the time of the last change says nothing


def told(record):
    cells = [text.removeprefix("ValueError: ") for _, _, text in record["cells"]]
    assert len(cells) == len(PLACES), cells
    return list(map(ast.literal_eval, cells))


def test_memory_is_shared_in_files(box):
    """As workers of a DataLoader do it, in /dev/shm."""
    code = (
        "import mmap, os\n"
        "from multiprocessing.shared_memory import SharedMemory\n"
        "held = SharedMemory(create=True, size=1_000_000)\n"
        "if os.fork() == 0:\n    held.buf[7] = 7\n    os._exit(0)\n"
        "os.wait()\n"
        "assert held.buf[7] == 7\n"
        "mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)[0] = 1"
    )
    assert marked(box, attempt(code))["points"] == FULL


def test_no_socket_reaches_the_grader(box):
    with socket.create_server(("127.0.0.1", 0)) as server:
        reached = []
        threading.Thread(target=lambda: reached.append(server.accept()), daemon=True).start()
        port = server.getsockname()[1]
        code = f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 1)"
        assert marked(box, attempt(code))["points"] == NOTHING and not reached
        code = (
            "import socket\nsocket.socket(40, socket.SOCK_STREAM)"  # the host of a virtual machine
        )
        assert marked(box, attempt(code))["points"] == NOTHING


def test_magics_and_shell_lines_do_nothing_and_plots_may_fail(box):
    cells = [
        "%matplotlib inline\n!rm -rf /\nfiles = !ls\n%pip install nothing",
        "%%bash\nexit 1",
        "%%time\nimport torch",
        "display(torch.eye(2))",
        "raise RuntimeError('a plot that fails')",
        "%%time\n!ls\n%matplotlib inline" + HONEST,
        "check('other-layout', products)",
    ]
    record = marked(box, ["from minivit.checks import check", *cells])
    assert record["points"] == FULL
    assert [number for number, _, _ in record["cells"]] == [6]
    assert "a plot that fails" in record["cells"][0][2]


def test_a_compiled_function_is_only_called(box):
    """Compiling takes minutes, and a compiler, which a learner's machine may have."""
    compiled = HONEST + "products = torch.compile(right, mode='max-autotune')"
    assert marked(box, [compiled])["points"] == FULL


def test_who_stops_reading_is_stopped(box):
    """Also where what it is asked is more than its line holds."""
    box.open(STOPS_READING, ["products"], LIMITS._replace(wall=3))
    told = [box.call("products", {"qkv": np.zeros(10_000)}).problem.text for _ in range(6)]
    assert told[0] == "x" and told[-2:] == ["the process had ended before"] * 2
    assert "it ran too long: a call may compute for 2 seconds" in told
    box.close()
    assert marked(box, [HONEST], "next")["points"] == FULL


@pytest.mark.parametrize("size", [0, 200_000], ids=["asked", "being asked"])
def test_a_sandbox_that_does_not_answer_is_started_anew(box, monkeypatch, size):
    """Whatever made it hang: it is stopped here, and so sees neither a clock nor the grader."""
    monkeypatch.setattr(boxes, "AT_LEAST", 1)
    hung = box.process
    psutil.Process(hung.pid).children()[0].suspend()
    limits = LIMITS._replace(cells=0.1, wall=1)
    record = marked(box, [HONEST, "#" * size], limits=limits)
    assert record["stopped"] and record["problem"].startswith("it did not come back")
    assert record["points"] == NOTHING and hung.poll() is not None
    assert marked(box, [HONEST], "next")["points"] == FULL


@pytest.mark.parametrize("cells", [["while True: pass"], STOPS_READING], ids=["a loop", "deaf"])
def test_a_killed_grader_leaves_no_sandbox_behind(tmp_path, cells):
    code = (
        "import sys; import numpy as np\n"
        "from teaching.sandbox.box import Sandbox, LIMITS\n"
        "with Sandbox([]) as box:\n"
        "    print(box.folder.name, flush=True)\n"
        f"    box.open({cells!r}, ['products'], LIMITS._replace(cells=600, call=600))\n"
        "    while True: box.call('products', {'qkv': np.zeros(10_000)})\n"
    )
    grader = subprocess.Popen([sys.executable, "-c", code], stdout=-1, text=True)
    folder = grader.stdout.readline().strip()
    inside = [p for p in psutil.process_iter(["cmdline"]) if folder in str(p.info["cmdline"])]
    below = [each for process in inside for each in process.children(recursive=True)]
    assert inside and below
    time.sleep(3)  # it is in the middle of a cell, or of a call
    grader.kill()
    grader.wait()
    _, alive = psutil.wait_procs([*inside, *below], timeout=20)
    shutil.rmtree(folder)
    assert not alive
