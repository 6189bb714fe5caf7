"""Images for use without data and network: ten classes of shapes, told apart by local structure."""

import functools

import torch

from minivit.archives import channel_statistics
from minivit.runtime import stream
from minivit.storage import tensor_digest


def generated():
    """20,000 and 2,000 images of 32×32 in ten classes, as (tensors, about): enough for LAPTOP.

    A class is the shape of a motif: three of it at random places, in two random colours, with
    noise. The mean colour says nothing about it, and a mirrored image keeps its class.
    """
    tensors, about = _generate()
    # Copies: a caller may write into an ImageSet's tensors.
    return {name: tensor.clone() for name, tensor in tensors.items()}, dict(about)


@functools.cache
def _generate():
    names, motifs = _motifs()
    tensors = {}
    for split, n in {"train": 20_000, "test": 2_000}.items():
        labels = torch.arange(n) % len(names)
        images = _paint(motifs[labels], stream(0, f"synthetic {split}"))
        tensors |= {f"{split}_images": images, f"{split}_labels": labels}
    about = {"name": "synthetic stand-in", "digest": tensor_digest(tensors), "classes": names}
    return tensors, about | channel_statistics(tensors["train_images"])


def _motifs():
    """Class names and their shapes, bool (class, 12, 12), each about half filled."""
    row, column = torch.meshgrid(torch.arange(12), torch.arange(12), indexing="ij")
    y, x = (2 * row - 11).abs(), (2 * column - 11).abs()  # 1, 3, … 11: twice the way to the centre
    shapes = {
        "bars across": row % 4 < 2,
        "bars down": column % 4 < 2,
        "checkerboard": (row // 3 + column // 3) % 2 == 0,
        "cross": (x - y).abs() < 4,
        "diamond": x + y < 13,
        "disc": x**2 + y**2 < 90,
        "frame": x.maximum(y) > 7,
        "hourglass": x <= y,
        "plus": x.minimum(y) < 4,
        "ring": (x**2 + y**2 > 40) & (x**2 + y**2 < 135),
    }
    return list(shapes), torch.stack(list(shapes.values()))


def _paint(motifs, generator):
    """One image per motif: uint8 (image, 3, 32, 32)."""

    def draw(low, high, *shape):  # whole numbers only, so that every machine paints the same
        return torch.randint(low, high, (len(motifs), *shape), generator=generator)

    canvas = torch.zeros(len(motifs), 32, 32, dtype=torch.bool)
    image, span = torch.arange(len(motifs))[:, None, None], torch.arange(12)
    for _ in range(3):
        rows, columns = draw(0, 21, 1, 1) + span[:, None], draw(0, 21, 1, 1) + span
        canvas[image, rows, columns] = motifs
    ground = draw(30, 226, 3, 1, 1)
    ink = torch.where(ground < 128, ground + 90, ground - 90)  # always in contrast to the ground
    colours = torch.where(canvas[:, None], ink, ground) + draw(-25, 26, 3, 32, 32)
    return colours.clamp(0, 255).to(torch.uint8)
