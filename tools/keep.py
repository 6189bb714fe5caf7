"""Runs lessons and keeps what they show: `make lessons`, or one of them, or all but the training.

Lessons are read where nothing runs, so their outputs are committed, and records, libraries and
code change under them. `python -m tools.keep lessons/07_is_it_real.ipynb` runs a lesson in a fresh
kernel at scale laptop, with `MINIVIT_DATA`'s images, and writes what it shows. With `--no-training`
a cell that trains is not run, nor is one that needs what it would have made; both keep what they
had.
"""

import argparse
import ast
import base64
import io
import os
import re
import shutil
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

from minivit.storage import write_text

LESSONS = Path(__file__).parents[1] / "lessons"
KERNEL = re.compile(r"\S*ipykernel_\d+\S*\.py:\d+:")  # where a warning says that it was given
COLOURS = 256  # of a kept picture: a figure has few, and a notebook is read over a network

# Run in the kernel before the first cell. A lesson imports the functions by name, so they are
# replaced before it does.
NO_TRAINING = """
import sys

import minivit.compare, minivit.train, minivit.transfer


class NotTrained(Exception):
    pass


def _refuse(*_, **__):
    raise NotTrained


for _module, _name in (("compare", "compare"), ("train", "train"), ("transfer", "fine_tune")):
    setattr(sys.modules[f"minivit.{_module}"], _name, _refuse)
minivit.train = _refuse
"""
# What a cell that was left out makes, or has made in part: what needs it has to fail, too.
FORGET = "for _name in {names}:\n    globals().pop(_name, None)"
INSIDES = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("lessons", nargs="*", type=Path, help="by default all of them")
    parser.add_argument("--no-training", action="store_true", help="leave out what trains")
    given = parser.parse_args()
    for path in given.lessons or sorted(LESSONS.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        seen = run(notebook, path.parent, training=not given.no_training)
        for number, outputs in seen.items():
            notebook.cells[number].outputs = [*map(_smaller, _joined(outputs))]
        write_text(path, nbformat.writes(_tidy(notebook)) + "\n")
        code = [n for n, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
        as_before = ", ".join(str(n) for n in code if n not in seen) or "none"
        print(f"{path}: {len(seen)} cells; as they were: {as_before}", flush=True)


def run(notebook, folder, *, training=True, pictures=True) -> dict:
    """Number of a code cell → what it shows; without the cells that were not run.

    notebook is not changed. Raises nbclient's CellExecutionError where a cell fails; without
    training a cell that fails after one that was left out counts as left out, too.
    """
    settings = {"MINIVIT_SCALE": "laptop"}
    if pictures:
        settings["PLOTLY_RENDERER"] = "plotly_mimetype+png"
        browser = shutil.which("chromium") or shutil.which("google-chrome")
        settings |= {"BROWSER_PATH": browser} if browser else {}
    copy = nbformat.from_dict(notebook)
    lesson = list(copy.cells)
    copy.cells.append(nbformat.v4.new_code_cell())  # nbclient executes cells of the notebook only
    client = NotebookClient(copy, timeout=None, resources={"metadata": {"path": str(folder)}})
    found, left_out = {}, False

    def aside(source):
        copy.cells[-1].source = source
        client.execute_cell(copy.cells[-1], len(lesson))

    with tempfile.TemporaryDirectory() as runs:
        settings["MINIVIT_RUNS"] = runs
        with client.setup_kernel(env={**os.environ, **settings}):
            if not training:
                aside(NO_TRAINING)
            for number, cell in enumerate(lesson):
                if cell.cell_type != "code":
                    continue
                try:
                    client.execute_cell(cell, number)
                except CellExecutionError as error:
                    # Only for want of what a cell left out would have made.
                    if error.ename != "NotTrained" and not (
                        left_out and error.ename == "NameError"
                    ):
                        raise
                    left_out = True
                    aside(FORGET.format(names=bound(cell.source)))
                    continue
                found[number] = cell.outputs
    return found


def bound(source):
    """The names that a cell binds, sorted; not those of functions' insides, nor what it imports."""
    names, todo = set(), list(ast.parse(source).body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif not isinstance(node, INSIDES):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
            todo += ast.iter_child_nodes(node)
    return sorted(names)


def _joined(outputs):
    """Texts that came one after the other as one, without paths of this machine."""
    joined, data = [], os.environ.get("MINIVIT_DATA")
    for output in outputs:
        if output.output_type == "stream":
            output.text = KERNEL.sub("this cell:", output.text)
            if data:
                output.text = output.text.replace(data, "$MINIVIT_DATA")
            if joined and joined[-1].get("name") == output.name:
                joined[-1].text += output.text
                continue
        joined.append(output)
    return joined


def _smaller(output):
    """The output, its picture in a palette; of a figure with sliders none: it would stand still."""
    data = output.get("data", {})
    if data.get("application/vnd.plotly.v1+json", {}).get("frames"):
        data.pop("image/png", None)
    if "image/png" in data:
        picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).convert("RGB")
        small = io.BytesIO()
        picture.quantize(COLOURS, dither=Image.Dither.NONE).save(small, "png", optimize=True)
        data["image/png"] = base64.b64encode(small.getvalue()).decode()
    return output


def _tidy(notebook):
    """Without the state of widgets, which holds plotly.js, and the times of execution.

    Code cells are numbered: nbval fails one that has outputs and no number, as a new one has.
    """
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(code, start=1):
        cell.execution_count = number
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = number
    return notebook


if __name__ == "__main__":
    main()
