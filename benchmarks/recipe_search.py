"""Chooses the LAPTOP recipe: candidates of about equal cost, the plain arm, on validation images.

`nice python -m benchmarks.recipe_search` writes tuning records into runs/recipe_search and prints
a table. It can be stopped and started again. The test set is not read, no arm but plain is
trained, and the seed is none of the final ones.
"""

from dataclasses import replace
from pathlib import Path

from minivit.compare import Arm, compare, last_accuracy, prepare
from minivit.data import Augment, cifar10
from minivit.init import BASES
from minivit.recipes import LAPTOP

SEED = 100
FOLDER = Path("runs") / "recipe_search"
CHANGES = {
    "as it is": {},
    "batch 32": {"batch_size": 32},
    "rate 3e-3": {"learning_rate": 3e-3},
    "batch 32, rate 3e-3": {"batch_size": 32, "learning_rate": 3e-3},
    "gradient clipped at 1": {"clip_norm": 1.0},
    "flip, no crop": {"augment": Augment(crop=0)},
    "20,000 images, 3 epochs": {"subset": 20_000, "epochs": 3, "warmup_epochs": 0.5},
    "weight decay 0.3": {"weight_decay": 0.3},
    # Second round: the crop was what cost most.
    "flip, no crop, batch 32": {"augment": Augment(crop=0), "batch_size": 32},
    "flip, crop 1, batch 32": {"augment": Augment(crop=1), "batch_size": 32},
    "no augmentation": {"augment": Augment(flip=False, crop=0)},
    "flip, no crop, rate 3e-3": {"augment": Augment(crop=0), "learning_rate": 3e-3},
}


def candidate(changes):
    """LAPTOP with some fields changed, those of the training or `subset`."""
    training = {name: value for name, value in changes.items() if name != "subset"}
    subset = changes.get("subset", LAPTOP.subset)
    return replace(LAPTOP, training=replace(LAPTOP.training, **training), subset=subset)


def main():
    data = cifar10()
    print(f"{'recipe':<26}" + "".join(f"{base:>18}" for base in BASES))
    for name, changes in CHANGES.items():
        task = prepare(candidate(changes), data, FOLDER, role="tuning")
        arms = [Arm(base=base, attention="plain", seed=SEED) for base in BASES]
        records = compare(arms, task, processes=2)
        cells = "".join(f"{100 * last_accuracy(record):>18.1f}" for record in records)
        print(f"{name:<26}{cells}", flush=True)


if __name__ == "__main__":
    main()
