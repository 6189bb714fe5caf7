"""Lesson 01: attention products from another library's fused layout."""

import numpy as np

from minivit.checks.fixed import Fixed, Mistake, altered, changed
from minivit.checks.question import Case, Diagnosis, Question

STATEMENT = """\
Another library fuses its attention weights in another order. Read its products.

`qkv` has shape (3 · dim, dim) and `out` has shape (dim, dim); both are stored as nn.Linear stores
them, so that the layer computes `x @ qkv.T` and `mixed @ out.T`. In `qkv` the heads come first:
the `head_dim = dim / heads` rows of the first head's query, then its key's, then its value's, then
the same three for the second head, and so on. The values of the heads, mixed by attention, are put
side by side, the first head first, before `out` is applied.

Return `(qk, ov)`, both of shape (heads, dim, dim), for right multiplication: `qk[h]` such that
x @ qk[h] @ x.T are the logits of head h before the division by √head_dim, and `ov[h]` such that
A @ x @ ov[h] is what head h adds to the output, A its attention map.

**Usual trap.** minivit and timm store all queries first. Read like that, this weight gives products
of the right shape that mix queries of one head with keys of another.
"""

HINTS = (
    "Ask of each row of `qkv`: whose is it? Reshape the rows so that head, part (query, key or "
    "value) and head_dim are axes of their own.",
    "nn.Linear computes x @ weight.T. So a block of head_dim rows is W_Qᵀ of a head, of shape "
    "(head_dim, dim), and W_Q itself is its transpose.",
    "`out` takes its input, the heads side by side, along its *columns*: those of head h are "
    "h · head_dim to (h + 1) · head_dim. ov[h] is its W_V times the transpose of that block.",
)


def case(title, dim, heads, seed):
    rng = np.random.default_rng(seed)
    qkv, out = (rng.standard_normal((rows, dim)) / np.sqrt(dim) for rows in (3 * dim, dim))
    return Case(title, ({"qkv": qkv, "out": out, "heads": heads},))


VISIBLE = (
    case("one head", 16, 1, 11),
    case("two heads", 16, 2, 12),
    case("four heads", 32, 4, 13),
    case("three heads of 16", 48, 3, 14),
)


def measured(arguments):
    """The two maps of each head, measured: unit vectors sent through the layer as it is described.

    Token i is unit vector i; with x = I the logits are the matrix of the form itself, and with
    attention to oneself only (A = I) so is what the head adds.
    """
    qkv, out, heads = arguments["qkv"], arguments["out"], arguments["heads"]
    dim = out.shape[0]
    tokens = np.eye(dim) @ qkv.T  # (token, 3 · dim)
    each = np.split(tokens, heads, axis=1)  # of every head: query, key, value side by side
    logits, added = [], []
    for number, own in enumerate(each):
        query, key, value = np.split(own, 3, axis=1)
        logits.append(query @ key.T)
        mixed = np.zeros((dim, dim))
        mixed[:, number * value.shape[1] : (number + 1) * value.shape[1]] = value
        added.append(mixed @ out.T)
    return np.stack(logits), np.stack(added)


ANSWER = Fixed(measured, ("qk", "ov"), axis="head")


def _regrouped(order):
    """The same reading after the rows of qkv were taken for something else."""

    def rows(arguments):
        dim, heads = arguments["out"].shape[0], arguments["heads"]
        own = order(np.arange(3 * dim), heads, dim // heads)
        return arguments["qkv"][own.reshape(-1)]

    return changed(measured, qkv=rows)


def _reshaped(arguments):
    """Blocks of rows that a reshape made (dim, head_dim)."""
    dim = arguments["out"].shape[0]
    blocks = arguments["qkv"].reshape(arguments["heads"], 3, dim, -1)
    W_O = arguments["out"].T.reshape(arguments["heads"], -1, dim)
    return blocks[:, 0] @ blocks[:, 1].transpose(0, 2, 1), blocks[:, 2] @ W_O


AS_STORED = Mistake(
    "as-stored",
    "Blocks of `qkv` are taken for W_Q, W_K and W_V. They are the transposes: W_Q is block.T, of "
    "shape (dim, head_dim), which a reshape or a view would not give.",
    2,
    (
        _reshaped,
        changed(_reshaped, out=lambda a: a["out"].T),
        lambda arguments: (_reshaped(arguments)[0], measured(arguments)[1]),
        lambda arguments: (measured(arguments)[0], _reshaped(arguments)[1]),
    ),
)


def _as_stored(case, results):
    """With one head by its numbers; with more, reshaped, or as small as a product of blocks is."""
    heads, dim = case.calls[0]["heads"], len(case.calls[0]["out"])
    if results[0].returned[0].values.shape == (heads, dim // heads, dim // heads) and heads > 1:
        return True
    return ANSWER.diagnoses(AS_STORED)[0].matches(case, results)


def _transposed(each, arguments):
    return each.transpose(0, 2, 1)


def _summed(each, arguments):
    return np.repeat(each.sum(0, keepdims=True), len(each), 0)


KNOWN = ANSWER.diagnoses(
    Mistake(
        "queries-first",
        "It reads the rows in minivit's order, all queries first. Here each head's three parts "
        "stand together.",
        1,
        _regrouped(lambda rows, heads, k: rows.reshape(3, heads, k).transpose(1, 0, 2)),
    ),
    Mistake(
        "interleaved",
        "It takes query, key and value to alternate row by row. Here each is a block of "
        "head_dim rows.",
        1,
        _regrouped(lambda rows, heads, k: rows.reshape(heads, k, 3).transpose(0, 2, 1)),
    ),
    Mistake(
        "qk-transposed",
        "qk equals the transpose of the target: W_K W_Qᵀ. With x on the left the query comes "
        "first.",
        2,
        altered(measured, _transposed, 0),
    ),
    Mistake(
        "ov-transposed",
        "ov equals the transpose of the target: (W_V W_O)ᵀ, for column vectors.",
        2,
        altered(measured, _transposed, 1),
    ),
    Mistake(
        "out-rows",
        "ov takes a block of rows of `out` where the head's part stands in its columns.",
        3,
        changed(measured, out=lambda a: a["out"].T),
    ),
    Mistake(
        "scaled",
        "qk is divided by √head_dim. The logits *before* that division are asked for.",
        2,
        altered(measured, lambda each, a: each / np.sqrt(each.shape[-1] / a["heads"]), 0),
    ),
    Mistake(
        "summed",
        "Every head holds the sum over heads. Each head's own product is asked for.",
        1,
        (altered(measured, _summed, 0), altered(measured, _summed, 1)),
    ),
    Mistake(
        "one-head",
        "Every head holds the product of the first head.",
        1,
        altered(measured, lambda each, a: np.repeat(each[:1], len(each), 0)),
    ),
    Mistake(
        "swapped",
        "ov is returned first. The order is (qk, ov).",
        1,
        lambda arguments: measured(arguments)[::-1],
    ),
    Mistake(
        "reversed",
        "The heads come in the reverse order.",
        1,
        altered(measured, lambda each, a: each[::-1]),
    ),
    Mistake(
        "sign",
        "It equals the target with its sign flipped.",
        2,
        altered(measured, lambda each, a: -each),
    ),
)
MISTAKES = (
    *KNOWN,
    Diagnosis(AS_STORED.id, AS_STORED.says, AS_STORED.hint, _as_stored, ("qk", "ov", "shape")),
)


QUESTION = Question(
    id="other-layout",
    function="products",
    signature="products(qkv, out, heads)",
    lesson="01",
    points=4,
    minutes=15,
    difficulty=2,
    statement=STATEMENT,
    visible=VISIBLE,
    hidden=3,
    judge=ANSWER.judge,
    hints=HINTS,
    diagnoses=MISTAKES,
    tolerates="how it is computed (loops, reshapes, einsum, from probes), float64",
    withheld=("circuits.split_heads",),
)
