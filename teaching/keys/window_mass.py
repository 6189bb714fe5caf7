"""Key of window-mass."""

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

from minivit.checks.questions.window_mass import ANSWER, QUESTION, by_masks, by_number, case
from teaching.keys.key import Key, Mutant


def window_mass(maps, columns, size):
    number = torch.arange(maps.shape[-1])
    row, column = number // columns, number % columns
    rows_apart, columns_apart = (row[:, None] - row).abs(), (column[:, None] - column).abs()
    near = (rows_apart <= size // 2) & (columns_apart <= size // 2)
    mass = (maps * near).sum(-1).mean(-1)
    own = maps.diagonal(dim1=-2, dim2=-1).mean(-1)
    return mass, (mass - own) / (1 - own)


# Correct, and different.


def by_loops(maps, columns, size):
    reach, tokens = size // 2, maps.shape[1]
    rows = tokens // columns
    masses, shares = [], []
    for weights in maps.double():
        mass = own = 0.0
        for i in range(tokens):
            r, c = divmod(i, columns)
            own += weights[i, i].item()
            for down in range(max(0, r - reach), min(rows, r + reach + 1)):
                for right in range(max(0, c - reach), min(columns, c + reach + 1)):
                    mass += weights[i, down * columns + right].item()
        masses.append(mass / tokens)
        shares.append((mass - own) / (tokens - own))
    return torch.tensor(masses), torch.tensor(shares)


def by_pooling(maps, columns, size):
    """Sums over windows by average pooling; the window is symmetric, so either axis will do."""
    heads, tokens, _ = maps.shape
    grids = maps.reshape(heads * tokens, 1, -1, columns).double()
    sums = F.avg_pool2d(grids, size, stride=1, padding=size // 2) * size**2
    mass = torch.einsum("hii->h", sums.reshape(heads, tokens, tokens)) / tokens
    own = torch.einsum("hii->h", maps.double()) / tokens
    return mass, (mass - own) / (1 - own)


def over_lookers(maps, columns, size):
    """Sums over those that look, which gives the same mean."""
    mass, share = window_mass(maps.mT.contiguous(), columns, size)
    return [mass, share]


# Wrong.


def variant(maps, columns, size, *, wide=None, reach=None, near=None, finish=None):
    """The reference with one step replaced."""
    number = torch.arange(maps.shape[-1])
    wide = wide(maps, columns) if wide else columns
    reach = reach(size) if reach else size // 2
    row, column = number // wide, number % wide
    down, right = row[:, None] - row, column[:, None] - column
    if near is None:
        inside = (down.abs() <= reach) & (right.abs() <= reach)
    else:
        inside = near(down, right, reach, wide)
    mass, own = (maps * inside).sum(-1), maps.diagonal(dim1=-2, dim2=-1)
    if finish:
        return finish(mass, own, inside.sum(-1))
    mass, own = mass.mean(-1), own.mean(-1)
    return mass, (mass - own) / (1 - own)


def lines_run_on(down, right, reach, wide):
    apart = down * wide + right
    return sum((apart - n * wide).abs() <= reach for n in range(-reach, reach + 1)) > 0


def round_the_back(maps, columns, size):
    rows = maps.shape[1] // columns
    return variant(
        maps,
        columns,
        size,
        near=lambda down, right, reach, wide: (
            (torch.minimum(down.abs(), rows - down.abs()) <= reach)
            & (torch.minimum(right.abs(), wide - right.abs()) <= reach)
        ),
    )


def diamond(down, right, reach, wide):
    return down.abs() + right.abs() <= reach


def disc(down, right, reach, wide):
    return (down**2 + right**2).sqrt() <= reach


def cross(down, right, reach, wide):
    return (down.abs() <= reach) | (right.abs() <= reach)


def without_abs(down, right, reach, wide):
    return (down <= reach) & (right <= reach)


def with_the_other_sign(down, right, reach, wide):
    return (-down <= reach) & (-right <= reach)


def other_order(maps, columns, size):
    return window_mass(maps, columns, size)[::-1]


def added_up(mass, own, count):
    mass, own = mass.sum(-1), own.sum(-1)
    return mass, (mass - own) / (count.numel() - own)


def own_left_in(mass, own, count):
    return mass.mean(-1), mass.mean(-1) / (1 - own.mean(-1))


def mean_weight(mass, own, count):
    mass, own = (mass / count).mean(-1), own.mean(-1)
    return mass, (mass - own) / (1 - own)


def without_itself(mass, own, count):
    mass, own = (mass - own).mean(-1), own.mean(-1)
    return mass, mass / (1 - own)


def not_a_share(mass, own, count):
    return mass.mean(-1), (mass - own).mean(-1)


def share_of_window(mass, own, count):
    return mass.mean(-1), (mass - own).mean(-1) / mass.mean(-1)


def mean_of_shares(mass, own, count):
    return mass.mean(-1), ((mass - own) / (1 - own)).mean(-1)


def over_all_heads(maps, columns, size):
    return tuple(each.mean() for each in window_mass(maps, columns, size))


def mass_alone(maps, columns, size):
    return window_mass(maps, columns, size)[0]


def normalises_again(maps, columns, size):
    maps /= maps.sum(1, keepdim=True)
    return window_mass(maps, columns, size)


def hidden(rng):
    """Grids higher than wide, and wider than high; windows of 3 and of 5."""
    return tuple(_drawn(rng, size) for size in (3, 5, 5))


def _drawn(rng, size):
    """Drawn anew where attention is so sharp that what lies across an edge makes no difference."""
    while True:
        rows, columns = 5 + rng.choice(6, size=2, replace=False)
        if round((rows * columns) ** 0.5) in (rows, columns):
            continue
        heads, seed = int(rng.integers(2, 4)), int(rng.integers(2**32))
        title = f"{rows} rows of {columns}, {size} × {size}"
        made = case(title, heads, int(rows), int(columns), size, seed)
        arguments = made.calls[0]
        right = np.array(by_masks(arguments))  # (2, head)
        edges = (by_masks(arguments, inside=by_number), by_masks(arguments, wraps=True))
        apart = np.abs(np.array(edges) - right) / np.maximum(right, ANSWER.floor)
        if (apart > 5 * ANSWER.tolerance).all():
            return made


KEY = Key(
    question=QUESTION,
    reference=window_mass,
    hidden=hidden,
    alternatives={
        "loops": by_loops,
        "average pooling": by_pooling,
        "over those that look": over_lookers,
    },
    mutants=(
        Mutant(
            "a square grid",
            partial(variant, wide=lambda maps, columns: round(maps.shape[1] ** 0.5)),
            "square-grid",
        ),
        Mutant(
            "rows for columns",
            partial(variant, wide=lambda maps, columns: maps.shape[1] // columns),
            "rows-for-columns",
        ),
        Mutant("size for reach", partial(variant, reach=lambda size: size), "size-for-reach"),
        Mutant("always 3 × 3", partial(variant, reach=lambda size: 1), "always-3"),
        Mutant("< for ≤", partial(variant, reach=lambda size: size // 2 - 1), "too-narrow"),
        Mutant("or for and", partial(variant, near=cross), "one-is-enough"),
        Mutant("a diamond", partial(variant, near=diamond), "no-corners"),
        Mutant("a disc", partial(variant, near=disc), "no-corners"),
        Mutant("no abs", partial(variant, near=without_abs), "no-abs"),
        Mutant("no abs, the other way", partial(variant, near=with_the_other_sign), "no-abs"),
        Mutant("neighbours first", other_order, "other-order"),
        Mutant("lines run on", partial(variant, near=lines_run_on), "across-edges"),
        Mutant("round the back", round_the_back, "across-edges"),
        Mutant("the mean weight", partial(variant, finish=mean_weight), "mean-weight"),
        Mutant("added up over tokens", partial(variant, finish=added_up), "not-averaged"),
        Mutant("mass / (1 − own)", partial(variant, finish=own_left_in), "own-left-in"),
        Mutant("without itself", partial(variant, finish=without_itself), "without-itself"),
        Mutant("neighbours not a share", partial(variant, finish=not_a_share), "not-a-share"),
        Mutant("a share of the mass", partial(variant, finish=share_of_window), "share-of-window"),
        Mutant("a mean of shares", partial(variant, finish=mean_of_shares), "mean-of-shares"),
        Mutant("means over heads", over_all_heads, "shape"),
        Mutant("the mass alone", mass_alone, "kind"),
        Mutant("normalises its input", normalises_again, "untouched"),
    ),
)
