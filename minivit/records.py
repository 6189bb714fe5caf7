"""Training runs as JSON files: one record a run, written whole, validated when read.

Read from top to bottom: a record, writing and loading, selecting, the statistics over seeds.
"""

import functools
import hashlib
import json
import math
import platform
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from importlib import resources
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from minivit.catalog import CATALOG
from minivit.init import ATTENTION, BASES
from minivit.runtime import is_number
from minivit.storage import write_text

# live: a look on which no choice rests. tuning: for choosing. final: the test set was read, once.
ROLES = ("live", "tuning", "final")
PRETRAINED = "pretrained"  # attention of a run that went on with published weights, its base
LOADED = time.time()  # of this module, after all that it imports of the package
EPOCH_KEYS = {"epoch", "train_loss", "validation_accuracy", "seconds"}


@dataclass(frozen=True, kw_only=True)
class Record:
    """One training run. Accuracies are fractions; `final_accuracy` is of the test set or None.

    base, attention: an arm; or published weights, a name of the catalogue, and "pretrained".
    variant: empty, or what else differs, such as "positions=shuffled". recipe: `asdict` of the
    Recipe. data: name, digest, subset digest. device: from `describe_machine`. commit: None from
    a wheel. epochs: `asdict` of each EpochRecord. Raises ValueError that names the field.
    """

    scale: str
    base: str
    attention: str
    variant: str
    seed: int
    role: str
    learning_rate: float
    recipe: dict
    data: dict
    versions: dict
    device: str
    commit: str | None
    dirty: bool
    epochs: list
    final_accuracy: float | None

    def __post_init__(self):
        for field in fields(self):
            if not isinstance(getattr(self, field.name), field.type):
                raise ValueError(f"{field.name} is {getattr(self, field.name)!r}, not {field.type}")
        whole = all(_is_epoch(epoch, n) for n, epoch in enumerate(self.epochs, start=1))
        attentions = [*ATTENTION, PRETRAINED]
        bases = CATALOG if self.attention == PRETRAINED else BASES
        accepted = {
            "scale": (re.fullmatch(r"\w+", self.scale), "a name"),
            "attention": (self.attention in attentions, f"one of {attentions}"),
            "base": (self.base in bases, f"one of {list(bases)}"),
            "variant": (re.fullmatch(r"[\w=.,+-]*", self.variant), "letters, digits and =.,+-"),
            "role": (self.role in ROLES, f"one of {ROLES}"),
            "learning_rate": (0 < self.learning_rate < math.inf, "above 0 and finite"),
            "seed": (not isinstance(self.seed, bool), "an int"),
            "epochs": (
                self.epochs and whole,
                f"a list, not empty, of {sorted(EPOCH_KEYS)}, in order",
            ),
            "final_accuracy": (0 <= (self.final_accuracy or 0) <= 1, "from 0 to 1"),
        }
        for name, (good, values) in accepted.items():
            if not good:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be {values}")

    @property
    def filename(self):
        """Readable, and another one where recipe or data differ."""
        rest = json.dumps([self.recipe, self.data], sort_keys=True).encode()
        arm = [self.scale, self.base, self.attention, *filter(None, [self.variant])]
        run = [f"lr{self.learning_rate:g}", f"seed{self.seed}", self.role]
        return "-".join([*arm, *run, hashlib.sha256(rest).hexdigest()[:6]]) + ".json"


def _is_epoch(epoch, number):
    """Whether it is the epoch of this number, with a loss and an accuracy that can be."""
    if not (isinstance(epoch, dict) and epoch.keys() >= EPOCH_KEYS and epoch["epoch"] == number):
        return False
    accuracy = epoch["validation_accuracy"]
    return (
        is_number(epoch["train_loss"])
        and math.isfinite(epoch["train_loss"])
        and (accuracy is None or (is_number(accuracy) and 0 <= accuracy <= 1))
    )


def write_record(record, folder):
    """Writes `record` into `folder` under its own name; returns the path."""
    path = Path(folder) / record.filename
    write_text(path, json.dumps(asdict(record), indent=1, allow_nan=False) + "\n")
    return path


def load_records(folder=None) -> list[Record]:
    """All records in `folder`, by default those that ship with the package, sorted by file name.

    Raises ValueError that names a file which is damaged, and the field.
    """
    place = resources.files("minivit") / "records" if folder is None else Path(folder)
    if folder is not None and not place.is_dir():
        raise ValueError(f"{folder}: no such folder")
    files = place.iterdir() if place.is_dir() else []
    files = sorted((f for f in files if f.name.endswith(".json")), key=lambda f: f.name)
    return [_read(file) for file in files]


def select(
    records, *, scale=None, base=None, attention=None, variant=None, seed=None, role=None
) -> list[Record]:
    """The records that have every value given; None takes any."""
    given = {"scale": scale, "base": base, "attention": attention, "variant": variant}
    given |= {"seed": seed, "role": role}
    given = {name: value for name, value in given.items() if value is not None}
    return [r for r in records if all(getattr(r, name) == v for name, v in given.items())]


class Summary(NamedTuple):
    """Mean, sample standard deviation, and the 95 % t interval of the mean of `n` values."""

    mean: float
    std: float
    n: int
    low: float
    high: float


def summarise(values: Sequence[float]) -> Summary:
    """Summary of one value a seed; of a single one std, low and high are nan."""
    n = len(values)
    if n == 0:
        raise ValueError("there is nothing to summarise: no values")
    mean, std = float(np.mean(values)), float(np.std(values, ddof=1)) if n > 1 else math.nan
    half = _t_quantile(n - 1) * std / math.sqrt(n)
    return Summary(mean, std, n, mean - half, mean + half)


@functools.cache
def _t_quantile(freedom):
    """What a t variable with so many degrees of freedom exceeds with probability 2.5 %."""
    from scipy.stats import t

    return float(t.ppf(0.975, freedom))


def paired_difference(a, b, value=attrgetter("final_accuracy")) -> Summary:
    """Summary of value(record) in `a` less that in `b`, paired by seed.

    Raises ValueError where the seeds are not the same, are fewer than two or occur twice, where a
    pair differs in scale or data, and where a value is None.
    """
    a, b = _by_seed(a), _by_seed(b)
    if a.keys() != b.keys() or len(a) < 2:
        raise ValueError(f"seeds {sorted(a)} and {sorted(b)}: needs the same, two or more")
    for seed in a:
        one, other = ((each.scale, images_of(each.data)) for each in (a[seed], b[seed]))
        if one != other:
            raise ValueError(f"seed {seed}: the two runs differ in scale or data")
        if value(a[seed]) is None or value(b[seed]) is None:
            raise ValueError(f"seed {seed}: a run without this value (the test set was not read?)")
    return summarise([value(a[seed]) - value(b[seed]) for seed in a])


def images_of(data):
    """What a record's `data` says of the images as decoded: all but their name and `digest`.

    That digest is of the archive, and the same images may be packed in another way.
    """
    return {key: value for key, value in data.items() if key not in ("name", "digest")}


def epochs_to(record, threshold) -> int | None:
    """The first epoch with at least this validation accuracy; None if there is none."""
    reached = (e["epoch"] for e in record.epochs if (e["validation_accuracy"] or 0) >= threshold)
    return next(reached, None)


def versions():
    """Those of minivit, torch and Python, as a record keeps them."""
    from minivit import __version__

    torch_version, python = str(torch.__version__), platform.python_version()
    return {"minivit": __version__, "torch": torch_version, "python": python}


def current_commit():
    """Returns (commit, dirty): the checkout that this package lies in, (None, False) if in none.

    dirty: a tracked file of the package, other than a record, differs from the commit.
    """
    package = Path(__file__).parent
    # A wheel's folder may lie inside a repository of the user's own; there it is not tracked.
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None, False
    commit = _git(package, "rev-parse", "HEAD")
    changes = _git(package, "status", "--porcelain", "-uno", "--", ".", ":(exclude)records")
    return commit, bool(changes)


@functools.cache
def loaded_commit():
    """`current_commit()` as it was when this process first asked: that of the code in its memory.

    A checkout may move on while a process trains for hours with what it loaded before. So ask
    before a run, not after it. dirty also where a file of the package was written after this
    process had begun to load it, as in a notebook that stays open over a commit.
    """
    commit, dirty = current_commit()
    if commit is None or dirty:
        return commit, dirty
    return commit, any(map(_is_newer, Path(__file__).parent.rglob("*.py")))


@functools.cache
def package_digest():
    """SHA-256 (hex) of the package's code when first asked: also where there is no git."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _is_newer(source):
    try:
        return source.stat().st_mtime > LOADED
    except OSError:  # an editor's lock, or gone since it was listed
        return False


def describe_machine(device):
    """What the seconds of a run depend on: the GPU, or the CPU and the threads in use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.exists() else ""
    model = re.search(r"model name\s*: (.+)", text)
    cpu = model[1] if model else platform.processor() or platform.machine()
    return f"{device.type}: {cpu}, threads: {torch.get_num_threads()}"


def _read(file):
    try:
        found = json.loads(file.read_text(encoding="utf-8"), parse_constant=_refused)
        odd = {field.name for field in fields(Record)} ^ set(found)
        if odd:
            raise ValueError(f"fields missing or unknown: {', '.join(map(str, odd))}")
        return Record(**found)
    # What json, UTF-8, a number for an object and a thousand brackets raise.
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{file}: not a record ({error})") from error


def _refused(constant):
    raise ValueError(f"{constant} is no JSON")


def _by_seed(records):
    by_seed = {record.seed: record for record in records}
    if len(by_seed) < len(records):
        raise ValueError("a seed occurs twice; select one arm and one learning rate first")
    return by_seed


def _git(folder, *arguments):
    """What git prints, stripped; None where git fails or is missing."""
    try:
        done = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
