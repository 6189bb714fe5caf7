"""Key of table-gram."""

import math

import numpy as np
import torch

from minivit.checks.questions.table_gram import QUESTION, case
from teaching.keys.key import Key, Mutant


def table(rows, columns, waves):
    row = torch.arange(rows).repeat_interleave(columns)[:, None] * waves
    column = torch.arange(columns).repeat(rows)[:, None] * waves
    return torch.cat([row.cos(), row.sin(), column.cos(), column.sin()], 1)


def place_map(rows, columns, waves, beta, k):
    tokens = table(rows, columns, waves)
    return (beta * tokens @ tokens.T / k**0.5).softmax(-1)


# Correct, and different.


def by_formula(rows, columns, waves, beta, k):
    number = torch.arange(rows * columns)
    row, column = number // columns, number % columns
    apart = torch.stack([row[:, None] - row, column[:, None] - column])  # (2, i, j)
    gram = (waves.double()[:, None, None, None] * apart).cos().sum((0, 1))
    return (gram * beta / math.sqrt(k)).softmax(1)


def by_loops(rows, columns, waves, beta, k):
    places = [(r, c) for r in range(rows) for c in range(columns)]
    found = []
    for r, c in places:
        logits = [
            beta / math.sqrt(k) * sum(math.cos(w * (r - s)) + math.cos(w * (c - d)) for w in waves)
            for s, d in places
        ]
        top = max(logits)
        shares = [math.exp(logit - top) for logit in logits]
        found.append([share / sum(shares) for share in shares])
    return torch.tensor(found)


def with_factors(rows, columns, waves, beta, k):
    """W_Q and W_K of width k written out, numbers of a token in another order, numpy."""
    row, column = np.divmod(np.arange(rows * columns), columns)
    angles = np.concatenate([np.outer(column, waves.numpy()), np.outer(row, waves.numpy())], 1)
    tokens = np.concatenate([np.sin(angles), np.cos(angles)], 1)
    query = tokens @ (abs(beta) ** 0.5 * np.eye(tokens.shape[1], k))
    key = tokens @ (np.sign(beta) * abs(beta) ** 0.5 * np.eye(tokens.shape[1], k))
    shares = np.exp(query @ key.T / k**0.5)
    return shares / shares.sum(1, keepdims=True)


# Wrong.


def variant(gram=None, scale=lambda beta, k, tokens: beta / k**0.5, finish=None):
    """The reference with one step replaced."""

    def answer(rows, columns, waves, beta, k):
        tokens = table(rows, columns, waves)
        own = gram(rows, columns, waves) if gram else tokens @ tokens.T
        logits = scale(beta, k, tokens) * own
        return finish(logits) if finish else logits.softmax(-1)

    return answer


def cosines(rows, columns, waves):
    number = torch.arange(rows * columns)
    row, column = number // columns, number % columns
    waves = waves[:, None, None]
    return (waves * (row[:, None] - row)).cos(), (waves * (column[:, None] - column)).cos()


def product_of_each(rows, columns, waves):
    down, right = cosines(rows, columns, waves)
    return (down * right).sum(0)


def product_of_sums(rows, columns, waves):
    down, right = cosines(rows, columns, waves)
    return down.sum(0) * right.sum(0)


def columns_only(rows, columns, waves):
    return cosines(rows, columns, waves)[1].sum(0)


def one_cosine(apart):
    """Of one number made of the rows and the columns between two places."""

    def gram(rows, columns, waves):
        number = torch.arange(rows * columns)
        row, column = number // columns, number % columns
        both = apart(row[:, None] - row, column[:, None] - column)
        return (waves[:, None, None] * both).cos().sum(0)

    return gram


def by_number(rows, columns, waves):
    number = torch.arange(rows * columns)
    return (waves[:, None, None] * (number[:, None] - number)).cos().sum(0)


def cosines_alone(rows, columns, waves):
    tokens = table(rows, columns, waves).unflatten(1, (4, -1))[:, ::2].flatten(1)
    return tokens @ tokens.T


def column_by_column(rows, columns, waves):
    number = torch.arange(rows * columns)
    row, column = number % rows, number // rows
    apart = torch.stack([row[:, None] - row, column[:, None] - column])
    return (waves[:, None, None, None] * apart).cos().sum((0, 1))


def wrong_width(rows, columns, waves):
    number = torch.arange(rows * columns)
    row, column = number // rows, number % rows
    apart = torch.stack([row[:, None] - row, column[:, None] - column])
    return (waves[:, None, None, None] * apart).cos().sum((0, 1))


def cosine_similarity(rows, columns, waves):
    tokens = torch.nn.functional.normalize(table(rows, columns, waves), dim=1)
    return tokens @ tokens.T


def layer_norm(rows, columns, waves):
    tokens = table(rows, columns, waves)
    tokens = torch.nn.functional.layer_norm(tokens, tokens.shape[1:])
    return tokens @ tokens.T


def gram_of_each_place(rows, columns, waves, beta, k):
    return place_map(rows, columns, waves, beta, k).view(rows, columns, rows, columns)


def one_wave(rows, columns, waves, beta, k):
    return place_map(rows, columns, waves[:1], beta, k)


def mean_of_waves(rows, columns, waves, beta, k):
    return place_map(rows, columns, waves, beta / len(waves), k)


def two_pi(rows, columns, waves, beta, k):
    return place_map(rows, columns, 2 * torch.pi * waves, beta, k)


def squares_its_input(rows, columns, waves, beta, k):
    answer = place_map(rows, columns, waves, beta, k)
    waves *= waves + 1
    return answer


def hidden(rng):
    """Grids that are not square, several waves, beta of both signs."""
    cases = []
    for sign in (1, 1, -1):
        rows, columns = 2 + rng.choice(5, size=2, replace=False)
        waves = rng.uniform(0.2, 1.4, int(rng.integers(2, 5))).astype(np.float32).tolist()
        # A token has up to 16 numbers; a narrower head could not hold beta · I.
        beta, k = sign * float(rng.uniform(1.5, 3)), int(rng.choice([17, 19, 21, 23, 26, 29]))
        title = f"{len(waves)} waves, {rows} rows of {columns}, beta {beta:+.2f}"
        cases.append(case(title, int(rows), int(columns), waves, beta, k))
    return tuple(cases)


KEY = Key(
    question=QUESTION,
    reference=place_map,
    hidden=hidden,
    alternatives={
        "the formula, float64": by_formula,
        "loops": by_loops,
        "W_Q and W_K written out, numpy": with_factors,
    },
    mutants=(
        Mutant("three decimals", lambda **given: place_map(**given).round(decimals=3), "rounded"),
        Mutant("cosines multiplied", variant(product_of_each), "multiplied"),
        Mutant("sums multiplied", variant(product_of_sums), "multiplied"),
        Mutant("cos(ω (Δr + Δc))", variant(one_cosine(torch.add)), "one-distance"),
        Mutant(
            "straight-line distance",
            variant(one_cosine(lambda down, right: (down**2 + right**2) ** 0.5)),
            "one-distance",
        ),
        Mutant("the number of a place", variant(by_number), "by-number"),
        Mutant("no sines", variant(cosines_alone), "cosines-alone"),
        Mutant("column by column", variant(column_by_column), "wrong-width"),
        Mutant("rows taken for columns", variant(wrong_width), "wrong-width"),
        Mutant("columns alone", variant(columns_only), "columns-only"),
        Mutant("cosine similarity", variant(cosine_similarity), "normalised"),
        Mutant("a LayerNorm", variant(layer_norm), "normalised"),
        Mutant("no √k", variant(scale=lambda beta, k, tokens: beta), "unscaled"),
        Mutant("k for √k", variant(scale=lambda beta, k, tokens: beta / k), "k-for-root"),
        Mutant(
            "√dim",
            variant(scale=lambda beta, k, tokens: beta / tokens.shape[1] ** 0.5),
            "scaled-by-width",
        ),
        Mutant("no beta", variant(scale=lambda beta, k, tokens: k**-0.5), "no-beta"),
        Mutant("beta²", variant(scale=lambda beta, k, tokens: beta**2 / k**0.5), "beta-twice"),
        Mutant("logits", variant(finish=lambda logits: logits), "no-softmax"),
        Mutant(
            "softmax over columns",
            variant(finish=lambda own: own.softmax(0)),
            "softmax-over-lookers",
        ),
        Mutant("a grid of grids", gram_of_each_place, "shape"),
        Mutant("the first wave alone", one_wave, "one-wave"),
        Mutant("the mean over waves", mean_of_waves, "mean-of-waves"),
        Mutant("2π in the angles", two_pi, "two-pi"),
        Mutant(
            "one softmax for the whole map",
            variant(finish=lambda own: own.flatten().softmax(0).view_as(own)),
            "softmax-over-all",
        ),
        Mutant("changes its waves", squares_its_input, "untouched"),
    ),
)
