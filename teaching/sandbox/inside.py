"""A learner's own process: runs the cells, then forks for each call. Hostile code runs beside it.

Whatever it sends may be forged by that code: it is the learner's own answer, and read as data.
"""

import ast
import contextlib
import ctypes
import linecache
import os
import random
import re
import resource
import sys
import traceback
import types
from pathlib import Path

import calls  # minivit/checks/calls.py
from frames import Pipe

OUT_OF_MEMORY = 77  # exit status
DEFINES = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
OPTIONS = {  # what may stand between a magic and its code
    "time": re.compile(r"(\s*--no-raise-error\b)?"),
    "prun": re.compile(r"(\s*-([DlsT]\s*\S+|[rq]+)(?=\s|$))*"),
}


def in_learner(line, learner, stopped, bare, last):
    """Runs the cells, says what went wrong, then forks for each call. Never returns.

    stopped: numbers of cells of which only definitions are taken; bare: of which nothing is; last:
    no cell is run any more than those of stopped.
    """
    pipe = Pipe(line, line, calls.MOST_BYTES)
    exit_now, fork, pid_now, own = os._exit, os.fork, os.getpid, os.getpid()
    silence(keep=line)
    lower_rights(learner.user, learner.filter)
    limits = learner.limits
    told = calls.unpack(learner.cells)
    limit(limits, limits["cells"], spare=30)
    seed()
    space, problems = notebook_namespace(), []
    for number, source in enumerate(told["cells"], start=1):
        pipe.send(b"a", str(number).encode())
        if number in bare:
            continue
        taken_alone = last or number in stopped
        problem = (define if taken_alone else run_cell)(source, number, space)
        if pid_now() != own:
            exit_now(0)  # a fork that the cell made: only one process goes on
        # What such a cell holds would stay for the calls: it is left out next time.
        if problem.startswith(("MemoryError", "BlockingIOError")):
            exit_now(OUT_OF_MEMORY)
        problems += [(number, "raised", problem)] if problem else []
    names = [name for name in told["functions"] if callable(space.get(name))]
    pipe.send(b"d", calls.pack({"problems": problems[:50], "names": names}))
    limit(limits, 30)  # waiting and forking have time of their own
    while (frame := pipe.receive()) is not None:
        with contextlib.suppress(ChildProcessError):  # dead children count against the limit
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        read, write = os.pipe()
        pid = fork()
        if pid == 0:
            os.close(line)
            os.close(read)
            limit(limits, limits["call"])
            asked = calls.unpack(frame[1])
            function = space.get(asked["function"])
            results = [calls.call(function, each) for each in asked["arguments"]]
            Pipe(-1, write, calls.MOST_BYTES).send(b"r", calls.pack({"results": results}))
            exit_now(0)
        os.close(write)
        try:
            told = Pipe(read, -1, calls.MOST_BYTES).receive()
        except ValueError:
            told = (b"r", b"")
        os.close(read)
        _, status = os.waitpid(pid, 0)
        # The reason why there is no answer is a number here: the words are the zygote's.
        pipe.send(*(told or (b"s", str(status).encode())))
    exit_now(0)


def lower_rights(user, filter):
    """From root, in a container without namespaces, to the learner's user and its system calls."""
    if not filter:
        return
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    os.chdir("/tmp")
    code = ctypes.create_string_buffer(filter, len(filter))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))

    program = Program(len(filter) // 8, ctypes.addressof(code))
    prctl = ctypes.CDLL(None).prctl
    no_new_privileges = prctl(38, 1, 0, 0, 0)
    if no_new_privileges or prctl(22, 2, ctypes.byref(program), 0, 0):
        os._exit(1)  # without its filter nothing runs


def silence(keep):
    """Standard streams lead nowhere, and no descriptor of the zygote stays open but `keep`."""
    nowhere = os.open("/dev/null", os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    os.closerange(3, keep)
    os.closerange(keep + 1, 256)
    os.setsid()


def seed():
    """The same submission gets the same mark, even where it draws from the global generators."""
    import numpy
    import torch

    random.seed(0)
    numpy.random.seed(0)
    torch.manual_seed(0)


def limit(limits, seconds, spare=1):
    """Limits of this process and its children: CPU time, address space, files, processes.

    spare: seconds by which the process itself may raise its limit on CPU time later.
    """
    spent = resource.getrusage(resource.RUSAGE_SELF)
    until = int(spent.ru_utime + spent.ru_stime + seconds) + 1
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    space = pages * os.sysconf("SC_PAGE_SIZE") + limits["memory"]
    wanted = {
        resource.RLIMIT_CPU: (until, until + spare),
        resource.RLIMIT_AS: (space, space),
        resource.RLIMIT_FSIZE: (calls.MOST_BYTES, calls.MOST_BYTES),
        resource.RLIMIT_NPROC: (limits["processes"], limits["processes"]),
        resource.RLIMIT_NOFILE: (256, 256),
        resource.RLIMIT_CORE: (0, 0),
    }
    for which, pair in wanted.items():
        hard = resource.getrlimit(which)[1]
        if hard != resource.RLIM_INFINITY:
            pair = tuple(min(each, hard) for each in pair)  # it can only become stricter
        resource.setrlimit(which, pair)


class NoShell:
    """Stands for IPython's shell: magics and shell lines do nothing, but those that run code do.

    (%timeit does, too, and keeps no variable of it; so there is nothing to be run for.)
    """

    def __init__(self, space):
        self.user_ns, self.runs = space, 0

    def run_line_magic(self, name, line, *_, **__):
        if name in OPTIONS:
            return self._run(line[OPTIONS[name].match(line).end() :].strip())

    def run_cell_magic(self, name, line, cell):
        if name == "prun":
            self.run_line_magic(name, line)
        if name in ("time", "capture", "prun"):
            return self._run(cell)

    def _run(self, source):
        self.runs += 1
        return run(source, f"<magic {self.runs}>", self.user_ns)

    def getoutput(self, *_, **__):
        return []

    def __getattr__(self, name):
        return lambda *_, **__: None


def notebook_namespace():
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    shell = NoShell(module.__dict__)
    module.__dict__["get_ipython"] = lambda: shell
    module.__dict__["display"] = shell.display  # a notebook has it without an import
    return module.__dict__


def run(source, name, space):
    """Runs source as IPython reads it, magics and all; the value, where it is one expression."""
    tree = parsed(source, name)
    if len(tree.body) == 1 and isinstance(tree.body[0], ast.Expr):
        return eval(compile(ast.Expression(tree.body[0].value), name, "eval"), space)
    exec(compile(tree, name, "exec"), space)


def parsed(source, name):
    from IPython.core.inputtransformer2 import TransformerManager

    code = TransformerManager().transform_cell(source)
    linecache.cache[name] = (len(code), None, code.splitlines(True), name)
    return ast.parse(code, name)


def run_cell(source, number, space):
    """Runs one cell; what it raises, in words, or an empty string.

    What other cells need of it is there all the same: a plot library that is not installed here, or
    a drive to be mounted, above `import torch`, must not cost all questions.
    """
    name = f"<cell {number}>"
    try:
        run(source, name, space)
    except BaseException as error:
        problem = f"{type(error).__name__}: {calls.cut(str(error))}"
        if isinstance(error, Exception) and not problem.startswith(("MemoryError", "Blocking")):
            define_rest(source, name, space, error)
        return problem
    return ""


def define_rest(source, name, space, error):
    """The imports, functions and classes of a cell below the statement that raised `error`."""
    lines = [at.lineno for at in traceback.extract_tb(error.__traceback__) if at.filename == name]
    if not lines:  # it could not be read, or is one magic
        return
    below = [node for node in parsed(source, name).body if node.end_lineno >= lines[0]][1:]
    _define(below, name, space)


def define(source, number, space):
    """The imports, functions and classes of a cell, and nothing else of it. Returns "": no problem.

    Of what it may have raised nothing is said: that the cell was stopped is said already.
    """
    with contextlib.suppress(Exception):  # it can't be read
        name = f"<cell {number}>"
        _define(parsed(source, name).body, name, space)
    return ""


def _define(nodes, name, space):
    for node in nodes:
        if isinstance(node, DEFINES):
            with contextlib.suppress(BaseException):
                exec(compile(ast.Module([node], []), name, "exec"), space)
