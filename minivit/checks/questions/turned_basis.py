"""Lesson 02: the same layer for tokens in another basis."""

import numpy as np

from minivit.checks.fixed import Fixed, Mistake
from minivit.checks.question import Case, Question

STATEMENT = """\
The lesson turned a product: a network whose tokens are x R in place of x, with R a rotation
(R Rᵀ = I), needs Rᵀ M R where the other has M. Now turn a whole attention layer, as it is stored.

`qkv` (3 · dim, dim), `qkv_bias` (3 · dim,), `out` (dim, dim) and `out_bias` (dim,) are what the
two nn.Linear of a layer hold: it computes `x @ qkv.T + qkv_bias`, then attention with `heads` heads
(all queries first), then `mixed @ out.T + out_bias`. Write f for all of it. Return the four tensors
`(qkv, qkv_bias, out, out_bias)` of a layer f′ that does in the turned basis what f did before, with
its heads in the same order:

f′(x R) = f(x) R for all tokens x.

**Usual trap.** nn.Linear stores transposes, so that R stands where you would expect Rᵀ. And a layer
reads tokens and also writes them.
"""

HINTS = (
    "Say it in words first. f′ gets x R, has to turn it back, do what f did, and turn the result. "
    "What happens between the two nn.Linear need not change at all.",
    "Queries, keys and values should come out as before: (x R) W′ = x W. So W′ = Rᵀ W. Their "
    "biases are added after that. On the way out, (mixed W_O + b) R.",
    "`qkv` holds Wᵀ, and (Rᵀ W)ᵀ = Wᵀ R. `out` holds W_Oᵀ, and (W_O R)ᵀ = Rᵀ W_Oᵀ.",
)


def case(title, dim, heads, seed, *, bias=0.0, swap=False):
    """bias: its size; swap: R exchanges the numbers of a token, two by two, so that R = Rᵀ."""
    rng = np.random.default_rng(seed)
    qkv, out = (rng.standard_normal((rows, dim)) / np.sqrt(dim) for rows in (3 * dim, dim))
    R = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    if swap:
        R = np.eye(dim)[np.arange(dim) ^ 1]
    arguments = {
        "qkv": qkv,
        "qkv_bias": bias * rng.standard_normal(3 * dim),
        "out": out,
        "out_bias": bias * rng.standard_normal(dim),
        "R": R,
        "heads": heads,
    }
    return Case(title, (arguments,))


VISIBLE = (
    case("R swaps numbers, no biases", 8, 1, 71, swap=True),
    case("a rotation, no biases, two heads", 8, 2, 72),
    case("a rotation, with biases", 12, 2, 73, bias=1.0),
    case("three heads of 5", 15, 3, 74, bias=1.0),
)


def turned(arguments, qkv="R", qkv_bias="", out="RT", out_bias="R", also=("", "")):
    """The four tensors; the keywords say what each is multiplied by, and let mistakes in.

    also: what each third of qkv is multiplied by on the left, and out on the right.
    """
    a = arguments
    by = {"R": a["R"], "RT": a["R"].T, "": np.eye(len(a["R"]))}
    thirds = a["qkv_bias"].reshape(3, -1) @ by[qkv_bias]
    W_in = by[also[0]] @ (a["qkv"] @ by[qkv]).reshape(3, *a["R"].shape)
    W_out = by[out] @ a["out"] @ by[also[1]]
    return W_in.reshape(a["qkv"].shape), thirds.reshape(-1), W_out, a["out_bias"] @ by[out_bias]


def maps(arguments, qkv, qkv_bias, out, out_bias):
    """All that the layer computes hangs on these; W_Q and W_K, W_V and W_O are free one by one.

    The logits of each head but for what softmax does not see (dim + 1 rows, the last of the token
    0), the sum over heads of what each brings, head by head, and the constant.
    """
    dim, heads = len(out), arguments["heads"]
    blocks, biases = (each.reshape(3, heads, dim // heads, -1) for each in (qkv, qkv_bias))
    (query, key, value), (b_Q, _, b_V) = blocks, biases
    columns = out.reshape(dim, heads, -1).transpose(1, 0, 2)  # (head, dim, head_dim)
    rows = np.concatenate([query, b_Q], axis=2)  # (head, head_dim, dim + 1)
    logits = rows.transpose(0, 2, 1) @ key
    brought = value.transpose(0, 2, 1) @ columns.transpose(0, 2, 1)
    return logits, brought, out_bias + (columns @ b_V).sum((0, 2))


ANSWER = Fixed(
    turned,
    ("qkv", "qkv_bias", "out", "out_bias"),
    seen=maps,
    sights=("logits", "W_V W_O", "constant"),
    tolerance=5e-4,
    floor=0.1,
)


def _with(**slips):
    return lambda arguments: turned(arguments, **slips)


MISTAKES = ANSWER.diagnoses(
    Mistake(
        "nothing-turned",
        "It does what it did before the turn: R has no effect.",
        1,
        _with(qkv="", out="", out_bias=""),
    ),
    Mistake(
        "everything-backwards",
        "Everything is turned the wrong way round: it is right for x Rᵀ.",
        3,
        (_with(qkv="RT", out="R", out_bias="RT"), _with(qkv="RT", out="R")),
    ),
    Mistake(
        "reads-only",
        "It reads turned tokens, and writes tokens that are not turned.",
        1,
        (_with(out="", out_bias=""), _with(out="")),
    ),
    Mistake(
        "reads-backwards",
        "What it reads is turned the wrong way round: `qkv` holds Wᵀ, not W.",
        3,
        (
            _with(qkv="RT"),
            _with(qkv="RT", out=""),
            _with(qkv="RT", out="", out_bias=""),
            _with(qkv="RT", out_bias=""),
        ),
    ),
    Mistake(
        "writes-backwards",
        "What it reads is right. What it writes is turned the wrong way round: `out` holds W_Oᵀ.",
        3,
        (_with(out="R"), _with(out="R", out_bias=""), _with(out="R", out_bias="RT")),
    ),
    Mistake(
        "bias-not-turned",
        "`out_bias` is as it was. It is added to the output, so it has to turn with it.",
        2,
        _with(out_bias=""),
    ),
    Mistake(
        "bias-backwards",
        "`out_bias` is turned the wrong way round. Biases are rows: b R.",
        2,
        _with(out_bias="RT"),
    ),
    Mistake(
        "query-bias-turned",
        "`qkv_bias` is turned. It is added to queries, keys and values, which are in no basis of "
        "the tokens.",
        2,
        (
            _with(qkv_bias="R"),
            _with(qkv_bias="RT"),
            _with(qkv_bias="R", out_bias=""),
        ),
    ),
    Mistake(
        "both-sides",
        "A stored matrix is turned on both sides. Rᵀ M R is for a product; a factor meets tokens "
        "on one side only.",
        2,
        tuple(
            _with(also=also, qkv_bias=qkv_bias, out_bias=out_bias)
            for also in (("RT", "R"), ("RT", ""), ("", "R"))
            for qkv_bias in ("", "R")
            for out_bias in ("R", "")
        ),
    ),
)


QUESTION = Question(
    id="turned-basis",
    function="turned",
    signature="turned(qkv, qkv_bias, out, out_bias, R, heads)",
    lesson="02",
    points=4,
    minutes=20,
    difficulty=3,
    statement=STATEMENT,
    visible=VISIBLE,
    hidden=3,
    judge=ANSWER.judge,
    hints=HINTS,
    diagnoses=MISTAKES,
    tolerates="other factors with the same products (a basis of its own inside each head), any key "
    "bias, b_V moved into out_bias, float64",
)
