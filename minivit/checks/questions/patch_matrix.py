"""Lesson 01: the matrix of a patch convolution, for patches flattened in another order."""

import numpy as np

from minivit.checks.fixed import Fixed, Mistake
from minivit.checks.measures import close
from minivit.checks.question import Case, Diagnosis, Question

STATEMENT = """\
A program keeps its pictures with the inks last, as (row, col, channel), and knows no
convolutions: it flattens each patch and multiplies by a matrix. Give it the matrix of a trained
patch convolution.

`kernel` has shape (dim, channel, height, width), as nn.Conv2d stores it; its stride is as large as
the patch. A flat patch of that program is `patch.flatten()`, where `patch` has the shape (height,
width, channel). Return E of shape (height · width · channel, dim), such that `flat @ E` is what the
convolution computes for this patch, without its bias.

**Usual trap.** The lesson flattened patches channel by channel. A `reshape` to the shape that is
asked for always succeeds, and keeps the numbers in their old order.
"""

HINTS = (
    "Row number i of E belongs to number i of the flat patch. Which row, column and channel is "
    "that? Number 0 and number 1 differ in the channel.",
    "First bring the axes of `kernel` into the order in which E needs them: row, col, channel, "
    "dim. Only then merge some of them.",
    "The axes of `kernel` are numbers 0 to 3: dim, channel, row, col. Write the order that you "
    "want, row, col, channel, dim, with these numbers: `permute` takes that list. Then three axes "
    "become one, and `flatten` takes the first and the last of them.",
)


def case(title, dim, channels, height, width, seed):
    kernel = np.random.default_rng(seed).standard_normal((dim, channels, height, width))
    return Case(title, ({"kernel": kernel},))


VISIBLE = (
    case("two channels, patches of 2 × 2", 5, 2, 2, 2, 31),
    case("three channels, patches of 4 × 4", 7, 3, 4, 4, 32),
    case("two channels, patches of 2 × 3", 6, 2, 2, 3, 33),
    case("four channels, patches of 5 × 3, dim 60", 60, 4, 5, 3, 34),
)


def measured(arguments):
    """Each row of E by a patch with ink in one pixel: what the convolution then gives."""
    kernel = arguments["kernel"]
    _, channels, height, width = kernel.shape
    rows = []
    for number in range(height * width * channels):
        patch = np.zeros(height * width * channels)
        patch[number] = 1.0
        patch = patch.reshape(height, width, channels)
        rows.append(np.einsum("dchw,hwc->d", kernel, patch))
    return (np.array(rows),)


ANSWER = Fixed(measured, ("E",))


def _instead(order):
    """Another matrix of the same shape, made of the same numbers."""

    def wrong(arguments):
        kernel = arguments["kernel"]
        return (order(kernel).reshape(-1, len(kernel)),)

    return wrong


def _reordered(case, results):
    """All rows are there, in another order."""
    mine, target = results[0].returned[0].values, measured(case.calls[0])[0]
    return close(mine[np.argsort(mine[:, 0])], target[np.argsort(target[:, 0])], 1e-4)


def _scattered(case, results):
    """All numbers are there, in other places."""
    mine, target = results[0].returned[0].values, measured(case.calls[0])[0]
    return close(np.sort(mine, axis=None), np.sort(target, axis=None), 1e-4)


KNOWN = ANSWER.diagnoses(
    Mistake(
        "reshaped",
        "It is the kernel's numbers in their old order, in a new shape: every row mixes numbers of "
        "different places.",
        2,
        _instead(lambda kernel: kernel),
    ),
    Mistake(
        "channel-first",
        "Its rows are in the lesson's order: channel, row, col. This program keeps the channel "
        "last.",
        1,
        _instead(lambda kernel: kernel.transpose(1, 2, 3, 0)),
    ),
    Mistake(
        "columns-first",
        "Rows and columns of the patch are exchanged: the order is row, col, channel.",
        1,
        _instead(lambda kernel: kernel.transpose(3, 2, 1, 0)),
    ),
    Mistake(
        "dim-not-moved",
        "The pixels are in the right order, but the axis of dim still came first when the axes "
        "were merged.",
        3,
        _instead(lambda kernel: kernel.transpose(0, 2, 3, 1)),
    ),
    Mistake(
        "turned-round",
        "The kernel is turned by half a turn. A convolution in the strict sense does that; "
        "nn.Conv2d does not.",
        1,
        _instead(lambda kernel: kernel[:, :, ::-1, ::-1].transpose(2, 3, 1, 0)),
    ),
)
MISTAKES = (
    *KNOWN,
    Diagnosis(
        "rows-reordered",
        "Each row is right and stands in another place. From the slowest number to the fastest the "
        "order is row, col, channel.",
        2,
        _reordered,
        ("E",),
    ),
    Diagnosis(
        "scattered",
        "The kernel's numbers are all there, and not in the places where they belong: a reshape "
        "may merge axes that stand side by side, and must leave dim, the last one, alone.",
        3,
        _scattered,
        ("E",),
    ),
)


QUESTION = Question(
    id="patch-matrix",
    function="patch_matrix",
    signature="patch_matrix(kernel)",
    lesson="01",
    points=3,
    minutes=10,
    difficulty=1,
    statement=STATEMENT,
    visible=VISIBLE,
    hidden=3,
    judge=ANSWER.judge,
    hints=HINTS,
    diagnoses=MISTAKES,
    tolerates="how it is computed (axes, loops, probes through the convolution itself), float64",
)
