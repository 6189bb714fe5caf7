"""A JupyterLab of its own in a real browser, for the browser test and the browser benchmark."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
_FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
_IDLE = ".jp-Notebook-ExecutionIndicator[data-status=idle]"


@contextmanager
def jupyterlab(folder, environment=None):
    """Serves folder/work on a free port, settings in folder; yields a function name → address."""
    folder = Path(folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(8)
    here = {"JUPYTER_CONFIG_DIR": "config", "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
    own = {name: str(folder / place) for name, place in here.items()}
    words = ["--no-browser", "--allow-root", f"--port={port}", "--ServerApp.ip=127.0.0.1"]
    words += [f"--ServerApp.root_dir={folder / 'work'}", f"--IdentityProvider.token={token}"]
    with open(folder / "log", "w") as log:
        command = [sys.executable, "-m", "jupyterlab", *words]
        where = os.environ | own | (environment or {})
        server = subprocess.Popen(command, env=where, stdout=log, stderr=log)
    try:
        _wait_for(f"http://127.0.0.1:{port}/api/status?token={token}")
        yield lambda name: f"http://127.0.0.1:{port}/doc/tree/{name}?token={token}&reset"
    finally:
        server.terminate()
        server.wait(120)


def _wait_for(address):
    for _ in range(240):
        try:
            return urllib.request.urlopen(address, timeout=2)
        except OSError:
            time.sleep(0.25)
    raise RuntimeError("JupyterLab did not start within a minute")


@contextmanager
def browser_page(width, height):
    """A page of a Chromium of its own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        try:
            page = browser.new_page(viewport={"width": width, "height": height})
            page.set_default_timeout(240_000)  # a busy machine is slow, not broken
            yield page
        finally:
            browser.close()


def run_all(page, address):
    """Opens a notebook and runs its cells, as a learner does from the menu."""
    page.goto(address)
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
    for _ in range(2):  # cells that are sent before the kernel stays idle get lost
        page.wait_for_timeout(1500)
        page.wait_for_selector(_IDLE, state="attached")
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.locator('.lm-Menu-item[data-command="runmenu:run-all"]').click()
    page.wait_for_timeout(1500)
    page.wait_for_function(
        "![...document.querySelectorAll('.jp-InputPrompt')].some(e => e.textContent.includes('*'))",
    )


def raised(page):
    """What cells raised, as text."""
    return page.locator("[data-mime-type='application/vnd.jupyter.error']").all_inner_texts()
