"""Lesson 01: logits with biases as one bilinear form."""

import numpy as np

from minivit.checks.fixed import Fixed, Mistake, altered, changed
from minivit.checks.question import Case, Question

STATEMENT = """\
Without biases a head's logits are one bilinear form, x (W_Q W_Kᵀ) yᵀ. With biases the lesson had
four terms. Make one form of them again, by giving each token one more number, which is always 1.

`weight` has shape (3 · dim, dim) and `bias` has shape (3 · dim,), as `qkv` of minivit and timm
stores them: all queries first, head after head, then all keys, then all values. Write [x 1] for a
token x followed by a 1. Return B of shape (heads, dim + 1, dim + 1), such that for each head

[x 1] B [y 1]ᵀ = (x W_Q + b_Q) (y W_K + b_K)ᵀ,

the logit of token x that looks at token y, before the division by √head_dim.

**Usual trap.** Two of the four terms go to the border of B, and they are easy to exchange: one
depends on x alone, the other on y alone.
"""

HINTS = (
    "The query is linear in [x 1]: (x W_Q + b_Q) is [x 1] times a matrix of dim + 1 rows. Which "
    "row has to be added to W_Q?",
    "With Q = W_Q above b_Q and K = W_K above b_K, each of shape (dim + 1, head_dim), B is Q Kᵀ.",
    "weight[:dim] are the queries of all heads, as rows: unflatten(0, (heads, -1)) splits them, "
    "and what you get is W_Qᵀ of each head. bias[:dim] splits in the same way.",
)


def case(title, dim, heads, seed, size=1.0):
    """size: of the biases."""
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((3 * dim, dim)) / np.sqrt(dim)
    bias = size * rng.standard_normal(3 * dim)
    return Case(title, ({"weight": weight, "bias": bias, "heads": heads},))


VISIBLE = (
    case("biases of 0", 8, 2, 51, size=0.0),
    case("one head", 12, 1, 52),
    case("two heads", 16, 2, 53),
    case("three heads of 7", 21, 3, 54),
)


def measured(arguments):
    """B, measured: the unit vectors of dim + 1 numbers, sent through the layer as it is described.

    One whose last number is 0 is no token; the query is linear, so it is a difference of two.
    """
    heads, dim = arguments["heads"], arguments["weight"].shape[1]
    tokens = np.concatenate([np.eye(dim), np.zeros((1, dim))])  # the last is the token 0
    out = tokens @ arguments["weight"].T + arguments["bias"]
    out[:-1] -= out[-1]
    queries, keys, _ = (np.split(part, heads, axis=1) for part in np.split(out, 3, axis=1))
    return (np.stack([query @ key.T for query, key in zip(queries, keys, strict=True)]),)


ANSWER = Fixed(measured, ("B",), axis="head")


def _border(change):
    """A mistake in the last row, the last column, or the corner."""

    def alter(forms, arguments):
        forms = forms.copy()
        change(forms, forms[:, -1, :-1].copy(), forms[:, :-1, -1].copy())
        return forms

    return altered(measured, alter)


def _exchange(forms, row, column):
    forms[:, -1, :-1], forms[:, :-1, -1] = column, row


def _no_column(forms, row, column):
    forms[:, :-1, -1] = forms[:, -1, -1] = 0.0


def _no_border(forms, row, column):
    forms[:, -1], forms[:, :, -1] = 0.0, 0.0


def _no_corner(forms, row, column):
    forms[:, -1, -1] = 0.0


def _one_in_corner(forms, row, column):
    forms[:, -1, -1] = 1.0


def _turned(forms, arguments):
    return forms.transpose(0, 2, 1)


def _scaled(forms, arguments):
    return forms / np.sqrt(arguments["weight"].shape[1] / arguments["heads"])


def _interleaved(arguments):
    """Rows of qkv taken as head after head, query, key and value of each together."""
    dim, heads = arguments["weight"].shape[1], arguments["heads"]
    rows = np.arange(3 * dim).reshape(heads, 3, -1).transpose(1, 0, 2).reshape(-1)
    return measured(
        {**arguments, "weight": arguments["weight"][rows], "bias": arguments["bias"][rows]}
    )


def _as_stored(arguments):
    """nn.Linear's rows taken for columns: W where Wᵀ is stored."""
    thirds = [part.T for part in np.split(arguments["weight"], 3)]
    return measured({**arguments, "weight": np.concatenate(thirds)})


def _summed(forms, arguments):
    return np.repeat(forms.sum(0, keepdims=True), len(forms), 0)


def _values(part):
    """`part` rolled by a third: keys taken where values are."""

    def roll(arguments):
        query, key, value = np.split(arguments[part], 3)
        return np.concatenate([query, value, key])

    return roll


MISTAKES = ANSWER.diagnoses(
    Mistake(
        "border-exchanged",
        "The last row and the last column are exchanged. The last row meets the 1 of the token "
        "that *looks*: it holds b_Q W_Kᵀ.",
        2,
        _border(_exchange),
    ),
    Mistake("no-biases", "The border is 0: the biases are left out.", 1, _border(_no_border)),
    Mistake(
        "query-bias-only",
        "Only the term that softmax notices is there. The form has to give the whole logit, with "
        "those terms too that softmax does not see.",
        2,
        _border(_no_column),
    ),
    Mistake("no-corner", "The corner is 0. It holds b_Q b_Kᵀ.", 2, _border(_no_corner)),
    Mistake("corner-is-one", "The corner is 1. It holds b_Q b_Kᵀ.", 2, _border(_one_in_corner)),
    Mistake(
        "one-in-front",
        "The border is in front: this form is for [1 x]. Here the 1 comes last, [x 1], so the "
        "border is the last row and the last column.",
        2,
        altered(measured, lambda forms, a: np.roll(forms, 1, axis=(1, 2))),
    ),
    Mistake(
        "transposed",
        "It is the transpose of the target. The token that looks stands on the left.",
        2,
        altered(measured, _turned),
    ),
    Mistake(
        "scaled",
        "It is divided by √head_dim. The logit *before* that division is asked for.",
        2,
        altered(measured, _scaled),
    ),
    Mistake(
        "as-stored",
        "W_Q and W_K are taken as they are stored. nn.Linear computes x @ weight.T.",
        3,
        _as_stored,
    ),
    Mistake(
        "head-by-head",
        "The rows are read as if query, key and value of one head stood together. Here all "
        "queries come first.",
        3,
        _interleaved,
    ),
    Mistake(
        "values-for-keys",
        "The values stand where the keys should: the second third of the rows belongs to W_K.",
        3,
        (
            changed(measured, weight=_values("weight"), bias=_values("bias")),
            changed(measured, weight=_values("weight")),
            changed(measured, bias=_values("bias")),
        ),
    ),
    Mistake("summed", "Every head holds the sum over heads.", 3, altered(measured, _summed)),
)


QUESTION = Question(
    id="logit-form",
    function="logit_form",
    signature="logit_form(weight, bias, heads)",
    lesson="01",
    points=4,
    minutes=20,
    difficulty=3,
    statement=STATEMENT,
    visible=VISIBLE,
    hidden=3,
    judge=ANSWER.judge,
    hints=HINTS,
    diagnoses=MISTAKES,
    tolerates="block by block or as one product, loops, einsum, from probes, float64",
    withheld=("circuits.split_heads",),
)
