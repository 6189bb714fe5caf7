"""Time to 65 %: the cheapest recipe of which ten seeds reach it on average, on test images.

`python -m benchmarks.time_to` trains the candidates once each, from the cheapest on, until one
reaches TO_REACH on validation images; then that one with ten final seeds, each to its fixed last
epoch. It may be stopped and started at any time; `--list` says how far it is. The same, for 90 %
on a GPU, is a part of `benchmarks.gpu_queue`. A ViT without convolutions, nothing pretrained; its
attention starts mimetic. No other start is timed, so this says nothing of what mimetic is worth.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from benchmarks.measure import Row, Section
from benchmarks.steps import training_flops
from minivit.compare import Arm, compare, prepare
from minivit.data import cifar10
from minivit.outcome import last_accuracy
from minivit.protocol import FIRST_TUNING_SEED, rates
from minivit.recipes import LAPTOP, Recipe
from minivit.records import load_records, summarise
from minivit.variants import vary

FOLDER = Path(__file__).parent / "records" / "time_to"
TRAIN_IMAGES = 50_000  # of CIFAR-10
FIRST = (
    "Taken is the first candidate with at least {:.0f} % on validation images, since one seed may "
    "be luck. Where it ends above the mark, its seconds are more than the mark takes."
)
BESIDE = "Two runs went at a time, most beside other work; the shortest was disturbed least."


@dataclass(frozen=True, kw_only=True)
class Mark:
    """An accuracy to be reached: by which recipe, and how it is chosen.

    accuracy: on test images after the last epoch, mean of `seeds`. to_reach: by one tuning run, on
    validation images; above `accuracy`, since one seed is luck. candidates: variants of `recipe`,
    in the order of their cost: the first that reaches it is taken.
    """

    accuracy: float
    to_reach: float
    candidates: tuple[str, ...]
    seeds: range
    recipe: Recipe


CPU = Mark(
    accuracy=0.65,
    to_reach=0.66,  # one seed on 5,000 images is ± 0.7 points off its own mean
    # All of the training images but those for validation.
    candidates=tuple(f"subset=45000,epochs={epochs}" for epochs in (4, 6, 8, 10, 12, 16)),
    seeds=range(10),
    recipe=LAPTOP,
)


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.time_to", description=__doc__)
    parser.add_argument("--list", action="store_true", help="only say how far it is")
    if not parser.parse_args().list:
        data = cifar10()
        search(prepare(LAPTOP, data, FOLDER, role="tuning"))
        final(prepare(LAPTOP, data, FOLDER, role="final"))
    print(*lines(records()), sep="\n")


def search(task):
    """Trains candidates until one reaches the mark, one by one: a dearer one may not be needed."""
    for variant in CPU.candidates:
        record = compare([arm(variant, FIRST_TUNING_SEED)], task, progress=_say)[0]
        if last_accuracy(record) >= CPU.to_reach:
            return


def final(task):
    """Trains the chosen candidate with every seed, if one was chosen."""
    variant = chosen(records())
    if variant:
        compare([arm(variant, seed) for seed in CPU.seeds], task, progress=_say)


def arm(variant, seed):
    rate, _ = rates("laptop", "torch_default", "mimetic")
    names = {"base": "torch_default", "attention": "mimetic", "learning_rate": rate}
    return Arm(**names, variant=variant, seed=seed)


def records():
    """The records there are; an empty list before the first."""
    return load_records(FOLDER) if FOLDER.is_dir() else []


def chosen(found, mark=CPU):
    """The first candidate of which a tuning record reached `to_reach`; None before that."""
    good = {r.variant for r in found if r.role == "tuning" and last_accuracy(r) >= mark.to_reach}
    return next(filter(good.__contains__, mark.candidates), None)


def final_runs(found, mark=CPU):
    """The final records of the chosen candidate."""
    variant = chosen(found, mark)
    return [r for r in found if r.role == "final" and r.variant == variant]


def operations(recipe):
    """Floating-point operations of a whole training, matrix products alone."""
    images = recipe.subset or TRAIN_IMAGES - recipe.validation
    return images * recipe.training.epochs * training_flops(recipe.model)


def lines(found, mark=CPU):
    """What was measured, in sentences; "reached" only where all seeds are there."""
    said = [
        f"{r.variant}, seed {r.seed}: {100 * last_accuracy(r):.1f} % on validation images"
        for r in found
        if r.role == "tuning"
    ]
    runs = final_runs(found, mark)
    if len(runs) < len(mark.seeds):
        return [*said, f"{len(runs)} of {len(mark.seeds)} final runs: no time yet"]
    level = summarise([r.final_accuracy for r in runs])
    work = operations(vary(mark.recipe, runs[0].variant))
    reached = "reached" if level.mean >= mark.accuracy else "not reached"
    return [
        *said,
        f"{100 * mark.accuracy:.0f} % {reached}: {100 * level.mean:.2f} % of the test images after "
        f"the last epoch, mean of n = {level.n} seeds, 95 % interval {100 * level.low:.2f} to "
        f"{100 * level.high:.2f}, standard deviation {100 * level.std:.2f}",
        *_seconds(runs),
        f"{work / 1e12:.0f} TFLOP a run (matrix products)",
        f"{runs[0].attention} on {runs[0].base}; {runs[0].data['name']}; {runs[0].variant}; "
        f"torch {' and '.join(sorted({r.versions['torch'] for r in runs}))}",
    ]


def _seconds(runs):
    """A line for each device, and one for the runs that moved: their seconds are nobody's."""
    moved = [r for r in runs if ", then " in r.device]
    for device in sorted({r.device for r in runs if r not in moved}):
        spent = [sum(e["seconds"] for e in r.epochs) for r in runs if r.device == device]
        yield (
            f"{mean(spent):.0f} s of training a run, mean of {len(spent)} (shortest "
            f"{min(spent):.0f} s, longest {max(spent):.0f} s), on {device}"
        )
    if moved:
        many = f"{len(moved)} of {len(runs)} runs"
        yield f"went from one device to another, seconds not quoted: {many}"


def time_to_sections(**_):
    """A table made from the records, which takes no time: the runs take hours."""
    return [mark_section("on the CPU", records(), CPU, notes=(BESIDE,))]


def mark_section(where, found, mark, notes=()):
    """The Section on one mark, from its records."""
    rows = [Row(what=line, median="") for line in lines(found, mark)]
    notes = (FIRST.format(100 * mark.to_reach), *notes)
    return Section(title=f"Time to {100 * mark.accuracy:.0f} % {where}", rows=rows, notes=notes)


def _say(arm, epoch):
    accuracy = 100 * epoch.validation_accuracy
    print(f"{arm.variant} seed {arm.seed} epoch {epoch.epoch}: {accuracy:.1f} %", flush=True)


if __name__ == "__main__":
    main()
