"""Records of learning from 300 images: DeiT-Tiny fine-tuned, plain and mimetic from nothing.

`python -m benchmarks.few_images` writes what is missing into minivit/records/few_images, on one
thread, one run after the other; it may be stopped and started at any time. All see the same 300
training images and are judged on the same 500 validation images; the test set is not read. The
weights of DeiT-Tiny must be in MINIVIT_DATA. Nothing was tuned for these runs; only
DeiT-Tiny's rate and epochs were raised once, after a first try with seed 100.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

import torch

from minivit.compare import Arm, compare, prepare, runs_folder
from minivit.data import cifar10
from minivit.pretrained import load_pretrained
from minivit.recipes import LAPTOP, as_json
from minivit.records import (
    PRETRAINED,
    Record,
    describe_machine,
    load_records,
    loaded_commit,
    select,
    versions,
    write_record,
)
from minivit.runtime import pick_device
from minivit.transfer import FINE_TUNING, FOLDER, IMAGES, few, fine_tune

NAME = "deit_tiny_patch16_224"
SEEDS = (0, 1, 2)
# As many images, seen more often than the pretrained net sees them: to start from nothing is slow.
VARIANT = f"subset={IMAGES},epochs=40"
PAIR = ("plain", "mimetic")


def main():
    parser = argparse.ArgumentParser(description="learning from a few images, the missing runs")
    parser.add_argument("--only", choices=["pretrained", "pair"], help="one of the two kinds")
    only = parser.parse_args().only
    torch.set_num_threads(1)
    data = cifar10()
    if only != "pair":
        for seed in SEEDS:
            show(pretrained_run(data, seed, FOLDER))
    if only != "pretrained":
        task = few(prepare(LAPTOP, data, runs_folder("few_images")))
        for record in compare(pair(), task, processes=1):
            write_record(record, FOLDER)
            show(record)


def pair():
    """The arms that start from nothing."""
    where = {"base": "torch_default", "variant": VARIANT}
    return [Arm(attention=name, seed=seed, **where) for seed in SEEDS for name in PAIR]


def pretrained_run(data, seed, folder, recipe=FINE_TUNING, name=NAME):
    """Fine-tunes `name` and writes the record, or reads the one that is there."""
    task = few(prepare(recipe, data, folder))
    there = load_records(folder) if Path(folder).is_dir() else []
    for record in select(there, base=name, attention=PRETRAINED, seed=seed):
        if (record.recipe, record.data) == (as_json(recipe), task.data):
            return record
    commit, dirty = loaded_commit()
    file = runs_folder("few_images") / "checkpoints" / f"{name}-seed{seed}.safetensors"
    _, history = fine_tune(
        load_pretrained(name),
        task,
        seed=seed,
        device="cpu",
        checkpoint=file,
        callback=lambda epoch: print(f"  epoch {epoch.epoch}: {epoch.train_loss:.3f}", flush=True),
    )
    record = Record(
        scale=recipe.name,
        base=name,
        attention=PRETRAINED,
        variant="",
        seed=seed,
        role="live",
        learning_rate=recipe.training.learning_rate,
        recipe=as_json(recipe),
        data=task.data,
        versions=versions(),
        device=describe_machine(pick_device("cpu")),
        commit=commit,
        dirty=dirty,
        epochs=[asdict(epoch) for epoch in history.epochs],
        final_accuracy=None,
    )
    write_record(record, folder)
    return record


def show(record):
    accuracy = 100 * record.epochs[-1]["validation_accuracy"]
    seconds = f"{sum(epoch['seconds'] for epoch in record.epochs):.0f} s"
    print(f"{record.attention:>11} seed {record.seed}: {accuracy:.1f} %, {seconds}", flush=True)


if __name__ == "__main__":
    main()
