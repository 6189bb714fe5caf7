"""What this machine offers and what stands in the way: `python -m minivit doctor`.

Nothing is downloaded, decoded or written.
"""

import os
import platform
import shutil
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import torch

from minivit.archives import ORIGINAL_FILES, ORIGINAL_MD5, cache_dir, look_in
from minivit.catalog import CATALOG, check_digest
from minivit.data import SOURCES
from minivit.recipes import pick_scale
from minivit.runtime import can_compile, cpu_cores, pick_device, pick_precision

BLOCKING = ("data", "scale")  # no training starts before these are put right


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing looked at; `advice` says what to do where it is not `ok`."""

    name: str
    ok: bool
    detail: str
    advice: str


def report(data=None):
    """Prints a line for each finding; returns the exit status, 1 where training can't start."""
    findings, home = examine(data), os.path.expanduser("~")
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    for found in findings:
        line = f"{'OK ' if found.ok else 'FIX'}  {found.name}: {found.detail}"
        line += "" if found.ok else f" → {found.advice}"
        if len(home) > 1:  # "/" in some containers
            line = line.replace(home, "~")  # shorter, and a notebook keeps what it prints
        print(line.encode(encoding, "replace").decode(encoding))  # a Windows console may lack →
    return int(any(not found.ok and found.name in BLOCKING for found in findings))


def examine(data=None):
    """Returns a list of Findings and never raises. data: as in `cifar10(data)`."""
    checks = {
        "Python": lambda: (f"{platform.python_version()}, torch {torch.__version__}", ""),
        "torchvision": _torchvision,
        "device": _device,
        "memory": _memory,
        "figures": partial(_packages, "plotly", "ipywidgets"),
        "JupyterLab": partial(_packages, "jupyterlab"),
        "data": partial(_data, data),
        "cache": _cache,
        "weights": _weights,
        "scale": _scale,
    }
    return [_look(name, check) for name, check in checks.items()]


def _look(name, check):
    """`check` returns what there is and what to do; the latter is empty where all is well."""
    try:
        detail, advice = check()
    except ValueError as error:  # our own sentence: what is wrong, and what is accepted
        detail, advice = str(error), "correct or unset it"
    except Exception as error:  # one check that fails must not hide the others
        detail, advice = (
            f"not to be found out ({type(error).__name__}: {error})",
            "report this line",
        )
    return Finding(name=name, ok=not advice, detail=detail, advice=advice)


def _torchvision():
    try:
        import torchvision
    except Exception as error:  # built for another torch, it fails in several ways
        advice = "pip install --upgrade torch torchvision (CIFAR-10 is downloaded through it)"
        return f"missing, or not built for this torch ({error})", advice
    return f"{torchvision.__version__}, works with this torch", ""


def _device():
    device = pick_device()
    precision = pick_precision(device)
    name = f"{device.type}, {cpu_cores()} cores, {torch.get_num_threads()} threads for torch"
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    detail = f"{name}; {str(precision.dtype).removeprefix('torch.')} ({precision.reason})"
    if device.type == "cuda" and not can_compile(device):
        detail += "; not compiled, so slower: that needs Triton and a C compiler"
    if device.type == "cpu" and shutil.which("nvidia-smi"):
        return f"{detail}; an NVIDIA driver is here", "install a torch that fits it, or stay on cpu"
    return detail, ""


def _memory():
    if not hasattr(os, "sysconf"):  # Windows
        return "not known on this system", ""
    gigabytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    return f"{gigabytes:.1f} GB", "" if gigabytes > 4 else "train one arm at a time: --processes 1"


def _packages(*names):
    try:
        return ", ".join(f"{name} {version(name)}" for name in names), ""
    except PackageNotFoundError as error:
        return f"{error.name} is not installed", f"for the lessons: pip install {' '.join(names)}"


def _data(root):
    source = "auto" if root else os.environ.get("MINIVIT_SOURCE") or "auto"
    if source not in SOURCES:
        raise ValueError(f"MINIVIT_SOURCE is {source!r}; it must be one of {SOURCES}")
    if source == "synthetic":
        return "generated images, as MINIVIT_SOURCE says", ""
    given = root or (source != "torchvision" and os.environ.get("MINIVIT_DATA"))
    kind, path = look_in(given) if given else (None, None)
    if source == "folder" and kind != "folder":
        advice = "set MINIVIT_DATA to an archive or folder of images, or unset MINIVIT_SOURCE"
        return f"MINIVIT_SOURCE is folder, and MINIVIT_DATA is {given or 'not set'}", advice
    if kind:
        if path.is_file() and not (zipfile.is_zipfile(path) or tarfile.is_tarfile(path)):
            return f"{path} is no archive (tar, tgz, tar.xz, zip), or damaged", "fetch it again"
        what = "images" if kind == "folder" else "the original CIFAR-10"
        return f"{path} ({what}; not read yet)", ""
    if given and not root:
        advice = "put cifar10*.tar.xz (.tgz, .zip) or the original there, or unset MINIVIT_DATA"
        return f"MINIVIT_DATA is {given}, and no data set is there", advice
    home = Path(root or cache_dir())
    kept = [cache_dir() / f"cifar-10-{ORIGINAL_MD5}.safetensors"]
    if any(path.exists() for path in (*kept, *(home / name for name in ORIGINAL_FILES))):
        return f"the original CIFAR-10, kept in {home}", ""
    return f"none yet; the first use downloads CIFAR-10 (170 MB) to {home}", ""


def _cache():
    folder = cache_dir().absolute()
    place = next(path for path in (folder, *folder.parents) if path.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        return f"{folder} can't be written", "set MINIVIT_CACHE to a folder of yours"
    free = shutil.disk_usage(place).free / 1e9
    return f"{folder}, {free:.1f} GB free", "" if free > 1 else "free 1 GB, or set MINIVIT_CACHE"


def _weights():
    given = os.environ.get("MINIVIT_DATA")
    folders = [cache_dir(), *([Path(given).expanduser()] if given else [])]
    here = []
    for entry in CATALOG.values():
        files = [folder / entry.file for folder in folders if (folder / entry.file).is_file()]
        for file in files:
            check_digest(file, entry)  # its ValueError says what to do
        here += [entry.name] if files else []
    detail = f"{', '.join(here) or 'none'} at hand (training needs none)"
    absent = ", ".join(name for name in CATALOG if name not in here)
    hub = "" if find_spec("huggingface_hub") else ", some with pip install huggingface_hub"
    return f"{detail}; to be fetched{hub}: {absent}" if absent else detail, ""


def _scale():
    recipe = pick_scale()
    return f"{recipe.name}; plain and mimetic together: {recipe.minutes}", ""
