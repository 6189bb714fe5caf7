"""Is the learning rate that was chosen in short training the best in longer training, too?

`python -m benchmarks.long_rates` trains plain and mimetic for `benchmarks.study.LONG` at each rate
of `benchmarks.rates`, with its tuning seeds, on validation images. Where the best rate of an arm is
at an edge of the grid, its grid grows by one step. Records stand in benchmarks/records/long_rates;
what is there is not run again.
"""

from pathlib import Path

from benchmarks import rates
from benchmarks.runs import contrast
from benchmarks.study import BEST_LONG, BETTER, LONG, PAIR, say
from benchmarks.wording import length, level
from minivit import evidence
from minivit.compare import Arm, compare, prepare
from minivit.data import cifar10
from minivit.evidence import points
from minivit.protocol import RATES
from minivit.recipes import LAPTOP
from minivit.records import load_records

FOLDER = Path(__file__).parent / "records" / "long_rates"


def main():
    task = prepare(LAPTOP, cifar10(), FOLDER, role="tuning")
    todo = [(BETTER, arm, rate) for rate in rates.GRID for arm in PAIR]
    while todo:
        compare(planned(todo), task, progress=say)
        todo = rates.beyond_the_edges(records())
    print(rates.table(records()))


def planned(todo):
    """The runs of the sweep, one seed after the other."""
    return [
        Arm(base=base, attention=arm, seed=seed, variant=LONG, learning_rate=rate)
        for seed in rates.SEEDS
        for base, arm, rate in todo
    ]


def records():
    """The records of the sweep; an empty list before it has begun."""
    return load_records(FOLDER) if FOLDER.is_dir() else []


def is_complete(records):
    """Whether every rate was tried with every seed, and no arm's best is at an edge."""
    tried = {(r.base, r.attention, r.learning_rate) for r in records}
    wanted = tried | {(BETTER, arm, rate) for rate in rates.GRID for arm in PAIR}
    there = {(r.base, r.attention, r.learning_rate, r.seed) for r in records}
    seeds_missing = {(*each, seed) for each in wanted for seed in rates.SEEDS} - there
    return not seeds_missing and not rates.beyond_the_edges(records)


def section(records):
    """FINDINGS' section; "" before the sweep is complete."""
    if not is_complete(records):
        return ""
    best = rates.best_rates(records)[BETTER]
    moved = {arm: rate for arm, rate in best.items() if rate != RATES["laptop"][BETTER][arm]}
    found = " and ".join(f"{arm} does best at {rate:g}" for arm, rate in moved.items())
    found = found and f"Here {found}: the plan has final runs at that rate (*Longer training*)"
    return "\n".join(
        [
            f"## Learning rates for {length(LONG)} ({BETTER})",
            "",
            "Validation accuracy in percent after the last epoch, mean over seeds "
            f"{' and '.join(map(str, rates.SEEDS))} (`python -m benchmarks.long_rates`). Final "
            "runs of this length took the rates that were chosen in shorter training. "
            f"{found or 'They do best here, too'}.",
            "",
            rates.table(records),
        ]
    )


def of_shared_seeds(runs, short):
    """The gain of longer training over the seeds that `short`, another variant, has as well; or "".

    It is what the column of differences subtracts from. runs: `benchmarks.runs.Runs`.
    """
    seeds = set.intersection(*({run.seed for run in runs(arm, short)} for arm in PAIR))
    ends = [[run for run in runs(arm, LONG) if run.seed in seeds] for arm in ("mimetic", "plain")]
    found = evidence.contrast(*([own] for own in ends))
    if found is None:
        return ""
    return (
        f"The last column is of the {found.n} seeds that both have; over them the gain after "
        f"{length(LONG)} is {points(found)}. "
    )


def at_best_rates(runs):
    """What is left of longer training's gain where each arm has its own best rate there; or "".

    runs: `benchmarks.runs.Runs` of the final runs.
    """
    arms = mimetic, plain = [runs(arm, BEST_LONG[arm]) for arm in ("mimetic", "plain")]
    best = contrast([mimetic], [plain])
    if best is None:
        return ""
    rates = [f"{own[0].attention} {own[0].learning_rate:g}" for own in arms]
    machines = [", ".join(sorted({run.device for run in own})) for own in arms]
    where = f" Made on {machines[0]} (mimetic) and {machines[1]} (plain): rounding is in it."
    return (
        f" Each at the rate that is best for it there ({', '.join(rates)}; plain {level(plain)} "
        f"%), mimetic minus plain: {points(best)}." + where * (machines[0] != machines[1])
    )


if __name__ == "__main__":
    main()
