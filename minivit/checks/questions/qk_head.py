"""Lesson 04: write the mimetic W_Q and W_K of one head into a fused weight."""

import numpy as np

from minivit.checks import written_head as answer
from minivit.checks.calls import Seed, Weight
from minivit.checks.question import Case, Diagnosis, Question

STATEMENT = """\
Write the mimetic W_Q and W_K of **one** head into the fused weight of an attention layer, and
change nothing else.

`qkv` is what the layer holds: an `nn.Parameter` of shape (3 · dim, dim), in nn.Linear's storage.
Its rows are W_Qᵀ, then W_Kᵀ, then W_Vᵀ, each head after head; with `head_dim = dim / heads`, head
number `head` (counted from 0) owns `head_dim` rows in each third. Draw Z, dim × dim, independent
normal with variance 1 / dim, from `generator`. Then W_Q W_Kᵀ of that head has to be the best
approximation of rank `head_dim` to

alpha Z + beta I,

with the square root of each singular value on either side, so that W_Q and W_K have the same
singular values. Work in place; dtype stays; what you return does not matter.

**Usual trap.** `torch.linalg.svd` returns Vᵀ, not V: its *rows* are the right singular vectors.
"""

HINTS = (
    "Four steps: draw Z; take the SVD of alpha Z + beta I; keep the head_dim largest singular "
    "values; write two blocks of rows. Work in float32 and convert at the end.",
    "With left, s, right = torch.linalg.svd(target): W_Q is left[:, :k] times √s[:k], column by "
    "column. For W_K take the matching right singular vectors. They are rows of `right`.",
    "nn.Linear stores transposes, so head_dim rows of `qkv` are W_Qᵀ. The head's rows of W_Kᵀ "
    "start dim rows further down. A Parameter is changed in place inside `with torch.no_grad():`.",
)


def fused(dim, seed, dtype="float32"):
    """A layer's weight before the call: noise of the size that PyTorch starts with."""
    values = np.random.default_rng(seed).uniform(-1, 1, (3 * dim, dim)) / np.sqrt(dim)
    if dtype == "bfloat16":  # as the layer holds it, so that untouched rows compare equal
        bits = values.astype("<f4").view("<u4")
        values = ((bits >> 16) << 16).view("<f4")
    return Weight(values.astype("<f4").astype(float), dtype)


def arguments(dim, heads, head, alpha, beta, seed, dtype="float32"):
    scalars = {"head": head, "heads": heads, "alpha": alpha, "beta": beta}
    return {"qkv": fused(dim, seed, dtype), **scalars, "generator": Seed(seed)}


def case(title, dim, heads, head, alpha, beta, seeds, dtype="float32"):
    calls = (arguments(dim, heads, head, alpha, beta, seed, dtype) for seed in seeds)
    return Case(title, tuple(calls))


VISIBLE = (
    case("one head, full rank", 64, 1, 0, 0.7, 0.7, (1,)),
    case("the second of two heads", 64, 2, 1, 0.7, 0.7, (2,)),
    case("the first of two heads, alpha 0.4, beta 0.9", 64, 2, 0, 0.4, 0.9, (3,)),
    case("a bfloat16 layer", 64, 2, 1, 0.7, 0.7, (4,), "bfloat16"),
    case("one seed twice, then another", 64, 2, 1, 0.4, 0.9, (5, 5, 6)),
)


NUMBERS = ("diagonal", "spectrum", "off", "spread", "skew")
ROWS = ("untouched",)


QUESTION = Question(
    id="qk-head",
    function="write_qk_head_",
    signature="write_qk_head_(qkv, head, heads, alpha, beta, generator)",
    lesson="04",
    points=4,
    minutes=25,
    difficulty=3,
    statement=STATEMENT,
    visible=VISIBLE,
    hidden=3,
    judge=answer.judge,
    hints=HINTS,
    diagnoses=(
        Diagnosis(
            "other-head",
            "It writes the rows of another head. Heads are counted from 0, and head number h owns "
            "the rows from h · head_dim on.",
            3,
            answer.other_heads,
            ROWS,
        ),
        Diagnosis(
            "side-by-side",
            "It writes W_Kᵀ right behind W_Qᵀ. In this layer all queries come first: the head's "
            "rows of W_Kᵀ start dim rows further down.",
            3,
            answer.side_by_side,
            ROWS,
        ),
        Diagnosis(
            "whole-layer",
            "It writes the rows of every head. Only one head is asked for.",
            3,
            answer.whole_layer,
            ROWS,
        ),
        Diagnosis(
            "sign",
            "It behaves like the target with its sign flipped: −W_Q W_Kᵀ.",
            1,
            answer.flipped,
            NUMBERS,
        ),
        Diagnosis(
            "beta-everywhere",
            "beta is added to every entry, where beta I is asked for: it stands on the diagonal "
            "alone.",
            1,
            answer.filled,
            NUMBERS,
        ),
        Diagnosis(
            "unsized",
            "All singular values of the product are 1: those of the target are in neither factor.",
            2,
            answer.unsized,
            NUMBERS,
        ),
        Diagnosis(
            "no-noise",
            "All singular values equal beta: there is no noise in it.",
            1,
            answer.no_noise,
            NUMBERS,
        ),
        Diagnosis(
            "symmetric",
            "W_Q W_Kᵀ is symmetric, which no matrix with this noise is. Are both factors made from "
            "the left singular vectors?",
            2,
            answer.symmetric,
            NUMBERS,
        ),
        # Before those that look at a few numbers: this one finds the right answer in it.
        Diagnosis(
            "scrambled",
            "The right numbers stand in the wrong places: a transpose is missing, or there is a "
            "reshape or a view in its place. The head's rows, (head_dim, dim), are W_Qᵀ and W_Kᵀ.",
            3,
            answer.scrambled,
            NUMBERS,
        ),
        Diagnosis(
            "unaligned",
            "The singular values are right and the diagonal is gone: W_Q and W_K stand in two "
            "bases. torch.linalg.svd returns U, whose columns are the left singular vectors, and "
            "Vᵀ, whose rows are the right ones.",
            2,
            answer.unaligned,
            NUMBERS,
        ),
        Diagnosis(
            "smallest",
            "It behaves like the smallest singular values kept, not the largest.",
            2,
            answer.nearest("smallest"),
            NUMBERS,
        ),
        Diagnosis(
            "squared",
            "The singular values of the product are the squares of what they should be: each side "
            "takes the square root of them.",
            2,
            answer.nearest("squared"),
            NUMBERS,
        ),
        Diagnosis(
            "double-root",
            "The singular values of the product are the square roots of what they should be: the "
            "root was taken twice, or stands on one side alone.",
            2,
            answer.nearest("double-root"),
            (*NUMBERS, "balance"),  # roots of singular values near 1 pass for right ones
        ),
        Diagnosis(
            "noise-too-large",
            "It behaves like noise of variance 1. Z has variance 1 / dim.",
            1,
            answer.nearest("noise-too-large"),
            NUMBERS,
        ),
        Diagnosis(
            "noise-too-small",
            "It behaves like noise of standard deviation 1 / dim. Its *variance* is 1 / dim.",
            1,
            answer.nearest("noise-too-small"),
            NUMBERS,
        ),
        Diagnosis(
            "noise-by-head-dim",
            "It behaves like noise of variance 1 / head_dim. Z has variance 1 / dim.",
            1,
            answer.nearest("noise-by-head-dim"),
            NUMBERS,
        ),
        Diagnosis(
            "scalars-swapped",
            "It behaves like beta Z + alpha I: the two scalars are swapped.",
            1,
            answer.nearest("scalars-swapped"),
            NUMBERS,
        ),
        Diagnosis(
            "rescaled",
            "The mean of the diagonal is beta itself. A matrix of rank head_dim that is as near as "
            "possible to the target has less: nothing is to be scaled up afterwards.",
            1,
            answer.nearest("rescaled"),
            NUMBERS,
        ),
        Diagnosis(
            "one-sided",
            "The product is right, and its whole size is in one factor: the other has singular "
            "values that are all equal.",
            2,
            answer.one_sided,
            ("balance",),
        ),
    ),
    tolerates="signs of singular vectors, a rotation shared by W_Q and W_K, which of the two is "
    "transposed by the noise, the order of draws, uniform noise of the same variance, float64 "
    "inside, the returned value",
    withheld=(
        "init.mimetic_factors",
        "init.split_svd",
        "init.mimetic_attention_",
        "init.mimetic_",
        "init._rewrite_",
        "init._write_",
    ),
)
