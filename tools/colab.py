"""Plays Colab: runs each lesson alone on Colab's versions of what draws, without a network.

`python -m tools.colab [lesson ...]`, by default all of lessons/. It makes a virtual environment in
a temporary folder with the versions below and this environment's torch, builds minivit's wheel,
installs it as the setup cell would, and fails if that replaces anything. Then every notebook is
copied into an empty folder and run there at the scale `smoke`, and every slider is moved.
"""

import argparse
import importlib.metadata as metadata
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
# googlecolab/backend-info, 19 August 2026. Lessons must run on these, not on newer ones.
COLAB = {
    "ipywidgets": "7.7.1",
    "widgetsnbextension": "3.6.10",
    "ipykernel": "6.17.1",
    "ipython": "7.34.0",
    "traitlets": "5.7.1",
    "plotly": "5.24.1",
    "anywidget": "0.9.21",
    "numpy": "2.1.3",
    "pillow": "11.3.0",
    "safetensors": "0.8.0",
    "tqdm": "4.67.3",
}
# Needed by that widgetsnbextension, which does not say that newer ones bring JupyterLab.
OLD = ("notebook<7",)
BORROWED = ("torch", "torchvision", "scipy")  # large, on Colab too, and any version will do
NEVER = ("jupyterlab", "notebook")  # would break the front end that runs there
SECONDS = 240  # for one cell

LIST = """
import importlib.metadata, json
print(json.dumps({each.name: each.version for each in importlib.metadata.distributions()}))
"""
# Ends every attempt to leave this machine, at once. Jupyter itself talks to a kernel by loopback.
REFUSE = """
import socket


def refused(connect):
    def only_here(self, address):
        here = self.family == getattr(socket, "AF_UNIX", None) or address[0] in ("127.0.0.1", "::1")
        if not here:
            raise ConnectionRefusedError(f"no network here: {address}")
        return connect(self, address)

    return only_here


def no_names(host, *rest, known=socket.getaddrinfo, **options):
    if host not in (None, "localhost", "127.0.0.1", "::1"):
        raise socket.gaierror(f"no network here: {host}")
    return known(host, *rest, **options)


socket.getaddrinfo = no_names
socket.socket.connect = refused(socket.socket.connect)
socket.socket.connect_ex = refused(socket.socket.connect_ex)
"""
# Runs after the last cell of a lesson: an error in the wiring of a slider is raised here.
MOVE = """
from minivit.explorers import Explorer

moved = 0
for name, explorer in list(globals().items()):
    if isinstance(explorer, Explorer) and not name.startswith("_"):
        for slider in explorer.sliders.values():
            for value in (slider.options[0][1], slider.options[-1][1]):
                slider.value = value
                assert bytes(explorer.picture.value).startswith(b"<svg"), name
            moved += 1
print(moved)
"""


def main():
    parser = argparse.ArgumentParser(description="run the lessons as Colab would")
    parser.add_argument("lessons", nargs="*", type=Path)
    lessons = parser.parse_args().lessons or sorted((ROOT / "lessons").glob("*.ipynb"))
    with tempfile.TemporaryDirectory(prefix="minivit-colab-") as folder:
        python = make_environment(Path(folder))
        failed = [lesson.name for lesson in lessons if not runs(lesson, python, Path(folder))]
    if failed:
        sys.exit(f"failed on Colab's versions: {', '.join(failed)}")


def make_environment(folder):
    """Colab in `folder`, with minivit installed from its wheel; returns its Python."""
    home = folder / "environment"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    site = next((home / "lib").glob("python*/site-packages"))
    borrow(BORROWED, site)
    pip(python, "install", *(f"{name}=={version}" for name, version in COLAB.items()), *OLD)
    before = installed(python)
    pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", folder, ROOT)
    wheel = next(folder.glob("minivit-*.whl"))
    pip(python, "install", f"minivit[course] @ {wheel.as_uri()}")
    check_only_added(before, installed(python))
    (site / "refuse_network.py").write_text(REFUSE, encoding="utf-8")
    (site / "refuse_network.pth").write_text("import refuse_network\n", encoding="utf-8")
    return python


def borrow(names, site):
    """Links installed packages and all they need into `site`, but for what Colab pins."""
    for name in needed(names) - set(COLAB):
        for file in metadata.files(name) or ():
            top = Path(file).parts[0]
            there = metadata.distribution(name).locate_file(top)
            if top not in ("..", "__pycache__") and not (site / top).exists():
                (site / top).symlink_to(there)


def needed(names):
    """The distributions that `names` require here, with the extras they ask for, and themselves."""
    found, todo = set(), [Requirement(name) for name in names]
    while todo:
        wanted = todo.pop()
        each = (canonicalize_name(wanted.name), frozenset(wanted.extras))
        if each in found:
            continue
        try:
            requires = map(Requirement, metadata.requires(each[0]) or ())
        except metadata.PackageNotFoundError:
            continue  # for another platform
        found.add(each)
        extras = {"", *wanted.extras}
        todo += [r for r in requires if not r.marker or any(map(r.marker.evaluate, _as(extras)))]
    return {name for name, _ in found}


def _as(extras):
    return [{"extra": extra} for extra in extras]


def check_only_added(before, after):
    """Exits where installing minivit changed a version, or brought what Colab must not have."""
    changed = {name: (v, after.get(name)) for name, v in before.items() if after.get(name) != v}
    if changed:
        sys.exit(f"installing minivit replaces on Colab: {changed}")
    added = sorted(after.keys() - before.keys())
    if unwanted := [name for name in added if name in NEVER]:
        sys.exit(f"installing minivit brings to Colab: {unwanted}")
    print("added by minivit:", ", ".join(added))


def installed(python):
    """name → version of what an environment has."""
    done = subprocess.run([python, "-c", LIST], stdout=subprocess.PIPE, check=True)
    return {canonicalize_name(name): v for name, v in json.loads(done.stdout).items()}


def pip(python, *arguments):
    """Runs pip; exits where it fails."""
    command = [python, "-m", "pip", "-q", "--disable-pip-version-check", *arguments]
    if subprocess.run([*map(str, command)]).returncode:
        sys.exit(f"pip {arguments[0]} failed; this check needs a package index")


def runs(lesson, python, folder):
    """Whether a lesson alone in an empty folder runs to its end; prints what went wrong."""
    alone = folder / lesson.stem
    alone.mkdir()
    kernel = folder / "jupyter" / "kernels" / "colab"
    kernel.mkdir(parents=True, exist_ok=True)
    launch = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": launch, "display_name": "Colab", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    os.environ |= {
        "JUPYTER_PATH": str(kernel.parents[1]),
        "HOME": str(alone),
        "MINIVIT_SCALE": "smoke",
        "OMP_NUM_THREADS": "1",
    }
    for name in ("MINIVIT_DATA", "MINIVIT_SOURCE", "MINIVIT_RUNS", "PYTHONPATH"):
        os.environ.pop(name, None)
    notebook = nbformat.read(lesson, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(MOVE))
    here = {"metadata": {"path": str(alone)}}
    client = NotebookClient(notebook, timeout=SECONDS, kernel_name="colab", resources=here)
    try:
        client.execute()
    except (CellExecutionError, TimeoutError, RuntimeError) as error:
        print(f"{lesson.name}: failed\n{error}")
        return False
    moved = "".join(output.get("text", "") for output in notebook.cells[-1].outputs).strip()
    print(f"{lesson.name}: runs, {moved} sliders moved", flush=True)
    return True


if __name__ == "__main__":
    main()
