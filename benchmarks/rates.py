"""Chooses learning rates: for every base and arm the best of a grid, on validation images.

`python -m benchmarks.rates` trains LAPTOP at each rate with the tuning seeds and prints what
`minivit.protocol.RATES` should hold. Where the best rate of an arm is at an edge of the grid, its
grid grows by one step. Records stand in benchmarks/records/rates; what is there is not run again.
"""

import argparse
from pathlib import Path
from statistics import mean

from minivit.compare import DEFAULT_ARMS, Arm, compare, prepare
from minivit.data import cifar10
from minivit.init import ATTENTION, BASES
from minivit.outcome import last_accuracy
from minivit.recipes import LAPTOP
from minivit.records import load_records

FOLDER = Path(__file__).parent / "records" / "rates"
STEPS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
GRID = (3e-4, 1e-3, 3e-3)
SEEDS = (100, 101)


def main():
    parser = argparse.ArgumentParser(description="learning rates, on validation images")
    parser.add_argument("--bases", nargs="+", choices=list(BASES), default=list(BASES))
    parser.add_argument("--arms", nargs="+", choices=list(ATTENTION), default=DEFAULT_ARMS)
    options = parser.parse_args()
    task = prepare(LAPTOP, cifar10(), FOLDER, role="tuning")
    todo = [(base, name, rate) for base in options.bases for name in options.arms for rate in GRID]
    while todo:
        arms = [
            Arm(base=base, attention=name, seed=seed, learning_rate=rate)
            for seed in SEEDS
            for base, name, rate in todo
        ]
        compare(arms, task, progress=_say)
        todo = beyond_the_edges(records())
        print("at an edge:", todo)
    print(table(records()))
    print("RATES =", {"laptop": best_rates(records())})


def records():
    """The records of the sweep; an empty list before it has begun."""
    return load_records(FOLDER) if FOLDER.is_dir() else []


def accuracies(records):
    """base → arm → rate → mean validation accuracy after the last epoch, over the seeds."""
    found = {}
    for r in records:
        by_rate = found.setdefault(r.base, {}).setdefault(r.attention, {})
        by_rate.setdefault(r.learning_rate, []).append(last_accuracy(r))
    return {
        base: {arm: {r: mean(values) for r, values in rates.items()} for arm, rates in arms.items()}
        for base, arms in found.items()
    }


def best_rates(records):
    """base → arm → the rate with the highest mean; of equal ones the smallest."""
    return {
        base: {arm: max(sorted(rates), key=rates.get) for arm, rates in arms.items()}
        for base, arms in accuracies(records).items()
    }


def beyond_the_edges(records):
    """(base, arm, rate) for each arm whose best rate is the smallest or largest that was tried.

    Raises ValueError where there is none beyond it in STEPS.
    """
    todo = []
    for base, arms in best_rates(records).items():
        for arm, best in arms.items():
            tried = sorted(accuracies(records)[base][arm])
            step = {tried[0]: -1, tried[-1]: 1}.get(best, 0)
            if step:
                at = STEPS.index(best) + step
                if not 0 <= at < len(STEPS):
                    raise ValueError(f"{base}, {arm}: best at {best:g}, the last of {STEPS}")
                todo.append((base, arm, STEPS[at]))
    return todo


def table(records):
    """Markdown: a row for each arm, a column for each rate, validation accuracy in percent."""
    rates = sorted({record.learning_rate for record in records})
    lines = [
        f"| base | arm | {' | '.join(f'{rate:g}' for rate in rates)} | best |",
        "|---" * (len(rates) + 3) + "|",
    ]
    for base, arms in accuracies(records).items():
        for arm, by_rate in arms.items():
            best = max(sorted(by_rate), key=by_rate.get)
            lines.append(f"| {base} | {arm} | {percents(by_rate, rates)} | {best:g} |")
    return "\n".join(lines)


def section(records):
    """FINDINGS' section; "" before the sweep has begun."""
    if not records:
        return ""
    seeds = ", ".join(map(str, sorted({record.seed for record in records})))
    alike = [base for base, best in best_rates(records).items() if len(set(best.values())) == 1]
    note = (
        f"On {' and '.join(alike)} one rate is the best of every arm. So the two ways of choosing, "
        "each arm's own rate and plain's, ask for the same runs there, and have one table."
    )
    return "\n".join(
        [
            "## Learning rates",
            "",
            f"Validation accuracy in percent after the last epoch, mean over seeds {seeds} "
            f"(`python -m benchmarks.rates`).{f' {note}' if alike else ''}",
            "",
            table(records),
        ]
    )


def percents(found, columns):
    """Cells of a Markdown row: the accuracy found for each column in percent, or a dash."""
    return " | ".join(f"{100 * found[c]:.1f}" if c in found else "–" for c in columns)


def _say(arm, epoch):
    if epoch.epoch == LAPTOP.training.epochs:
        where = f"{arm.base} {arm.attention} {arm.learning_rate:g} seed {arm.seed}"
        print(f"{where}: {100 * epoch.validation_accuracy:.1f} %", flush=True)


if __name__ == "__main__":
    main()
