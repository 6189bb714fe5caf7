"""Lesson 02: how far from chance is the mean of any diagonal of a head's product?"""

import numpy as np

from minivit.checks.fixed import Fixed, Mistake, changed
from minivit.checks.question import Case, Question

STATEMENT = """\
The lesson asked whether the main diagonal of a product stands out from chance. A fair test needs a
control: the same number for the diagonals beside it, where nothing should be.

`products` has shape (heads, dim, dim). Diagonal number `offset` of a matrix P holds the entries
P[i, i + offset]; 0 is the main one, and offsets may be negative. Return, for each head, how many
chance standard deviations the mean of that diagonal is away from 0: a tensor of shape (heads,)
with the sign kept. Chance: all entries of a head are independent, of mean 0 and of the standard
deviation that the head's entries *off* this diagonal show.

**Usual trap.** Not every diagonal has dim entries, and the mean over fewer of them varies more.
"""

HINTS = (
    "Three numbers for each head: the mean of the diagonal, the standard deviation of all entries "
    "that are not on it, and how many entries the mean is taken over.",
    "The mean of m independent entries of standard deviation s has standard deviation s / √m. How "
    "many entries has diagonal number j of a dim × dim matrix?",
    "products.diagonal(offset, dim1=-2, dim2=-1) picks it for all heads at once. A mask of ones on "
    "that diagonal, turned round, picks all the rest: torch.eye does not know offsets, "
    "torch.ones(dim, dim).triu(offset).tril(offset) does.",
)


def case(title, heads, dim, offset, seed, planted=0.0, *, loud=False):
    """Noise whose size differs from head to head, with `planted` noise sizes on the diagonal.

    loud: the main diagonal is four times as loud, around 0: a mean taken off the noise stays tiny.
    """
    rng = np.random.default_rng(seed)
    products = rng.standard_normal((heads, dim, dim)) + planted * np.eye(dim, k=offset)
    if loud:
        products *= 1 + 3 * np.eye(dim)
    sizes = rng.uniform(0.2, 3.0, (heads, 1, 1))
    return Case(title, ({"products": sizes * products, "offset": offset},))


VISIBLE = (
    case("noise alone, the main diagonal", 3, 64, 0, 21),
    case("noise alone, diagonal 40 of 64", 3, 64, 40, 22),
    case("a planted main diagonal", 4, 64, 0, 23, planted=4.0),
    case("a planted diagonal −24, a loud main one", 1, 64, -24, 24, planted=-3.0, loud=True),
)


def by_loops(arguments, entries=None, spread=None, apart=np.subtract):
    """The number of each head, entry by entry; the keywords let a mistake in."""
    products, offset = arguments["products"], arguments["offset"]
    scores = []
    for matrix in products:
        row, column = np.indices(matrix.shape)
        on = apart(column - row, offset) == 0
        m = on.sum() if entries is None else entries(matrix, on)
        s = matrix[~on].std() if spread is None else spread(matrix, on, products)
        scores.append(matrix[on].mean() / (s / np.sqrt(m)))
    return np.array(scores)


def _scores(arguments):
    return (by_loops(arguments),)


def _with(**slips):
    return lambda arguments: (by_loops(arguments, **slips),)


def _off_the_main_one(matrix, on, products):
    return matrix[~np.eye(len(matrix), dtype=bool)].std()


def _round_the_edge(arguments):
    return lambda steps, offset: (steps - offset) % arguments["products"].shape[-1]


# √(n / (n − 1)) and the tiny mean of the noise are free: both are below 1 in 1,000 here.
ANSWER = Fixed(_scores, ("score",), axis="head", tolerance=2e-3, floor=0.5)
MISTAKES = ANSWER.diagnoses(
    Mistake(
        "full-length",
        "It divides by √dim. Diagonal number j has fewer than dim entries unless j is 0.",
        2,
        _with(entries=lambda matrix, on: len(matrix)),
    ),
    Mistake(
        "with-diagonal",
        "The spread is taken over all entries, the tested diagonal included: what is tested "
        "then makes its own yardstick longer.",
        1,
        _with(spread=lambda matrix, on, _: matrix.std()),
    ),
    Mistake(
        "main-left-out",
        "The spread leaves out the main diagonal, and not the one that is tested: torch.eye does "
        "not know offsets.",
        3,
        (
            _with(spread=_off_the_main_one),
            _with(spread=_off_the_main_one, entries=lambda matrix, on: len(matrix)),
        ),
    ),
    Mistake(
        "rolled",
        "Its diagonal goes on at the other side: an identity that was rolled has a second piece, "
        "P[i, i + offset − dim].",
        3,
        lambda arguments: (by_loops(arguments, apart=_round_the_edge(arguments)),),
    ),
    Mistake(
        "pooled",
        "One spread is used for all heads. Heads differ in size; each needs its own.",
        1,
        _with(spread=lambda matrix, on, products: products[:, ~on].std()),
    ),
    Mistake(
        "ratio",
        "It is the mean divided by the spread of single entries. A mean of m entries varies √m "
        "times less than one of them.",
        2,
        _with(entries=lambda matrix, on: 1),
    ),
    Mistake(
        "no-root",
        "It is off by a factor √m: variances add up, so the chance spread falls with √m, not "
        "with m.",
        2,
        _with(entries=lambda matrix, on: on.sum() ** 2),
    ),
    Mistake(
        "mirrored",
        "It takes the diagonal on the other side: P[i + offset, i].",
        3,
        changed(_scores, offset=lambda a: -a["offset"]),
    ),
    Mistake(
        "mean-only",
        "It is the mean itself. How far it is from 0 has to be told in chance's own unit.",
        1,
        _with(entries=lambda *_: 1, spread=lambda *_: 1.0),
    ),
    Mistake(
        "main-only",
        "It always takes the main diagonal.",
        3,
        changed(_scores, offset=lambda a: 0),
    ),
    Mistake(
        "absolute",
        "The sign is lost. Whether a diagonal is positive or negative matters here.",
        1,
        lambda arguments: (np.abs(by_loops(arguments)),),
    ),
    Mistake(
        "own-spread",
        "The spread is that of the diagonal itself. Chance is what the *other* entries show.",
        1,
        tuple(
            _with(spread=lambda matrix, on, _, lost=lost: matrix[on].std(ddof=lost))
            for lost in (0, 1)  # m or m − 1
        ),
    ),
)
MISTAKES = (ANSWER.rounded(), *MISTAKES)


QUESTION = Question(
    id="diagonal-z",
    function="diagonal_z",
    signature="diagonal_z(products, offset)",
    lesson="02",
    points=3,
    minutes=15,
    difficulty=2,
    statement=STATEMENT,
    visible=VISIBLE,
    hidden=3,
    judge=ANSWER.judge,
    hints=HINTS,
    diagnoses=MISTAKES,
    tolerates="n or n − 1 in the standard deviation, with or without subtracting the mean of the "
    "noise, float64, loops",
    withheld=("circuits.diagonal_stats",),
)
