"""Chooses how large the patch embedding starts, for plain and for mimetic, on validation images.

`python -m benchmarks.patch_scale` trains LAPTOP with each factor and the tuning seeds and prints
what `benchmarks.study.LOUDEST` should hold. Where an arm's best factor is the smallest or largest
that was tried, the grid grows. Factor 1 was trained for `benchmarks.rates` already. Records stand
in benchmarks/records/patch_scale; what is there is not run again.
"""

from pathlib import Path
from statistics import mean

from benchmarks import rates
from benchmarks.study import BETTER, PAIR
from minivit.compare import Arm, compare, prepare
from minivit.data import cifar10
from minivit.outcome import last_accuracy
from minivit.protocol import RATES
from minivit.recipes import LAPTOP
from minivit.records import load_records

FOLDER = Path(__file__).parent / "records" / "patch_scale"
GRID = (2, 4, 8)


def main():
    task, grid = prepare(LAPTOP, cifar10(), FOLDER, role="tuning"), GRID
    while grid:
        compare(planned(grid), task, progress=_say)
        grid = beyond_the_edges(records())
    print(table(records()))
    print("LOUDEST =", {arm: f"patch_scale={x:g}" for arm, x in best(records()).items()})


def planned(grid):
    """The runs of the sweep, one seed after the other."""
    rate = RATES["laptop"][BETTER]
    return [
        Arm(
            base=BETTER,
            attention=name,
            seed=seed,
            variant=f"patch_scale={factor:g}",
            learning_rate=rate[name],
        )
        for seed in rates.SEEDS
        for factor in grid
        for name in PAIR
    ]


def records():
    """The records of the sweep, factor 1 included."""
    usual = RATES["laptop"][BETTER]
    found = [
        r
        for r in rates.records()
        if r.base == BETTER and r.attention in PAIR and r.learning_rate == usual[r.attention]
    ]
    return found + (load_records(FOLDER) if FOLDER.is_dir() else [])


def accuracies(records):
    """arm → factor → mean validation accuracy after the last epoch, over the seeds."""
    found = {}
    for r in records:
        factor = float(r.variant.removeprefix("patch_scale=") or 1)
        found.setdefault(r.attention, {}).setdefault(factor, []).append(last_accuracy(r))
    return {
        arm: {factor: mean(values) for factor, values in sorted(by_factor.items())}
        for arm, by_factor in found.items()
    }


def best(records):
    """arm → the factor with the highest mean; of equal ones the smallest."""
    return {arm: max(by, key=by.get) for arm, by in accuracies(records).items()}


def beyond_the_edges(records):
    """The factors to try next: half the smallest, twice the largest, where an arm is best there."""
    chosen, tried = best(records).values(), [*accuracies(records)["plain"]]
    beyond = {min(tried): min(tried) / 2, max(tried): 2 * max(tried)}
    return [beyond[factor] for factor in beyond if factor in chosen]


def table(records):
    """Markdown: a row for each arm, a column for each factor, validation accuracy in percent."""
    found = accuracies(records)
    factors = sorted({factor for by in found.values() for factor in by})
    lines = [
        f"| arm | {' | '.join(f'× {factor:g}' for factor in factors)} |",
        "|---" * (len(factors) + 1) + "|",
    ]
    lines += [f"| {arm} | {rates.percents(by, factors)} |" for arm, by in found.items()]
    return "\n".join(lines)


def _say(arm, epoch):
    if epoch.epoch == LAPTOP.training.epochs:
        where = f"{arm.attention} {arm.variant} seed {arm.seed}"
        print(f"{where}: {100 * epoch.validation_accuracy:.1f} %", flush=True)


if __name__ == "__main__":
    main()
