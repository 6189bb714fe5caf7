"""The frame: what README, Makefile, environment.yml and pyproject.toml promise holds together."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import minivit

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
ALL = [*PROJECT["dependencies"], *(line for extra in EXTRAS.values() for line in extra)]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LIBRARY = (ROOT / "minivit" / "README.md").read_text(encoding="utf-8")
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))

# googlecolab/backend-info @ a724079, 19 August 2026. Where a package is not listed there, Colab is
# taken to lack it, and then installing it replaces nothing.
COLAB = {
    "python": "3.13",
    "torch": "2.11.0",
    "torchvision": "0.26.0",
    "numpy": "2.1.3",
    "ipywidgets": "7.7.1",
    "widgetsnbextension": "3.6.10",
    "ipykernel": "6.17.1",
    "ipython": "7.34.0",
    "traitlets": "5.7.1",
    "plotly": "5.24.1",
    "anywidget": "0.9.21",
    "pillow": "11.3.0",
    "safetensors": "0.8.0",
    "huggingface-hub": "1.27.0",
    "timm": "1.0.28",
    "tqdm": "4.67.3",
    "matplotlib": "3.10.0",
    "pandas": "2.2.3",
    "scikit-learn": "1.6.1",
    "einops": "0.8.2",
    "nbformat": "5.11.1",
}
NOT_LISTED_THERE = {"jaxtyping", "scipy"}


def bounds(requirements):
    """{name: specifier} of requirement strings, those on minivit itself left out."""
    parsed = [Requirement(text) for text in requirements]
    return {each.name: str(each.specifier) for each in parsed if each.name != "minivit"}


def test_environment_and_pyproject_ask_for_the_same():
    asked = bounds(ALL)
    *conda, last = ENVIRONMENT["dependencies"]
    given = bounds([*conda, *(line for line in last["pip"] if line != "-e .")])
    assert given.pop("python") == PROJECT["requires-python"]
    given.pop("pip")
    assert given == asked
    assert last["pip"][-1] == "-e ." and ENVIRONMENT["channels"][0] == "conda-forge"


def test_installing_on_colab_replaces_nothing():
    needed = bounds([*PROJECT["dependencies"], *EXTRAS["course"]])
    needed["python"] = PROJECT["requires-python"]
    for name, specifier in needed.items():
        assert name in COLAB or name in NOT_LISTED_THERE, f"{name}: does Colab have it?"
        if name in COLAB:
            assert Requirement(f"x{specifier}").specifier.contains(COLAB[name]), name
    assert not {"jupyterlab", "notebook", "ipykernel", "ipython"} & set(needed)


def test_bounds_are_lower_bounds():
    for specifier in bounds(ALL).values():
        assert re.fullmatch(r">=[\d.]+", specifier)


@pytest.mark.integration
def test_import_is_cheap():
    heavy = ["torchvision", "plotly", "ipywidgets", "scipy", "timm", "PIL", "safetensors", "tqdm"]
    # What torch itself brings along is not minivit's to avoid.
    code = "import sys, torch; before = set(sys.modules); import minivit; "
    code += f"print(*(set({heavy}) & (set(sys.modules) - before)))"
    environment = {name: v for name, v in os.environ.items() if not name.startswith("PYTEST")}
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.split() == [], done


def map_lines():
    """(path, description) of README's map, and of the one in minivit/."""
    folder, lines = "", []
    for block in LIBRARY.split("```")[1::2]:
        each = (re.split(r"\s{2,}", line, maxsplit=1) for line in block.strip().splitlines())
        lines += [("minivit/" + path, text) for path, text in each]
    for line in filter(None, README.split("## Map")[1].split("```")[1].splitlines()):
        path, text = re.split(r"\s{2,}", line.strip(), maxsplit=1)
        folder = path if not line.startswith(" ") else folder
        lines.append((folder + path if line.startswith(" ") else path, text))
    return lines


@pytest.mark.parametrize("path, text", map_lines())
def test_map_shows_what_is_there(path, text):
    place = ROOT / path
    there = place.is_file() or any(
        file.is_file() and "__pycache__" not in file.parts for file in place.rglob("*")
    )
    assert there != text.startswith("to come")


def test_map_shows_every_module():
    shown = {path for path, _ in map_lines()}
    modules = {f"minivit/{file.name}" for file in (ROOT / "minivit").glob("[a-z]*.py")}
    assert modules <= shown


def test_links_of_readme_lead_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target


@pytest.mark.integration
def test_who_has_no_make_finds_lessons_and_exercises_in_jupyterlab():
    """A folder behind `jupyter lab` becomes its root, and hides what lies beside it."""
    rows = re.findall(r"(?m)^\| (?:Windows|conda) \|.*", README)
    assert len(rows) == 2 and not [row for row in rows if re.search(r"jupyter-?\s?lab \w", row)]
    assert "activate`" not in rows[0]  # PowerShell runs no scripts until it is told to


def test_text_is_checked_out_with_the_same_bytes_everywhere():
    """Git for Windows writes CRLF unless told not to, and a Makefile with CRLF fails."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout")
    names = ("Makefile", "teaching/gradescope.py", "lessons/00_start_here.ipynb")
    asked = ["git", "check-attr", "eol", *names]
    said = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [line.rpartition(" ")[2] for line in said.splitlines()] == ["lf"] * 3


def test_every_reading_of_text_names_its_encoding():
    """Windows' own is none that has all our letters. What only runs on Linux may do without."""
    silent = []
    for folder in ("minivit", "teaching", "tools"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                name = getattr(getattr(node, "func", None), "attr", None)
                if name in ("read_text", "write_text") and not _names_encoding(node):
                    silent.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert [place for place in silent if not place.startswith("teaching/sandbox/")] == []


def _names_encoding(call):
    given = call.args if call.func.attr == "read_text" else call.args[1:]
    return bool(given) or "encoding" in [word.arg for word in call.keywords]


def test_code_of_readme_runs():
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(block, {})


def test_versions_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == minivit.__version__
    assert minivit.__version__ in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_hooks_and_extras_ask_for_the_same_tools():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    for hook in hooks["repos"][0]["hooks"]:
        assert set(hook["additional_dependencies"]) <= set(EXTRAS["test"])


def test_issue_form_has_a_unique_id_for_each_field():
    path = ROOT / ".github" / "ISSUE_TEMPLATE" / "problem.yml"
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    ids = [field["id"] for field in form["body"]]
    assert ids == ["lesson", "cell", "expected", "platform", "versions"]


def tree():
    """The project's own files: what git tracks or would add."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so the project's own files are not known")
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


# Written in pieces, so that this file does not name what it looks for.
HOMES = "|".join(["/ro" + "ot/", "/ho" + r"me/\w", "/Us" + r"ers/\w", r"[A-Z]:\\\\?Us" + "ers"])
HOSTS = "|".join(["py" + "pi", "pythonho" + "sted", "np" + "mjs", "deb" + "ian"])
OF_A_MACHINE = re.compile(rf"{HOMES}|//[\w.-]*({HOSTS})[\w.-]*/|{re.escape(str(ROOT))}/")


@pytest.mark.parametrize(
    "text", ["/ro" + "ot/x", "https://py" + "pi.org/simple", str(ROOT) + "/x", "/ho" + "me/ann"]
)
def test_names_of_a_machine_are_recognised(text):
    assert OF_A_MACHINE.search(text)


def test_no_file_names_a_machine_or_a_registry():
    found = []
    for path in tree():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:  # a picture
            continue
        found += [f"{path.relative_to(ROOT)}: {m[0]}" for m in OF_A_MACHINE.finditer(text)]
    assert not found
