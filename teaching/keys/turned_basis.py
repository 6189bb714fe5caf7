"""Key of turned-basis."""

from functools import partial

import torch

from minivit.checks.questions.turned_basis import QUESTION, case
from teaching.keys.key import Key, Mutant


def turned(qkv, qkv_bias, out, out_bias, R, heads):
    return qkv @ R, qkv_bias, R.T @ out, out_bias @ R


# Correct, and different.


def by_einsum(qkv, qkv_bias, out, out_bias, R, heads):
    qkv, out, out_bias, R = qkv.double(), out.double(), out_bias.double(), R.double()
    read = torch.einsum("od,de->oe", qkv, R)
    return [read, qkv_bias.double(), torch.einsum("de,dk->ek", R, out), torch.mv(R.T, out_bias)]


def by_thirds(qkv, qkv_bias, out, out_bias, R, heads):
    """Query, key and value on their own, by an inverse; what b_V brings moved into out_bias."""
    back = torch.linalg.inv(R)
    W_Q, W_K, W_V = (back @ part.T for part in qkv.chunk(3))
    b_Q, b_K, b_V = qkv_bias.chunk(3)
    bias = torch.cat([b_Q, b_K, torch.zeros_like(b_V)])
    W_O = out.T @ R
    return torch.cat([W_Q.T, W_K.T, W_V.T]), bias, W_O.T, b_V @ W_O + out_bias @ R


def another_basis_inside(qkv, qkv_bias, out, out_bias, R, heads):
    """Queries and keys of each head turned as well, together; the key bias thrown away."""
    read = (qkv @ R).unflatten(0, (3, heads, -1)).clone()
    bias = qkv_bias.unflatten(0, (3, heads, -1)).clone()
    k = read.shape[2]
    inside = torch.linalg.qr(torch.randn(k, k, generator=torch.Generator().manual_seed(3)))[0]
    read[:2] = inside @ read[:2]
    bias[0], bias[1] = bias[0] @ inside.T, 0.0
    return read.flatten(0, 2), bias.flatten(), R.T @ out, out_bias @ R


def by_rows(qkv, qkv_bias, out, out_bias, R, heads):
    read = torch.stack([row @ R for row in qkv])
    write = torch.stack([column @ R for column in out.T]).T
    return read, qkv_bias.clone(), write, out_bias @ R


# Wrong.


def variant(qkv, qkv_bias, out, out_bias, R, heads, *, read="R", write="RT", bias="R", inner=""):
    by = {"R": R, "RT": R.T, "": torch.eye(len(R))}
    inside = (qkv_bias.view(3, -1) @ by[inner]).flatten()
    return qkv @ by[read], inside, by[write] @ out, out_bias @ by[bias]


def forgets_a_tensor(qkv, qkv_bias, out, out_bias, R, heads):
    return qkv @ R, R.T @ out, out_bias @ R


def products(qkv, qkv_bias, out, out_bias, R, heads):
    """Rᵀ W R for each of the stored matrices."""
    parts = torch.cat([R.T @ part @ R for part in qkv.chunk(3)])
    return parts, qkv_bias, R.T @ out @ R, out_bias @ R


def products_of_qkv(qkv, qkv_bias, out, out_bias, R, heads):
    """The same for queries, keys and values alone, with their biases turned."""
    parts, bias, _, _ = products(qkv, (qkv_bias.view(3, -1) @ R).flatten(), out, out_bias, R, heads)
    return parts, bias, R.T @ out, out_bias @ R


def in_place(qkv, qkv_bias, out, out_bias, R, heads):
    answer = turned(qkv, qkv_bias, out, out_bias, R, heads)
    for old, new in zip((qkv, qkv_bias, out, out_bias), answer, strict=True):
        old.copy_(new)
    return answer


def keys_forgotten(qkv, qkv_bias, out, out_bias, R, heads):
    query, key, value = qkv.chunk(3)
    return torch.cat([query @ R, key, value @ R]), qkv_bias, R.T @ out, out_bias @ R


def hidden(rng):
    """Rotations, biases, two heads or more."""
    cases = []
    for _ in range(QUESTION.hidden):
        heads, k = int(rng.integers(2, 5)), int(rng.integers(3, 7))
        seed = int(rng.integers(2**32))
        cases.append(case(f"{heads} heads of {k}", heads * k, heads, seed, bias=1.0))
    return tuple(cases)


KEY = Key(
    question=QUESTION,
    reference=turned,
    hidden=hidden,
    alternatives={
        "einsum, float64": by_einsum,
        "thirds, an inverse, b_V moved into out_bias": by_thirds,
        "another basis inside each head, no key bias": another_basis_inside,
        "row by row": by_rows,
    },
    mutants=(
        Mutant("nothing turned", partial(variant, read="", write="", bias=""), "nothing-turned"),
        Mutant(
            "all the wrong way round",
            partial(variant, read="RT", write="R", bias="RT"),
            "everything-backwards",
        ),
        Mutant("qkv Rᵀ", partial(variant, read="RT"), "reads-backwards"),
        Mutant("R out", partial(variant, write="R"), "writes-backwards"),
        Mutant("output not turned", partial(variant, write="", bias=""), "reads-only"),
        Mutant("out_bias not turned", partial(variant, bias=""), "bias-not-turned"),
        Mutant("out_bias Rᵀ", partial(variant, bias="RT"), "bias-backwards"),
        Mutant("qkv_bias turned", partial(variant, inner="R"), "query-bias-turned"),
        Mutant("no qkv_bias", forgets_a_tensor, "kind"),
        Mutant("Rᵀ W R of every matrix", products, "both-sides"),
        Mutant("Rᵀ W R of queries, keys and values", products_of_qkv, "both-sides"),
        Mutant("the keys forgotten", keys_forgotten, "logits"),
        Mutant("in place", in_place, "untouched"),
    ),
)
