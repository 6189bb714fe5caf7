"""Key press to redrawn picture: an explorer in a real JupyterLab, driven in a real browser."""

import tempfile
from pathlib import Path

from benchmarks.lab import CHROMIUM, browser_page, jupyterlab, raised, run_all
from benchmarks.measure import Row, Section, timed_row

CELL = "from minivit.explorers import initializer_explorer\ninitializer_explorer(dim={dim})"
HANDLE = ".widget-slider .noUi-handle"
GOAL = "≤ 100 ms"

# From the key press, as the page hears it, until the new picture is decoded and has been painted:
# the second animation frame begins after the first was drawn.
WATCH = """() => {
  const picture = document.querySelector('img.widget-image');
  window.times = [];
  document.addEventListener('keydown', event => {
    const pressed = performance.now();
    new MutationObserver(async (_, observer) => {
      observer.disconnect();
      await picture.decode();
      requestAnimationFrame(() => requestAnimationFrame(
        () => window.times.push(performance.now() - pressed)));
    }).observe(picture, {attributes: true, attributeFilter: ['src']});
  }, true);
}"""


def browser_sections(*, quick, repeats):
    dim, presses = (24, 3) if quick else (192, max(40, repeats))
    what = f"W_Q W_Kᵀ and W_V W_proj of {dim} × {dim}, their spectra, attention"
    notes = ("The SVD of every setting is computed anew: none was visited before.",)
    if not CHROMIUM:
        rows = [Row(what=what, median="not measured here: needs Chromium", goal=GOAL)]
    else:
        seconds = key_to_picture(dim, presses)
        rows = [timed_row(f"{what} (n = {len(seconds)})", seconds, goal=GOAL)]
        fast = 1000 * sorted(seconds)[len(seconds) // 10]
        notes += (f"The fastest tenth of the presses: up to {fast:.0f} ms.",)
    title = "Explorer in JupyterLab under Chromium, key press to redrawn picture"
    return [Section(title=title, rows=rows, notes=notes)]


def key_to_picture(dim, presses):
    """Seconds from each of so many key presses to its picture; 3 before them are not counted."""
    with (
        tempfile.TemporaryDirectory() as folder,
        jupyterlab(_with_notebook(folder, dim)) as address,
        browser_page(1200, 900) as page,
    ):
        run_all(page, address("explorer.ipynb"))
        if raised(page):
            raise RuntimeError(f"the explorer raised:\n{raised(page)[0]}")
        page.wait_for_selector("img.widget-image")
        page.evaluate(WATCH)
        return [_press(page, n) / 1000 for n in range(presses + 3)][3:]


def _with_notebook(folder, dim):
    import nbformat

    (Path(folder) / "work").mkdir()
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL.format(dim=dim))])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, Path(folder) / "work" / "explorer.ipynb")
    return folder


def _press(page, number):
    """Moves alpha or beta of QK by a step, 14 each way from the middle; returns milliseconds."""
    page.locator(HANDLE).nth(number // 14 % 2).focus()
    page.keyboard.press("ArrowRight" if number // 28 % 2 == 0 else "ArrowLeft")
    page.wait_for_function(f"window.times.length > {number}")
    page.wait_for_timeout(100)
    return page.evaluate(f"window.times[{number}]")
