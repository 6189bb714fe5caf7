"""Lesson 04: a turn after which all heads hold the same share of the identity."""

import numpy as np

from minivit.checks import turned_heads as answer
from minivit.checks.question import Case, Diagnosis, Question

STATEMENT = """\
Mimetic initialization splits W_V W_proj by an SVD, and in the lesson the first of three heads got
more than half of the diagonal. Nothing asks for that. Turn W_V into W_V R and W_proj into
Rᵀ W_proj, with R orthogonal: the product stays, and what each head holds of it changes. Find a turn
after which all heads hold the same share.

`W_V` and `W_proj` have shape (dim, dim), for x @ W_V @ W_proj; `heads` divides dim. With
k = dim / heads, head h, counted from 0, owns the k columns of W_V from h · k on, and the same rows
of W_proj. Its own product is W_V[:, head] @ W_proj[head], and the products of all heads sum to
W_V W_proj. Return two tensors of shape (dim, dim), W_V R and Rᵀ W_proj, such that

- R is any matrix you like with R Rᵀ = I, the same in both;
- the mean of the diagonal is the same in the product of every head, to within 0.0001.

Many R do that, and each is right. W_proj W_V need not be symmetric, any number of heads may come, 1
and dim included, and they may be alike before you begin.

**Usual trap.** Dealing the columns out in turn, one to each head, brings the lesson's heads nearer
to one another, and no further. It takes an angle: turn two heads by it, one pair after the other.
"""

HINTS = (
    "trace(A B) = trace(B A). So the trace of W_V[:, head] @ W_proj[head], dim × dim, is that of "
    "W_proj[head] @ W_V[:, head], k × k: a diagonal block of B = W_proj W_V. The turn makes "
    "Rᵀ B R of B.",
    "Two heads p and q: c · V_p + s · V_q and c · V_q − s · V_p are a turn by one angle, c = cos, "
    "s = sin; the rows of W_proj turn likewise. At 0° the traces are t_p and t_q, at 90° they have "
    "changed places. So if m, the mean of all heads' traces, lies between them, p has it at some "
    "angle on the way. Then p is done: heads − 1 such steps are enough.",
    "After the turn the trace of p is c² t_p + c s x + s² t_q, with "
    "x = trace(B_pq) + trace(B_qp). It is to be m = trace(B) / heads. Divide by c²: with "
    "τ = s / c, (t_q − m) τ² + x τ + (t_p − m) = 0, and c = 1 / √(1 + τ²). Where t_p is the "
    "largest trace of the heads not yet done and t_q the smallest, there is a root. Where all are "
    "equal, stop.",
)


def mimetic(title, dim, heads, alpha, beta, seed):
    """The lesson's own split of alpha Z + beta I."""
    noise = np.random.default_rng(seed).standard_normal((dim, dim)) / np.sqrt(dim)
    left, size, right = np.linalg.svd(alpha * noise + beta * np.eye(dim))
    W_V, W_proj = left * np.sqrt(size), np.sqrt(size)[:, None] * right
    return Case(title, ({"W_V": W_V, "W_proj": W_proj, "heads": heads},))


def loose(title, dim, heads, seed, *, off=None):
    """Factors with no such order: W_proj W_V is chosen, and far from symmetric.

    off: by how much, at most, the mean of a head's diagonal is to be off before any turn.
    """
    rng = np.random.default_rng(seed)
    first, second = (np.linalg.qr(rng.standard_normal((dim, dim)))[0] for _ in range(2))
    W_V = first * rng.uniform(0.6, 1.5, dim) @ second  # never near to singular
    noise = rng.standard_normal((dim, dim)) / np.sqrt(dim)
    inner = np.diag(rng.uniform(-1, 1, dim)) + 0.7 * noise
    if off is not None:
        shares = np.diag(inner).reshape(heads, -1).mean(1)
        wanted = shares.mean() + off * heads * np.linspace(-1, 1, heads)
        inner += np.diag(np.repeat(wanted - shares, dim // heads))
    arguments = {"W_V": W_V, "W_proj": inner @ np.linalg.inv(W_V), "heads": heads}
    return Case(title, (arguments,))


VISIBLE = (
    mimetic("0.4 Z − 0.4 I, three heads of 8", 24, 3, 0.4, -0.4, 241),
    loose("other factors, two heads of 6", 12, 2, 242),
    loose("other factors, five heads of 3", 15, 5, 243),
    loose("seven heads of 1", 7, 7, 244),
    # −0.25 has a root without rounding: the heads are alike to the last digit.
    mimetic("no noise: the heads are alike already", 12, 3, 0.0, -0.25, 245),
    loose("three heads of 4, nearly alike already", 12, 3, 247, off=4e-4),
    loose("one head", 5, 1, 246),
)

DIAGNOSES = (
    Diagnosis(
        "one-side",
        "One factor is turned and the other is as it was. Rᵀ has to undo what R does.",
        1,
        answer.one_side,
        ("product",),
    ),
    Diagnosis(
        "backwards",
        "W_proj is turned by R, and not by Rᵀ: the two turns do not cancel.",
        1,
        answer.backwards,
        ("product",),
    ),
    Diagnosis(
        "no-rotation",
        "It is W_V R and Rᵀ W_proj, and R is not orthogonal: its columns have another length than "
        "1, or are not at right angles.",
        2,
        answer.no_rotation,
        ("product",),
    ),
    Diagnosis(
        "tokens-turned",
        "W_V is turned from the left and W_proj from the right. That turns the tokens. What "
        "belongs to heads are the columns of W_V and the rows of W_proj.",
        1,
        answer.tokens_turned,
        ("product",),
    ),
    Diagnosis(
        "rescaled",
        "The product of each head is a multiple of what it was. That makes the heads alike, and "
        "their sum another.",
        2,
        answer.rescaled,
        ("product",),
    ),
    Diagnosis(
        "not-turned",
        "The product over all heads is right, and the factors are no turned ones: W_V W_Vᵀ and "
        "W_projᵀ W_proj stay where R is orthogonal, and only there.",
        2,
        answer.of_first_call(lambda old, new, heads: True),
        ("turn",),
    ),
    Diagnosis(
        "interleaved",
        "The heads would be alike if head h had the columns h, h + heads, …. It has k columns side "
        "by side, from h · k on.",
        1,
        answer.interleaved,
        ("shares",),
    ),
    Diagnosis(
        "as-it-was",
        "The product of every head is as it was. Only a turn that mixes columns of different heads "
        "changes it.",
        2,
        answer.as_it_was,
        ("shares",),
    ),
    Diagnosis(
        "reordered",
        "Columns were given to other heads, and none was mixed with another. That does not make "
        "the heads equal: an angle can.",
        2,
        answer.reordered,
        ("shares",),
    ),
    Diagnosis(
        "sizes",
        "The heads are alike in size: their parts of W_V, or of W_proj, have one norm. It is the "
        "trace of the product that counts.",
        1,
        answer.evened(answer.sizes_of_values, answer.sizes_of_outputs),
        ("shares",),
    ),
    Diagnosis(
        "other-order",
        "It evens out the diagonal blocks of W_V W_proj. The traces of heads are those of the "
        "blocks of W_proj W_V.",
        1,
        answer.evened(answer.product),
        ("shares",),
    ),
    Diagnosis(
        "triangle",
        "It takes W_proj W_V for symmetric: eigh reads one triangle of it and ignores the other. "
        "The trace depends on the symmetric part, (B + Bᵀ) / 2.",
        3,
        answer.evened(answer.lower, answer.upper),
        ("shares",),
    ),
    Diagnosis(
        "no-mixture",
        "It would be right if B had nothing off its diagonal blocks. The trace of two heads mixed "
        "also holds c s (trace(B_pq) + trace(B_qp)).",
        3,
        answer.evened(answer.without_mixtures),
        ("shares",),
    ),
    Diagnosis(
        "loose-stop",
        "All heads are nearly alike, and not to within 0.0001: it stops too early, or turns by "
        "an angle that is not quite right.",
        3,
        answer.loose_stop,
        ("shares",),
    ),
    Diagnosis(
        "some-only",
        "Some heads are alike, and others are not: it ends too early, leaves heads out, comes back "
        "to one that was done, or goes on with traces from before a turn.",
        2,
        answer.some_only,
        ("shares",),
    ),
)


QUESTION = Question(
    id="even-heads",
    function="even_heads",
    signature="even_heads(W_V, W_proj, heads)",
    lesson="04",
    points=4,
    minutes=40,
    difficulty=4,
    statement=STATEMENT,
    visible=VISIBLE,
    hidden=3,
    judge=answer.judge,
    hints=HINTS,
    diagnoses=DIAGNOSES,
    tolerates="any orthogonal R, reflections too: heads mixed two by two, single columns, an "
    "eigenbasis, iterations that come near enough; a turn inside each head; which head is where; "
    "float64",
    first_hints={"shares": 3, "finite": 3},
)
