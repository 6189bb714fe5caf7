"""Parts of the sandbox, each by itself: none of them runs a learner's code."""

import json
import mmap
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import teaching.sandbox
from minivit.checks import calls
from teaching.sandbox.places import Places
from teaching.sandbox.processes import Processes, memory_of

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's"),
]

SIZE = 50_000_000


class Only(Processes):
    """As if no process but these were the learner's."""

    def __init__(self, *pids):
        super().__init__()
        self.pids = pids

    def _is_theirs(self, pid):
        return pid in self.pids


def test_one_that_has_ended_is_seen_until_its_status_is_taken():
    """The next learner would find its number in /proc."""
    if (ended := os.fork()) == 0:
        os._exit(0)
    while Only(ended).alive():
        time.sleep(0.01)
    assert ended in Only()._listed()
    assert Only(ended).vanish() and ended not in Only()._listed()
    assert not Only(os.getppid()).vanish(within=0.05), "of one that stays it says so"


@pytest.fixture
def folder(tmp_path):
    at = tmp_path / "writable"
    at.mkdir(mode=0o777)
    return at


def test_a_folder_is_emptied(folder):
    places = Places(folders=[str(folder), str(folder / "none")])
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "note").write_text("x")
    (folder / "link").symlink_to(folder)
    assert places.empty() and not list(folder.iterdir())


@pytest.mark.parametrize(
    "change",
    [
        lambda at: at.chmod(0o555),
        lambda at: at.chmod(0o1777),
        lambda at: os.setxattr(at, "user.note", b"x"),
        lambda at: os.chown(at, 0, 4321),
    ],
    ids=["mode", "sticky", "attribute", "group"],
)
def test_a_folder_that_was_changed_is_not_clean(folder, change):
    places = Places(folders=[str(folder)])
    assert places.empty()
    try:
        change(folder)
    except OSError as error:
        pytest.skip(f"not possible here: {error}")
    assert not places.empty()


def test_times_of_a_folder_say_nothing(folder):
    places = Places(folders=[str(folder)])
    os.utime(folder, ns=(4 * 10**18, 5))  # far in the future, and long ago
    assert places.empty()
    for path in (folder, "/dev/null"):  # everybody can write into the second: no matter whose
        now = os.stat(path)
        assert abs(now.st_mtime - time.time()) < 60
    assert abs(folder.stat().st_atime - time.time()) < 60


def test_memory_that_is_shared_is_counted():
    before = memory_of(os.getpid())
    with mmap.mmap(-1, SIZE) as held:
        for at in range(0, SIZE, mmap.PAGESIZE):
            held[at] = 1
        assert memory_of(os.getpid()) - before > 0.9 * SIZE
    assert memory_of(2**30) == 0  # there is none


CELLS = {
    "a function below shell lines": "%%time\n!ls\n%pwd\ndef f(): return 3\nx = f()",
    "output of a shell line": "%%time\nx = !true\ny = 4",
    "%time": "%time x = 3",
    "%time of an expression": "x = %time 3 + 4\n%time y = 1; z = 2",
    "%time in a block": "if True:\n    %time x = 3",
    "%time of nothing": "%time\nx = 3",
    "%time of a negative number": "y = 3\nx = %time -y",
    "%prun": "%prun -q -l 7 -s cumulative x = 3",
    "%%prun": "%%prun -q x = 3\ny = 4",
    "%timeit keeps nothing": "%timeit -n1 -r1 x = 3",
    "%%timeit keeps nothing": "%%timeit -n1 -r1 x = 3\ny = 4",
    "%%capture": "%%capture\n!ls\nx = 3",
    "one in another": "%%capture\n%%time\nx = 3",
    "an error": "%%time\nx = 3\ny = x / 0",
}
REST = {  # cells that raise, and the names of theirs that are there all the same
    "a library that is not here": ("import none_such\nimport math as x\ny = 1", ["x"]),
    "two of them": ("import none_such, math\nfrom none_such import z\ndef x(): pass", ["x"]),
    "a call over lines": ("int(\n  'a'\n)\nclass x: pass\n\n@print\ndef y(): pass", ["x", "y"]),
    "in a function of the cell": ("def x(): return 1 / 0\nx()\ndef y(): pass", ["x", "y"]),
    "on one line": ("import none_such; import math as x; y = 1", ["x"]),
    "in a block": ("if True:\n    1 / 0\n    import math as x\nimport math as y", ["y"]),
    "no Python": ("def x(:\n    pass\nimport math as y", []),
    "no memory": ("raise MemoryError\nimport math as x", []),
}
BOTH = """
import json, os, sys
os.environ["IPYTHONDIR"] = sys.argv[1]
sys.path[:0] = sys.argv[2:]
import inside
from IPython.core.history import HistoryManager
from IPython.core.interactiveshell import InteractiveShell
HistoryManager.enabled = False
def kept(space):
    return {name: str(space[name]) for name in "xyz" if name in space}
told, (cells, rest) = {}, json.load(sys.stdin)
for name, cell in rest.items():
    ours = inside.notebook_namespace()
    said = inside.run_cell(cell, 1, ours)
    told[name] = [[each for each in "xyz" if each in ours], said]
for name, cell in cells.items():
    ours = inside.notebook_namespace()
    said = inside.run_cell(cell, 1, ours)
    shell = InteractiveShell()
    result = shell.run_cell(cell)
    told[name] = [kept(ours), kept(shell.user_ns), bool(said), not result.success]
sys.stderr.write("TOLD" + json.dumps(told))
"""


@pytest.fixture(scope="module")
def magics(tmp_path_factory):
    """{name in CELLS: (what we keep, what IPython keeps, whether we fail, whether it does)}, and
    {name in REST: (names that are there, what is said)}."""
    paths = Path(teaching.sandbox.__file__).parent, Path(calls.__file__).parent
    command = [sys.executable, "-c", BOTH, tmp_path_factory.mktemp("ipython"), *paths]
    rest = {name: cell for name, (cell, _) in REST.items()}
    given = {"input": json.dumps([CELLS, rest]), "capture_output": True, "text": True}
    done = subprocess.run(command, check=False, **given)
    _, found, told = done.stderr.rpartition("TOLD")
    assert found, done.stderr
    return json.loads(told)


@pytest.mark.parametrize("name", CELLS)
def test_magics_keep_what_they_keep_in_a_notebook(magics, name):
    ours, theirs, fails, they_fail = magics[name]
    assert ours == theirs and fails == they_fail
    assert bool(ours) == ("keeps nothing" not in name)


@pytest.mark.parametrize("name", REST)
def test_imports_and_functions_below_what_raised_are_there(magics, name):
    """Or a plot library that is not installed here would cost who imports it above torch all."""
    there, said = magics[name]
    assert there == REST[name][1] and said
