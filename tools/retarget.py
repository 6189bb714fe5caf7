"""Writes the repository's address into every file that shows it: `make retarget REPO=…`.

pyproject.toml holds it under [project.urls]; README and lessons show it in their badges, the setup
cells of lessons and exercises install from it, and CITATION.cff cites it. Needs Python alone.
"""

import re
import sys
from pathlib import Path

ADDRESS = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+")
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
        print(f"{error}\nUse: make retarget REPO=https://github.com/ORG/NAME", file=sys.stderr)
        return 1
    print("\n".join(f"rewrote {path}" for path in changed) or "nothing to change")
    return 0


def retarget(root, address):
    """Returns the paths that changed. Raises ValueError, before anything is written."""
    address = address.strip().rstrip("/").removesuffix(".git")
    if not ADDRESS.fullmatch(address):
        raise ValueError(f"REPO is {address!r}; it must look like https://github.com/ORG/NAME")
    texts = dict(_rewritten(root, address))
    changed = [path for path, text in texts.items() if text != _read(path)]
    for path in changed:
        path.write_text(texts[path], encoding="utf-8", newline="\n")
    return [path.relative_to(root).as_posix() for path in changed]


def _rewritten(root, address):
    """Yields (path, new text) for every file that shows the address."""
    project = _read(root / "pyproject.toml")
    if not URLS.search(project):
        raise ValueError("pyproject.toml has no section [project.urls]")
    urls = f'[project.urls]\nRepository = "{address}"\nIssues = "{address}/issues"\n\n'
    yield root / "pyproject.toml", URLS.sub(lambda _: urls, project)
    citation = CITED.sub("", _read(root / "CITATION.cff")).rstrip("\n")
    yield root / "CITATION.cff", f"{citation}\nrepository-code: {address}\n"
    start = next((name for name in FIRST_LESSONS if (root / name).exists()), FIRST_LESSONS[-1])
    yield root / "README.md", _with_badge(_read(root / "README.md"), address, start)
    for path in sorted(
        path
        for name in ("lessons", "solutions", "exercises")
        for path in (root / name).glob("*.ipynb")
    ):
        text = _with_badge(_read(path), address, path.relative_to(root).as_posix())
        yield path, SETUP.sub(lambda found: f'{found[1]}\\"{address}\\"', text)


def _with_badge(text, address, notebook):
    picture = "https://colab.research.google.com/assets/colab-badge.svg"
    target = f"{address.replace('https://github.com', 'https://colab.research.google.com/github')}/blob/main/{notebook}"
    return BADGES.sub(
        lambda found: f"{found[1]}[![Open in Colab]({picture})]({target}){found[2]}", text
    )


def _read(path):
    return path.read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
