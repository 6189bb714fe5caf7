"""What learners are handed: everything they need, and no answer."""

import ast
import functools
import inspect
import json
import re
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

from teaching import student_release
from teaching.exercises import BEGIN, END, SOLUTIONS
from teaching.keys import KEYS
from teaching.student_release import contents, write

pytestmark = pytest.mark.integration

MARKED = re.compile(rf"{BEGIN}\n(.*?){END}", re.DOTALL)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    path = write(tmp_path_factory.mktemp("release") / "course.zip")
    with zipfile.ZipFile(path) as archive:
        return {
            name.removeprefix("minivit-course/"): archive.read(name) for name in archive.namelist()
        }


def squeezed(text):
    return re.sub(r"\s+", " ", text).strip()


def code_of(name, data):
    """The text of a file; of a notebook its cells, as a reader sees them."""
    text = data.decode("utf-8", "replace")
    if not name.endswith(".ipynb"):
        return text
    cells = json.loads(text)["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells)


def answers():
    """Every solution, and every answer of a key, reference, alternative or mutant, as text."""
    for path in sorted(SOLUTIONS.glob("*.ipynb")):
        found = MARKED.findall(code_of(path.name, path.read_bytes()))
        assert found
        yield from found
    for key in KEYS.values():
        mutants = [mutant.answer for mutant in key.mutants]
        for answer in (key.reference, *key.alternatives.values(), *mutants):
            yield body(answer)


def body(answer):
    function = answer.func if isinstance(answer, functools.partial) else answer
    try:
        node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except SyntaxError:  # a lambda in the middle of something
        return ""
    return ast.unparse(node.body) if isinstance(node, ast.FunctionDef) else ""


def leaks(files):
    """(file, answer) wherever an answer of more than one short line stands in a file."""
    texts = {name: squeezed(code_of(name, data)) for name, data in files.items()}
    whole = [squeezed(text) for text in answers()]
    # A single short line, as `return x @ w`, is nobody's secret, and lessons may well have it.
    long = [text for text in whole if len(text) > 120]
    assert len(long) >= len(KEYS)
    return [(name, text) for name, each in texts.items() for text in long if text in each]


def test_no_answer_is_in_it(release):
    assert leaks(release) == []
    names = " ".join(release)
    for part in ("teaching", "solutions", "keys", "mutant", ".term", "tests/", "kill_matrix"):
        assert part not in names
    assert not any(BEGIN.encode() in data or END.encode() in data for data in release.values())


def test_a_solution_that_slipped_in_would_be_seen(release):
    solved = next(SOLUTIONS.glob("*.ipynb"))
    assert leaks({**release, "lessons/x.ipynb": solved.read_bytes()})
    key = Path(inspect.getfile(next(iter(KEYS.values())).reference))
    unparsed = ast.unparse(ast.parse(key.read_text(encoding="utf-8")))
    assert leaks({**release, "minivit/x.py": unparsed.encode()})


def test_a_marked_solution_stops_it(tmp_path):
    (tmp_path / "lessons").mkdir()
    (tmp_path / "lessons" / "x.ipynb").write_text(f"x\n{BEGIN}\n")
    with pytest.raises(ValueError, match=r"lessons/x.ipynb holds a marked solution"):
        write(tmp_path / "out.zip", tmp_path)
    assert not (tmp_path / "out.zip").exists()


def test_it_is_enough_to_work_with(release, tmp_path):
    names = {path.name for path in SOLUTIONS.glob("*.ipynb")}
    assert names <= {Path(name).name for name in release if name.startswith("exercises/")}
    assert "lessons/05_training_on_cifar10.ipynb" in release and "Makefile" in release
    for name, data in release.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    code = (
        "import minivit, minivit.checks as c, pathlib\n"
        "assert pathlib.Path(minivit.__file__).is_relative_to(pathlib.Path.cwd())\n"
        "id = next(iter(c.QUESTIONS))\n"
        "def answer(**given): raise NotImplementedError\n"
        "c.check(id, answer)"
    )
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, cwd=tmp_path, env={"PYTHONPATH": "."}, capture_output=True)
    assert b"still raises NotImplementedError" in done.stdout, done.stderr


def test_its_readme_says_what_is_not_there(release):
    readme = release["README.md"].decode()
    assert readme.startswith("# minivit\n\n*This is the learners' copy.")
    folders = {name.split("/")[0] for name in release if "/" in name}
    said = readme.split("*")[1]
    absent = {"tests", "solutions", "teaching", "tools"}
    assert absent == set(re.findall(r"`(\w+)`", said)) and not absent & folders
    links = re.findall(r"\]\((?!https?:)([\w./-]+)\)", readme)
    assert links and not [link for link in links if link not in release]


def test_the_same_content_gives_the_same_bytes(tmp_path, release):
    first, second = write(tmp_path / "a.zip"), write(tmp_path / "b.zip")
    assert first.read_bytes() == second.read_bytes()


def test_packed_on_windows_it_is_the_same(tmp_path, release, monkeypatch):
    here = write(tmp_path / "a.zip").read_bytes()
    monkeypatch.setattr("sys.platform", "win32")
    assert write(tmp_path / "b.zip").read_bytes() == here


def test_only_what_git_knows(tmp_path):
    (tmp_path / "lessons").mkdir()
    for name in ("known", "new"):
        (tmp_path / "lessons" / f"{name}.ipynb").write_text("{}")
    assert len(contents(tmp_path)) == 2
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "lessons/known.ipynb"], cwd=tmp_path, check=True)
    assert list(contents(tmp_path)) == ["lessons/known.ipynb"]


def test_a_stale_exercise_stops_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(student_release, "drift", lambda: ["04.ipynb"])
    assert student_release.main([str(tmp_path / "x.zip")]) == 1
    assert "run make exercises" in capsys.readouterr().err and not (tmp_path / "x.zip").exists()
