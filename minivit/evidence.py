"""Reads final records: which runs make an arm, and contrasts of arms, paired by seed.

The numbers of README, CLAIMS.md, benchmarks/FINDINGS.md and the lessons all come through here.
"""

import math
from importlib import resources
from operator import attrgetter
from typing import NamedTuple

from minivit.init import ATTENTION, BASES
from minivit.protocol import is_chosen, rates
from minivit.recipes import SCALES
from minivit.records import Record, Summary, epochs_to, load_records, summarise

# Copies of benchmarks/records. A folder of its own: `load_records` by default does not see it.
TUNING = resources.files("minivit") / "records" / "tuning"


def final_runs(
    base, attention, variant="", *, rate="own", scale="laptop", records=None
) -> list[Record]:
    """The final runs of one arm, sorted by seed; an empty list where there are none.

    rate: "own", the arm's best learning rate on validation images, or "plain", the plain arm's.
    records: where to look, by default those that ship with the package. Raises ValueError for a
    name of an arm, a scale or a rate that is none.
    """
    for name, known in ((base, BASES), (attention, ATTENTION), (scale, SCALES)):
        if name not in known:
            raise ValueError(f"{name!r} is not one of {', '.join(known)}")
    if rate not in ("own", "plain"):
        raise ValueError(f"rate is {rate!r}; it must be 'own' or 'plain'")
    if not is_chosen(scale, base):
        return []
    wanted = rates(scale, base, attention, variant)[rate == "plain"]
    where = (scale, base, attention, variant, "final", wanted)
    facts = attrgetter("scale", "base", "attention", "variant", "role", "learning_rate")
    found = [r for r in (load_records() if records is None else records) if facts(r) == where]
    return sorted(found, key=attrgetter("seed"))


def tuning_runs() -> list[Record]:
    """The runs by which recipe and learning rates were chosen: validation accuracies, no test.

    They are no evidence: whatever was chosen by them looks a little better on them than it is.
    """
    return load_records(TUNING) if TUNING.is_dir() else []


class Contrast(Summary):
    """A Summary that also knows the `runs` it was made of, a list."""

    runs: list[Record]


def contrast(plus, minus=(), *, value=attrgetter("final_accuracy")) -> Contrast | None:
    """Contrast over seeds of the sum of value(run) in `plus` less that in `minus`.

    plus, minus: lists of arms, each a list of runs; two and two make a difference of differences.
    Only seeds that every arm has count; None where they are fewer than two. Raises ValueError for
    an arm in which a seed has two values or a run has none, and where runs of one seed were not
    made of the same images.
    """
    _check_images([run for runs in (*plus, *minus) for run in runs])
    arms = [_by_seed(runs, value) for runs in (*plus, *minus)]
    signs = [1] * len(plus) + [-1] * len(minus)
    seeds = set.intersection(*(set(arm) for arm in arms))
    if len(seeds) < 2:
        return None
    found = Contrast(
        *summarise(
            [
                sum(s * arm[seed] for s, arm in zip(signs, arms, strict=True))
                for seed in sorted(seeds)
            ]
        )
    )
    found.runs = [run for runs in (*plus, *minus) for run in runs if run.seed in seeds]
    return found


def behind(contrasts) -> list[Record]:
    """The runs that these contrasts were made of: what `recorded_on` has to name on a picture."""
    return [run for each in contrasts for run in each.runs]


def _check_images(runs):
    """Of one seed all runs share the validation images; those on equally many, the training ones.

    Compared as decoded, for the archive may be packed in another way.
    """
    found = {}
    for run in runs:
        parts = {"validation": None, "train": run.recipe.get("subset")}
        for part, size in parts.items():
            first = found.setdefault((run.seed, part, size), run)
            if first.data.get(part) != run.data.get(part):
                raise ValueError(
                    f"{first.filename} and {run.filename} are no pair: other {part} images"
                )


class TimeTo(NamedTuple):
    """How many of `n` runs reached an accuracy, and the mean epoch at which those did (or None)."""

    reached: int
    n: int
    epoch: float | None


def plain_threshold(plain_runs):
    """The mean validation accuracy of plain's runs after their last epoch."""
    return summarise([run.epochs[-1]["validation_accuracy"] for run in plain_runs]).mean


def time_to(runs, threshold) -> TimeTo:
    """When runs first have a validation accuracy of at least `threshold`."""
    epochs = [epoch for run in runs if (epoch := epochs_to(run, threshold)) is not None]
    mean = sum(epochs) / len(epochs) if epochs else None
    return TimeTo(len(epochs), len(runs), mean)


def recorded_on(runs):
    """The words that stand on a picture of recorded runs: data, scale, machine, code.

    Raises ValueError for no runs.
    """
    if not runs:
        raise ValueError("no runs: a picture of recorded runs is made of some")
    names, machines, commits = (
        sorted(set(values))
        for values in (
            (run.data["name"] for run in runs),
            (run.device.partition(", threads")[0] for run in runs),
            ((run.commit or "no commit")[:8] for run in runs),
        )
    )
    # A line of hashes is read by nobody; each record names its own.
    code = " and ".join(commits) if len(commits) <= 3 else f"of {len(commits)} commits"
    names, machines = " and ".join(names), " and ".join(machines)
    found = {run.scale for run in runs}
    scales = [name for name in SCALES if name in found] + sorted(found - {*SCALES})
    *more, last = scales
    scale = f"scales {', '.join(more)} and {last}" if more else f"scale {last}"
    return f"{names} · {scale} · recorded on {machines}, code {code}"


def _by_seed(runs, value):
    values = {}
    for run in runs:  # twice the same is one run in two sweeps
        if value(run) is None:
            raise ValueError(f"seed {run.seed}: a run without this value; test images not read?")
        if values.setdefault(run.seed, value(run)) != value(run):
            raise ValueError(f"seed {run.seed} has two values: an arm holds runs of another arm")
    return values


def points(summary):
    """A contrast in percentage points, with its 95 % interval and the number of seeds."""
    if summary is None:
        return "not finished"
    mean, low, high = (100 * x for x in (summary.mean, summary.low, summary.high))
    digits = decimals(low, high)
    text = f"{mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}], n = {summary.n}"
    return text.replace("-", "−")


def decimals(low, high):
    """Of an interval in points: one, but two where it ends near 0, for "−0.0" has no side."""
    return 1 if all(abs(end) >= 0.05 for end in (low, high)) else 2


def verdict(summary):
    """What the interval carries of "this contrast is positive"."""
    if summary is None:
        return "not known"
    return "holds" if summary.low > 0 else "does not hold" if summary.high < 0 else "not known"


def p_value(summary):
    """Two-sided p of the t test that belongs to the interval: the true mean is 0."""
    from scipy.stats import t

    if not summary.std > 0:  # of a single value it is nan: that one tells nothing
        return float(summary.std != 0 or summary.mean == 0)
    return 2 * float(t.sf(abs(summary.mean) / summary.std * math.sqrt(summary.n), summary.n - 1))


def withstand(summaries, level=0.05, *, unanswered=0):
    """For each Summary, whether it differs from 0 even where all of them are asked at once.

    Holm's correction (Scandinavian Journal of Statistics 6, 1979): the chance that any of those
    called True is a false one is at most `level`. unanswered: how many more were asked, and have
    no runs yet; whatever they will give, who is True stays True.
    """
    p = [p_value(summary) for summary in summaries]
    order = sorted(range(len(p)), key=p.__getitem__)
    asked = len(p) + unanswered
    first = (rank for rank, i in enumerate(order) if p[i] > level / (asked - rank))
    kept = {*order[: next(first, len(p))]}
    return [i in kept for i in range(len(p))]
