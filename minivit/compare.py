"""Trains the arms of a comparison, several processes side by side, one record for each run.

Arms of one seed share everything but the attention weights: base, data, batches, augmentation,
recipe. What was stopped goes on where it was; a run whose record is there is not run again.
"""

import os
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from minivit.data import ImageSet
from minivit.init import ATTENTION, BASES, initialize_
from minivit.model import ViT
from minivit.protocol import check_role
from minivit.recipes import Recipe, as_json, recipe_digest
from minivit.records import (
    ROLES,
    Record,
    describe_machine,
    images_of,
    load_records,
    loaded_commit,
    package_digest,
    select,
    versions,
    write_record,
)
from minivit.runtime import cpu_cores, is_whole, pick_device
from minivit.train import evaluate, train
from minivit.variants import change_start_, parse_variant, vary
from minivit.workers import in_processes

DEFAULT_ARMS = ("plain", "norm_matched", "rotated", "mimetic")
SPLIT_SEED = 0  # the same images for all runs: what a seed varies is weights, order, augmentation


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One run: a base, an attention initializer, a seed, and what it changes in the recipe.

    variant: text, see `variants.py`. learning_rate: None is the recipe's. Raises ValueError for a
    name that is unknown and a seed that is no int.
    """

    base: str
    attention: str
    seed: int = 0
    variant: str = ""
    learning_rate: float | None = None

    def __post_init__(self):
        if not is_whole(self.seed):
            raise ValueError(f"seed is {self.seed!r}; it must be an int")
        for name, known in ((self.base, BASES), (self.attention, ATTENTION)):
            if name not in known:
                raise ValueError(f"{name!r} is not one of {', '.join(known)}")
        parse_variant(self.variant)

    def __str__(self):
        variant = f", {self.variant}" if self.variant else ""
        return f"{self.base}, {self.attention}, seed {self.seed}{variant}"

    def recipe(self, recipe):
        """What this arm makes of a recipe."""
        return vary(recipe, self.variant, self.learning_rate)


@dataclass(frozen=True, kw_only=True)
class Task:
    """What all runs of a comparison share. `test` is None unless the test set is to be read.

    pool: all training images that validation leaves. train: those of them that the recipe takes.
    data: what a record says of the images, for `train`.
    """

    recipe: Recipe
    pool: ImageSet
    train: ImageSet
    validation: ImageSet
    test: ImageSet | None
    role: str
    folder: Path
    data: dict

    def images(self, recipe):
        """Returns (training images, `data`) of a recipe, which may take another subset."""
        if recipe.subset == self.recipe.subset:
            return self.train, self.data
        images = self.pool.subset(recipe.subset, seed=SPLIT_SEED)
        return images, self.data | {"train": images.subset_digest}

    @property
    def source(self):
        """The words that stand on every picture of this comparison."""
        machine = describe_machine(pick_device()).partition(", threads")[0]
        return f"{self.train.name} · scale {self.recipe.name} · {machine}"


def prepare(recipe, data, folder, *, role="live") -> Task:
    """The Task of a recipe and of `data`, the pair that `cifar10` returns.

    Validation images come out of the training images. Only for role="final" are the test images
    read at all. Raises ValueError for an unknown role and where the recipe asks for more images
    than there are.
    """
    if role not in ROLES:
        raise ValueError(f"role is {role!r}; it must be one of {ROLES}")
    whole, test = data
    pool, validation = whole.split(recipe.validation, seed=SPLIT_SEED)
    images = pool if recipe.subset is None else pool.subset(recipe.subset, seed=SPLIT_SEED)
    digests = {"train": images.subset_digest, "validation": validation.subset_digest}
    return Task(
        recipe=recipe,
        pool=pool,
        train=images,
        validation=validation,
        test=test if role == "final" else None,
        role=role,
        folder=Path(folder),
        data={"name": whole.name, "digest": whole.digest, **digests},
    )


def run_arm(arm, task, *, device=None, callback=None) -> Record:
    """Trains one arm, or goes on with it, writes its record into task.folder and returns it.

    Raises ValueError as `compare` does, and for a final run that has its record: it is made once.
    """
    check_role(task.role, task.recipe, arm)
    if task.role == "final" and finished(arm, task):
        raise ValueError(f"{task.folder} has this final run: the test images are read once")
    commit, dirty = loaded_commit()
    if task.role == "final" and dirty:  # though `check_role` found the checkout itself clean
        raise ValueError("minivit was changed since this process began: start again")
    recipe = arm.recipe(task.recipe)
    images, data = task.images(recipe)
    model = initialize_(ViT(recipe.model), arm.base, arm.attention, seed=arm.seed)
    change_start_(model, arm.variant, seed=arm.seed)
    history = train(
        model,
        images,
        task.validation,
        recipe.training,
        seed=arm.seed,
        device=device,
        checkpoint=checkpoint_path(arm, task),
        callback=callback,
    )
    precision = recipe.training.precision
    tested = None if task.test is None else evaluate(model, task.test, precision=precision).accuracy
    record = Record(
        scale=recipe.name,
        base=arm.base,
        attention=arm.attention,
        variant=arm.variant,
        seed=arm.seed,
        role=task.role,
        learning_rate=recipe.training.learning_rate,
        recipe=as_json(recipe),
        data=data,
        versions=versions(),
        device=describe_machine(pick_device(device)),
        commit=commit,
        dirty=dirty,
        epochs=[asdict(epoch) for epoch in history.epochs],
        final_accuracy=tested,
    )
    write_record(record, task.folder)
    return record


def runs_folder(name):
    """Where a lesson keeps its runs: `name` in $MINIVIT_RUNS, or else in the folder runs."""
    return Path(os.environ.get("MINIVIT_RUNS") or "runs") / name


def checkpoint_path(arm, task, role=None):
    """Where a run keeps its last epoch: another file for another recipe or other data.

    A run that counts as evidence goes on with what the same code did in the same role, and starts
    again where either is another: its record names one commit. role: by default the task's.
    """
    role = role or task.role
    rest = f"{recipe_digest(arm.recipe(task.recipe))[:6]}{task.data['train'][:6]}"
    parts = [task.recipe.name, arm.base, arm.attention, *filter(None, [arm.variant])]
    name = "-".join([*parts, f"seed{arm.seed}", rest])
    folder = task.folder / "checkpoints"
    if role != "live":
        folder /= f"{role}-{package_digest()[:8]}"
    return folder / f"{name}.safetensors"


def how_many(processes):
    """The number of processes, where None is given too; ValueError for fewer than one."""
    if processes is None:
        return min(2, cpu_cores()) if pick_device().type == "cpu" else 1
    if processes < 1:
        raise ValueError(f"processes is {processes}; it must be at least 1")
    return processes


def compare(arms, task, *, processes=None, progress=None) -> list[Record]:
    """Runs all arms; returns their records in the order of `arms`.

    processes: how many at a time, each on one CPU thread (default: one for each of up to two
    cores, one on a GPU). With 1 runs follow one another in this process; with more, a script must
    call this under `if __name__ == "__main__":`, since each process imports it. progress: called
    with (arm, EpochRecord) after each epoch. Raises ValueError for a run that the protocol refuses
    in this role or whose values its recipe does not take, RuntimeError where a run fails or its
    process dies; what is finished is kept.
    """
    processes = how_many(processes)
    for arm in arms:
        check_role(task.role, task.recipe, arm)
        arm.recipe(task.recipe)  # its ValueError comes before any process starts
    found = {arm: finished(arm, task) for arm in arms}
    todo = [arm for arm in found if found[arm] is None]
    try:
        if processes == 1:
            for arm in todo:
                heard = None if progress is None else partial(progress, arm)
                found[arm] = run_arm(arm, task, callback=heard)
        elif todo:
            heard = progress or (lambda arm, epoch: None)
            found |= in_processes(partial(run_arm, task=task), todo, processes, heard)
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(f"{task.folder} holds what was done: run the same again to go on")
        raise
    return [found[arm] for arm in arms]


def finished(arm, task) -> Record | None:
    """The record of this very run, if the task's folder has it.

    Of the same images as decoded: their archive may be packed in another way.
    """
    where = {"base": arm.base, "attention": arm.attention, "seed": arm.seed, "role": task.role}
    there = load_records(task.folder) if task.folder.is_dir() else []
    records = select(there, variant=arm.variant, **where)
    if not records:
        return None
    recipe = arm.recipe(task.recipe)
    wanted = recipe_digest(recipe), images_of(task.images(recipe)[1])
    return next(
        (r for r in records if (recipe_digest(r.recipe), images_of(r.data)) == wanted), None
    )
