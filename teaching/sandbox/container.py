"""The sandbox of a container that holds one learner: a second user id instead of bubblewrap.

Gradescope starts such a container for every submission, and bubblewrap can't run in it. The grader
is root there; a learner's processes are another user, under the same limits and a filter that opens
no network. It promises less than namespaces do (such a user sees the names of other processes, and
all files that are for everybody), so nothing takes this way by itself: it has to be asked for.
"""

import os
import subprocess
import sys
from pathlib import Path

from teaching.sandbox import seccomp
from teaching.sandbox.box import Sandbox, free_user

LOOK = (
    "import os, sys, numpy\n"
    "def seen(path):\n"
    "    try: return bool(os.listdir(path)) if os.path.isdir(path) else bool(open(path, 'rb'))\n"
    "    except OSError: return False\n"
    "print('\\n'.join(path for path in sys.argv[1:] if seen(path)))"
)


def require(hidden):
    """Raises ValueError unless this is root, and the second user can read none of `hidden`.

    hidden: folders or files with keys, marks and submissions.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        raise ValueError(
            "a container's sandbox needs root on Linux, to give learners' code a user of its own; "
            "nothing was graded"
        )
    seccomp.program()
    user = free_user()
    who = {"user": user, "group": user, "extra_groups": [], "cwd": "/", "env": {}}
    look = [sys.executable, "-B", "-s", "-c", LOOK, *map(str, hidden)]
    try:
        done = subprocess.run(look, capture_output=True, text=True, **who)
        problem = done.stderr.strip()[-300:] if done.returncode else ""
    except PermissionError as error:
        problem = str(error)
    if problem:
        raise ValueError(
            f"learners' code can't run as user {user}: {problem}. Make Python's own folder, and "
            f"those above it, readable for everybody: chmod -R a+rX {sys.prefix} (a venv's Python "
            f"lies elsewhere: here it is {os.path.realpath(sys.executable)})"
        )
    if seen := done.stdout.split("\n")[0]:
        raise ValueError(
            f"learners' code could read {seen}: chmod -R go-rwx it first. Nothing was graded"
        )


def sandbox(withheld, hidden):
    """A Sandbox of this kind, after `require`."""
    require([Path(path) for path in hidden])
    return Sandbox(withheld, container=True)
