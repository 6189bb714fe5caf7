"""The lessons as web pages, to read where nothing is installed: `python -m tools.pages`.

Makes dist/pages: a page for each lesson, with its kept outputs, and a table of contents. What
answers a prediction is folded away until the reader opens it. Sliders that need no kernel move;
those that need one show the picture that was kept. Nothing is fetched from elsewhere, so the
folder can be read from disk, or put on any server for static files.
"""

import argparse
import html
import json
import re
import sys
import tomllib
from base64 import b64encode
from itertools import pairwise
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from plotly.offline import get_plotlyjs
from pygments.formatters import HtmlFormatter

from minivit.storage import write_text
from teaching.slides import mathml, without_predictions

ROOT = Path(__file__).parents[1]
TEMPLATE = ROOT / "tools" / "page.html.j2"
PLOTLY = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-view+json"
LINK = re.compile(r"\[([^\]]+)\]\(([\w./-]+\.ipynb)\)")
ANSWER_ENDS = re.compile(r"^(?=#|\*\*Predict|\*\*Before you|> \*\*Tool)", re.MULTILINE)
BADGES = re.compile(r"<!-- badges -->.*?<!-- /badges -->\s*", re.DOTALL)
CARD = re.compile(r"\*\*Minutes\*\* \| ([^|\n]+) \|")
SETUP = "REPOSITORY ="  # how the cell begins that finds the package, in every lesson
CONTENTS, SCRIPT = "index.html", "plotly.js"


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tools.pages")
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "dist" / "pages")
    folder = parser.parse_args(arguments).folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        write_text(folder / name, text)
    print(f"{folder / CONTENTS}: open it in a browser")
    return 0


def pages(root=ROOT):
    """{name of a file: its text} of the whole folder."""
    paths = sorted((root / "lessons").glob("[0-9]*.ipynb"))
    lessons = {path.stem: read(path) for path in paths}
    names = [f"{stem}.html" for stem in lessons]
    found = {CONTENTS: contents(lessons, root, names[0]), SCRIPT: get_plotlyjs()}
    around = zip(names, [None, *names], [*names[1:], None], lessons.values(), strict=False)
    for name, before, after, notebook in around:
        found[name] = lesson_page(notebook, before, after, repository(root))
    return found


def read(path):
    """A lesson without its badge, which is a picture from elsewhere."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].source = BADGES.sub("", notebook.cells[0].source)
    return notebook


def repository(root):
    """The address that `make retarget` wrote into pyproject.toml; None before that."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project.get("urls", {}).get("Repository")


def lesson_page(notebook, before, after, address):
    """One lesson as HTML. Raises ValueError for a figure that says nothing to the blind."""
    figures = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(lambda found: linked(found, address), mathml(cell.source))
    for cell, following in pairwise([*notebook.cells, None]):
        fold(cell, following)
        if cell.source.startswith(SETUP):
            cell.metadata["setup"] = True
        for output in cell.get("outputs", []):
            drawn_by_the_page(output, figures)
    title, _ = opening(notebook)
    around = {"before": before, "contents": CONTENTS, "after": after}
    return page(notebook, title=title, figures=figures, **around)


def fold(cell, following):
    """Folds the outputs of a cell that answers a prediction, and what is said about them.

    Such a cell repeats what the reader said, and on a page nobody said anything.
    """
    printed = [output for output in cell.get("outputs", []) if output.output_type == "stream"]
    if not any("you said" in output.text for output in printed):
        return
    cell.metadata["answer"] = True
    for output in printed:
        output.text = without_predictions(output.text)
    if following is not None and following.cell_type == "markdown":
        reading, *rest = ANSWER_ENDS.split(following.source, maxsplit=1)
        following.source = "".join(rest)
        data = {"text/markdown": reading}
        cell.outputs.append(nbformat.v4.new_output("display_data", data=data))


def linked(found, address):
    """A link to another lesson leads to its page, one to an exercise to the repository."""
    text, target = found.groups()
    if "/" not in target:
        return f"[{text}]({Path(target).stem}.html)"
    path = target.removeprefix("../")
    return f"[{text}]({address}/blob/HEAD/{path})" if address else f"{text} (`{path}`)"


def drawn_by_the_page(output, figures):
    """Puts a place into an output that is a figure; the page's script draws into it."""
    data = output.get("data", {})
    if PLOTLY in data:
        figure = data[PLOTLY]
        alt, height = figure["layout"].get("meta", {}).get("alt"), figure["layout"]["height"]
        if not alt:
            raise ValueError(f"the figure {figure['layout'].get('title')} has no alternative text")
        role = "group" if figure["layout"].get("sliders") else "img"
        output["data"] = {
            "text/html": f'<div class="wide"><div class="figure" role="{role}" '
            f'aria-label="{html.escape(alt)}" style="height: {height}px" '
            f'data-figure="{len(figures)}"></div></div>'
        }
        figures.append(figure)
    elif WIDGET in data:
        words = html.escape(data["text/plain"])
        picture = b64encode(data["image/svg+xml"].encode()).decode()
        output["data"] = {
            "text/html": f'<figure><img src="data:image/svg+xml;base64,{picture}" alt="{words}">'
            "<figcaption>One setting of the sliders. To move them, run the lesson."
            "</figcaption></figure>"
        }


def opening(notebook):
    """(title, what stands below it) of a lesson's first cell."""
    title, _, rest = notebook.cells[0].source.partition("\n")
    return title.removeprefix("# "), rest.strip()


def contents(lessons, root, first):
    """The table of contents: what README says first, then what each lesson says of itself."""
    readme = (root / "README.md").read_text(encoding="utf-8")
    about = re.search(r"^In trained Vision.+?(?=\n\n)", readme, re.DOTALL | re.MULTILINE)[0]
    cells = [f"# The course of minivit\n\n{about}", READING]
    for stem, notebook in lessons.items():
        title, rest = opening(notebook)
        minutes = CARD.search(notebook.cells[1].source)[1]
        cells.append(f"## [{title}]({stem}.html)\n\n{rest}\n\n*Minutes: {minutes}.*")
    notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_markdown_cell, cells)))
    around = {"before": None, "contents": None, "after": first}
    return page(notebook, title="The course of minivit", figures=[], **around)


READING = """The lessons are notebooks, and made to be run: then sliders move, predictions can be
written down, and exercises say what is wrong. These pages are for reading. Where one says
**Predict**, say your guess aloud before you open the answer. What you read there was computed by
the code above it, before the page was made."""


def page(notebook, *, title, figures, before, contents, after):
    """A notebook as HTML, with links to the files before, contents and after (None: no link)."""
    exporter = HTMLExporter(
        template_name="classic", template_file=str(TEMPLATE), exclude_anchor_links=True
    )
    light, dark = (HtmlFormatter(style=name) for name in ("default", "github-dark"))
    taken = {
        "title": title,
        "before": before,
        "after": after,
        "contents": contents,
        "script": SCRIPT if figures else None,
        "light": light.get_style_defs(".highlight"),
        "dark": dark.get_style_defs(".highlight"),
        "figures": json.dumps(figures).replace("</", "<\\/"),
    }
    return exporter.from_notebook_node(notebook, resources={"page": taken})[0]


if __name__ == "__main__":
    sys.exit(main())
