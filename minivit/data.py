"""CIFAR-10 as one uint8 tensor in memory, and batches of it: shuffled, augmented, normalised.

Read from top to bottom: a set of images, which images, how batches are made.
"""

import math
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from minivit.archives import (
    ORIGINAL_FILES,
    UnavailableError,
    image_folders,
    look_in,
    original,
)
from minivit.augment import drawn, mixed, square, window
from minivit.runtime import is_whole, stream
from minivit.storage import tensor_digest
from minivit.synthetic import generated

SOURCES = ("auto", "torchvision", "folder", "synthetic")


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSet:
    """Labelled images on one device. `name` and `digest` say which data they come from.

    mean, std: of each colour channel over the training images, in units of the full range.
    Raises ValueError where the pieces do not fit together.
    """

    images: Tensor = field(repr=False)  # uint8 (image, 3, height, width), checked below
    labels: Tensor = field(repr=False)  # int64 (image,)
    classes: tuple[str, ...]
    name: str
    digest: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self):
        shape = tuple(self.images.shape)
        if self.images.dtype != torch.uint8:
            raise ValueError(f"images are {self.images.dtype}; they must be uint8, 0 to 255")
        if len(shape) != 4 or shape[1] != 3:
            last = len(shape) == 4 and shape[3] == 3
            hint = "; channels come last here: use images.permute(0, 3, 1, 2)" if last else ""
            raise ValueError(f"images have shape {shape}, not (image, 3, height, width){hint}")
        if self.labels.dtype != torch.int64 or tuple(self.labels.shape) != shape[:1]:
            found = f"{self.labels.dtype} of shape {tuple(self.labels.shape)}"
            raise ValueError(f"labels are {found}; {shape[0]} images need int64 of ({shape[0]},)")
        if not shape[0] or not self.classes:
            raise ValueError(f"{shape[0]} images of {len(self.classes)} classes: at least 1 each")
        low, high = int(self.labels.min()), int(self.labels.max())
        if low < 0 or high >= len(self.classes):
            raise ValueError(f"labels run from {low} to {high}, not 0 to {len(self.classes) - 1}")
        check_channels(self.mean, self.std, channels=self.images.shape[1])

    def __len__(self):
        return len(self.images)

    def to(self, device):
        """The same set with its tensors on `device`."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def subset(self, n, *, seed):
        """`n` images with as many of each class as can be; a smaller n gives a part of a larger."""
        _check_count("the size of a subset", n, len(self))
        return self._pick(self._balanced_order(stream(seed, "subset"))[:n])

    def split(self, n_validation, *, seed):
        """Returns (train, validation): disjoint, validation with as many of each class."""
        _check_count("n_validation", n_validation, len(self) - 1)
        order = self._balanced_order(stream(seed, "validation"))
        return self._pick(order[n_validation:]), self._pick(order[:n_validation])

    @property
    def image_shape(self):
        """(channel, height, width)."""
        return tuple(self.images.shape[1:])

    def pieces(self, order, slices, device, **_):
        """Yields (uint8 images, labels) of order[s] for each s of `slices`, on `device`."""
        there = self.to(device)
        return ((there.images[order[s]], there.labels[order[s]]) for s in slices)

    @property
    def subset_digest(self):
        """SHA-256 (hex) of exactly these images and labels, in this order."""
        return tensor_digest({"images": self.images, "labels": self.labels})

    def _pick(self, index):
        index = index.to(self.images.device)
        return replace(self, images=self.images[index], labels=self.labels[index])

    def _balanced_order(self, generator):
        """All indices: one image of each class, then a second of each, …; shuffled by class."""
        labels = self.labels.cpu()
        index = torch.randperm(len(labels), generator=generator, device="cpu")
        index = index[labels[index].argsort(stable=True)]  # grouped by class
        counts = labels.bincount(minlength=len(self.classes))
        starts = counts.cumsum(0) - counts
        # 0, 1, 2, … within each class
        rank = torch.arange(len(labels), device="cpu") - starts[labels[index]]
        return index[rank.argsort(stable=True)]


def check_channels(mean, std, channels):
    """Raises ValueError unless each channel has a mean, and a standard deviation above 0."""
    for name, values in {"mean": mean, "std": std}.items():
        if len(values) != channels or not all(map(math.isfinite, values)):
            raise ValueError(f"{name} is {values}; it must be {channels} finite numbers")
    if min(std) <= 0:
        raise ValueError(f"std is {std}; a channel that never changes can't be normalised")


def _check_count(name, n, most):
    if not is_whole(n) or not 1 <= n <= most:
        raise ValueError(f"{name} is {n!r}; it must be a whole number from 1 to {most}")


def cifar10(root=None, source="auto", *, offline_ok=False) -> tuple[ImageSet, ImageSet]:
    """Returns (train, test) as ImageSets on the CPU; their `name` says what they are.

    source: "torchvision" (the original, downloaded into `root` if need be), "folder" (an archive or
    folder of image files, see `archives.image_folders`), "synthetic" (generated), or "auto": what
    is found at `root`, or else at $MINIVIT_DATA (a place that is given must exist); or else the
    download; or else, only with offline_ok=True and with a warning, generated images. A folder is
    searched for an archive cifar10*.tar.xz (.tgz, .zip, …), for CIFAR-10's own files, then for
    train/ and test/. Decoded once and kept in `cache_dir()`. Where no root is given,
    $MINIVIT_SOURCE, if set, takes the place of "auto". Raises ValueError where a source has nothing
    to give.
    """
    with torch.device("cpu"):  # whatever the default device is
        return _cifar10(root, source, offline_ok)


def _cifar10(root, source, offline_ok):
    if source == "auto" and root is None:
        source = os.environ.get("MINIVIT_SOURCE") or "auto"
    if source not in SOURCES:
        raise ValueError(f"source is {source!r}; it must be one of {SOURCES}")
    if source == "synthetic":
        return _sets(*generated())
    if source == "torchvision":
        return _sets(*original(root))
    given = root or os.environ.get("MINIVIT_DATA")
    kind, path = look_in(given) if given else (None, root)
    if kind == "folder":
        return _sets(*image_folders(path))
    if source == "folder" or (given and not root and not kind):
        raise ValueError(
            f"root (or else MINIVIT_DATA) is {given}, which is none of: an archive of images, a "
            "folder that holds train and test, an archive cifar10*.tar.xz (.tgz, .zip, …), "
            f"{' or '.join(ORIGINAL_FILES)} (with source='auto' or 'torchvision')"
        )
    try:
        return _sets(*original(path or root))
    except UnavailableError as error:
        if not offline_ok or kind:
            raise
        warnings.warn(f"using the synthetic stand-in, because {error}", stacklevel=3)
        return _sets(*generated())


def _sets(tensors, about):
    about = about | {name: tuple(about[name]) for name in ("classes", "mean", "std")}
    train, test = (
        ImageSet(images=tensors[f"{split}_images"], labels=tensors[f"{split}_labels"], **about)
        for split in ("train", "test")
    )
    return train, test


def normalize(
    images: UInt8[Tensor, "batch 3 height width"], mean, std
) -> Float[Tensor, "batch 3 height width"]:
    """(images / 255 − mean) / std for each channel, in float32; ValueError unless uint8."""
    if images.dtype != torch.uint8:
        raise ValueError(f"images are {images.dtype}; they must be uint8, 0 to 255")
    out = images.float()
    # Plain numbers, channel by channel: no constants to send to a GPU, and faster on a CPU.
    for channel, m, s in zip(out.unbind(1), mean, std, strict=True):
        channel.sub_(255 * m).div_(255 * s)
    return out


def epoch_batches(
    image_set, batch_size, *, seed, epoch, augment, device, share=None
) -> Iterator[tuple[Float[Tensor, "batch 3 height width"], Float[Tensor, "batch class_"]]]:
    """One epoch: (normalised augmented images, label probabilities), the ragged last batch dropped.

    All is drawn before the first batch, on the CPU, from (seed, epoch): each image's augmentation
    depends neither on the device nor on the batch size (but for its partner in mixup), and nothing
    waits for the device later. Move the set to `device` beforehand, or each call does. share: the
    slice of every batch to give, when several processes share it; None is all of it.
    """
    n, size = len(image_set), image_set.image_shape[1:]
    if not 1 <= batch_size <= n:
        raise ValueError(f"batch_size is {batch_size}; the set has {n} images")
    if max(augment.crop, augment.cutout) > min(size):
        raise ValueError(f"{augment}: crop and cutout must fit the images, {tuple(size)} pixels")
    order = torch.randperm(n, generator=stream(seed, "order", epoch), device="cpu")
    draws = drawn(n, size, augment, stream(seed, "augmentation", epoch))
    order, numbers, shares = (tensor.to(device) for tensor in (order, *draws))
    slices = _slices(n, batch_size, share or slice(0, batch_size), bool(augment.mixup))
    each = [s for batch in slices for s in batch]
    pieces = image_set.pieces(order, each, device, seed=seed, epoch=epoch)
    return _batches(image_set, augment, slices, pieces, numbers, shares)


def eval_batches(
    image_set, batch_size, device, ranks=(0, 1)
) -> Iterator[tuple[Float[Tensor, "batch 3 height width"], Int64[Tensor, " batch"]]]:
    """All images in order as (normalised images, labels); the last batch may be smaller.

    ranks: (this rank, number of ranks), where several processes share the batches.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
    n, (rank, world) = len(image_set), ranks
    slices = [slice(i, i + batch_size) for i in range(rank * batch_size, n, world * batch_size)]
    order = torch.arange(n, device=device)
    pieces = image_set.pieces(order, slices, device, seed=0, epoch=0)
    return ((normalize(x, image_set.mean, image_set.std), y) for x, y in pieces)


def _slices(n, batch_size, share, mixup):
    """For each batch the slices of the order that are needed: one's own, then its partners'."""
    first, end = share.start, share.stop
    found = []
    for start in range(0, n - batch_size + 1, batch_size):
        own = slice(start + first, start + end)
        # An image's partner stands as far from the end of the batch as it from the beginning.
        others = slice(start + batch_size - end, start + batch_size - first)
        found.append((own, others) if mixup and others != own else (own,))
    return found


def _batches(image_set, augment, slices, pieces, numbers, shares):
    for each in slices:
        parts = [_augmented(image_set, augment, *next(pieces), numbers[s]) for s in each]
        images, targets = parts[0]
        if augment.mixup:
            images = mixed(images, parts[-1][0].flip(0), shares[each[0]])
            targets = mixed(targets, parts[-1][1].flip(0), shares[each[0]])
        yield images, targets


def _augmented(image_set, augment, images, labels, numbers):
    """Images changed as their rows of `numbers` say, normalised; and their one-hot labels."""
    flip, row, column, *centre = numbers.unbind(1)
    images = window(images, flip, row, column, augment.crop)
    images = normalize(images, image_set.mean, image_set.std)
    if augment.cutout:
        images.masked_fill_(square(images, *centre, augment.cutout), 0.0)
    one_hot = torch.eye(len(image_set.classes), device=labels.device)
    return images, one_hot[labels]
