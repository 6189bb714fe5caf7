"""What learners get, as one zip: `python -m teaching.student_release` (make student-release).

Lessons, exercises, the package with its checks, and how its numbers were measured. Only what is
named here goes in, so that nothing new in the repository gets out by being forgotten: no solution,
no key, no mutant, no secret. (The judges of visible cases are in the package, and compute what is
right: grading.md says what that means.) The same content gives the same bytes, so its digest can be
published beside it.
"""

import argparse
import subprocess
import sys
import zipfile
from pathlib import Path

from minivit.storage import atomic_path, file_digest
from teaching.exercises import BEGIN, END, ROOT, drift

FILES = (
    ".gitignore",
    "README.md",
    "LICENSE",
    "CITATION.cff",
    "CHANGELOG.md",
    "CLAIMS.md",
    "Makefile",
    "environment.yml",
    "pyproject.toml",
)
FOLDERS = ("docs", "minivit", "lessons", "exercises", "benchmarks")
NOTE = (
    b"# minivit\n\n*This is the learners' copy. What README says of `tests`, `solutions`, "
    b"`teaching` and `tools` is about the whole repository; `make test` and `make bench` have "
    b"nothing to run here.*\n"
)
SKIPPED = ("__pycache__", ".ipynb_checkpoints")


def contents(root=ROOT):
    """{name in the zip: path}, sorted; of a git checkout only what is committed or added."""
    tracked = _tracked(root)
    names = [name for name in FILES if (root / name).is_file()]
    for folder in FOLDERS:
        paths = [path for path in (root / folder).rglob("*") if path.is_file()]
        names += [path.relative_to(root).as_posix() for path in paths]
    kept = [name for name in names if not set(SKIPPED) & set(name.split("/"))]
    return {name: root / name for name in sorted(kept) if tracked is None or name in tracked}


def _tracked(root):
    if not (root / ".git").exists():
        return None
    done = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True)
    return set(done.stdout.decode().split("\0"))


def write(target, root=ROOT):
    """Writes the zip. ValueError where an exercise is out of date, or a solution would go along."""
    stale = drift() if root == ROOT else []
    if stale:
        raise ValueError(f"{', '.join(stale)}: not what solutions/ makes of it; run make exercises")
    with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, path in contents(root).items():
            data = path.read_bytes()
            if name == "README.md":
                data = data.replace(b"# minivit\n", NOTE, 1)
            if any(marker.encode() in data for marker in (BEGIN, END)):
                raise ValueError(f"{name} holds a marked solution; nothing was written")
            entry = zipfile.ZipInfo(f"minivit-course/{name}", (2020, 1, 1, 0, 0, 0))
            entry.create_system = 3  # Unix, wherever it is packed
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return target


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m teaching.student_release")
    parser.add_argument("file", type=Path, nargs="?", default=ROOT / "dist" / "minivit-course.zip")
    target = parser.parse_args(arguments).file
    try:
        write(target)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"wrote {target}, {target.stat().st_size / 1e6:.1f} MB, sha256 {file_digest(target)}")
    if 'REPOSITORY = \\"\\"' in (ROOT / "lessons/00_start_here.ipynb").read_text("utf-8"):
        print("It names no address, so a lesson opened on Colab installs nothing: `make retarget`.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
