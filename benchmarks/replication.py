"""The headline's final runs, and those with small positions, once more on another processor.

`python -m benchmarks.replication` makes what is missing, into benchmarks/records/replication, and
may be stopped and started. The code, seeds and images are the same. On the processor of
minivit/records each run would come out the same, bit for bit (`benchmarks.again`). On another the
rounding differs and nothing else, and training enlarges that. So two questions have an answer here:
do the means stand, and how much of a run's accuracy does its seed decide?
"""

import math
from pathlib import Path
from statistics import fmean

from benchmarks.statements import VARIANTS, Runs, contrast
from benchmarks.study import PLAN, SMALL_POSITIONS, Question, say
from minivit.compare import DEFAULT_ARMS, compare, prepare
from minivit.data import cifar10
from minivit.evidence import points
from minivit.figures import ARM_NAMES
from minivit.init import BASES
from minivit.recipes import LAPTOP
from minivit.records import load_records, summarise

FOLDER = Path(__file__).parent / "records" / "replication"
CONTROLS = tuple(arm for arm in DEFAULT_ARMS if arm != "mimetic")


def main():
    small = Question(name="small positions", variants=SMALL_POSITIONS)
    arms = [*PLAN[0].runs(), *small.runs()]
    compare(arms, prepare(LAPTOP, cifar10(), FOLDER, role="final"), progress=say)
    print(section(load_records(), records()))


def records():
    """The runs made again; an empty list before the first."""
    return load_records(FOLDER) if FOLDER.is_dir() else []


def bases(records, again):
    """The bases of which an arm can be compared in both: every seed of it was made again."""
    return [base for base in BASES if [*_rows(Runs(records, base), Runs(again, base))]]


def section(records, again):
    """FINDINGS' section; "" where no base has all its seeds made again."""
    rows = [row for base in BASES for row in _rows(Runs(records, base), Runs(again, base))]
    if not rows:
        return ""
    both = pairs(records, again)
    first = [record for record in records if _key(record) in both]
    before, here = (" and ".join(sorted({r.device for r in each})) for each in (first, again))
    commits = sorted({(r.commit or "none")[:8] for r in again})
    commits = f"commit{'s' * (len(commits) > 1)} {' and '.join(commits)}"
    return "\n".join(
        [
            "## The same runs on another processor",
            "",
            f"First: {before}. Again: {here}, code at {commits}; the same seeds and images. "
            "Test accuracy of mimetic minus that of another arm.",
            "",
            "| base | mimetic minus | first | again | again minus first |",
            "|---|---|---|---|---|",
            *rows,
            "",
            "Single runs: the test accuracy of one arm and seed differs between the two by "
            f"{100 * apart(both):.2f} points (root mean square, n = {len(both)}). In the same "
            "measure two seeds of one arm on one processor differ by "
            f"{100 * apart_by_seed(both):.2f}.",
            "",
            *_small_positions(Runs(records), Runs(again)),
            "`python -m benchmarks.replication`",
        ]
    )


def _small_positions(first, again):
    """The table of mimetic with small positions; nothing before the last of its runs.

    Rotated's were made on the other processor to begin with, so they stand on both sides.
    """
    rows = []
    for variant in SMALL_POSITIONS:
        old, new = (runs("mimetic", variant) for runs in (first, again))
        for control, theirs in (("plain", again), ("rotated", first)):
            before, after = first(control, variant), theirs(control, variant)
            differences = ([[old], [before]], [[new], [after]], [[new, before], [after, old]])
            gains = [contrast(*pair) for pair in differences]
            if None not in gains:
                rows.append(f"| {' | '.join([VARIANTS[variant], control, *map(points, gains)])} |")
    if not rows:
        return []
    return [
        "With small positions, mimetic minus another arm. First: mimetic and plain on the first "
        "processor, and rotated on the other. Again: all three on the other.",
        "",
        "| positions | mimetic minus | first | again | again minus first |",
        "|---|---|---|---|---|",
        *rows,
        "",
    ]


def _rows(first, again):
    for control in CONTROLS:
        gains = [runs.gain("mimetic", control) for runs in (first, again)]
        if None not in gains:
            moved = contrast([again("mimetic"), first(control)], [again(control), first("mimetic")])
            cells = [first.base, ARM_NAMES[control], *map(points, (*gains, moved))]
            yield f"| {' | '.join(cells)} |"


def pairs(records, again):
    """(base, attention) and seed → the test accuracies of the run that is in both."""
    here = {_key(r): r.final_accuracy for r in again}
    return {k: (r.final_accuracy, here[k]) for r in records if (k := _key(r)) in here}


def apart(pairs):
    """The root mean square of the differences within the pairs."""
    return math.sqrt(fmean((a - b) ** 2 for a, b in pairs.values()))


def apart_by_seed(pairs):
    """The root mean square difference of two seeds: √2 times their standard deviation.

    The variance is taken within each arm and each of the two sets of runs, and averaged.
    """
    arms = {}
    for (arm, _), values in pairs.items():
        arms.setdefault(arm, []).append(values)
    sets = [side for values in arms.values() for side in zip(*values, strict=True)]
    return math.sqrt(2 * fmean(summarise(side).std ** 2 for side in sets))


def _key(run):
    return (run.base, run.attention, run.variant, run.learning_rate), run.seed


if __name__ == "__main__":
    main()
