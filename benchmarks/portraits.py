"""Portraits of LAPTOP's plain and mimetic attention, before and after training, three seeds each.

`python -m benchmarks.portraits` trains what is missing, on one thread, one run after the other, and
writes numbers that do not depend on the basis into minivit/records/portraits; it may be stopped and
started at any time. The recipe is LAPTOP as it stands, at one learning rate for both arms; the test
set is not read.
"""

import torch

from minivit import AttentionWeights, ViT, initialize_
from minivit.compare import Arm, checkpoint_path, compare, prepare, runs_folder
from minivit.data import cifar10
from minivit.portraits import FOLDER, load_portraits, portrait, write_portrait
from minivit.recipes import LAPTOP, as_json

SEEDS = (0, 1, 2)
PAIR = ("plain", "mimetic")


def main():
    torch.set_num_threads(1)
    task = prepare(LAPTOP, cifar10(), runs_folder("portraits"))
    for seed in SEEDS:
        for attention in PAIR:
            arm = Arm(base="torch_default", attention=attention, seed=seed)
            print(describe(run(arm, task)), flush=True)


def run(arm, task, folder=FOLDER):
    """Trains one arm and writes its portrait, or reads the one that is there."""
    wanted = (arm.base, arm.attention, arm.seed, as_json(arm.recipe(task.recipe)), task.data)
    for there in load_portraits(folder):
        r = there.record
        if (r.base, r.attention, r.seed, r.recipe, r.data) == wanted:
            return there
    (record,) = compare([arm], task, processes=1)
    start = initialize_(ViT(task.recipe.model), arm.base, arm.attention, seed=arm.seed)
    end = AttentionWeights.load(checkpoint_path(arm, task))
    made = portrait(record, AttentionWeights.of(start), end)
    write_portrait(made, folder)
    return made


def describe(made):
    """One line: accuracy, and the mean cosines with I before and after."""
    accuracy = 100 * made.record.epochs[-1]["validation_accuracy"]
    pairs = (
        f"{name} {made.start[f'{name}.cosine'].mean():+.3f} → "
        f"{made.end[f'{name}.cosine'].mean():+.3f}"
        for name in ("qk", "ov")
    )
    where = f"{made.record.attention:>8} seed {made.record.seed}: {accuracy:.1f} %"
    return f"{where}; cosine with I, {', '.join(pairs)}"


if __name__ == "__main__":
    main()
