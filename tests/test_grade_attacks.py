"""Submissions that try to gain, or to harm: each gets its honest mark, and the next learner too."""

import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from teaching.grade import grade_one
from teaching.keys import KEYS
from teaching.sandbox.box import Limits, Sandbox, require
from teaching.submissions import Submission

try:
    require()
except ValueError as error:
    pytest.skip(str(error), allow_module_level=True)

pytestmark = pytest.mark.slow
KEY = KEYS["other-layout"]
LIMITS = Limits(cells=3, call=2, wall=20, memory=400_000_000)
FULL, NOTHING = 4.0, 0.0

HONEST = """
import torch
def right(qkv, out, heads):
    W_Q, W_K, W_V = qkv.unflatten(0, (heads, 3, -1)).permute(1, 0, 3, 2)
    return W_Q @ W_K.mT, W_V @ out.T.unflatten(0, (heads, -1))
def wrong(qkv, out, heads):
    zero = torch.zeros(heads, len(out), len(out))
    return zero, zero
products = right
"""
WRONG = HONEST + "products = wrong\n"
# A cell that would answer rightly if what it tried had worked.
IF = WRONG + "products = right if worked else wrong\n"


def attempt(code):
    """Cells that do `code` and have the right answer only if it did not raise."""
    return [f"worked = False\n{code}\nworked = True", IF]


def in_call(code):
    """Cells whose function does `code` each time it is called, and then answers rightly."""
    body = "\n".join(f"    {line}" for line in code.strip().splitlines())
    return [HONEST, f"def products(qkv, out, heads):\n{body}\n    return right(qkv, out, heads)"]


BOMB = "import os\nwhile True:\n    os.fork()"
EAT = "held = []\nwhile True:\n    held.append(bytearray(b'x' * 50_000_000))"

# name → (cells, the mark that is honest)
ATTACKS = {
    "endless loop in a cell": (["while True: pass", HONEST], FULL),
    "endless loop in a function": (in_call("while True: pass"), NOTHING),
    "sleeps in a function": (in_call("import time\ntime.sleep(10_000)"), NOTHING),
    "os._exit in a cell": (["import os\nos._exit(0)", HONEST], FULL),
    "os._exit in a function": (in_call("import os\nos._exit(0)"), NOTHING),
    "sys.exit in a cell": (["import sys\nsys.exit(1)", HONEST], FULL),
    "fork bomb in a cell": ([BOMB, HONEST], FULL),
    "fork bomb in a function": (in_call(BOMB), NOTHING),
    "memory bomb in a cell": ([EAT, HONEST], FULL),
    "memory bomb in a function": (in_call(EAT), NOTHING),
    "output without end": (["while True: print('x' * 10**6)", HONEST], FULL),
    "a file of 10 GB": (
        attempt(
            "with open('/tmp/big', 'wb') as f:\n    for _ in range(10_000): f.write(b'x' * 10**6)"
        ),
        NOTHING,
    ),
    "1 GB returned": (in_call("return torch.zeros(heads, 11_000, 11_000)"), NOTHING),
    "always-equal object": (
        [
            HONEST,
            "class Yes:\n"
            "    __eq__ = lambda *_: True\n"
            "    __getattr__ = lambda s, n: lambda *_: s\n"
            "products = lambda qkv, out, heads: (Yes(), Yes())",
        ],
        NOTHING,
    ),
    "patched torch functions": (
        [
            WRONG,
            "torch.allclose = torch.equal = lambda *_, **__: True\n"
            "torch.Tensor.__eq__ = lambda *_: torch.tensor(True)\n"
            "torch.testing.assert_close = lambda *_, **__: None",
        ],
        NOTHING,
    ),
    "patched classes of the grader": (
        [
            WRONG,
            "import calls, gc, sys\n"
            "calls.Problem = calls.Result = lambda *_, **__: True\n"
            "calls.unpack = lambda data: {'passed': True, 'points': 100}\n"
            "for each in gc.get_objects():\n"
            "    if type(each).__name__ == 'Learner': each.call = lambda *_: True",
        ],
        NOTHING,
    ),
    "AST transformer": (
        [
            "class T:\n    def visit(self, node): return None\n"
            "get_ipython().ast_transformers.append(T())",
            WRONG,
        ],
        NOTHING,
    ),
    "answer imported from minivit": (
        [
            WRONG,
            "from minivit.circuits import split_heads\n"
            "def products(qkv, out, heads):\n"
            "    rows = qkv.unflatten(0, (heads, 3, -1)).transpose(0, 1).flatten(0, 2)\n"
            "    W_Q, W_K, W_V, W_O = split_heads(rows, out, heads)\n"
            "    return W_Q @ W_K.mT, W_V @ W_O",
        ],
        NOTHING,
    ),
    "judge imported from minivit": (
        attempt("from minivit.checks.questions.other_layout import measured"),
        NOTHING,
    ),
    "answers remembered between calls": (
        [
            HONEST,
            "calls_made = []\n"
            "def products(qkv, out, heads):\n"
            "    calls_made.append(1)\n"
            "    return right(qkv, out, heads) if len(calls_made) == 1 else wrong(qkv, out, heads)",
        ],
        FULL,  # every call is the first
    ),
    "memory of PID 1": (attempt("open('/proc/1/mem', 'rb').read(1)"), NOTHING),
    "environment of PID 1": (attempt("open('/proc/1/environ', 'rb').read()"), NOTHING),
    "files of PID 1": (attempt("import os\nassert os.listdir('/proc/1/fd')"), NOTHING),
    "kills PID 1": (["import os, signal\nos.kill(1, signal.SIGKILL)", HONEST], FULL),
    "limits of PID 1": (
        attempt("import resource\nresource.prlimit(1, resource.RLIMIT_CPU, (0, 0))"),
        NOTHING,
    ),
    "user namespace": (
        attempt("import ctypes\nassert ctypes.CDLL(None).unshare(0x10000000) == 0"),
        NOTHING,
    ),
    "shared memory of the kernel": (
        attempt("import ctypes\nassert ctypes.CDLL(None).shmget(7, 4096, 0o1666) >= 0"),
        NOTHING,
    ),
    "raises its input": (in_call("raise ValueError(f'LEAK {qkv.flatten()[:3]}')"), NOTHING),
    "prints a score": (
        [WRONG, "import sys\nprint('{\"score\": 100}')\nsys.__stdout__.write('100')"],
        NOTHING,
    ),
    "writes results": (
        [
            WRONG,
            "import os, json\n"
            "for at in ('/tmp', '/grader', '/autograder/results', '.', '/'):\n"
            "    try: json.dump({'score': 100}, open(os.path.join(at, 'results.json'), 'w'))\n"
            "    except OSError: pass",
        ],
        NOTHING,
    ),
    "writes into the grader's files": (
        attempt("open('/grader/zygote.py', 'a').write('x')"),
        NOTHING,
    ),
    "forged messages": (
        [
            WRONG,
            "import os\n"
            "for number in range(3, 40):\n"
            "    try: os.write(number, b'\\x02\\0\\0\\0{}' * 100)\n"
            "    except OSError: pass",
        ],
        NOTHING,
    ),
    "kills everything it can": (in_call("import os\nos.kill(-1, 9)"), NOTHING),
    "closes every descriptor": ([HONEST, "import os\nos.closerange(0, 256)"], FULL),
}


@pytest.fixture(scope="module")
def box():
    with Sandbox(KEY.withheld) as sandbox:
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
        "raise RuntimeError('a plot that fails')",
        HONEST,
        "check('other-layout', products)",
    ]
    record = marked(box, ["from minivit.checks import check", *cells])
    assert record["points"] == FULL
    assert [number for number, _, _ in record["cells"]] == [5]
    assert "a plot that fails" in record["cells"][0][2]


def test_a_killed_grader_leaves_no_sandbox_behind(tmp_path):
    code = (
        "import os, sys, time\n"
        "from teaching.sandbox.box import Sandbox, LIMITS\n"
        "with Sandbox([]) as box:\n"
        "    print(box.folder.name, flush=True)\n"
        "    box.open(['while True: pass'], [], LIMITS._replace(cells=600))\n"
    )
    grader = subprocess.Popen([sys.executable, "-c", code], stdout=-1, text=True)
    folder = grader.stdout.readline().strip()
    inside = [p for p in psutil.process_iter(["cmdline"]) if folder in str(p.info["cmdline"])]
    below = [each for process in inside for each in process.children(recursive=True)]
    assert inside and below
    time.sleep(1)  # it is in the middle of a cell
    grader.kill()
    grader.wait()
    _, alive = psutil.wait_procs([*inside, *below], timeout=20)
    shutil.rmtree(folder)
    assert not alive
