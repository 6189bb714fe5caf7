"""Writes the repository's address into every file that shows it: `make retarget REPO=… [TAG=…]`.

pyproject.toml holds it under [project.urls]; README, lessons and exercises show it in their badges,
the setup cells install from it, and CITATION.cff cites it. With a tag, badges and setup cells name
that version, and what learners see does not change with the branch. Needs Python alone.
"""

import os
import re
import sys
from pathlib import Path

ADDRESS = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+")
TAG = re.compile(r"[\w][\w./-]*")
URLS = re.compile(r"^\[project\.urls\]\n.*?(?=^\[|\Z)", re.MULTILINE | re.DOTALL)
BADGES = re.compile(r"(<!-- badges -->).*?(<!-- /badges -->)", re.DOTALL)
# As it stands in the JSON of a notebook: one string of the list of lines, its quotes escaped.
SETUP = re.compile(r'^(\s*"REPOSITORY = )\\"[^"\\]*\\"', re.MULTILINE)
CITED = re.compile(r"^repository-code:.*\n", re.MULTILINE)
FIRST_LESSONS = ("lessons/00_start_here.ipynb", "lessons/05_training_on_cifar10.ipynb")


def main(arguments):
    """Rewrites the repository around this file; returns the exit status."""
    try:
        changed = retarget(Path(__file__).parents[1], *arguments)
    except (ValueError, TypeError) as error:
        use = "make retarget REPO=https://github.com/ORG/NAME [TAG=2026-autumn]"
        print(f"{error}\nUse: {use}", file=sys.stderr)
        return 1
    print("\n".join(f"rewrote {path}" for path in changed) or "nothing to change")
    return 0


def retarget(root, address, tag=""):
    """Returns the paths that changed. Raises ValueError, before anything is written.

    tag: a tag or branch; "" is the branch main.
    """
    address = address.strip().rstrip("/").removesuffix(".git")
    if not ADDRESS.fullmatch(address):
        raise ValueError(f"REPO is {address!r}; it must look like https://github.com/ORG/NAME")
    if tag and not TAG.fullmatch(tag):
        raise ValueError(f"TAG is {tag!r}; it must be the name of a tag or a branch")
    texts = dict(_rewritten(root, address, tag))
    changed = [path for path, text in texts.items() if text != _read(path)]
    for path in changed:
        temporary = path.with_name(f".{path.name}.part")
        temporary.write_text(texts[path], encoding="utf-8", newline="\n")
        os.replace(temporary, path)
    return [path.relative_to(root).as_posix() for path in changed]


def _rewritten(root, address, tag):
    """Yields (path, new text) for every file that shows the address."""
    project = _read(root / "pyproject.toml")
    if not URLS.search(project):
        raise ValueError("pyproject.toml has no section [project.urls]")
    urls = f'[project.urls]\nRepository = "{address}"\nIssues = "{address}/issues"\n\n'
    yield root / "pyproject.toml", URLS.sub(lambda _: urls, project)
    citation = CITED.sub("", _read(root / "CITATION.cff")).rstrip("\n")
    yield root / "CITATION.cff", f"{citation}\nrepository-code: {address}\n"
    start = next((name for name in FIRST_LESSONS if (root / name).exists()), FIRST_LESSONS[-1])
    version = tag or "main"
    source = f"{address}@{tag}" if tag else address  # as pip's git+… takes it
    yield root / "README.md", _with_badge(_read(root / "README.md"), address, version, start)
    for path in sorted(
        path
        for name in ("lessons", "solutions", "exercises")
        for path in (root / name).glob("*.ipynb")
    ):
        # Of a solution the learners' copy is opened: theirs is made from it, badge and all.
        opened = path.relative_to(root).as_posix().replace("solutions/", "exercises/", 1)
        text = _with_badge(_read(path), address, version, opened)
        yield path, SETUP.sub(lambda found: f'{found[1]}\\"{source}\\"', text)


def _with_badge(text, address, version, notebook):
    picture = "https://colab.research.google.com/assets/colab-badge.svg"
    colab = address.replace("https://github.com", "https://colab.research.google.com/github")
    target = f"{colab}/blob/{version}/{notebook}"
    return BADGES.sub(
        lambda found: f"{found[1]}[![Open in Colab]({picture})]({target}){found[2]}", text
    )


def _read(path):
    return path.read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
