"""`make retarget`: the address reaches every file that shows it, and a wrong one reaches none."""

import importlib.util
import json
import shutil
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ADDRESS = "https://github.com/some-org/mini.vit"
LESSON = "lessons/05_training_on_cifar10.ipynb"


def cell(kind, *lines):
    return {"cell_type": kind, "metadata": {}, "source": [f"{line}\n" for line in lines]}


@pytest.fixture
def retarget():
    spec = importlib.util.spec_from_file_location("retarget", ROOT / "tools" / "retarget.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.retarget


@pytest.fixture
def copy(tmp_path):
    """A copy of the files that show the address, with one small lesson and its exercise."""
    for name in ("pyproject.toml", "README.md", "CITATION.cff"):
        shutil.copy(ROOT / name, tmp_path)
    cells = [
        cell("markdown", "# Ä lesson", "<!-- badges --><!-- /badges -->"),
        cell(
            "code",
            "# keep this line",
            'REPOSITORY = ""  # set by make',
            'print("REPOSITORY = set")',
        ),
    ]
    for folder in ("lessons", "exercises", "solutions"):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / Path(LESSON).name
        path.write_text(json.dumps({"cells": cells}, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_address_reaches_every_file(retarget, copy):
    before = json.loads((copy / LESSON).read_text("utf-8"))["cells"]
    changed = retarget(copy, f"{ADDRESS}.git/")
    assert len(changed) == 6
    project = tomllib.loads((copy / "pyproject.toml").read_text("utf-8"))
    assert project["project"]["urls"] == {"Repository": ADDRESS, "Issues": f"{ADDRESS}/issues"}
    assert project["project"]["scripts"] and project["tool"]["ruff"], "the rest stays"
    badge = f"https://colab.research.google.com/github/some-org/mini.vit/blob/main/{LESSON}"
    assert badge in (copy / "README.md").read_text("utf-8")
    assert f"repository-code: {ADDRESS}\n" in (copy / "CITATION.cff").read_text("utf-8")
    first, second = json.loads((copy / LESSON).read_text("utf-8"))["cells"]
    assert badge in first["source"][1] and first["source"][0] == before[0]["source"][0]
    assert second["source"][1] == f'REPOSITORY = "{ADDRESS}"  # set by make\n'
    assert [second["source"][i] for i in (0, 2)] == [before[1]["source"][i] for i in (0, 2)]


def test_a_solution_and_its_exercise_open_the_same(retarget, copy):
    """What learners get is made from solutions/, and is checked against it before a release."""
    retarget(copy, ADDRESS, "2026-autumn")
    solution, learners = (copy / name / Path(LESSON).name for name in ("solutions", "exercises"))
    assert solution.read_bytes() == learners.read_bytes()
    assert f"/blob/2026-autumn/exercises/{Path(LESSON).name})" in learners.read_text("utf-8")


def test_a_tag_is_what_badges_open_and_setup_cells_install(retarget, copy):
    retarget(copy, ADDRESS, "2026-autumn")
    first, second = json.loads((copy / LESSON).read_text("utf-8"))["cells"]
    assert f"/mini.vit/blob/2026-autumn/{LESSON})" in first["source"][1]
    assert second["source"][1] == f'REPOSITORY = "{ADDRESS}@2026-autumn"  # set by make\n'
    assert f"repository-code: {ADDRESS}\n" in (copy / "CITATION.cff").read_text("utf-8")
    retarget(copy, ADDRESS)
    assert not any(b"autumn" in text for text in contents(copy).values())
    before = contents(copy)
    with pytest.raises(ValueError, match="TAG is 'a b'; it must be the name of a tag"):
        retarget(copy, ADDRESS, "a b")
    assert contents(copy) == before


def test_every_notebook_gets_its_own_badge_and_the_address(retarget, tmp_path):
    for name in ("pyproject.toml", "README.md", "CITATION.cff"):
        shutil.copy(ROOT / name, tmp_path)
    for folder in ("lessons", "solutions", "exercises"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    retarget(tmp_path, ADDRESS, "v1")
    notebooks = sorted(tmp_path.glob("*/*.ipynb"))
    assert len(notebooks) >= 24
    for path in notebooks:
        name = path.relative_to(tmp_path).as_posix().replace("solutions/", "exercises/")
        sources = ["".join(c["source"]) for c in json.loads(path.read_text("utf-8"))["cells"]]
        assert sources[0].count(f"/blob/v1/{name})") == 1, name
        assert sum(f'REPOSITORY = "{ADDRESS}@v1"' in source for source in sources) == 1, name


def test_once_more_changes_nothing_and_another_address_replaces(retarget, copy):
    retarget(copy, ADDRESS)
    kept = contents(copy)
    assert retarget(copy, ADDRESS) == [] and contents(copy) == kept
    retarget(copy, "https://github.com/other/name")
    assert not any(b"some-org" in text for text in contents(copy).values())


@pytest.mark.parametrize(
    "address",
    [
        "",
        "github.com/a/b",
        "https://github.com/a",
        "https://github.com/a/b/c",
        'https://github.com/a/"b',
    ],
)
def test_wrong_address_writes_nothing(retarget, copy, address):
    before = contents(copy)
    with pytest.raises(ValueError, match=r"github\.com/ORG/NAME"):
        retarget(copy, address)
    assert contents(copy) == before


def test_a_project_file_without_its_section_writes_nothing(retarget, copy):
    (copy / "pyproject.toml").write_text("[project]\n")
    before = contents(copy)
    with pytest.raises(ValueError, match=r"\[project.urls\]"):
        retarget(copy, ADDRESS)
    assert contents(copy) == before
