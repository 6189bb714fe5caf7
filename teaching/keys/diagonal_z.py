"""Key of diagonal-z."""

import math

import numpy as np
import torch

from minivit.checks.questions.diagonal_z import ANSWER, QUESTION, case
from teaching.keys.key import Key, Mutant


def on_diagonal(products, offset):
    return torch.ones(products.shape[-2:]).triu(offset).tril(offset).bool()


def diagonal_z(products, offset):
    on = on_diagonal(products, offset)
    chance = products[:, ~on].std(1) / math.sqrt(on.sum())
    return products[:, on].mean(1) / chance


# Correct, and different.


def by_loops(products, offset):
    scores = []
    for matrix in products.double().numpy():
        on = np.eye(len(matrix), k=offset, dtype=bool)
        scores.append(matrix[on].mean() * np.sqrt(on.sum()) / matrix[~on].std())
    return torch.tensor(scores)


def root_mean_square(products, offset):
    """Takes the noise's mean to be 0, as the contract says, and never subtracts it."""
    on = on_diagonal(products, offset)
    size = products[:, ~on].square().mean(1).sqrt()
    return products.diagonal(offset, dim1=1, dim2=2).sum(1) / (size * on.sum().sqrt())


def by_moments(products, offset):
    """Sums over everything, less those over the diagonal."""
    diagonal = products.double().diagonal(offset, dim1=1, dim2=2)
    m = diagonal.shape[1]
    n = products[0].numel() - m
    total = products.double().sum((1, 2)) - diagonal.sum(1)
    squares = products.double().square().sum((1, 2)) - diagonal.square().sum(1)
    spread = (squares / n - (total / n) ** 2).sqrt()
    return diagonal.mean(1) / spread * m**0.5


# Wrong.


def full_length(products, offset):
    on = on_diagonal(products, offset)
    chance = products[:, ~on].std(1) / math.sqrt(products.shape[-1])
    return products[:, on].mean(1) / chance


def with_diagonal(products, offset):
    on = on_diagonal(products, offset)
    chance = products.flatten(1).std(1) / math.sqrt(on.sum())
    return products[:, on].mean(1) / chance


def main_left_out(products, offset):
    """The lesson's own spread, beside another diagonal."""
    diagonal = products.diagonal(offset, dim1=1, dim2=2)
    rest = products[..., ~torch.eye(products.shape[-1], dtype=torch.bool)]
    return diagonal.mean(1) / (rest.std(1) / math.sqrt(diagonal.shape[1]))


def t_statistic(products, offset):
    diagonal = products.diagonal(offset, dim1=1, dim2=2)
    return diagonal.mean(1) / (diagonal.std(1, correction=0) / math.sqrt(diagonal.shape[1]))


def t_statistic_unbiased(products, offset):
    diagonal = products.diagonal(offset, dim1=1, dim2=2)
    return diagonal.mean(1) / (diagonal.std(1) / math.sqrt(diagonal.shape[1]))


def rolled(products, offset):
    on = torch.eye(products.shape[-1], dtype=torch.bool).roll(offset, 1)
    return products[:, on].mean(1) / (products[:, ~on].std(1) / math.sqrt(on.sum()))


def pooled(products, offset):
    on = on_diagonal(products, offset)
    return products[:, on].mean(1) / (products[:, ~on].std() / math.sqrt(on.sum()))


def ratio(products, offset):
    on = on_diagonal(products, offset)
    return products[:, on].mean(1) / products[:, ~on].std(1)


def no_root(products, offset):
    on = on_diagonal(products, offset)
    return products[:, on].mean(1) / (products[:, ~on].std(1) / on.sum())


def against_the_noise(products, offset):
    on = on_diagonal(products, offset)
    spread = products[:, ~on].std(1) / math.sqrt(on.sum())
    return (products[:, on].mean(1) - products[:, ~on].mean(1)) / spread


def zeros_left_in(products, offset):
    on = on_diagonal(products, offset)
    spread = products.masked_fill(on, 0).flatten(1).std(1) / math.sqrt(on.sum())
    return products[:, on].mean(1) / spread


def mirrored(products, offset):
    return diagonal_z(products, -offset)


def main_only(products, offset):
    return diagonal_z(products, 0)


def absolute(products, offset):
    return diagonal_z(products, offset).abs()


def first_head(products, offset):
    return diagonal_z(products, offset)[0]


def all_heads_at_once(products, offset):
    on = on_diagonal(products, offset)
    return products[:, on].mean() / (products[:, ~on].std() / math.sqrt(on.sum()))


def mean_only(products, offset):
    return products.diagonal(offset, dim1=1, dim2=2).mean(1)


def centres_its_input(products, offset):
    products -= products.mean((1, 2), keepdim=True)
    return diagonal_z(products, offset)


def hidden(rng):
    """Several heads of unlike sizes; a long and a short diagonal, one planted, one negative.

    The main diagonal is loud: so it shows whether the spread leaves out that one.
    """
    offsets = [int(rng.integers(30, 50)), -int(rng.integers(20, 45)), int(rng.integers(5, 20))]
    planted = (0.0, float(-rng.uniform(3, 5)), float(-rng.uniform(3, 5)))
    rows = zip(offsets, planted, (64, 72, 64), strict=True)
    return tuple(_drawn(rng, *row) for row in rows)


def _drawn(rng, offset, size, dim):
    """Drawn anew where it is a matter of n or n − 1 whether a mistake in the spread shows.

    And where rounding to two decimals leaves noise alone right enough: with a planted diagonal the
    numbers are so large that it always does.
    """
    title = f"diagonal {offset}, {'planted' if size else 'noise alone'}"
    while True:
        heads, seed = int(rng.integers(3, 6)), int(rng.integers(2**32))
        made = case(title, heads, dim, offset, seed, size, loud=True)
        products = torch.from_numpy(made.calls[0]["products"])
        right = diagonal_z(products, offset)
        wrong = torch.stack([each(products, offset) for each in (with_diagonal, main_left_out)])
        allowed = ANSWER.tolerance * right.abs().clamp(min=ANSWER.floor)
        apart = (wrong - right).abs() / allowed
        clear = not ((apart > 0.8) & (apart < 1.25)).any()
        rounding = (right.round(decimals=2) - right).abs() / allowed
        if clear and (size or (rounding > 1.25).any()):
            return made


KEY = Key(
    question=QUESTION,
    reference=diagonal_z,
    hidden=hidden,
    alternatives={
        "loops in numpy": by_loops,
        "root mean square": root_mean_square,
        "sums and squares, float64": by_moments,
    },
    mutants=(
        Mutant("two decimals", lambda **given: diagonal_z(**given).round(decimals=2), "rounded"),
        Mutant("√dim whatever the diagonal", full_length, "full-length"),
        Mutant("spread over all entries", with_diagonal, "with-diagonal"),
        Mutant("spread off the main diagonal", main_left_out, "main-left-out"),
        Mutant("spread of the diagonal itself", t_statistic, "own-spread"),
        Mutant("the same, n − 1", t_statistic_unbiased, "own-spread"),
        Mutant("the mean of the noise taken off", against_the_noise, "score"),
        Mutant("the spread with zeros for the diagonal", zeros_left_in, "score"),
        Mutant("an identity, rolled", rolled, "rolled"),
        Mutant("one spread for all heads", pooled, "pooled"),
        Mutant("spread of single entries", ratio, "ratio"),
        Mutant("m instead of √m", no_root, "no-root"),
        Mutant("the diagonal on the other side", mirrored, "mirrored"),
        Mutant("the main diagonal always", main_only, "main-only"),
        Mutant("the sign lost", absolute, "absolute"),
        Mutant("the first head alone", first_head, "shape"),
        Mutant("one number over all heads", all_heads_at_once, "shape"),
        Mutant("the mean, not compared with chance", mean_only, "mean-only"),
        Mutant("centres the products it was given", centres_its_input, "untouched"),
    ),
)
