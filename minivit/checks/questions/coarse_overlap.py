"""Lesson 06: attention of two networks that cut the same image into patches of different size."""

import numpy as np

from minivit.checks.fixed import Fixed, Mistake, altered
from minivit.checks.question import Case, Question

STATEMENT = """\
Two networks look at the same images. Network B cuts them into `side` × `side` patches; network A
into finer ones, `factor` × `factor` of them in each patch of B, and has a class token in front. How
much do they look at the same places, and how much would they anyway?

`fine` has shape (image, 1 + (side · factor)², the same): maps of A, the class token first.
`coarse` has shape (image, side², side²): maps of B. Row i holds the weights with which token i
looks, and sums to 1; patches are counted row by row.

First bring A to B's patches. Leave the class token out, as one that looks and as one that is looked
at, and let each row sum to 1 again. Then for each pair of B's patches: the weight that a fine patch
in the first gives to the *whole* of the second, the mean over the fine patches that look. Now both
maps have the shape (side², side²), and their rows sum to 1. Return two tensors of shape (image,):

- `overlap`: Σⱼ min(A[i, j], B[i, j]), the mean over all patches i: 1 for equal maps;
- `chance`: the same with a control: row i of A against every *other* row of B,
  Σⱼ min(A[i, j], B[l, j]), the mean over all i ≠ l.

**Usual trap.** The fine patches that form one patch of B do not stand one after the other: they
come from `factor` rows of a picture.
"""

HINTS = (
    "fine[:, 1:, 1:], divided by its sums over the last axis, has no class token any more. A fine "
    "patch is number ((R · factor + r) · side + C) · factor + c, with R, C the patch of B and r, c "
    "the place in it: one axis of fine patches is four axes, and there are two such axes.",
    "Weights on the parts of a patch add up; looks of its parts are averaged. View it as "
    "(image, side, factor, side, factor, side, factor, side, factor), then .sum((6, 8)) and "
    ".mean((2, 4)), then (image, side², side²).",
    "torch.minimum(A[:, :, None], B[:, None]).sum(-1) has shape (image, i, l). Its diagonal gives "
    "`overlap`; everything off the diagonal, n (n − 1) numbers, gives `chance`.",
)


def maps(rng, images, grid, sharp):
    """Random maps on a grid that look near, (image, grid², grid²)."""
    place = np.stack(np.divmod(np.arange(grid**2), grid), 1) / grid
    apart = np.square(place[:, None] - place).sum(-1)
    logits = rng.standard_normal((images, grid**2, grid**2)) - sharp * apart
    weights = np.exp(logits)
    return weights / weights.sum(-1, keepdims=True)


def case(title, images, side, factor, seed, *, sharp=(8.0, 8.0)):
    """sharp: how local each network's attention is."""
    rng = np.random.default_rng(seed)
    n = (side * factor) ** 2 + 1
    to_class = rng.uniform(0.05, 0.5, (images, n, 1))
    patches = maps(rng, images, side * factor, sharp[0])
    fine = np.empty((images, n, n))
    fine[:, 1:, 1:] = patches
    fine[:, 0, 1:] = patches.mean(1)
    fine *= 1 - to_class
    fine[:, :, :1] = to_class
    coarse = maps(rng, images, side, sharp[1])
    return Case(title, ({"fine": fine, "coarse": coarse, "side": side, "factor": factor},))


VISIBLE = (
    case("2 × 2 patches, each of 2 × 2", 2, 2, 2, 181),
    case("3 × 3 patches, each of 2 × 2", 2, 3, 2, 182),
    case("2 × 2 patches, each of 4 × 4", 2, 2, 4, 183, sharp=(2.0, 12.0)),
    case("4 × 4 patches, each of 2 × 2", 3, 4, 2, 184, sharp=(20.0, 3.0)),
)


def without_class(fine):
    rest = fine[:, 1:, 1:]
    return rest / rest.sum(-1, keepdims=True)


def in_blocks(tokens, side, factor):
    """Number of the coarse patch of every fine one."""
    row, column = np.divmod(np.arange(tokens), side * factor)
    return row // factor * side + column // factor


def in_a_row(tokens, side, factor):
    """As if the parts of a patch stood one after the other."""
    return np.arange(tokens) // factor**2


def _factor_first(tokens, side, factor):
    """As if the view were (factor, side, factor, side)."""
    row, column = np.divmod(np.arange(tokens), side * factor)
    return row % side * side + column % side


def brought(arguments, *, drop=without_class, places=in_blocks, looks=np.mean, looked_at=np.sum):
    """Maps of A on the patches of B."""
    rest, side = drop(arguments["fine"]), arguments["side"]
    where = places(rest.shape[1], side, arguments["factor"])
    order = np.argsort(where, kind="stable")
    parts = arguments["factor"] ** 2
    n = side**2
    view = rest[:, order][:, :, order].reshape(len(rest), n, parts, n, parts)
    return looks(looked_at(view, axis=4), axis=2)


def shared(A, B):
    """(image, i, l): what row i of A and row l of B have in common."""
    return np.minimum(A[:, :, None], B[:, None]).sum(-1)


def common(arguments, *, table=shared, control=None, turn=lambda A: A, **slips):
    """Both tensors. The keywords let mistakes in; control(table) → chance."""
    pairs = table(turn(brought(arguments, **slips)), turn(arguments["coarse"]))
    n = pairs.shape[1]
    same = np.trace(pairs, axis1=1, axis2=2)
    if control:
        return same / n, control(pairs)
    return same / n, (pairs.sum((1, 2)) - same) / (n * (n - 1))


ANSWER = Fixed(common, ("overlap", "chance"), axis="image", tolerance=1e-3, floor=0.1)


def _with(**slips):
    return lambda arguments: common(arguments, **slips)


def _even(arguments):
    """Even attention of A for a control."""
    n = arguments["side"] ** 2
    even = np.minimum(1 / n, arguments["coarse"]).sum(-1).mean(-1)
    return common(arguments)[0], even


def _other_image(arguments):
    """Row i of the next image's map for a control."""
    B = np.roll(arguments["coarse"], 1, 0)
    return common(arguments)[0], np.minimum(brought(arguments), B).sum(-1).mean(-1)


def _rows_to_one(A):
    return A / A.sum(-1, keepdims=True)


def _without_own(pairs):
    """The sum over all i ≠ l."""
    return pairs.sum((1, 2)) - np.trace(pairs, axis1=1, axis2=2)


def _next_row(step):
    return lambda pairs: np.trace(np.roll(pairs, -step, 2), axis1=1, axis2=2) / pairs.shape[1]


def _cosines(A, B):
    lengths = (np.linalg.norm(each, axis=-1) for each in (A, B))
    of_A, of_B = lengths
    return np.einsum("bij,blj->bil", A, B) / of_A[:, :, None] / of_B[:, None]


def _products(A, B):
    return np.einsum("bij,blj->bil", A, B)


def _not_again(fine):
    return fine[:, 1:, 1:]


def _class_last(fine):
    rest = fine[:, :-1, :-1]
    return rest / rest.sum(-1, keepdims=True)


MISTAKES = ANSWER.diagnoses(
    Mistake(
        "exchanged",
        "Both are right, in each other's place: first the overlap, then what chance would give.",
        3,
        lambda arguments: common(arguments)[::-1],
    ),
    Mistake(
        "blocks-in-a-row",
        "It takes tokens that stand one after the other for the parts of one patch.",
        1,
        _with(places=in_a_row),
    ),
    Mistake(
        "factor-first",
        "The axes are read in another order: a row of the picture is a row of B's patches first, "
        "then a row in the patch, so `side` goes before `factor`.",
        1,
        _with(places=_factor_first),
    ),
    Mistake(
        "not-divided-again",
        "What A gives to its class token is missing: rows no longer sum to 1.",
        1,
        _with(drop=_not_again),
    ),
    Mistake(
        "divided-late",
        "Rows were made to sum to 1 after the patches were put together. A fine patch that looks "
        "at the class token a lot counts less then. First each row of `fine`, then the mean.",
        1,
        _with(drop=_not_again, turn=_rows_to_one),
    ),
    Mistake(
        "class-last",
        "The last token was left out. The class token is the first.",
        1,
        _with(drop=_class_last),
    ),
    Mistake(
        "averaged-weights",
        "Weights on the parts of a patch were averaged. They add up: the rows sum to 1 no longer.",
        2,
        _with(looked_at=np.mean),
    ),
    Mistake(
        "summed-looks",
        "The looks of the parts of a patch were added up. They are averaged: the rows sum to more "
        "than 1.",
        2,
        _with(looks=np.sum),
    ),
    Mistake(
        "one-part-looks",
        "Only the first part of each patch looks. All of them do, and their mean counts.",
        2,
        _with(looks=lambda view, axis: view.take(0, axis)),
    ),
    Mistake(
        "cosine-for-overlap",
        "It is a cosine or a product of rows. What they share is Σ of the smaller of two weights.",
        3,
        (_with(table=_cosines), _with(table=_products)),
    ),
    Mistake(
        "distance-for-overlap",
        "It is a distance of the maps. Equal maps have overlap 1.",
        3,
        (
            _with(table=lambda A, B: 1 - shared(A, B)),
            _with(table=lambda A, B: 2 - 2 * shared(A, B)),
        ),
    ),
    Mistake(
        "summed-overlap",
        "`overlap` adds up over the patches i. Its mean is asked for: 1 for equal maps.",
        3,
        altered(common, lambda each, a: a["side"] ** 2 * each, 0),
    ),
    Mistake(
        "columns",
        "Columns are compared. A row holds where one token looks.",
        3,
        _with(turn=lambda A: A.transpose(0, 2, 1)),
    ),
    Mistake(
        "own-row-in-control",
        "The control holds row i of A against row i of B, too. It is for other rows only.",
        3,
        _with(control=lambda pairs: pairs.mean((1, 2))),
    ),
    Mistake(
        "n-squared",
        "There are n (n − 1) pairs i ≠ l. The sum over them is divided by n².",
        3,
        _with(control=lambda pairs: _without_own(pairs) / pairs.shape[1] ** 2),
    ),
    Mistake(
        "one-other-row",
        "The control takes one other row for each i. It is the mean over all of them.",
        3,
        (_with(control=_next_row(1)), _with(control=_next_row(-1))),
    ),
    Mistake(
        "other-image",
        "The control is another image's row i. It is for other rows of the same image.",
        3,
        _other_image,
    ),
    Mistake(
        "even-control",
        "The control is even attention. It should look as B does, from other places.",
        3,
        _even,
    ),
)


QUESTION = Question(
    id="coarse-overlap",
    function="overlap_and_chance",
    signature="overlap_and_chance(fine, coarse, side, factor)",
    lesson="06",
    points=4,
    minutes=25,
    difficulty=3,
    statement=STATEMENT,
    visible=VISIBLE,
    hidden=3,
    judge=ANSWER.judge,
    hints=HINTS,
    diagnoses=MISTAKES,
    tolerates="views, a matrix of zeros and ones, pooling, loops, 1 − half the sum of absolute "
    "differences, float64",
    first_hints={"chance": 3},
)
