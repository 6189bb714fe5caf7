"""A lesson in a real JupyterLab, as a learner runs it: no cell fails, every figure is drawn."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here"),
]


@pytest.fixture
def lab(tmp_path):
    """A JupyterLab of its own, on a free port, over a folder that holds lesson 05 and no more."""
    work = tmp_path / "work"
    work.mkdir()
    shutil.copy(ROOT / "lessons" / "05_training_on_cifar10.ipynb", work / "lesson.ipynb")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(8)
    here = {"JUPYTER_CONFIG_DIR": "config", "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
    own = {name: str(tmp_path / folder) for name, folder in here.items()}
    small = {"MINIVIT_SCALE": "smoke", "MINIVIT_SOURCE": "synthetic", "MINIVIT_RUNS": str(tmp_path)}
    words = ["--no-browser", "--allow-root", f"--port={port}", f"--ServerApp.root_dir={work}"]
    words += [f"--IdentityProvider.token={token}", "--ServerApp.ip=127.0.0.1"]
    with open(tmp_path / "log", "w") as log:
        command = [sys.executable, "-m", "jupyterlab", *words]
        server = subprocess.Popen(command, env=os.environ | own | small, stdout=log, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/api/status?token={token}")
        yield f"http://127.0.0.1:{port}/doc/tree/lesson.ipynb?token={token}&reset"
    finally:
        server.terminate()
        server.wait(20)


def wait_for(address):
    for _ in range(240):
        try:
            return urllib.request.urlopen(address, timeout=2)
        except OSError:
            time.sleep(0.25)
    pytest.fail("JupyterLab did not start")


def run_all(page):
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=60_000)
    for _ in range(2):  # cells that are sent before the kernel stays idle get lost
        page.wait_for_timeout(1500)
        idle = ".jp-Notebook-ExecutionIndicator[data-status=idle]"
        page.wait_for_selector(idle, state="attached", timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.locator('.lm-Menu-item[data-command="runmenu:run-all"]').click()
    page.wait_for_timeout(1500)
    page.wait_for_function(
        "![...document.querySelectorAll('.jp-InputPrompt')].some(e => e.textContent.includes('*'))",
        timeout=240_000,
    )


def test_lesson_05_runs_in_jupyterlab(lab):
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page(viewport={"width": 1200, "height": 20_000})
        page.goto(lab)
        run_all(page)
        page.wait_for_timeout(2000)
        errors = page.locator("[data-mime-type='application/vnd.jupyter.error']").all_inner_texts()
        assert not errors
        drawn = page.locator(".js-plotly-plot .main-svg").count()
        words = page.locator("summary", has_text="In words").count()
        browser.close()
    assert words == 4, "each figure has its words"
    assert drawn >= words, "each figure is drawn"
