"""The lessons as web pages: nothing lost, nothing fetched, answers folded, figures drawn."""

import json
import re
from urllib.parse import urlparse

import nbformat
import pytest
from bs4 import BeautifulSoup

from benchmarks.lab import CHROMIUM, browser_page
from teaching.slides import without_predictions
from tools import pages as tool

pytestmark = pytest.mark.integration

LESSONS = {path.stem: path for path in sorted((tool.ROOT / "lessons").glob("*.ipynb"))}
# Pages that a phone has to scroll: figures in all of them, equations in the first.
WIDE = ("01a_patches_and_attention", "03_why_the_identity", "06_comparing_with_pretrained")
MARKDOWN, CODE = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell


@pytest.fixture(scope="module")
def built():
    return tool.pages()


@pytest.fixture(scope="module")
def soups(built):
    pages = {name: text for name, text in built.items() if name.endswith(".html")}
    return {name: BeautifulSoup(text, "html.parser") for name, text in pages.items()}


def printing(text):
    return CODE("1 + 1", outputs=[nbformat.v4.new_output("stream", text=text)])


def showing(layout):
    data = {tool.PLOTLY: {"data": [], "layout": {"height": 300, **layout}}}
    return CODE("draw()", outputs=[nbformat.v4.new_output("display_data", data=data)])


def soup_of(*cells, address=None):
    notebook = nbformat.v4.new_notebook(cells=[MARKDOWN("# 99 · T\n\nBelow."), *cells])
    return BeautifulSoup(tool.lesson_page(notebook, None, None, address), "html.parser")


def dead_ends(soup, names):
    """What a page asks for or leads to that is not among the files of the folder."""
    for node in soup.select("[src], [href]"):
        target = node.get("src") or node["href"]
        name, is_link = target.partition("#")[0], node.name == "a"
        elsewhere = urlparse(target).scheme in (("http", "https") if is_link else ("data",))
        if name and not elsewhere and name not in names:
            yield target


def test_pages_lead_to_each_other_and_fetch_nothing_from_elsewhere(built, soups):
    assert len(soups) == 1 + len(LESSONS)
    for name, soup in soups.items():
        assert not list(dead_ends(soup, built)), name
    order = [f"{stem}.html" for stem in LESSONS]
    first = soups["index.html"]
    assert [a["href"] for a in first.select("h2 a")] == order
    ways = [[soups[name].select_one(f"a[rel={way}]") for name in order] for way in ("prev", "next")]
    assert [a and a["href"] for a in ways[0]] == [None, *order[:-1]]
    assert [a and a["href"] for a in ways[1]] == [*order[1:], None]


def test_a_dead_end_is_found():
    wrong = "<a href='02.html'></a><a href='https://a.org'></a><script src='https://a.org/x.js'>"
    found = list(dead_ends(BeautifulSoup(wrong, "html.parser"), {"01.html"}))
    assert found == ["02.html", "https://a.org/x.js"]


def test_a_page_keeps_every_cell_and_figure_of_its_lesson(soups):
    for stem, path in LESSONS.items():
        cells = nbformat.read(path, as_version=4).cells
        soup = soups[f"{stem}.html"]
        code = [cell.source.strip() for cell in cells if cell.cell_type == "code"]
        assert [pre.text.strip() for pre in soup.select(".input pre")] == code
        outputs = [out for cell in cells for out in cell.get("outputs", [])]
        kept = [out.data[tool.PLOTLY] for out in outputs if tool.PLOTLY in out.get("data", {})]
        assert json.loads(soup.select_one("#figures").text) == kept
        places = soup.select("[data-figure]")
        assert [int(place["data-figure"]) for place in places] == list(range(len(kept)))
        assert [place["aria-label"] for place in places] == [f.layout.meta.alt for f in kept]
        still = [out for out in outputs if tool.WIDGET in out.get("data", {})]
        pictures = soup.select("figure img[alt][src^='data:image/svg']")
        assert [image["alt"] for image in pictures] == [out.data["text/plain"] for out in still]
        prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        prose = re.sub(r"```.*?```", "", prose, flags=re.DOTALL)
        headings = re.findall(r"(?m)^#+ .+$", prose)
        assert len(soup.select("main :is(h1, h2, h3)")) == len(headings)


def test_equations_are_drawn_by_the_browser_itself(soups):
    for stem, path in LESSONS.items():
        cells = nbformat.read(path, as_version=4).cells
        text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        soup = soups[f"{stem}.html"]
        assert len(soup.select('p > math[display="block"]')) == text.count("$$") / 2, stem
        assert "$$" not in soup.get_text() and "\\" not in "".join(
            node.get_text() for node in soup.select("math")
        ), stem
    assert soups["03_why_the_identity.html"].select("math")


def test_what_answers_a_prediction_is_folded_and_nothing_else(soups):
    soup = soup_of(
        MARKDOWN("**Predict.** More than 2?"),
        CODE("guess = None"),
        printing("it is 3; you said None\nyou said: None\n"),
        MARKDOWN("**Measured here.** It is three.\n\n**Predict** the next.\n\n## 2 · Later"),
        printing("not asked for"),
    )
    answer = soup.select_one("details.answer").extract()
    assert "it is 3" in answer.text and "It is three." in answer.text
    assert "Predict" not in answer.text and "you said" not in answer.text
    left = soup.select_one("main").text
    assert not soup.select("details.answer") and "three" not in left
    for kept in ("More than 2?", "Predict the next.", "2 · Later", "not asked for"):
        assert kept in left
    for stem, path in LESSONS.items():
        page = soups[f"{stem}.html"]
        printed = [
            "".join(out.get("text", "") for out in cell.get("outputs", []))
            for cell in nbformat.read(path, as_version=4).cells
        ]
        answers = sum("you said" in text for text in printed)
        assert len(page.select("details.answer")) == answers > 0
        shown = [pre.text for pre in page.select(".output pre")]
        assert not any(re.search(r"you said(?!$)", text, re.MULTILINE) for text in shown)


def test_the_code_that_finds_the_package_is_folded_and_nothing_else(soups):
    for stem in LESSONS:
        folded = [d for d in soups[f"{stem}.html"].select("details") if d.select(".input")]
        assert len(folded) == 1 and "REPOSITORY" in folded[0].text, stem
        assert "finds the package" in folded[0].summary.text and not folded[0].has_attr("open")


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here")
def test_on_a_phone_nothing_sticks_out_and_figures_are_wide_enough_to_be_scrolled(tmp_path, built):
    for name, text in built.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    with browser_page(390, 844) as page:
        for stem in WIDE:
            page.goto((tmp_path / f"{stem}.html").as_uri())
            figure = page.locator("[data-figure]").first
            page.click("#open-all")
            figure.scroll_into_view_if_needed()
            figure.locator(".main-svg").first.wait_for()
            assert page.evaluate("document.documentElement.scrollWidth") == 390, stem
            assert figure.bounding_box()["width"] >= 600
            answers = "[...document.querySelectorAll('.answer')].map(each => each.open)"
            assert all(page.evaluate(answers))
            assert page.inner_text("#open-all") == "Close all answers"
            page.click("#open-all")
            assert not any(page.evaluate(answers))


def test_a_line_loses_what_the_reader_said_and_keeps_the_rest():
    printed = "a: 1; you said None; and 2\nyou said: x\nb: 3 · you said: (None, None)\nc"
    assert without_predictions(printed) == "a: 1; and 2\nb: 3\nc"


def test_links_to_exercises_lead_to_the_repository_once_it_has_an_address():
    cell = "[ex](../exercises/07_x.ipynb), [08 · B](08_b.ipynb)"
    without = soup_of(MARKDOWN(cell)).select_one("main")
    assert [a["href"] for a in without.select("a")] == ["08_b.html"]
    assert "ex (exercises/07_x.ipynb)" in without.text
    folded = soup_of(printing("3\nyou said: None\n"), MARKDOWN(cell)).select(".answer a")
    assert [a["href"] for a in folded] == ["08_b.html"]
    with_one = soup_of(MARKDOWN(cell), address="https://github.com/a/b").select("main a")
    where = "https://github.com/a/b/blob/HEAD/exercises/07_x.ipynb"
    assert [a["href"] for a in with_one] == [where, "08_b.html"]


def test_a_badge_is_a_picture_from_elsewhere_and_stays_out(tmp_path):
    badge = "[![Open in Colab](https://elsewhere/badge.svg)](https://elsewhere/00.ipynb)"
    words = f"# A title\n\n<!-- badges -->{badge}<!-- /badges -->\n\nWhat it is about."
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(words)])
    nbformat.write(notebook, tmp_path / "00.ipynb")
    assert tool.read(tmp_path / "00.ipynb").cells[0].source == "# A title\n\nWhat it is about."


def test_a_figure_without_words_is_refused():
    assert soup_of(showing({"meta": {"alt": "words"}})).select("[aria-label=words]")
    with pytest.raises(ValueError, match="no alternative text"):
        soup_of(showing({"title": "T"}))


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here")
def test_in_a_browser_figures_are_drawn_and_sliders_move_without_a_network(built, tmp_path):
    assert tool.main([str(tmp_path)]) == 0
    asked = []
    with browser_page(1000, 2000) as page:
        page.on("request", lambda request: asked.append(request.url))
        page.goto((tmp_path / "04_building_the_initializer.html").as_uri())
        drawn = "() => document.querySelectorAll('.answer .main-svg').length"
        assert page.evaluate(drawn) == 0, "an answer is closed at first"
        page.click("#open-all")
        for place in page.locator("[data-figure]").all():
            place.scroll_into_view_if_needed()
            place.locator(".main-svg").first.wait_for()
        wide = page.evaluate("document.documentElement.scrollWidth")
        page.goto((tmp_path / "00_start_here.html").as_uri())
        figure = page.locator("[data-figure][role=group]").first
        figure.scroll_into_view_if_needed()
        slider, title = figure.locator(".slider-rail-touch-rect").first, figure.locator(".gtitle")
        before = title.text_content()
        slider.click(position={"x": slider.bounding_box()["width"] - 1, "y": 2})
        page.wait_for_function(
            "old => document.querySelector('[role=group] .gtitle').textContent !== old",
            arg=before,
        )
    assert wide == 1000, "nothing sticks out of the page"
    assert {urlparse(url).scheme for url in asked} <= {"file", "data", "blob"}


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here")
def test_in_a_browser_each_slider_moves_by_keys_and_leaves_the_others(built, tmp_path):
    lesson = "03_why_the_identity.html"
    stand = "document.querySelector('[role=group]').layout.sliders.map(slider => slider.active)"
    for name in (lesson, tool.SCRIPT):
        (tmp_path / name).write_text(built[name], encoding="utf-8")
    with browser_page(1000, 1200) as page:
        page.goto((tmp_path / lesson).as_uri())
        page.locator("[data-figure][role=group]").first.scroll_into_view_if_needed()
        keys = page.locator(".keys").first
        keys.locator("input").first.wait_for(state="attached")
        inputs, before = keys.locator("input"), page.evaluate(stand)
        assert inputs.count() == len(before) > 1
        for axis in reversed(range(len(before))):
            inputs.nth(axis).focus()
            assert inputs.nth(axis).is_visible() and keys.bounding_box()["height"] > 10
            away = "ArrowLeft" if before[axis] else "ArrowRight"
            page.keyboard.press(away)
            before[axis] += 1 if away == "ArrowRight" else -1
            page.wait_for_function(f"to => `${{{stand}}}` === `${{to}}`", arg=before)
            told = inputs.nth(axis).get_attribute("aria-valuetext")
            steps = f"document.querySelector('[role=group]').layout.sliders[{axis}].steps"
            assert told == page.evaluate(f"{steps}[{before[axis]}].label")
