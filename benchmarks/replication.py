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

from benchmarks.runs import Runs
from benchmarks.statements import statements, strong
from benchmarks.study import PLAN, SMALL_POSITIONS, Question, say
from minivit.compare import compare, prepare
from minivit.data import cifar10
from minivit.evidence import points, verdict
from minivit.figures import ARM_NAMES
from minivit.init import BASES
from minivit.recipes import LAPTOP
from minivit.records import load_records, summarise

FOLDER = Path(__file__).parent / "records" / "replication"


def main():
    small = Question(name="small positions", variants=SMALL_POSITIONS)
    arms = [*PLAN[0].runs(), *small.runs()]
    compare(arms, prepare(LAPTOP, cifar10(), FOLDER, role="final"), progress=say)
    print(section(load_records(), records()))


def records():
    """The runs made again; an empty list before the first."""
    return load_records(FOLDER) if FOLDER.is_dir() else []


def bases(records, again):
    """The bases on which mimetic and plain can be compared in both."""
    pairs = {base: (Runs(records, base).gain(), Runs(again, base).gain()) for base in BASES}
    return [base for base, gains in pairs.items() if None not in gains]


def section(records, again):
    """FINDINGS' section; "" where no statement has all its runs on the other processor."""
    rows = [*_statements(records, again)]
    if not rows:
        return ""
    both = pairs(records, again)
    first = [record for record in records if _key(record) in both]
    before, here = (" and ".join(sorted({r.device for r in each})) for each in (first, again))
    commits = sorted({(r.commit or "none")[:8] for r in again})
    commits = f"commit{'s' * (len(commits) > 1)} {', '.join(commits)}"
    return "\n".join(
        [
            "## The same runs on another processor",
            "",
            f"First: {before}. Again: {here}, code at {commits}; the same seeds and images. Every "
            "statement whose runs are all there. Where some had been made there to begin with, "
            "its first interval mixes the two processors, and the second does not. †: differs from "
            "0 also where all statements are asked at once, each column for itself. Rounding moves "
            f"intervals a little, and that mark with them.{_all_replaced(records, again)}",
            "",
            "| statement | first | again | read as |",
            "|---|---|---|---|",
            *rows,
            "",
            "How far test accuracies end apart (root mean square, points): one seed on two "
            "processors, and two seeds on one (averaged over both processors). Rounding parts "
            "them, and training enlarges it, under "
            "some initializers more than under others; why is open.",
            "",
            "| base | arm | what is changed | one seed, two processors | two seeds | n |",
            "|---|---|---|---|---|---|",
            *_distances(both),
            "",
            "`python -m benchmarks.replication`",
        ]
    )


def most_apart(records, again):
    """The attention of the arm whose runs rounding parts most; None before there are pairs."""
    arms = by_arm(pairs(records, again))
    return max(arms, key=lambda arm: apart(arms[arm]))[1] if arms else None


def daggers(records, again):
    """Of the statements made again: the texts with †, those that lose it, those that gain it."""
    made = [(first.text, marks) for first, _, marks in _made_again(records, again)]
    had, has = ({text for text, marks in made if marks[i]} for i in (0, 1))
    return had, had - has, has - had


def moved(records, again):
    """Texts of the statements whose interval is another one when made again.

    Those of arms that rounding does not move are the same, bit for bit.
    """
    made = _made_again(records, again)
    return {one.text for one, two, _ in made if one.contrast != two.contrast}


def _replaced(records, again):
    """The records, and in place of each that was made again, that one."""
    twins = {_key(r): r for r in again}
    return [twins.get(_key(r), r) for r in records]


def _all_replaced(records, again):
    """How many † of the page are other ones with every run made again in place of the first."""
    had, has = (strong(statements(rs)) for rs in (records, _replaced(records, again)))
    lost, won = len(had - has), len(has - had)
    return (
        f" With every run that was made again in place of the first, {lost} of the {len(had)} † of "
        f"this page go and {won} come; some of these statements then mix processors."
    )


def _statements(records, again):
    """A row for each statement that can be made of the other processor's runs alone."""
    for *pair, marks in _made_again(records, again):
        gains = [each.contrast for each in pair]
        cells = [points(g) + " †" * m for g, m in zip(gains, marks, strict=True)]
        read = ", then ".join(dict.fromkeys(map(verdict, gains)))
        yield f"| {pair[0].text} | {' | '.join(cells)} | {read} |"


def _made_again(records, again):
    """(the Statement, that made of the other processor's runs alone, whether each has a †)."""
    twins, there = {_key(r) for r in again}, {r.device for r in again}
    both = [statements(rs) for rs in (records, _replaced(records, again))]
    marked = [strong(made) for made in both]
    for pair in zip(*both, strict=True):
        gains = [each.contrast for each in pair]
        made = gains[1].runs if gains[1] else ()
        replaced = any(_key(r) in twins for r in made)
        if gains[0] and replaced and {r.device for r in made} <= there:
            yield *pair, [pair[0].text in texts for texts in marked]


def _distances(both):
    for (base, attention, variant, _), values in by_arm(both).items():
        cells = [base, ARM_NAMES[attention], variant or "–", f"{100 * apart(values):.2f}"]
        yield f"| {' | '.join([*cells, f'{100 * apart_by_seed(values):.2f}', str(len(values))])} |"


def pairs(records, again):
    """(base, attention, variant, rate) and seed → test accuracies of the run that is in both."""
    here = {_key(r): r.final_accuracy for r in again}
    return {k: (r.final_accuracy, here[k]) for r in records if (k := _key(r)) in here}


def by_arm(pairs):
    """(base, attention, variant, rate) → its pairs."""
    arms = {}
    for (arm, _), values in pairs.items():
        arms.setdefault(arm, []).append(values)
    return arms


def apart(values):
    """The root mean square of the differences within pairs."""
    return math.sqrt(fmean((a - b) ** 2 for a, b in values))


def apart_by_seed(values):
    """The root mean square difference of two seeds, √2 times their standard deviation.

    The variance is taken on each processor, and averaged.
    """
    sides = zip(*values, strict=True)
    return math.sqrt(2 * fmean(summarise(side).std ** 2 for side in sides))


def _key(run):
    return (run.base, run.attention, run.variant, run.learning_rate), (run.scale, run.seed)


if __name__ == "__main__":
    main()
