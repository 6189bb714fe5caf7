"""Key of coarse-overlap."""

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

from minivit.checks.questions.coarse_overlap import QUESTION, case
from teaching.keys.key import Key, Mutant


def overlap_and_chance(fine, coarse, side, factor):
    rest = fine[:, 1:, 1:]
    rest = rest / rest.sum(-1, keepdim=True)
    view = rest.reshape(-1, side, factor, side, factor, side, factor, side, factor)
    A = view.sum((6, 8)).mean((2, 4)).reshape(coarse.shape)
    pairs = torch.minimum(A[:, :, None], coarse[:, None]).sum(-1)  # (image, i, l)
    n, same = side**2, pairs.diagonal(dim1=1, dim2=2).sum(-1)
    return same / n, (pairs.sum((1, 2)) - same) / (n * (n - 1))


# Correct, and different.


def by_membership(fine, coarse, side, factor):
    """A matrix of zeros and ones, 1 − half the absolute differences, float64."""
    number = torch.arange((side * factor) ** 2)
    row, column = number // (side * factor) // factor, number % (side * factor) // factor
    member = F.one_hot(row * side + column, side**2).double()
    rest = fine.double()[:, 1:, 1:]
    A = member.T @ (rest / rest.sum(-1, keepdim=True)) @ member / factor**2
    pairs = 1 - torch.cdist(A, coarse.double(), p=1) / 2
    other = ~torch.eye(side**2, dtype=torch.bool)
    return [pairs[:, ~other].mean(1), pairs[:, other].mean(1)]


def by_pooling(fine, coarse, side, factor):
    """Average pooling over both pictures in turn."""
    images, grid = len(fine), side * factor
    rest = fine[:, 1:, 1:]
    of_keys = F.avg_pool2d(rest.reshape(-1, 1, grid, grid), factor) * factor**2
    of_keys = of_keys.reshape(images, grid**2, side**2) / rest.sum(-1)[..., None]
    looks = of_keys.mT.reshape(-1, 1, grid, grid)
    A = F.avg_pool2d(looks, factor).reshape(images, side**2, side**2).mT
    shifts = [torch.minimum(A, coarse.roll(step, 1)).sum(-1).mean(1) for step in range(side**2)]
    return shifts[0], torch.stack(shifts[1:]).mean(0)


def by_loops(fine, coarse, side, factor):
    overlaps, chances = [], []
    for own, other in zip(fine.numpy().astype(float), coarse.numpy(), strict=True):
        A = np.zeros((side**2, side**2))
        for looks in range(1, len(own)):
            whole = own[looks, 1:].sum()
            for seen in range(1, len(own)):
                places = []
                for token in (looks - 1, seen - 1):
                    row, column = divmod(token, side * factor)
                    places.append(row // factor * side + column // factor)
                A[places[0], places[1]] += own[looks, seen] / whole / factor**2
        table = np.array([[np.minimum(a, b).sum() for b in other] for a in A])
        overlaps.append(np.diag(table).mean())
        chances.append(table[~np.eye(len(table), dtype=bool)].mean())
    return torch.tensor(overlaps), torch.tensor(chances)


# Wrong.


def patches_alone(fine):
    rest = fine[:, 1:, 1:]
    return rest / rest.sum(-1, keepdim=True)


def nine_axes(rest, side, factor):
    """(image, patch, part, patch, part)."""
    view = rest.reshape(-1, side, factor, side, factor, side, factor, side, factor)
    return view.permute(0, 1, 3, 2, 4, 5, 7, 6, 8).reshape(
        len(rest), side**2, factor**2, side**2, factor**2
    )


def factor_first(rest, side, factor):
    view = rest.reshape(-1, factor, side, factor, side, factor, side, factor, side)
    return view.permute(0, 2, 4, 1, 3, 6, 8, 5, 7).reshape(
        len(rest), side**2, factor**2, side**2, factor**2
    )


def in_a_row(rest, side, factor):
    return rest.reshape(len(rest), side**2, factor**2, side**2, factor**2)


def off_diagonal_mean(pairs):
    n = pairs.shape[1]
    return (pairs.sum((1, 2)) - pairs.diagonal(dim1=1, dim2=2).sum(-1)) / (n * (n - 1))


def smaller(A, B):
    return torch.minimum(A[:, :, None], B[:, None]).sum(-1)


def variant(
    fine,
    coarse,
    side,
    factor,
    *,
    drop=patches_alone,
    view=nine_axes,
    merge=lambda parts: parts.sum(4).mean(2),
    table=smaller,
    control=off_diagonal_mean,
):
    """The reference with one step replaced."""
    A = merge(view(drop(fine), side, factor))
    pairs = table(A, coarse)
    return pairs.diagonal(dim1=1, dim2=2).mean(-1), control(pairs)


def class_last(fine):
    rest = fine[:, :-1, :-1]
    return rest / rest.sum(-1, keepdim=True)


def divided_late(fine, coarse, side, factor):
    A = nine_axes(fine[:, 1:, 1:], side, factor).sum(4).mean(2)
    pairs = smaller(A / A.sum(-1, keepdim=True), coarse)
    return pairs.diagonal(dim1=1, dim2=2).mean(-1), off_diagonal_mean(pairs)


def other_image(fine, coarse, side, factor):
    overlap, _ = overlap_and_chance(fine, coarse, side, factor)
    return overlap, overlap_and_chance(fine, coarse.roll(1, 0), side, factor)[0]


def even_control(fine, coarse, side, factor):
    overlap, _ = overlap_and_chance(fine, coarse, side, factor)
    return overlap, coarse.clamp(max=1 / side**2).sum(-1).mean(1)


def one_other(fine, coarse, side, factor):
    """Each row against the next one alone."""
    overlap, _ = overlap_and_chance(fine, coarse, side, factor)
    return overlap, overlap_and_chance(fine, coarse.roll(1, 1), side, factor)[0]


def summed(fine, coarse, side, factor):
    overlap, chance = overlap_and_chance(fine, coarse, side, factor)
    return overlap * side**2, chance


def with_class(fine, coarse, side, factor):
    return torch.minimum(fine, fine).sum(-1), coarse.sum(-1)


def over_images(fine, coarse, side, factor):
    return tuple(each.mean() for each in overlap_and_chance(fine, coarse, side, factor))


def difference(fine, coarse, side, factor):
    overlap, chance = overlap_and_chance(fine, coarse, side, factor)
    return overlap - chance


def divides_in_place(fine, coarse, side, factor):
    answer = overlap_and_chance(fine, coarse, side, factor)
    fine[:, 1:, 1:] /= fine[:, 1:, 1:].sum(-1, keepdim=True)
    return answer


def hidden(rng):
    """Other grids, both networks local or not."""
    cases = []
    for side, factor in ((3, 3), (4, 2), (2, 3)):
        images, seed = int(rng.integers(2, 4)), int(rng.integers(2**32))
        sharp = tuple(float(each) for each in rng.uniform(3, 15, 2))
        title = f"{side} × {side} patches, each of {factor} × {factor}"
        cases.append(case(title, images, side, factor, seed, sharp=sharp))
    return tuple(cases)


KEY = Key(
    question=QUESTION,
    reference=overlap_and_chance,
    hidden=hidden,
    alternatives={
        "zeros and ones, absolute differences, float64": by_membership,
        "pooling, and B turned step by step": by_pooling,
        "loops": by_loops,
    },
    mutants=(
        Mutant("exchanged", lambda **given: overlap_and_chance(**given)[::-1], "exchanged"),
        Mutant("parts in a row", partial(variant, view=in_a_row), "blocks-in-a-row"),
        Mutant("factor before side", partial(variant, view=factor_first), "factor-first"),
        Mutant(
            "not divided again",
            partial(variant, drop=lambda fine: fine[:, 1:, 1:]),
            "not-divided-again",
        ),
        Mutant("class token taken for the last", partial(variant, drop=class_last), "class-last"),
        Mutant(
            "weights averaged",
            partial(variant, merge=lambda parts: parts.mean((2, 4))),
            "averaged-weights",
        ),
        Mutant(
            "all summed", partial(variant, merge=lambda parts: parts.sum((2, 4))), "summed-looks"
        ),
        Mutant(
            "the first part looks",
            partial(variant, merge=lambda parts: parts.sum(4)[:, :, 0]),
            "one-part-looks",
        ),
        Mutant(
            "cosines",
            partial(variant, table=lambda A, B: F.normalize(A, dim=2) @ F.normalize(B, dim=2).mT),
            "cosine-for-overlap",
        ),
        Mutant("products", partial(variant, table=lambda A, B: A @ B.mT), "cosine-for-overlap"),
        Mutant(
            "a distance",
            partial(variant, table=lambda A, B: torch.cdist(A, B, p=1) / 2),
            "distance-for-overlap",
        ),
        Mutant("a sum over patches", summed, "summed-overlap"),
        Mutant("columns", partial(variant, table=lambda A, B: smaller(A.mT, B.mT)), "columns"),
        Mutant(
            "own rows in the control",
            partial(variant, control=lambda pairs: pairs.mean((1, 2))),
            "own-row-in-control",
        ),
        Mutant("even attention for a control", even_control, "even-control"),
        Mutant("one other row", one_other, "one-other-row"),
        Mutant("divided after merging", divided_late, "divided-late"),
        Mutant("another image for a control", other_image, "other-image"),
        Mutant(
            "divided by n²",
            partial(variant, control=lambda p: off_diagonal_mean(p) * (1 - 1 / p.shape[1])),
            "n-squared",
        ),
        Mutant("class token kept", with_class, "shape"),
        Mutant("a mean over images", over_images, "shape"),
        Mutant("the difference", difference, "kind"),
        Mutant("divides in place", divides_in_place, "untouched"),
    ),
)
