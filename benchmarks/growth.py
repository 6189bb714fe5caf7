"""How the cost of a training step grows with width, depth, tokens and batch, one at a time.

Speed is given as images a second and as floating-point operations a second: where the latter falls
or levels off, the machine and not the amount of work decides. Memory is what autograd keeps of the
forward pass for the backward one, counted in bytes of storages, so it has no spread.
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

import torch
import torch.nn.functional as F

from benchmarks.measure import Row, Section, interleaved, quartiles
from benchmarks.steps import noise_batch, training_flops, training_step
from minivit.model import ViT, ViTConfig

BASE = ViTConfig(dim=64, depth=4, heads=2)  # 64 tokens: 32 pixels in patches of 4
BATCH = 32
ALIKE = 0.9
AXES = {
    "width": (16, 32, 64, 128, 256, 384),
    "depth": (1, 2, 4, 8, 16),
    "tokens": (16, 64, 144, 256, 576),
    "batch": (1, 4, 16, 64, 256),
}
QUICK = {"width": (16, 32), "tokens": (4, 16)}


@dataclass(frozen=True)
class Point:
    """One place on one axis."""

    axis: str
    value: int
    config: ViTConfig
    batch: int


def growth_sections(*, quick, repeats):
    axes = QUICK if quick else AXES
    points = [_point(axis, value) for axis, values in axes.items() for value in values]
    actions = {point: _step(point) for point in points}
    seconds = interleaved(actions, repeats)
    kept = {point: kept_for_backward(point) for point in points}
    rows = [_row(point, seconds[point], kept[point]) for point in points]
    title = (
        f"How a training step grows, from d {BASE.dim}, {BASE.depth} layers, {BASE.tokens} tokens, "
        f"batch {BATCH}, float32"
    )
    notes = (
        "In place of a ratio: floating-point operations a second, counted for the matrix products "
        "alone, and what autograd keeps for the backward pass, for one image.",
        *(bend(axis, *_along(axis, points, seconds)) for axis in axes),
        WHY,
    )
    picture = _picture(seconds, kept)
    return [Section(title=title, rows=rows, notes=notes, picture=("growth.png", picture))]


WHY = (
    "Why it bends: a step is matrix products, whose operations the exponents count, and work for "
    "each number or each call (normalizing, copying, the optimizer, Python), which they do not. "
    "Where the time grows more slowly than the operations, the second kind still takes a large "
    "part of it; where both grow alike, the products decide."
)


def bend(axis, values, time, operations):
    """Two sentences: the powers of growth at both ends of an axis, and where the time bends.

    time, operations: of one step, at each of the values.
    """
    pairs = list(pairwise(values))
    took, counted = (
        [math.log(y[i + 1] / y[i], b / a) for i, (a, b) in enumerate(pairs)]
        for y in (time, operations)
    )
    (a, b), (c, d) = pairs[0], pairs[-1]
    apart = [t < ALIKE * n for t, n in zip(took, counted, strict=True)]
    last = max((i for i, each in enumerate(apart) if each), default=-1)
    place = f"From {values[last + 1]} on they grow alike" if not apart[-1] else "Nowhere alike"
    return (
        f"A step's time grows as {axis} to the power {took[0]:.2f} between {a} and {b}, "
        f"{took[-1]:.2f} between {c} and {d}; its operations as {counted[0]:.2f} and "
        f"{counted[-1]:.2f}. {place} (the time's power at least {ALIKE} of the operations')."
    )


def _along(axis, points, seconds):
    along = [point for point in points if point.axis == axis]
    operations = [point.batch * training_flops(point.config) for point in along]
    return [p.value for p in along], [median(seconds[p]) for p in along], operations


def _point(axis, value):
    config, batch = BASE, BATCH
    if axis == "width":
        config = replace(BASE, dim=value, heads=max(1, value // 32))
    elif axis == "depth":
        config = replace(BASE, depth=value)
    elif axis == "tokens":
        config = replace(BASE, image_size=BASE.patch_size * int(value**0.5))
    else:
        batch = value
    return Point(axis, value, config, batch)


def _step(point):
    images, labels = noise_batch(point.config, point.batch)
    return training_step(ViT(point.config), images, labels)


def kept_for_backward(point):
    """Bytes for one image that the forward pass keeps, the model's own parameters left out."""
    model = ViT(point.config)
    images, labels = noise_batch(point.config, point.batch)
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # alive, so no address comes twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        F.cross_entropy(model(images), labels)
    return sum(size for place, (size, _) in kept.items() if place not in own) / point.batch


def _flops(point, seconds):
    return [point.batch * training_flops(point.config) / s for s in seconds]


def _row(point, seconds, kept):
    low, high = quartiles([point.batch / s for s in seconds])
    return Row(
        what=f"{point.axis} {point.value}",
        median=f"{point.batch / median(seconds):.0f} images/s",
        spread=f"{low:.0f}-{high:.0f}",
        ratio=f"{median(_flops(point, seconds)) / 1e9:.1f} GFLOP/s, {kept / 1e6:.2f} MB",
    )


def _picture(seconds, kept):
    from plotly.subplots import make_subplots

    axes = list(dict.fromkeys(point.axis for point in seconds))
    figure = make_subplots(
        rows=3, cols=len(axes), shared_xaxes=True, shared_yaxes="rows", column_titles=axes
    )
    for column, axis in enumerate(axes, start=1):
        points = [point for point in seconds if point.axis == axis]
        x = [point.value for point in points]
        images = [point.batch / median(seconds[point]) for point in points]
        speed = [median(_flops(point, seconds[point])) / 1e9 for point in points]
        memory = [kept[point] / 1e6 for point in points]
        lines = ((images, "#009E73"), (speed, "#0072B2"), (memory, "#D55E00"))
        for row, (y, color) in enumerate(lines, start=1):
            line = {"x": x, "y": y, "mode": "lines+markers", "line_color": color}
            figure.add_scatter(**line, showlegend=False, row=row, col=column)
    figure.update_xaxes(type="log", dtick=0.30103 * 2, showgrid=True)
    for row, title in enumerate(("images/s", "GFLOP/s", "MB kept, one image"), start=1):
        figure.update_yaxes(title_text=title, row=row, col=1)
    figure.update_yaxes(type="log", row=1)
    figure.update_yaxes(rangemode="tozero", row=2)
    figure.update_yaxes(type="log", row=3)
    return figure.update_layout(template="plotly_white", font_size=14, margin_t=40)
