"""Slide decks, each one HTML file that needs no network: `python -m teaching.slides`.

A deck is a Markdown file in teaching/decks/: slides between lines of `---`, each with notes for the
speaker below a line `Notes:`; what follows a line `. . .` waits for a key, after a
question. The three make a fourth, the lecture of `teaching.lecture`. What is shown is fetched:

    {{ figure("every-head") }}              the kept figure of the cell tagged slide:every-head
    {{ printed("twin", "^right") }}         what this cell printed: the lines that hold a pattern
    {{ table("order") }}                    what it printed in columns
    {{ said("claim", "gains ([.0-9]+)") }}  one number out of what it printed
    {{ code("write-mimetic") }}             the cell itself
    {{ gains("torch_default") }}            a figure made from the final records, now
    {{ finding("QK alone ends higher than plain.") }}      what FINDINGS.md has; also claim("…")

Mathematics between dollars becomes MathML, which browsers draw themselves. reveal.js comes out of
the package sphinx-revealjs, plotly.js out of plotly.
"""

import argparse
import json
import re
import sys
from functools import cache
from html import escape
from importlib import resources
from pathlib import Path

import nbformat
from jinja2 import Environment, StrictUndefined

from minivit import Mimetic
from minivit.compare import DEFAULT_ARMS
from minivit.evidence import contrast, final_runs, points, recorded_on
from minivit.figures import ARM_NAMES, intervals, training_curves
from minivit.outcome import curves
from minivit.storage import write_text
from teaching import lecture
from teaching.exercises import ROOT
from teaching.slide_facts import (
    TURNS,
    asked,
    cited,
    claim,
    drawing,
    finding,
    heads,
    picture,
    starts,
    turns,
)

DECKS = {path.stem: path for path in sorted((ROOT / "teaching" / "decks").glob("*.md"))}
TEMPLATE = ROOT / "teaching" / "decks" / "deck.html.j2"
MINUTES = re.compile(r"\s*(\d+) minutes?\.")
FIGURE = "application/vnd.plotly.v1+json"
WIDTH, LARGEST = 1200, 1.9  # pixels that a figure has, on a slide of 1280 × 720
CONTROLS = [arm for arm in DEFAULT_ARMS if arm != "mimetic"]


@cache
def tagged(lessons=ROOT / "lessons"):
    """{tag: (number of the lesson, cell)} of all cells with a tag slide:…, each used once."""
    found = {}
    for path in sorted(lessons.glob("[0-9]*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            for tag in cell.metadata.get("tags", []):
                if tag in found:
                    raise ValueError(f"two cells have the tag {tag!r}")
                if tag.startswith("slide:"):
                    found[tag] = path.stem.split("_")[0], cell
    return found


def cell_of(tag):
    """(number of the lesson, cell) of a tag; a ValueError that lists the tags where it is none."""
    known = tagged()
    if f"slide:{tag}" not in known:
        raise ValueError(f"no lesson has a cell tagged 'slide:{tag}'; there are {sorted(known)}")
    return known[f"slide:{tag}"]


def text_of(tag):
    """What a code cell printed, without the reader's predictions; of a cell of prose, its words."""
    _, cell = cell_of(tag)
    if cell.cell_type == "markdown":
        return cell.source
    printed = "".join(out.text for out in cell.outputs if out.output_type == "stream")
    return without_predictions(printed)


def without_predictions(printed):
    """What a cell printed, less what it says of the reader's guesses."""
    whole_line, rest_of_line = r"^you said.*\n", r"[ \t]*[;,·]?[ \t]*you said[^;\n]*"
    return re.sub(f"(?m){whole_line}|{rest_of_line}", "", printed).rstrip()


def said(tag, pattern):
    """The group of a pattern that matches once; ValueError where the lesson says it otherwise."""
    found = re.findall(pattern, text_of(tag))
    if len(found) != 1:
        raise ValueError(f"{pattern!r} is {len(found)} times in slide:{tag}:\n{text_of(tag)}")
    return found[0].replace("-", "−")


def printed(tag, pattern=""):
    """The lines that a cell printed and in which the pattern is found, as a block."""
    lines = [line for line in text_of(tag).splitlines() if re.search(pattern, line)]
    if not lines:
        raise ValueError(f"no line of slide:{tag} has {pattern!r}:\n{text_of(tag)}")
    size = min(32, 1850 // max(map(len, lines)))  # pixels, so that the longest line fits
    text = escape("\n".join(lines))
    return f'<pre style="font-size: {size}px">{text}</pre>\n\n{_from(tag)}'


def table(tag):
    """What a cell printed in columns, as a table. ValueError where its lines differ in columns."""
    rows = [line.split() for line in text_of(tag).splitlines()]
    rows = [[" ".join(row[: 1 - len(rows[0])]), *row[1 - len(rows[0]) :]] for row in rows]
    if len(rows) < 2 or {len(row) for row in rows} != {len(rows[0])} or not all(map(all, rows)):
        raise ValueError(f"slide:{tag} prints no table:\n{text_of(tag)}")
    head, *body = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)
    lines = f"<tr>{head.replace('td>', 'th>')}</tr>" + "".join(f"<tr>{row}</tr>" for row in body)
    return f'<table class="printed">{lines}</table>\n\n{_from(tag)}'


def code(tag):
    return f"```python\n{cell_of(tag)[1].source}\n```\n\n{_from(tag)}"


def _from(tag):
    return f'<p class="from">lesson {cell_of(tag)[0]}</p>'


def gain(base, arm):
    """Mimetic less another arm on one base: the paired difference of their final runs, or None."""
    return contrast([final_runs(base, "mimetic")], [final_runs(base, arm)])


def gains(base):
    """A figure of mimetic less each of the others."""
    rows = {f"mimetic − {ARM_NAMES[arm]}": gain(base, arm) for arm in CONTROLS}
    source = f"{recorded_on(runs_on(base))} · test accuracy"
    return intervals(rows, title=f"Base {base}", source=source)


def final_curves(base):
    """A figure of validation accuracies, epoch by epoch."""
    title = f"Four ways to start attention, base {base}"
    runs = runs_on(base)
    return training_curves(curves(runs)[base], title=title, source=recorded_on(runs))


def runs_on(base):
    """The final runs of all four arms. ValueError where an arm has fewer than two."""
    runs = {arm: final_runs(base, arm) for arm in DEFAULT_ARMS}
    few = [arm for arm, found in runs.items() if len(found) < 2]
    if few:
        raise ValueError(f"base {base}: fewer than two final runs of {', '.join(few)}")
    return [run for found in runs.values() for run in found]


class Figures(list):
    """The figures of a deck. Each leaves a place on its slide; deck.html.j2 draws it there."""

    def of_cell(self, tag, hide="", **size):
        """The figure that a cell keeps. hide: words in it that would answer a slide's question."""
        _, cell = cell_of(tag)
        kept = [out.data[FIGURE] for out in cell.outputs if FIGURE in out.get("data", {})]
        if len(kept) != 1:
            raise ValueError(f"the cell slide:{tag} keeps {len(kept)} figures, not one")
        words = json.dumps(kept[0], ensure_ascii=False)
        if hide not in words:
            raise ValueError(f"{hide!r}, to be hidden, is not in the figure of slide:{tag}")
        return self.place(json.loads(words.replace(hide, "")), **size) + _from(tag)

    def place(self, figure, *, height=None, room=470):
        """The figure's place, as wide as a slide and `room` pixels high; letters grow with it."""
        layout = {**figure["layout"], "height": height or figure["layout"]["height"]}
        alt = layout.get("meta", {}).get("alt")
        if not alt:
            raise ValueError(f"the figure {layout.get('title')} has no alternative text")
        scale = min(room / layout["height"], LARGEST)
        layout["width"] = round(WIDTH / scale)
        self.append({**figure, "layout": layout})
        role = "group" if layout.get("sliders") else "img"
        style = f"height: {layout['height'] * scale:.0f}px; --scale: {scale:.3f}"
        return (
            f'<div class="figure" role="{role}" aria-label="{escape(alt)}" style="{style}">'
            f'<div data-figure="{len(self) - 1}"></div></div>'
        )


def slides_of(markdown):
    """[(slide, notes)] of a deck. ValueError where notes do not begin with the slide's minutes."""
    parts = [part.strip().partition("\nNotes:") for part in re.split(r"(?m)^---$", markdown)]
    for slide, _, notes in parts:
        if not MINUTES.match(notes):
            raise ValueError(f"no “Notes:” that begin with “… minutes.” under {slide[:60]!r}")
    return [(slide, notes.strip()) for slide, _, notes in parts]


def minutes_of(name):
    """The minutes of a deck: the sum of those with which the notes of its slides begin."""
    return sum(int(MINUTES.match(notes)[1]) for _, notes in slides_of(text_of_deck(name)))


def text_of_deck(name):
    """A deck's Markdown; of "lecture", what the guide picks out of the three."""
    if name == "lecture":
        return lecture.markdown({each: text_of_deck(each) for each in DECKS})
    return DECKS[name].read_text(encoding="utf-8")


def mathml(markdown):
    """Markdown with MathML, which browsers draw by themselves, in place of $$…$$ and $…$."""
    from latex2mathml.converter import convert

    kinds = ((r"\$\$(.+?)\$\$", "block"), (r"\$(.+?)\$", "inline"))
    for pattern, display in kinds:
        markdown = re.sub(pattern, lambda m, d=display: convert(m[1], display=d), markdown)
    return markdown


def built(markdown):
    """The deck as one HTML page."""
    from nbconvert import SlidesExporter
    from plotly.offline import get_plotlyjs

    figures = Figures()
    names = {
        "figure": figures.of_cell,
        "gains": lambda base, **size: figures.place(json.loads(gains(base).to_json()), **size),
        "curves": lambda base: figures.place(json.loads(final_curves(base).to_json()), room=520),
        "heads": lambda tag: (
            figures.place(json.loads(heads(text_of(tag)).to_json()), room=500) + _from(tag)
        ),
        "changed": lambda: " · ".join(list(TURNS)[1:]),
        "turns": lambda: figures.place(json.loads(turns().to_json()), height=385, room=440),
        "theirs": Mimetic(),
    }
    fetched = (printed, table, said, code, gain, points, finding, asked, claim, cited, starts)
    names |= {each.__name__: each for each in (*fetched, picture, drawing)}
    jinja = Environment(undefined=StrictUndefined)
    cells = []
    for slide, notes in slides_of(markdown):
        first, *later = re.split(r"(?m)^\. \. \.$", slide)
        # Notes within a fragment are shown only while it is: they have to come before the first.
        parts = [("slide", first), ("notes", notes), *(("fragment", part) for part in later)]
        for kind, text in parts:
            words = mathml(jinja.from_string(text).render(names))
            metadata = {"slideshow": {"slide_type": kind}}
            cells.append(nbformat.v4.new_markdown_cell(words, metadata=metadata))
    notebook = nbformat.v4.new_notebook(cells=cells)
    reveal = resources.files("sphinx_revealjs") / "_static" / "revealjs"

    def read(name):
        return (reveal / name).read_text(encoding="utf-8")

    taken = {
        "title": re.search(r"^# (.+)", markdown)[1],
        "styles": [read(name) for name in ("dist/reset.css", "dist/reveal.css")],
        "scripts": [read(n) for n in ("dist/reveal.js", "plugin/notes/notes.js")]
        + [get_plotlyjs()],
        "figures": json.dumps(figures).replace("</", "<\\/"),
    }
    exporter = SlidesExporter(template_file=str(TEMPLATE), exclude_anchor_links=True)
    page, _ = exporter.from_notebook_node(notebook, resources={"deck": taken})
    return page


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m teaching.slides")
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "dist" / "slides")
    folder = parser.parse_args(arguments).folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*DECKS, "lecture"):
        write_text(folder / f"{name}.html", built(text_of_deck(name)))
        print(f"{folder / name}.html: about {minutes_of(name)} minutes")
    print("Open one in a browser; S opens the speaker notes, Esc shows all slides.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
