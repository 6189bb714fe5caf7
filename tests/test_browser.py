"""In a real browser: a lesson as a learner runs it; sliders by key, and without a kernel."""

import shutil
from pathlib import Path

import nbformat
import pytest

from benchmarks.lab import CHROMIUM, browser_page, jupyterlab, raised, run_all

ROOT = Path(__file__).resolve().parents[1]
SMALL = {"MINIVIT_SCALE": "smoke", "MINIVIT_SOURCE": "synthetic"}
pytestmark = [
    pytest.mark.browser,
    pytest.mark.integration,
    pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here"),
]


@pytest.fixture
def lab(tmp_path):
    """Gives the address of a notebook in a JupyterLab whose folder holds no other file."""
    work = tmp_path / "work"
    work.mkdir()
    with jupyterlab(tmp_path, SMALL | {"MINIVIT_RUNS": str(tmp_path)}) as address:

        def open_(notebook):
            if isinstance(notebook, Path):
                shutil.copy(notebook, work / "it.ipynb")
            else:
                nbformat.write(notebook, work / "it.ipynb")
            return address("it.ipynb")

        yield open_


def test_lesson_05_runs_in_jupyterlab(lab):
    lesson = ROOT / "lessons" / "05_training_on_cifar10.ipynb"
    with browser_page(1200, 20_000) as page:
        run_all(page, lab(lesson))
        page.wait_for_timeout(2000)
        assert not raised(page)
        plots = page.locator(".js-plotly-plot")
        drawn = sum(plots.nth(i).locator(".main-svg").count() > 0 for i in range(plots.count()))
        words = page.locator("summary", has_text="In words").count()
    assert drawn == words >= 4, "each figure is drawn, and has its words"


LIVE = """
from minivit.explorers import initializer_explorer
from minivit.views import Goal
wide = Goal(words="no noise", ranges={"OV cosine with I": (-1.0, -0.999)})
initializer_explorer(dim=48, goal=wide)
"""


def test_keys_move_the_sliders_of_an_explorer(lab):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(LIVE)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    with browser_page(1200, 1200) as page:
        run_all(page, lab(notebook))
        assert not raised(page)
        picture = page.locator("img.widget-image")
        picture.wait_for()
        handles = page.locator(".widget-slider .noUi-handle")
        assert handles.count() == 5
        for number in range(5):
            for key in ("ArrowRight", "End", "Home"):
                before = picture.get_attribute("src")
                handles.nth(number).press(key)
                changed = "old => document.querySelector('img.widget-image').src !== old"
                page.wait_for_function(changed, arg=before)
        size = picture.evaluate(
            "async image => { await image.decode(); return image.naturalWidth }"
        )
        text = page.locator(".widget-html-content", has_text="Goal").inner_text()
    assert size > 800, "the picture is one that the browser can draw"
    assert "OV diagonal −0.00" in text or "OV diagonal 0.00" in text, "β of OV went to its end"
    assert "Goal, not reached yet: no noise" in text


def test_sliders_work_without_a_kernel(tmp_path):
    from minivit.explorers import initializer_explorer
    from minivit.figures import page as html_page

    values = (0.0, 0.7, 1.5)
    figure = initializer_explorer(dim=48).still(title="t", alpha_qk=values, beta_qk=values)
    file = tmp_path / "page.html"
    file.write_text(html_page([figure], title="t", table=""), encoding="utf-8")
    with browser_page(1000, 1200) as page:
        page.goto(file.as_uri())
        title = page.locator(".gtitle")
        start = title.text_content()
        seen = [start]
        for slider, side in ((0, "left"), (1, "right")):
            rail = page.locator(".slider-rail-touch-rect").nth(slider)
            width = rail.bounding_box()["width"]
            rail.click(position={"x": 1 if side == "left" else width - 1, "y": 2})
            page.wait_for_timeout(1000)
            seen.append(title.text_content())
        labels = page.locator(".slider-label").all_text_contents()
    numbers = [figure.frames[place].layout.title.text for place in (4, 1, 2)]  # (.7, .7) (0, .7) …
    for shown, expected in zip(seen, numbers, strict=True):
        diagonal = expected.split("QK diagonal ")[1].split(" ")[0]
        assert f"QK diagonal {diagonal}" in shown
    assert len(set(seen)) == 3 and {"α of QK = 0.00", "β of QK = 1.50"} <= set(labels)
