"""What happens to a training image: flip, crop, cutout and mixup, for a whole batch at once.

One draw per image, from a generator, which torchvision's transforms for batches do not do.
`data.epoch_batches` calls these in the order in which they stand here.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from minivit.runtime import is_number, is_whole


@dataclass(frozen=True, kw_only=True)
class Augment:
    """What happens to a training image.

    flip: mirror half of them. crop: pixels of black border from which a window of the old size is
    cut at random (He et al. 2015, arXiv 1512.03385, 4.2). cutout: side in pixels of a square set to
    the mean, its centre anywhere (arXiv 1708.04552). mixup: a of Beta(a, a), by which each image is
    mixed with another of its batch (arXiv 1710.09412; one draw per image); 0 is off. Raises
    ValueError for a value out of its range.
    """

    flip: bool = True
    crop: int = 4
    cutout: int = 0
    mixup: float = 0.0

    def __post_init__(self):
        if not isinstance(self.flip, bool):  # 0.5 would be no probability
            raise ValueError(f"flip is {self.flip!r}; it must be True or False")
        for name in ("crop", "cutout"):
            value = getattr(self, name)
            if not is_whole(value) or value < 0:
                raise ValueError(f"{name} is {value!r}; it must be a whole number of pixels from 0")
        if not is_number(self.mixup) or not 0 <= self.mixup < math.inf:
            raise ValueError(f"mixup is {self.mixup!r}; it must be a finite number from 0")


def drawn(n, size, augment, generator):
    """Integers (image, 5): mirrored or not, window row and column, cutout row and column; and λ."""
    # Drawn whether used or not, so that switching one on leaves the others as they were.
    on_cpu = {"generator": generator, "device": "cpu"}  # whatever the default device is
    limits = torch.tensor([2, 2 * augment.crop + 1, 2 * augment.crop + 1, *size], device="cpu")
    numbers = (torch.rand(n, 5, dtype=torch.float64, **on_cpu) * limits).long()
    numbers[:, 0] *= augment.flip
    # torch's Beta takes no generator.
    seed = torch.randint(2**62, (), **on_cpu).item()
    shares = np.random.default_rng(seed).beta(augment.mixup or 1, augment.mixup or 1, n)
    return numbers, torch.from_numpy(shares).float()


def window(images, flip, row, column, border):
    """Cuts each image's window out of its bordered copy, mirrored where flip is 1; one gather."""
    height, width = images.shape[2:]
    # The border is black, as in torchvision's RandomCrop, so that a crop is still an image.
    bordered = F.pad(images, [border] * 4)
    rows = row[:, None] + torch.arange(height, device=row.device)
    across = torch.arange(width, device=row.device)
    columns = column[:, None] + torch.where(flip[:, None] == 1, width - 1 - across, across)
    pixels = rows[:, :, None] * bordered.shape[3] + columns[:, None, :]  # (batch, height, width)
    pixels = pixels.flatten(1)[:, None].expand(-1, images.shape[1], -1)
    return bordered.flatten(2).gather(2, pixels).view_as(images)


def square(images, row, column, side):
    """A mask (batch, 1, height, width) of each image's square, cut off at the image's edge."""

    def near(centre, length):
        offset = torch.arange(length, device=centre.device) - centre[:, None]
        return (offset >= -(side // 2)) & (offset < side - side // 2)

    height, width = images.shape[2:]
    return near(row, height)[:, None, :, None] & near(column, width)[:, None, None, :]


def mixed(values, partners, shares):
    """shares · values + (1 − shares) · partners; shares (image,), the rest (image, …)."""
    shares = shares.view(-1, *[1] * (values.dim() - 1))
    return shares * values + (1 - shares) * partners
