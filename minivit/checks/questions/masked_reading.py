"""Lesson 01: tokens that read other tokens, where not everybody may look at everybody."""

import numpy as np

from minivit.checks.fixed import Fixed, Mistake
from minivit.checks.question import Case, Diagnosis, Question

STATEMENT = """\
In the lesson tokens read each other. Here the n tokens of `x` read the m tokens of `y`, and a
table says who may look at whom.

`x` has shape (batch, n, dim), `y` (batch, m, dim); `W_Q` and `W_K` have shape (heads, dim, k),
`W_V` (heads, dim, v), `W_O` (heads, v, dim), for right multiplication; v need not be k. `allowed`
has shape (n, m) and holds 1.0 where token i of `x` may look at token j of `y`, and 0.0 where not:
numbers, no bools.

In each head the logits are x W_Q (y W_K)ᵀ / √k, and the weights of token i are the softmax of its
logits *over the tokens that it may look at*; all others get weight 0. Return the output, summed
over heads, of shape (batch, n, dim). **A token that may look at nobody collects nothing: its
output is 0.**

**Usual trap.** Weights that are set to 0 after the softmax no longer sum to 1.
"""

HINTS = (
    "The table has to act before the softmax: a logit of −∞ gets weight 0, and the others share "
    "what is left. logits.masked_fill(allowed == 0, …) keeps the shape.",
    "Write the shape behind each line. The logits are (batch, head, n, m): the softmax runs over "
    "the last axis, the tokens looked at. x[:, None] makes room for the heads.",
    "A row of −∞ alone gives 0 / 0, and a row of one large negative number gives equal weights. "
    "So treat a token that may look at nobody after the softmax: nan_to_num, or times `allowed`.",
)


def case(title, batch, sizes, heads, widths, seed, *, forbid=0.0, nobody=()):
    """sizes: (n, m, dim); widths: (k, v); forbid: the part of the table that is 0; nobody: rows."""
    rng = np.random.default_rng(seed)
    (n, m, dim), (k, v) = sizes, widths
    shapes = {"W_Q": (dim, k), "W_K": (dim, k), "W_V": (dim, v), "W_O": (v, dim)}
    weights = {
        name: 1.5 * rng.standard_normal((heads, *shape)) / np.sqrt(shape[0])
        for name, shape in shapes.items()
    }
    tokens = {"x": rng.standard_normal((batch, n, dim)), "y": rng.standard_normal((batch, m, dim))}
    allowed = (rng.random((n, m)) >= forbid).astype(float)
    for row in allowed:  # where some are forbidden, each token sees somebody, and not all
        seen, hidden = rng.choice(m, size=2, replace=False)
        row[seen], row[hidden] = 1.0, 0.0 if forbid else 1.0
    allowed[list(nobody)] = 0.0
    return Case(title, ({**tokens, **weights, "allowed": allowed},))


VISIBLE = (
    case("one head, everybody may look everywhere", 1, (3, 5, 8), 1, (4, 4), 41),
    case("two heads, values wider than keys", 2, (4, 6, 8), 2, (4, 7), 42),
    case("two heads, half of the table is forbidden", 2, (5, 6, 8), 2, (4, 3), 43, forbid=0.5),
    case("a token that may look at nobody", 2, (4, 6, 8), 2, (4, 5), 44, forbid=0.3, nobody=(1,)),
)


def by_loops(
    arguments,
    *,
    before=lambda logits, table: np.where(table > 0, logits, -np.inf),
    after=lambda weights, table: weights,
    scale=lambda a: a["W_Q"].shape[-1] ** 0.5,
    axis=1,
    nobody=np.zeros_like,
    merge=sum,
):
    """The output, image by image and head by head. The keywords let mistakes in.

    nobody: what a row of weights becomes where all is forbidden.
    """
    x, y, table = arguments["x"], arguments["y"], arguments["allowed"]
    weights = [arguments[name] for name in ("W_Q", "W_K", "W_V", "W_O")]
    images = []
    for one, other in zip(x, y, strict=True):
        heads = []
        for query, key, value, out in zip(*weights, strict=True):
            logits = (one @ query) @ (other @ key).T / scale(arguments)
            logits = before(logits, table)
            high = logits.max(axis, keepdims=True)
            shares = np.exp(logits - np.where(np.isfinite(high), high, 0.0))
            with np.errstate(invalid="ignore"):
                shares = np.nan_to_num(shares / shares.sum(axis, keepdims=True))
            shares = after(shares, table)
            shares = np.where(table.any(1)[:, None], shares, nobody(shares))
            heads.append(shares @ (other @ value) @ out)
        images.append(merge(heads))
    return (np.stack(images),)


ANSWER = Fixed(by_loops, ("output",), axis="image", tolerance=5e-4)


def _with(**slips):
    return lambda arguments: by_loops(arguments, **slips)


def _paired(arguments):
    """Without an axis for heads: image b meets head b alone, where there are as many of each."""
    weights = ("W_Q", "W_K", "W_V", "W_O")
    heads, images = len(arguments["W_Q"]), len(arguments["x"])
    if heads != images:
        return by_loops(arguments)
    alone = (
        by_loops({**arguments, **{name: arguments[name][[head]] for name in weights}})[0]
        for head in range(heads)
    )
    return (np.stack([output[image] for image, output in enumerate(alone)]),)


def _as_they_are(logits, table):
    return logits


def _everywhere_alike(shares):
    return np.full_like(shares, 1 / shares.shape[1])


def _only_nobody(case, results):
    """Every number that is not finite stands in the row of a token that may look at nobody."""
    blind = ~case.calls[0]["allowed"].any(1)
    bad = ~np.isfinite(results[0].returned[0].values)
    return blind.any() and bad.any() and not bad[:, ~blind].any()


KEPT = {"nobody": lambda shares: shares}  # what a row comes to is left as it is


MISTAKES = (
    *ANSWER.diagnoses(
        Mistake(
            "masked-after",
            "The table is applied after the softmax: the weights of a token no longer sum to 1.",
            1,
            _with(before=_as_they_are, after=lambda shares, table: shares * table),
        ),
        Mistake(
            "logits-times-table",
            "Forbidden logits are set to 0, by a product with the table. But exp(0) is 1, not 0.",
            1,
            _with(before=lambda logits, table: logits * table, **KEPT),
        ),
        Mistake(
            "table-added",
            "The table is *added* to the logits, which is what scaled_dot_product_attention does "
            "with a mask of numbers. A mask of True and False says who may look.",
            1,
            _with(before=lambda logits, table: logits + table, **KEPT),
        ),
        Mistake(
            "table-inverted",
            "It looks exactly where it must not, or nowhere: 1 means that looking is allowed.",
            1,
            _with(before=lambda logits, table: np.where(table > 0, -np.inf, logits), **KEPT),
        ),
        Mistake(
            "table-ignored",
            "`allowed` has no effect.",
            1,
            _with(before=_as_they_are, **KEPT),
        ),
        Mistake(
            "nobody-sees-all",
            "The token that may look at nobody takes the mean of everybody: its logits are all "
            "equal, however low. Its output should be 0.",
            3,
            _with(nobody=_everywhere_alike),
        ),
        Mistake(
            "unscaled",
            "The logits are not divided by √k.",
            2,
            _with(scale=lambda a: 1.0),
        ),
        Mistake(
            "scaled-by-dim",
            "The logits are divided by √dim. k is the width of a head's keys.",
            2,
            _with(scale=lambda a: a["x"].shape[-1] ** 0.5),
        ),
        Mistake(
            "scaled-by-values",
            "The logits are divided by the root of the width of the *values*. They are sums over "
            "the k numbers of query and key.",
            2,
            _with(scale=lambda a: a["W_V"].shape[-1] ** 0.5),
        ),
        Mistake(
            "over-lookers",
            "The softmax runs over the tokens that look. The weights of one token that looks "
            "should sum to 1.",
            2,
            _with(axis=0),
        ),
        Mistake(
            "mean-of-heads",
            "It is the mean over heads. Heads are added up.",
            2,
            _with(merge=lambda heads: sum(heads) / len(heads)),
        ),
        Mistake(
            "first-head",
            "It is the output of the first head alone.",
            2,
            _with(merge=lambda heads: heads[0]),
        ),
        Mistake(
            "no-axis-for-heads",
            "Image number b meets head number b alone: `x @ W_Q` takes the axis of images and that "
            "of heads for one, as there happen to be as many of each.",
            2,
            _paired,
        ),
    ),
    Diagnosis(
        "nobody-nan",
        "A softmax over nothing but −∞ is 0 / 0. A token that may look at nobody has output 0.",
        3,
        _only_nobody,
        ("finite",),
    ),
)


QUESTION = Question(
    id="masked-reading",
    function="read_from",
    signature="read_from(x, y, W_Q, W_K, W_V, W_O, allowed)",
    lesson="01",
    points=5,
    minutes=25,
    difficulty=3,
    statement=STATEMENT,
    visible=VISIBLE,
    hidden=3,
    judge=ANSWER.judge,
    hints=HINTS,
    diagnoses=MISTAKES,
    tolerates="−∞ or a number low enough, PyTorch's own attention, loops, einsum, float64",
    first_hints={"shape": 2},
)
