"""Submissions that try to gain, or to harm, and the mark that is honest for each.

`teaching/attacks.md` says which stands for what; test_attack_table.py holds the two together.
"""

from teaching.keys import KEYS
from teaching.sandbox.box import Limits

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
DEFINED = HONEST.replace("products = right", "def products(**given):\n    return right(**given)")
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


def instead_of_reading(code):
    """Cells whose process does `code` instead of reading what it is asked, and knows `pipe`."""
    body = "\n".join(f"    {line}" for line in code.strip().splitlines())
    deaf = f"import calls, frames, time\ndef deaf(pipe, wait=None):\n{body}"
    return [HONEST, f"{deaf}\nframes.Pipe.receive = deaf"]


# Each of the frames is an answer that may be one, so the grader goes on asking.
STOPS_READING = instead_of_reading(
    "frame = calls.pack({'results': [calls.Result(problem=calls.Problem('raised', 'x'))]})\n"
    "for _ in range(50): pipe.send(b'r', frame)\n"
    "time.sleep(10_000)"
)
TRICKLES = instead_of_reading(
    "import os\n"
    "os.write(pipe.write, frames.HEADER.pack(b'r', 10**6))\n"
    "while not time.sleep(0.04): os.write(pipe.write, b'x')"
)

BOMB = "import os\nwhile True:\n    os.fork()"
EAT = "held = []\nwhile True:\n    held.append(bytearray(b'x' * 50_000_000))"


def shares(source, then=""):
    """Cells in which eight processes take 80 MB each, all of it shared memory."""
    return attempt(
        "import mmap, os, time\n"
        "def take():\n"
        f"    held = mmap.mmap({source}, 80_000_000)\n"
        "    for at in range(0, len(held), 4096): held[at] = 1\n"
        f"    {then}\n"
        "    time.sleep(2)\n"
        "for _ in range(8):\n"
        "    if os.fork() == 0:\n"
        "        try: take()\n"
        "        except OSError: os._exit(1)\n"
        "        os._exit(0)\n"
        "assert not any(os.wait()[1] for _ in range(8))"
    )


# name → (cells, the mark that is honest)
ATTACKS = {
    "endless loop in a cell": (["while True: pass", HONEST], FULL),
    "endless loops in more cells than are tried": (4 * ["while True: pass"] + [DEFINED], FULL),
    "endless loop below an answer": ([f"{DEFINED}\nwhile True: pass"], FULL),
    "endless loop in a class": (["class A:\n    while True: pass", HONEST], FULL),
    "endless loop in a function": (in_call("while True: pass"), NOTHING),
    "sleeps in a function": (in_call("import time\ntime.sleep(10_000)"), NOTHING),
    "os._exit in a cell": (["import os\nos._exit(0)", HONEST], FULL),
    "os._exit in a function": (in_call("import os\nos._exit(0)"), NOTHING),
    "sys.exit in a cell": (["import sys\nsys.exit(1)", HONEST], FULL),
    "fork bomb in a cell": ([BOMB, HONEST], FULL),
    "fork bomb in a function": (in_call(BOMB), NOTHING),
    "memory bomb in a cell": ([EAT, HONEST], FULL),
    "memory bomb in a function": (in_call(EAT), NOTHING),
    "shared memory of many processes": (shares("-1"), NOTHING),
    "shared memory that is let go": (shares("-1", "held.madvise(mmap.MADV_DONTNEED)"), NOTHING),
    "shared memory of a device": (
        shares("os.open('/dev/zero', os.O_RDWR)", "held.madvise(mmap.MADV_DONTNEED)"),
        NOTHING,
    ),
    "output without end": (["while True: print('x' * 10**6)", HONEST], FULL),
    "output without end in a function": (in_call("while True: print('x' * 10**6)"), NOTHING),
    "deaf to its time limit": (
        ["import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass", HONEST],
        FULL,
    ),
    "threads without end": (
        [
            "import threading, time\n"
            "while True: threading.Thread(target=time.sleep, args=(1000,)).start()",
            HONEST,
        ],
        FULL,
    ),
    "crashes Python in a cell": (["import ctypes\nctypes.string_at(0)", HONEST], FULL),
    "crashes Python in a function": (in_call("import ctypes\nctypes.string_at(0)"), NOTHING),
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
    "priority of PID 1": (attempt("import os\nos.setpriority(os.PRIO_PROCESS, 1, 19)"), NOTHING),
    "scheduler of PID 1": (
        attempt("import os\nos.sched_setscheduler(1, os.SCHED_IDLE, os.sched_param(0))"),
        NOTHING,
    ),
    "processors of PID 1": (attempt("import os\nos.sched_setaffinity(1, {0})"), NOTHING),
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
    # Judges look tensors up by name; pages of the whole class are written in one go.
    "forged answer": (
        [
            HONEST,
            "import calls\npack, forged = calls.pack, {'results': [calls.Result()]}\n"
            "calls.pack = lambda value: pack(forged if 'results' in value else value)",
        ],
        NOTHING,
    ),
    "stops reading": (STOPS_READING, NOTHING),
    "answers a byte at a time": (TRICKLES, NOTHING),
    "words that can't be written": (in_call("raise ValueError('\\ud800')"), NOTHING),
    "kills everything it can": (in_call("import os\nos.kill(-1, 9)"), NOTHING),
    "closes every descriptor": ([HONEST, "import os\nos.closerange(0, 256)"], FULL),
}
