"""Lesson 03: where a head with W_Q W_Kᵀ = βI looks, for another table of positions."""

import numpy as np

from minivit.checks.fixed import Fixed, Mistake
from minivit.checks.question import Case, Question

STATEMENT = """\
With W_Q W_Kᵀ = βI attention is a matter of a Gram matrix, and positions alone decide what "near"
means. Work out where such a head looks for a table that the lesson did not have.

A grid has `rows` × `columns` places, numbered row by row, and `waves` holds some frequencies
ω₁, ω₂, …, shape (waves,). The token of the place in row r and column c holds, for every ω,

cos(ω r), sin(ω r), cos(ω c), sin(ω c).

There is no content and **no LayerNorm**. W_Q W_Kᵀ = `beta` · I, with I as wide as a token; the
width `k` of the head, by whose root logits are divided, is no smaller. Return its attention map,
shape (rows · columns, rows · columns): row i holds the weights of token i.

**Usual trap.** What two places have in common in their rows and what they have in common in their
columns is added up, not multiplied: a place far away in one direction may still be like this one.
"""

HINTS = (
    "You may build the table and take inner products, or use the formula of lesson 01: "
    "cos a cos b + sin a sin b = cos(a − b). Either gives the Gram matrix.",
    "Entry (i, j) of the Gram matrix is the sum over all ω of cos(ω Δr) + cos(ω Δc), with Δr and "
    "Δc the rows and the columns between both places.",
    "The logits are beta · Gram / √k, and each *row* goes through a softmax. Place number i is in "
    "row i // columns and in column i % columns.",
)


def case(title, rows, columns, waves, beta, k):
    arguments = {"rows": rows, "columns": columns, "waves": np.array(waves), "beta": beta, "k": k}
    return Case(title, (arguments,))


VISIBLE = (
    case("one wave, 3 × 3", 3, 3, [1.0], 1.0, 6),
    case("two waves, 4 rows of 3", 4, 3, [1.0, 0.3], 2.5, 9),
    case("three waves, 2 rows of 6", 2, 6, [1.5, 0.7, 0.1], 0.7, 16),
    case("beta below 0", 3, 5, [0.9, 0.4], -1.5, 8),
)


def mapped(
    arguments,
    *,
    wide=lambda a: a["columns"],
    join=lambda down, right: (down + right).sum(0),
    scale=lambda a: a["beta"] / np.sqrt(a["k"]),
    axis=1,
    softmax=True,
    turn=1.0,
):
    """The map by the formula. The keywords let mistakes in; join gets cosines (wave, i, j)."""
    count = arguments["rows"] * arguments["columns"]
    row, column = np.divmod(np.arange(count), wide(arguments))
    waves = turn * np.asarray(arguments["waves"])[:, None, None]
    down, right = (np.cos(waves * (place[:, None] - place)) for place in (row, column))
    logits = scale(arguments) * join(down, right)
    if not softmax:
        return (logits,)
    shares = np.exp(logits - logits.max(axis, keepdims=True))
    return (shares / shares.sum(axis, keepdims=True),)


ANSWER = Fixed(mapped, ("map",), tolerance=5e-4)


def _with(**slips):
    return lambda arguments: mapped(arguments, **slips)


def _by(cosine):
    """The map of the Gram matrix Σ cosine(ω, rows, columns); both are numbers of places, (i, 1)."""

    def wrong(arguments):
        count = arguments["rows"] * arguments["columns"]
        row, column = np.divmod(np.arange(count)[:, None], arguments["columns"])
        gram = sum(cosine(wave, row, column) for wave in arguments["waves"])
        return mapped(arguments, join=lambda down, right: gram)

    return wrong


def _all_places(arguments):
    return arguments["rows"] * arguments["columns"]


def _length(arguments):
    """The squared length of each token: a cosine and a sine for row and column, for every ω."""
    return 2 * len(arguments["waves"])


def _whole(arguments):
    """How many numbers a token has."""
    return 4 * len(arguments["waves"])


def _layer_normed(arguments):
    """The map that tokens give behind a LayerNorm."""
    places = np.divmod(np.arange(arguments["rows"] * arguments["columns"]), arguments["columns"])
    angles = [np.multiply.outer(place, arguments["waves"]) for place in places]  # (place, wave)
    tokens = np.concatenate([wave(angle) for angle in angles for wave in (np.cos, np.sin)], axis=1)
    tokens = tokens - tokens.mean(1, keepdims=True)
    tokens = tokens / np.sqrt(tokens.var(1, keepdims=True) + 1e-5)
    return mapped(arguments, join=lambda down, right: tokens @ tokens.T)


MISTAKES = ANSWER.diagnoses(
    Mistake(
        "multiplied",
        "Rows and columns are multiplied where they should be added up.",
        2,
        (
            _with(join=lambda down, right: (down * right).sum(0)),
            _with(join=lambda down, right: down.sum(0) * right.sum(0)),
        ),
    ),
    Mistake(
        "wrong-width",
        "The places are numbered column by column, or as if the grid had `rows` columns. Place 1 "
        "is to the right of place 0.",
        3,
        _with(wide=lambda a: a["rows"]),  # either way the Gram matrix is the same
    ),
    Mistake(
        "columns-only",
        "Only one of the two directions is there, rows or columns.",
        2,
        (
            _with(join=lambda down, right: right.sum(0)),
            _with(join=lambda down, right: down.sum(0)),
        ),
    ),
    Mistake(
        "one-distance",
        "Rows and columns are put together first, and one cosine taken. Each of the two has a "
        "cosine of its own.",
        2,
        (
            _by(lambda wave, r, c: np.cos(wave * (r - r.T + c - c.T))),
            _by(lambda wave, r, c: np.cos(wave * (np.abs(r - r.T) + np.abs(c - c.T)))),
            _by(lambda wave, r, c: np.cos(wave * np.hypot(r - r.T, c - c.T))),
        ),
    ),
    Mistake(
        "by-number",
        "It takes the number of a place for where it is. A place has a row and a column.",
        3,
        (
            _with(wide=_all_places),
            _with(wide=_all_places, join=lambda down, right: 2 * right.sum(0)),
        ),
    ),
    Mistake(
        "cosines-alone",
        "The sines are missing. cos a cos b alone is not cos(a − b).",
        1,
        _by(
            lambda wave, r, c: (
                np.cos(wave * r) * np.cos(wave * r.T) + np.cos(wave * c) * np.cos(wave * c.T)
            )
        ),
    ),
    Mistake(
        "normalised",
        "Tokens are brought to one length, as a cosine or a LayerNorm does. There is neither here.",
        1,
        (_with(scale=lambda a: a["beta"] / np.sqrt(a["k"]) / _length(a)), _layer_normed),
    ),
    Mistake("unscaled", "√k is missing.", 3, _with(scale=lambda a: a["beta"])),
    Mistake(
        "k-for-root", "It divides by k, not by √k.", 3, _with(scale=lambda a: a["beta"] / a["k"])
    ),
    Mistake(
        "scaled-by-width",
        "It divides by the root of how many numbers a token has. k is the width of the head.",
        3,
        _with(scale=lambda a: a["beta"] / np.sqrt(_whole(a))),
    ),
    Mistake(
        "mean-of-waves",
        "It is the mean over the frequencies. In an inner product their terms are added up.",
        2,
        _with(scale=lambda a: a["beta"] / np.sqrt(a["k"]) / len(a["waves"])),
    ),
    Mistake(
        "one-wave",
        "Only one of the frequencies is in it. A token has four numbers for every ω.",
        2,
        (
            _with(join=lambda down, right: down[0] + right[0]),
            _with(join=lambda down, right: down[-1] + right[-1]),
        ),
    ),
    Mistake(
        "two-pi",
        "Your angles have a 2π, or a π, in them. They should be ω r and ω c as they stand.",
        2,
        (_with(turn=2 * np.pi), _with(turn=np.pi)),
    ),
    Mistake("no-beta", "beta has no effect.", 3, _with(scale=lambda a: 1 / np.sqrt(a["k"]))),
    Mistake(
        "beta-twice",
        "beta came in twice. W_Q W_Kᵀ is beta · I, so W_Q and W_K have its root each.",
        3,
        _with(scale=lambda a: a["beta"] ** 2 / np.sqrt(a["k"])),
    ),
    Mistake(
        "no-softmax", "These are the logits. The map is their softmax.", 3, _with(softmax=False)
    ),
    Mistake(
        "softmax-over-lookers",
        "The softmax runs down the columns. The weights of one token, a row, sum to 1.",
        3,
        _with(axis=0),
    ),
    Mistake(
        "softmax-over-all",
        "All of the map sums to 1. The weights of each token, a row, should.",
        3,
        _with(axis=(0, 1)),
    ),
)
MISTAKES = (ANSWER.rounded(), *MISTAKES)


QUESTION = Question(
    id="table-gram",
    function="place_map",
    signature="place_map(rows, columns, waves, beta, k)",
    lesson="03",
    points=3,
    minutes=15,
    difficulty=2,
    statement=STATEMENT,
    visible=VISIBLE,
    hidden=3,
    judge=ANSWER.judge,
    hints=HINTS,
    diagnoses=MISTAKES,
    tolerates="the table or the formula, the order of a token's numbers, loops, float64",
    withheld=("circuits.position_gram",),
)
