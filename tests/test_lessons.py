"""What every lesson keeps to, checked on the files as they are committed.

One parametrised test for each rule, and for each a made-up notebook that breaks it.
"""

import ast
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from minivit import __version__

ROOT = Path(__file__).parents[1]
LESSONS = sorted((ROOT / "lessons").glob("*.ipynb"))
TITLE = re.compile(r"# (\d\d[ab]?) · ")
# A guess that nobody has made yet: `x = None`, `{"a": None}`, `[]`, `""`.
GUESS = re.compile(r"[=:(\[] ?(None|\[\]|\"\")|= \[\]")
CHOICE = re.compile(r"<details><summary>(.+?)</summary>(.*?)</details>", re.DOTALL)


def source(cell):
    return "".join(cell["source"])


def cells(notebook, kind):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def prose(notebook):
    """What a learner reads; `make retarget` puts badges between the marks."""
    text = "\n".join(source(cell) for cell in cells(notebook, "markdown"))
    return re.sub("<!-- badges -->.*?<!-- /badges -->", "", text, flags=re.DOTALL)


def outputs(notebook):
    return [output for cell in cells(notebook, "code") for output in cell.get("outputs", [])]


def source_of(output, kind, default):
    """One kind of an output's data as text."""
    return "".join(output.get("data", {}).get(kind, default))


def setup_cell(notebook):
    found = [source(c) for c in cells(notebook, "code") if source(c).startswith("REPOSITORY = ")]
    return found[0] if found else None


def unguessed(notebook):
    """Predictions that none of the next three cells has a place for."""
    for at, cell in enumerate(notebook["cells"]):
        asked = cell["cell_type"] == "markdown" and re.search(r"\*\*Predict\b", source(cell))
        below = [c for c in notebook["cells"][at + 1 : at + 4] if c["cell_type"] == "code"]
        if asked and not any(GUESS.search(source(c)) for c in below):
            yield f"a prediction with no place to write it: {source(cell)[asked.start() :][:60]!r}"


def is_unmade(value):
    """Whether what stands behind `=` waits for a reader: None, [], "", or one with None in it."""
    if isinstance(value, ast.Constant):
        return value.value in (None, "")
    if isinstance(value, ast.List) and not value.elts:
        return True
    inside = getattr(value, "values", None) or getattr(value, "elts", [])
    return any(isinstance(each, ast.Constant) and each.value is None for each in inside)


def named(node):
    """The names that a statement assigns, each as often as it does; not those inside functions."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(
        node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
    ):
        return
    elif isinstance(node, ast.alias):
        yield (node.asname or node.name).partition(".")[0]
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    else:
        for child in ast.iter_child_nodes(node):
            yield from named(child)


def overwritten(notebook):
    """Predictions whose name another line of the lesson takes: a cell run twice would be wrong."""
    without_magic = (re.sub(r"(?m)^[%!].*$", "", source(cell)) for cell in cells(notebook, "code"))
    trees = [ast.parse(text) for text in without_magic]
    times = Counter(name for tree in trees for name in named(tree))
    for statement in (each for tree in trees for each in tree.body):
        if isinstance(statement, ast.Assign) and is_unmade(statement.value):
            for name in set(named(statement)):
                if times[name] > 1:
                    yield f"the prediction {name!r} is assigned {times[name]} times"


def quiz_faults(text):
    """What the three questions at the end lack."""
    quiz = text.partition("## Three questions for yourself")[2].partition("## What we")[0]
    questions = re.split(r"\*\*\d\. ", quiz)[1:]
    if len(questions) != 3:
        yield f"{len(questions)} questions at the end"
    for question in questions:
        choices = CHOICE.findall(question)
        if len(choices) < 2 or any(len(reason.split()) < 3 for _, reason in choices):
            yield f"a choice without a reason: {question[:40]!r}"


def broken_rules(notebook, size, setup):
    """Sentences on what a lesson breaks; setup: what the setup cell of all lessons is."""
    yield from (
        f"code cell of {source(cell).count(chr(10)) + 1} lines"
        for cell in cells(notebook, "code")
        if source(cell).count("\n") >= 20 and source(cell) != setup
    )
    if (words := len(prose(notebook).split())) > 3_000:
        yield f"{words} words"
    if not 45 <= len(notebook["cells"]) <= 70:
        yield f"{len(notebook['cells'])} cells"
    if size > 2_000_000:
        yield f"{size / 1e6:.1f} MB"
    if "widgets" in notebook["metadata"]:
        yield "keeps widget state"
    if setup_cell(notebook) != setup:
        yield "another setup cell"
    for cell in cells(notebook, "code"):
        folded = cell["metadata"].get("jupyter", {}).get("source_hidden", False)
        if folded != (source(cell) == setup):
            yield "the setup cell is folded, and no other"
    kept = outputs(notebook)
    if not kept:
        yield "no kept outputs"
    if any(c.get("outputs") and not c["execution_count"] for c in cells(notebook, "code")):
        yield "outputs of a cell that has no number, which nbval fails"
    for output in kept:
        if output["output_type"] == "error":
            yield f"an error in the kept output: {output['ename']}"
        figure = output.get("data", {}).get("application/vnd.plotly.v1+json")
        if figure and not figure["layout"].get("meta", {}).get("alt"):
            yield "a figure without alt text"
        frames = (figure or {}).get("frames", [])
        goals = [text for f in frames if "reached here" in (text := f["layout"]["title"]["text"])]
        if goals and not any("✓ reached here" in text for text in goals):
            yield f"a goal that no slider reaches: {goals[0].partition('<br>')[0]}"
        if "image/png" in output.get("data", {}) and not figure:
            yield "a picture without alt text"
        if "aria-label=" not in source_of(output, "image/svg+xml", "aria-label="):
            yield "a drawing without alt text"
        if path := MACHINE.search("".join(output.get("text", []))):
            yield f"a path of one machine in the kept output: {path[0]}"
        if re.search(r"scale:? smoke", json.dumps(output)):
            yield "kept at a scale whose numbers mean nothing"
    for wanted in ("| **You will be able to** |", "| **Minutes** |", "| **Device** |"):
        if wanted not in prose(notebook):
            yield f"no {wanted}"
    if not TITLE.match(prose(notebook)):
        yield "the title does not begin with the lesson's number"
    for wanted in ("## What we did not show", "## Two readings", "**Predict"):
        if wanted not in prose(notebook):
            yield f"nowhere {wanted!r}"
    if prose(notebook).partition("## Two readings")[2].count("\n- ") < 2:
        yield "fewer than two readings"
    yield from unguessed(notebook)
    yield from overwritten(notebook)
    yield from quiz_faults(prose(notebook))
    if re.search(r"!\[\]\(|<img(?![^>]*alt=)", prose(notebook)):
        yield "an image without alt text"


# A folder of somebody's, where it begins a path.
MACHINE = re.compile(r"(?<![\w~$.)}])/(tmp|home|root|work|Users|var)/\S*")
ANNS = "/".join(["", "home", "ann"])  # in parts: no file of ours names such a folder


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


SETUP = setup_cell(read(LESSONS[0]))


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_keeps_the_rules(path):
    assert list(broken_rules(read(path), path.stat().st_size, SETUP)) == []


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("*/*.ipynb")), ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_a_notebook_begins_with_its_setup_folded_and_names_the_version_it_was_written_for(path):
    notebook = read(path)
    assert f'\nVERSION = "{__version__}"' in setup_cell(notebook)
    (setup,) = [c for c in cells(notebook, "code") if source(c) == setup_cell(notebook)]
    assert setup["metadata"] == {"jupyter": {"source_hidden": True}}, "unfolded"


def breaking(change):
    notebook = read(LESSONS[0])
    change(notebook)
    return " ".join(broken_rules(notebook, 10**6, SETUP))


def test_each_rule_can_be_broken():
    def long_cell(notebook):
        cells(notebook, "code")[-1]["source"] = ["x = 1\n"] * 20 + ["x = 1"]

    def other_setup(notebook):
        cells(notebook, "code")[0]["source"] = ["REPOSITORY = 1"]

    def error(notebook):
        wrong = {"output_type": "error", "ename": "ValueError"}
        cells(notebook, "code")[-1]["outputs"] = [wrong]

    def silent(notebook):
        for output in outputs(notebook):
            output.get("data", {}).get("application/vnd.plotly.v1+json", {}).pop("layout", None)
        for output in outputs(notebook):
            if figure := output.get("data", {}).get("application/vnd.plotly.v1+json"):
                figure["layout"] = {}

    def no_outputs(notebook):
        for cell in cells(notebook, "code"):
            cell["outputs"] = []

    def no_number(notebook):
        for cell in cells(notebook, "code"):
            cell["execution_count"] = None

    def many_words(notebook):
        cells(notebook, "markdown")[-1]["source"] = ["word " * 3_000]

    def few_cells(notebook):
        del notebook["cells"][40:]

    def no_card(notebook):
        for cell in cells(notebook, "markdown"):
            cell["source"] = [source(cell).replace("**Minutes**", "")]

    def without(word):
        def change(notebook):
            for cell in cells(notebook, "markdown"):
                cell["source"] = [source(cell).replace(word, "")]

        return change

    def output(**data):
        kinds = {f"image/{kind}": text for kind, text in data.items()}
        made = {"output_type": "display_data", "data": kinds}
        return lambda notebook: cells(notebook, "code")[-1].update(outputs=[made])

    def kept_at_smoke(notebook):
        text = {"output_type": "stream", "name": "stdout", "text": ["scale: smoke: d = 32"]}
        cells(notebook, "code")[-1]["outputs"] = [text]

    def kept_with_a_path(notebook):
        text = {"output_type": "stream", "name": "stdout", "text": [f"data: {ANNS}/cifar10.tgz"]}
        cells(notebook, "code")[-1]["outputs"] = [text]

    def guessing(text):
        cell = {"cell_type": "code", "metadata": {}, "source": [text], "outputs": []}
        asked = {"cell_type": "markdown", "source": ["**Predict** it."]}
        return lambda notebook: notebook["cells"].extend([asked, cell])

    def out_of_reach(notebook):
        for cell in cells(notebook, "code"):
            for output in cell["outputs"]:
                figure = output.get("data", {}).get("application/vnd.plotly.v1+json", {})
                for frame in figure.get("frames", []):
                    title = frame["layout"]["title"]
                    title["text"] = title["text"].replace("✓ reached here", "not reached here")

    def fold(at, metadata):
        return lambda notebook: cells(notebook, "code")[at].update(metadata=metadata)

    def markdown(text):
        return lambda notebook: cells(notebook, "markdown")[3].update(source=[text])

    def no_reason(notebook):
        cell = [c for c in cells(notebook, "markdown") if "**3. " in source(c)][-1]
        cell["source"] = [
            re.sub(r"</summary>.*?</details>", "</summary>No.</details>", source(cell))
        ]

    assert "a picture without alt text" in breaking(output(png="iVBOR"))
    assert "a drawing without alt text" in breaking(output(**{"svg+xml": "<svg></svg>"}))
    assert "a goal that no slider reaches: W_Q W_Kᵀ of one head" in breaking(out_of_reach)
    hidden = {"jupyter": {"source_hidden": True}}
    for at, metadata in ((0, {}), (1, hidden)):
        assert "the setup cell is folded, and no other" in breaking(fold(at, metadata))
    assert "kept at a scale" in breaking(kept_at_smoke)
    assert f"a path of one machine in the kept output: {ANNS}" in breaking(kept_with_a_path)
    assert "no place to write it: '**Predict** it.'" in breaking(guessing("print(1)"))
    assert "no place to write it" not in breaking(guessing("x = None  # yours"))
    for again in ("x = 2", "for x in (1, 2): pass", "import y as x", "def x(): pass", "(x := 1)"):
        assert "the prediction 'x' is assigned 2 times" in breaking(guessing(f"x = None\n{again}"))
    for other in ("y = x", "def f():\n    x = 1", "[x for x in (1, 2)]", "x['a'] = 1", "f(x=1)"):
        assert "the prediction 'x'" not in breaking(guessing(f"x = {{'a': None}}\n{other}"))
    assert "an image without alt text" in breaking(markdown("![](a.png)"))
    assert "an image without alt text" in breaking(markdown('<img src="a.png">'))
    assert "a choice without a reason" in breaking(no_reason)
    assert "2 questions at the end" in breaking(without("**3. "))
    assert "fewer than two readings" in breaking(without("\n- "))
    assert "the title does not begin" in breaking(without("# 00 · "))
    for words in ("## What we did not show", "## Two readings", "**Predict"):
        assert f"nowhere {words!r}" in breaking(without(words))
    for words in ("| **You will be able to** |", "| **Device** |"):
        assert f"no {words}" in breaking(without(words))
    assert "code cell of 21 lines" in breaking(long_cell)
    assert "another setup cell" in breaking(other_setup)
    assert "an error in the kept output: ValueError" in breaking(error)
    assert "a figure without alt text" in breaking(silent)
    assert "no kept outputs" in breaking(no_outputs)
    assert "a cell that has no number, which nbval fails" in breaking(no_number)
    assert "no | **Minutes** |" in breaking(no_card)
    assert re.search(r"\d{4} words", breaking(many_words)) and "40 cells" in breaking(few_cells)
    assert "keeps widget state" in breaking(lambda n: n["metadata"].update(widgets={}))
    assert "2.1 MB" in " ".join(broken_rules(read(LESSONS[0]), 2_100_000, SETUP))


def test_every_box_that_the_entry_quiz_names_is_there():
    quiz = prose(read(ROOT / "lessons" / "00_start_here.ipynb"))
    named = re.findall(r"box <b>(.+?)</b> in lesson (\d\d[ab]?)", quiz)
    assert len(named) >= 6
    for title, number in named:
        lesson = next(path for path in LESSONS if path.stem.startswith(f"{number}_"))
        plain = re.sub(r"</?code>|`", "", title)
        boxes = re.findall(r"\*\*Tool: (.+?)\.?\*\*", prose(read(lesson)).replace("`", ""))
        assert plain in [box.rstrip(".") for box in boxes], f"{title!r} is not a box of {number}"


def test_every_lesson_leads_to_its_exercises():
    for path in sorted((ROOT / "exercises").glob("*.ipynb")):
        number = path.stem[:2]
        lesson = [each for each in LESSONS if each.stem.startswith(number)][-1]  # 01b, not 01a
        assert f"(../exercises/{path.name})" in prose(read(lesson)), f"{lesson.stem}: {path.name}"
