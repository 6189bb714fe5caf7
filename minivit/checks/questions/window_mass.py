"""Lesson 03: attention within a window, on a grid that need not be square."""

import numpy as np

from minivit.checks.fixed import Fixed, Mistake
from minivit.checks.question import Case, Question

STATEMENT = """\
The lesson's 3×3 mass knows square grids and one window. Write it for pictures of any shape, and for
windows of any odd size.

`maps` has shape (heads, token, token): row i holds the weights with which token i looks, and sums
to 1. The tokens are patches of a grid with `columns` columns, row by row. The window of a token is
the `size` × `size` patches around it, itself included; at an edge, only those that exist. Return
two tensors of shape (heads,):

- `mass`: the weight within the window, the mean over all tokens that look;
- `neighbours`: of the weight that tokens do not give themselves, the part that stays within the
  window: (mass − own) / (1 − own), where own is the mean weight of a token on itself.

**Usual trap.** The number of rows is not the number of columns, and √tokens is neither.
"""

HINTS = (
    "Token number i stands in row i // columns and column i % columns. Two tokens share a window "
    "when their rows *and* their columns are near enough.",
    "A window of size 5 reaches two patches to each side: size // 2.",
    "near = (rows_apart <= size // 2) & (columns_apart <= size // 2) has shape (token, token). "
    "(maps * near).sum(-1) is the mass of each token that looks; own is the mean of the diagonal.",
)


def case(title, heads, rows, columns, size, seed):
    """Maps that look near and far; the heads are not equally sharp, nor is every token."""
    rng = np.random.default_rng(seed)
    row, column = np.divmod(np.arange(rows * columns), columns)
    apart = (row[:, None] - row) ** 2 + (column[:, None] - column - 0.5) ** 2
    sharp = rng.uniform(0.02, 0.4, (heads, 1, 1)) * rng.uniform(0.3, 2.0, (rows * columns, 1))
    maps = np.exp(rng.standard_normal((heads, rows * columns, rows * columns)) - sharp * apart)
    maps /= maps.sum(-1, keepdims=True)
    return Case(title, ({"maps": maps, "columns": columns, "size": size},))


VISIBLE = (
    case("a square grid, 3 × 3", 2, 5, 5, 3, 91),
    case("4 rows of 7, 3 × 3", 2, 4, 7, 3, 92),
    case("7 rows of 4, 5 × 5", 3, 7, 4, 5, 93),
    case("3 rows of 12, 3 × 3", 1, 3, 12, 3, 94),
)


def square(down, right, reach, wide):
    return np.maximum(np.abs(down), np.abs(right)) <= reach


def by_masks(
    arguments,
    *,
    columns=lambda a: a["columns"],
    inside=square,
    reach=lambda a: a["size"] // 2,
    wraps=False,
    finish=lambda near, own, count: (near.mean(), _share(near.mean(), own.mean())),
):
    """Both numbers of each head. The keywords let mistakes in.

    finish gets one number of each token that looks: its mass, its own weight, how many are near.
    """
    maps, wide = arguments["maps"], columns(arguments)
    tall = -(-maps.shape[1] // wide)
    row, column = np.divmod(np.arange(maps.shape[1]), wide)
    down, right = row[:, None] - row, column[:, None] - column
    if wraps:
        down = (down + tall // 2) % tall - tall // 2
        right = (right + wide // 2) % wide - wide // 2
    near = inside(down, right, reach(arguments), wide)
    found = [finish((weights * near).sum(1), weights.diagonal(), near.sum(1)) for weights in maps]
    return tuple(np.array(part) for part in zip(*found, strict=True))


def _share(mass, own):
    return (mass - own) / (1 - own)


ANSWER = Fixed(by_masks, ("mass", "neighbours"), axis="head", tolerance=1e-3, floor=0.02)


def _with(**slips):
    return lambda arguments: by_masks(arguments, **slips)


def _rows(arguments):
    return arguments["maps"].shape[1] // arguments["columns"]


def _side(arguments):
    return round(arguments["maps"].shape[1] ** 0.5)


def by_number(down, right, reach, wide):
    """Near in the numbering of the tokens: the window goes on in the next line."""
    apart = down * wide + right
    return np.any([np.abs(apart - n * wide) <= reach for n in range(-reach, reach + 1)], axis=0)


def _cross(down, right, reach, wide):
    return np.minimum(np.abs(down), np.abs(right)) <= reach


def _diamond(down, right, reach, wide):
    return np.abs(down) + np.abs(right) <= reach


def _disc(down, right, reach, wide):
    return down**2 + right**2 <= reach**2


def _one_sided(down, right, reach, wide):
    """Rows and columns apart with their signs: all that lies above, or to the left, is near."""
    return (down <= reach) & (right <= reach)


def _other_sided(down, right, reach, wide):
    return _one_sided(-down, -right, reach, wide)


MISTAKES = ANSWER.diagnoses(
    ANSWER.other_order(3),
    Mistake(
        "no-abs",
        "A difference below 0 counts as near, however large. Take `abs` of rows and columns apart.",
        3,
        (_with(inside=_one_sided), _with(inside=_other_sided)),
    ),
    Mistake(
        "square-grid",
        "It takes the grid for a square one, √tokens wide.",
        1,
        _with(columns=_side),
    ),
    Mistake(
        "rows-for-columns",
        "Rows and columns are exchanged: it takes lines as long as the grid is high.",
        1,
        _with(columns=_rows),
    ),
    Mistake(
        "size-for-reach",
        "Its window reaches `size` patches to each side, and so is 2 · size + 1 wide.",
        2,
        _with(reach=lambda a: a["size"]),
    ),
    Mistake(
        "always-3",
        "Its window is 3 × 3, where `size` asks for a larger one.",
        2,
        _with(reach=lambda a: 1),
    ),
    Mistake(
        "too-narrow",
        "Its window ends one patch too early: what is size // 2 rows or columns away still belongs "
        "to it.",
        2,
        _with(reach=lambda a: a["size"] // 2 - 1),
    ),
    Mistake(
        "one-is-enough",
        "It counts every patch whose row *or* column is near enough. Both have to be.",
        1,
        _with(inside=_cross),
    ),
    Mistake(
        "no-corners",
        "The corners of the window are missing: rows and columns apart were added up, or squared "
        "and added up. Each of the two may be as large as the reach.",
        1,
        (_with(inside=_diamond), _with(inside=_disc)),
    ),
    Mistake(
        "across-edges",
        "Its window goes on across the edge: the end of one line, or the other side of the "
        "picture, counts as near.",
        1,
        (
            _with(wraps=True),
            _with(inside=by_number),
        ),
    ),
    Mistake(
        "mean-weight",
        "It is the mean weight in the window. The mass is the sum.",
        3,
        _with(
            finish=lambda near, own, count: (
                (near / count).mean(),
                _share((near / count).mean(), own.mean()),
            )
        ),
    ),
    Mistake(
        "not-averaged",
        "The mass is added up over the tokens that look. It is their mean.",
        3,
        _with(finish=lambda n, o, c: (n.sum(), _share(n.mean(), o.mean()))),
    ),
    Mistake(
        "without-itself",
        "The mass leaves the token itself out.",
        3,
        (
            _with(finish=lambda n, o, c: ((n - o).mean(), _share(n.mean(), o.mean()))),
            _with(finish=lambda n, o, c: ((n - o).mean(), _share((n - o).mean(), o.mean()))),
        ),
    ),
    Mistake(
        "own-left-in",
        "`neighbours` is mass / (1 − own). What a token gives itself has to be taken off the mass, "
        "too.",
        3,
        _with(finish=lambda n, o, c: (n.mean(), n.mean() / (1 - o.mean()))),
    ),
    Mistake(
        "not-a-share",
        "`neighbours` is mass − own. It is asked for as a part of 1 − own.",
        3,
        _with(finish=lambda near, own, count: (near.mean(), (near - own).mean())),
    ),
    Mistake(
        "share-of-window",
        "`neighbours` is a part of the mass. It is asked for as a part of 1 − own.",
        3,
        _with(finish=lambda n, o, c: (n.mean(), (n - o).mean() / n.mean())),
    ),
    Mistake(
        "mean-of-shares",
        "`neighbours` is the mean of each token's share. Take the two means first, then divide.",
        3,
        _with(finish=lambda near, own, count: (near.mean(), _share(near, own).mean())),
    ),
)


QUESTION = Question(
    id="window-mass",
    function="window_mass",
    signature="window_mass(maps, columns, size)",
    lesson="03",
    points=4,
    minutes=20,
    difficulty=2,
    statement=STATEMENT,
    visible=VISIBLE,
    hidden=3,
    judge=ANSWER.judge,
    hints=HINTS,
    diagnoses=MISTAKES,
    tolerates="masks, loops, slices of the grid, sums over those that look or those looked at (the "
    "window is symmetric, so the mean is the same), float64",
    withheld=("circuits.locality",),
)
