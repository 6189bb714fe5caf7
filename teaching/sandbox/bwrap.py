"""bubblewrap's command line: what can be seen and written inside, and with what rights."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc/ld.so.cache", "/etc/alternatives")


def namespaces():
    shared = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    root = os.geteuid() == 0
    # Root needs no user namespace; one would map every user inside to root outside, whom the limit
    # on processes does not bind. The zygote gives up both capabilities before it imports anything.
    rights = ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    return [*shared, *(rights if root else ["--unshare-user"]), "--die-with-parent"]


def command_line(folder, seccomp_fd, user):
    """bubblewrap's command line. ValueError where a folder to be shown inside would show keys."""
    shown = [path for path in dict.fromkeys([*SYSTEM, *_prefixes()]) if os.path.lexists(path)]
    keys = HERE.parent
    for path in shown:
        if keys.is_relative_to(Path(path).resolve()):
            raise ValueError(f"{keys} lies in {path}, which learners' code can read; move it away")
    small = ["--perms", "1777", "--size"]
    # Mounted first: the environment may lie below /tmp, and a later mount would hide it.
    mounts = [*small, "32000000", "--tmpfs", "/tmp"]
    for path in shown:
        if os.path.islink(path) and path in SYSTEM:
            mounts += ["--symlink", os.readlink(path), path]
        else:
            for parent in reversed(Path(path).parents[:-1]):
                mounts += ["--perms", "0755", "--dir", str(parent)]  # by itself it makes them 0700
            mounts += ["--ro-bind", path, path]
    for path in _installed_copies():
        mounts += ["--tmpfs", path]
    mounts += ["--ro-bind", folder, "/grader", "--proc", "/proc", "--dev", "/dev"]
    # /dev/zero can be mapped as shared memory, which nobody counts; /dev/full gives zeros as well.
    mounts += ["--dev-bind", "/dev/full", "/dev/zero", *small, "16000000", "--tmpfs", "/dev/shm"]
    for path in ("/dev/pts", "/dev", "/"):
        mounts += ["--remount-ro", path]
    mounts += ["--chdir", "/tmp"]
    settings = ["--clearenv"]
    for name, value in environment("/grader").items():
        settings += ["--setenv", name, value]
    python = [sys.executable, "-B", "-s", "/grader/zygote.py", str(user), "namespaces"]
    isolation = [*namespaces(), "--new-session", "--as-pid-1", "--seccomp", str(seccomp_fd)]
    return ["bwrap", *isolation, *mounts, *settings, *python]


def environment(folder):
    """All that a learner's code finds in its environment."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "PYTHONPATH": f"{folder}/lib",
        "PYTHONHASHSEED": "0",  # the order of sets is part of an answer now and then
        "OMP_NUM_THREADS": "1",
        "TORCH_COMPILE_DISABLE": "1",  # a compiler's minutes would be the learner's
        "MPLBACKEND": "Agg",
        "MINIVIT_CACHE": "/tmp/cache",
        "IPYTHONDIR": "/tmp/ipython",
    }


def _prefixes():
    return [path for path in (sys.base_prefix, sys.prefix) if not path.startswith("/usr")]


def _installed_copies():
    """Folders of an installed minivit (or teaching) inside the prefixes: masked, they hold all."""
    places = [Path(entry) for entry in sys.path if entry.startswith((sys.prefix, sys.base_prefix))]
    copies = [place / name for place in places for name in ("minivit", "teaching")]
    return sorted({str(copy) for copy in copies if copy.is_dir()})
