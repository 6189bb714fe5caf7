"""Grades on Gradescope: `python -m teaching.gradescope bundle EXERCISE` makes the autograder's zip.

(make gradescope EXERCISE=04_…) The zip holds keys, the solution and this term's secret: it is for
Gradescope alone. There, `setup.sh` builds a Python once, and `run_autograder` grades each
submission in a container of its own, learners' code as a second user (`sandbox/container.py`).
"""

import argparse
import json
import stat
import sys
import tomllib
import zipfile
from pathlib import Path

from minivit.storage import atomic_path, write_text
from teaching import feedback
from teaching.asked import exercise, questions_of
from teaching.exercises import ROOT, SOLUTIONS
from teaching.grade import require_full_marks
from teaching.sandbox.box import LIMITS
from teaching.sandbox.container import sandbox
from teaching.session import grade_one
from teaching.submissions import Submission, only_notebook, read
from teaching.term import TERM_FILE, read_secret

BASE = Path("/autograder")
ASKED = "asked.txt"  # of the zip: the ids of the questions, or nothing for all of them

SETUP = """\
#!/usr/bin/env bash
# Gradescope runs this once, when it builds the image.
set -euo pipefail
apt-get update -qq
apt-get install -y -qq python3 python3-venv
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {{
  echo "This image has $(python3 --version); choose a base image with Python 3.11 or newer."
  exit 1
}}
python3 -m venv /opt/grading
/opt/grading/bin/pip install -q torch --index-url https://download.pytorch.org/whl/cpu
/opt/grading/bin/pip install -q {packages}
chmod -R a+rX /opt/grading
"""

RUN = """\
#!/usr/bin/env bash
# Gradescope runs this for each submission.
set -euo pipefail
chmod -R go-rwx /autograder/source /autograder/submission /autograder/results
cd /autograder/source
exec /opt/grading/bin/python -m teaching.gradescope run
"""


def bundle(notebook, target, secret, questions=""):
    """Writes the autograder's zip for one exercise, or for some of its questions.

    Raises ValueError for a question that the exercise does not ask.
    """
    questions_of(notebook, questions)
    texts = {"setup.sh": SETUP.format(packages=_packages()), "run_autograder": RUN, ".term": secret}
    texts[ASKED] = questions
    paths = [*(ROOT / "minivit").rglob("*"), *(ROOT / "teaching").rglob("*"), notebook]
    with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, text in texts.items():
            entry = zipfile.ZipInfo(name)
            entry.create_system = 3  # Unix, or the next line counts for nothing
            entry.external_attr = (stat.S_IFREG | 0o700) << 16
            archive.writestr(entry, text)
        for path in sorted(paths):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.write(path, path.relative_to(ROOT), zipfile.ZIP_DEFLATED)
    return target


def _packages():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["course"]]
    names = [name for name in wanted if not name.startswith(("torch>", "torchvision"))]
    return " ".join(f"'{name}'" for name in [*names, "nbformat", "ipython"])


def run(base=BASE, solutions=SOLUTIONS):
    """Grades the one submission below `base`; writes results/results.json there.

    Raises ValueError, and writes nothing, where learners' code could read what it must not, and
    where the solution itself does not get full marks: Gradescope then says that grading failed.
    """
    notebook = exercise(None, solutions)
    keys = questions_of(notebook, (ROOT / ASKED).read_text(encoding="utf-8"))
    secret = read_secret(TERM_FILE)
    withheld = sorted({name for key in keys for name in key.question.withheld})
    hidden = [base / name for name in ("submission", "results")]
    hidden += [Path(__file__).parent, TERM_FILE, notebook]
    submission = _submission(base)
    with sandbox(withheld, hidden) as box:
        require_full_marks(grade_one(box, read("solution", notebook), keys, secret, LIMITS))
        record = grade_one(box, submission, keys, secret, LIMITS)
    results = json.dumps(feedback.gradescope(record), indent=1, ensure_ascii=False)
    write_text(base / "results" / "results.json", results)


def _submission(base):
    path, problem = only_notebook(base / "submission")
    learner = _learner(base / "submission_metadata.json")
    return Submission(learner, Path(""), "", (), problem) if problem else read(learner, path)


def _learner(path):
    """Whose it is: hidden cases are drawn from it, so that handing in again gives the same ones."""
    metadata = json.loads(path.read_text(encoding="utf-8"))
    return ",".join(sorted(str(user["email"]) for user in metadata["users"]))


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m teaching.gradescope")
    parser.add_argument("what", choices=("bundle", "run"))
    parser.add_argument("exercise", nargs="?", help="a notebook's name in solutions/")
    parser.add_argument("--questions", default="", help="some of them alone: qk-head,cut-diagonal")
    options = parser.parse_args(arguments)
    try:
        if options.what == "run":
            run()
            return 0
        notebook = exercise(options.exercise)
        target = ROOT / "dist" / f"gradescope-{notebook.stem}.zip"
        bundle(notebook, target, read_secret(TERM_FILE).decode(), options.questions)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"wrote {target}; it holds keys and this term's secret: for Gradescope alone")
    return 0


if __name__ == "__main__":
    sys.exit(main())
