"""Any bytes in place of a file: what reads it gives data or a ValueError, and nothing else.

`python -m benchmarks.fuzz --examples 2000` prints how many files each reader was given and what
became of them. A failure ends it with the smallest file that hypothesis finds. Files are whole ones
with bytes changed, left out, doubled or cut off; for JSON also values of other kinds in any place,
and for minivit's own files such values and tensors of other shapes and kinds under a digest that
matches, as an attacker would write them.
"""

import argparse
import contextlib
import io
import json
import os
import signal
import sys
import tarfile
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from unittest.mock import patch

import nbformat
import torch
from hypothesis import HealthCheck, given, seed, settings
from PIL import Image

from benchmarks.nearly_whole import as_bytes, damaged, odd_contents, odd_json
from benchmarks.tiny import tiny_model, train_tiny
from minivit.archives import image_folders
from minivit.data import eval_batches
from minivit.folders import FolderSet
from minivit.pretrained import load_pretrained
from minivit.records import load_records
from minivit.saving import load_model, save_model
from teaching.submissions import read as read_submission

LONGEST = 20  # seconds for one file; a reader that takes longer hangs
# Python tells an audit hook of these; no reader of data has any business with them.
FORBIDDEN = {"pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen"}
FORBIDDEN |= {"socket.connect", "socket.getaddrinfo"}


class NotRefusedError(AssertionError):
    """A reader did something other than to give data or to say a ValueError."""


@dataclass(frozen=True)
class Reader:
    """What is fuzzed. whole: bytes that `read` takes. strategy: makes a strategy of them.

    read: called with the path of a file; returns the data, raises ValueError.
    """

    name: str
    ending: str
    whole: Callable
    read: Callable
    strategy: Callable


def check(reader, examples, *, start=0):
    """Gives `examples` files to the reader; returns a Counter of "data" and "ValueError".

    start: the seed. Raises NotRefusedError, with the smallest such file in its notes, otherwise.
    """
    outcomes, whole = Counter(), reader.whole()
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, MINIVIT_CACHE=folder):
        path = Path(folder) / "given" / f"file{reader.ending}"
        path.parent.mkdir()

        @seed(start)
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        )
        @given(reader.strategy(whole))
        def gives_data_or_a_value_error(data):
            path.write_bytes(data)
            outcomes[_outcome(reader.read, path)] += 1

        gives_data_or_a_value_error()
    return outcomes


def _outcome(read, path):
    try:
        with _within(LONGEST), _watched() as events, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(path)
        outcome = "data"
    except ValueError:
        outcome = "ValueError"
    except Exception as error:
        raise NotRefusedError(f"{type(error).__name__}: {str(error)[:300]}") from error
    if events:
        raise NotRefusedError(f"code in the file was reached: {sorted(events)}")
    return outcome


@contextlib.contextmanager
def _within(seconds):
    def late(*_):
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


_listeners = []


@cache  # an audit hook can't be taken away again, so there is one
def _listen():
    # Its own names for both: it outlives the module when Python ends.
    def hook(event, _, listeners=_listeners, forbidden=FORBIDDEN):
        for seen in listeners:
            if event in forbidden:
                seen.add(event)

    sys.addaudithook(hook)


@contextlib.contextmanager
def _watched():
    """Yields the set of forbidden events that happen inside the block."""
    _listen()
    seen = set()
    _listeners.append(seen)
    try:
        yield seen
    finally:
        _listeners.remove(seen)


# The readers.


def _images():
    places = [f"{s}/{c}/{i}.png" for s in ("train", "test") for c in "ab" for i in "01"]
    for i, place in enumerate(places):
        file = io.BytesIO()
        Image.new("RGB", (4, 4), (20 * i, 0, 0)).save(file, "PNG")
        yield place, file.getvalue()


def _tar(mode):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, data in _images():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


def _zip():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in _images():
            archive.writestr(name, data)
    return file.getvalue()


def _png():
    file = io.BytesIO()
    Image.new("RGB", (9, 7), (200, 100, 0)).save(file, "PNG")
    return file.getvalue()


def _read_folder(path):
    """The image as a training set of one, its folder's name the class."""
    next(iter(eval_batches(FolderSet(path.parent.parent, size=8, workers=0), 1, "cpu")))


def _saved():
    return as_bytes(lambda path: save_model(tiny_model(), path))


def _record():
    return json.dumps(asdict(load_records()[0])).encode()


def _half_trained(path):
    """The checkpoint after one epoch of two: who reads it goes on, and takes steps."""

    def stop(epoch):
        raise InterruptedError

    with contextlib.suppress(InterruptedError):
        train_tiny(path, callback=stop)


def _torch_save(*, old):
    weights = tiny_model().state_dict()
    return as_bytes(lambda path: torch.save(weights, path, _use_new_zipfile_serialization=not old))


def _notebook():
    cells = [nbformat.v4.new_markdown_cell("a"), nbformat.v4.new_code_cell("1 + 1")]
    return nbformat.writes(nbformat.v4.new_notebook(cells=cells)).encode()


def _read_notebook(path):
    submission = read_submission(None, path)
    if submission.problem:
        raise ValueError(submission.problem)


READERS = [
    Reader("archive, tar", ".tar", lambda: _tar("w"), image_folders, damaged),
    Reader("archive, tar.gz", ".tgz", lambda: _tar("w:gz"), image_folders, damaged),
    Reader("archive, tar.xz", ".tar.xz", lambda: _tar("w:xz"), image_folders, damaged),
    Reader("archive, zip", ".zip", _zip, image_folders, damaged),
    Reader("image of a folder", ".png", _png, _read_folder, damaged),
    Reader(
        "model of save_model",
        ".safetensors",
        _saved,
        load_model,
        odd_contents,
    ),
    Reader(
        "training checkpoint",
        ".safetensors",
        lambda: as_bytes(_half_trained),
        train_tiny,
        odd_contents,
    ),
    Reader(
        "pretrained weights, safetensors",
        ".safetensors",
        _saved,
        load_pretrained,
        odd_contents,
    ),
    Reader(
        "pretrained weights, torch.save",
        ".pth",
        lambda: _torch_save(old=False),
        lambda path: load_pretrained(path, heads=1),
        damaged,
    ),
    Reader(
        "pretrained weights, torch.save before 1.6",
        ".bin",
        lambda: _torch_save(old=True),
        lambda path: load_pretrained(path, heads=1),
        damaged,
    ),
    Reader("record", ".json", _record, lambda path: load_records(path.parent), odd_json),
    Reader("notebook of a learner", ".ipynb", _notebook, _read_notebook, odd_json),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--examples", type=int, default=2000, help="files for each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="readers whose name holds this")
    options = parser.parse_args()
    print("| reader | files | data | ValueError |\n| --- | --- | --- | --- |")
    for reader in READERS:
        if options.only in reader.name:
            found = check(reader, options.examples, start=options.seed)
            counts = found.total(), found["data"], found["ValueError"]
            print(f"| {reader.name} | {' | '.join(map(str, counts))} |", flush=True)


if __name__ == "__main__":
    main()
