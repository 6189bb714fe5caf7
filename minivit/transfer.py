"""Trains published weights on, on a few images of another data set.

In lesson 06 that is the upper bound beside networks that start from nothing. It is no fair rival:
the published weights have seen ImageNet, at another resolution and in another architecture.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from minivit.augment import Augment
from minivit.bases import normal
from minivit.data import ImageSet
from minivit.model import VIT_TINY, ViT
from minivit.recipes import Recipe
from minivit.records import Record, load_records
from minivit.runtime import stream
from minivit.train import TrainConfig, evaluate, train

FOLDER = Path(__file__).parent / "records" / "few_images"
IMAGES, VALIDATED = 300, 500  # trained on, and looked at after that
_EVAL_BATCH = 50  # an enlarged image takes many times the memory of a small one

# DeiT-Tiny was trained at 224 × 224. Half of that is a quarter of the work, which a CPU can afford;
# the table of positions is resized. With all of it the upper bound might be higher.
FINE_TUNING = Recipe(
    name="fine_tuning",
    model=replace(VIT_TINY, image_size=112, classes=10),
    training=TrainConfig(
        epochs=6,
        batch_size=20,
        learning_rate=3e-4,
        warmup_epochs=0.5,
        augment=Augment(crop=0),
    ),
    subset=IMAGES,
    minutes="less than a minute on one CPU core",
)


def few(task):
    """The task with fewer validation images, as enlarged images need on a CPU."""
    validation = task.validation.subset(min(VALIDATED, len(task.validation)), seed=0)
    data = task.data | {"validation": validation.subset_digest, "validated": len(validation)}
    return replace(task, validation=validation, data=data)


def adapted(model: ViT, pixels: int, classes: int, *, seed: int) -> ViT:
    """A copy of `model` for square images of this size, with a new head drawn from the seed.

    Everything but the head is kept. Where the grid of patches has another size, the table of
    positions is resized (`resized_positions`). The head is normal with standard deviation 0.02 and
    zero bias. Raises ValueError where ViTConfig does, and for sin-cos positions on another grid.
    """
    config = replace(model.config, image_size=pixels, classes=classes)
    if config.grid != model.config.grid and config.positions != "learned":
        raise ValueError(f"positions are {config.positions!r}; only learned ones are resized")
    weights = dict(model.state_dict())
    if config.grid != model.config.grid:
        weights["pos_embed"] = resized_positions(weights["pos_embed"], config.grid)
    shape = (classes, config.dim)
    weights["head.weight"] = 0.02 * normal(*shape, generator=stream(seed, "head"))
    weights["head.bias"] = torch.zeros(classes)
    with torch.random.fork_rng(devices=[]):  # the constructor draws weights; none is kept
        copy = ViT(config)
    copy.load_state_dict(weights)
    return copy.eval()


def resized_positions(
    table: Float[Tensor, "1 token dim"], grid: int
) -> Float[Tensor, "1 token2 dim"]:
    """A table of positions on grid × grid patches, by bicubic interpolation of the rows.

    A row for the class token, where there is one, stays. As in DeiT's fine-tuning (2012.12877, 3).
    """
    before = int((table.shape[1]) ** 0.5)
    extra = table.shape[1] - before**2
    patches = table[:, extra:].unflatten(1, (before, before)).permute(0, 3, 1, 2)
    patches = F.interpolate(patches, (grid, grid), mode="bicubic", antialias=True)
    return torch.cat([table[:, :extra], patches.flatten(2).mT], dim=1)


def enlarged(images: ImageSet, pixels: int, preprocessing) -> ImageSet:
    """The same images at another size, to be normalised as `preprocessing` says.

    The whole image is kept: cutting out the middle, as for photographs, would lose nearly a
    fifth of its area. Rounded to whole numbers again, so that they take a quarter of the memory.
    """
    parts = [
        F.interpolate(part.float(), (pixels, pixels), mode="bicubic", antialias=True)
        .round()
        .clamp(0, 255)
        .to(torch.uint8)
        for part in images.images.split(100)
    ]
    about = {"mean": preprocessing.mean, "std": preprocessing.std}
    return replace(images, images=torch.cat(parts), **about)


def fine_tune(pretrained: ViT, task, *, seed=0, device=None, checkpoint=None, callback=None):
    """Trains a copy of `pretrained` on as task.recipe says; returns (model, its History).

    task: a compare.Task whose recipe's model says the size of images and the number of classes.
    pretrained: has `.preprocessing`. Validated once, after the last epoch; the seed decides the
    head, the order and the mirrored images. The rest as `train`, whose ValueErrors are raised.
    """
    size = task.recipe.model.image_size
    model = adapted(pretrained, size, task.recipe.model.classes, seed=seed)
    images, validation = (
        enlarged(each, size, pretrained.preprocessing) for each in (task.train, task.validation)
    )
    history = train(
        model,
        images,
        None,
        task.recipe.training,
        seed=seed,
        device=device,
        checkpoint=checkpoint,
        callback=callback,
    )
    how = {"batch_size": _EVAL_BATCH, "precision": task.recipe.training.precision}
    loss, accuracy, _ = evaluate(model, validation, **how)
    last = replace(history.final, validation_loss=loss, validation_accuracy=accuracy)
    return model, replace(history, epochs=(*history.epochs[:-1], last))


def recorded(folder=FOLDER) -> Mapping[str, list[Record]]:
    """Runs on the same few images, attention → records by seed: "pretrained", "plain", "mimetic".

    Made by `python -m benchmarks.few_images`; what was not recorded has an empty list.
    """
    found = load_records(folder) if Path(folder).is_dir() else []
    names = ("plain", "mimetic", "pretrained")
    by_seed = sorted(found, key=lambda record: record.seed)
    return {name: [record for record in by_seed if record.attention == name] for name in names}
