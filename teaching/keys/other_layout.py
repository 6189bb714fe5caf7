"""Key of other-layout."""

import math

import torch

from minivit.checks.questions.other_layout import QUESTION, case
from teaching.keys.key import Key, Mutant


def blocks(qkv, out, heads):
    """W_Q, W_K, W_V (head, dim, head_dim) and W_O (head, head_dim, dim), for x @ W."""
    W_Q, W_K, W_V = qkv.unflatten(0, (heads, 3, -1)).permute(1, 0, 3, 2)
    return W_Q, W_K, W_V, out.T.unflatten(0, (heads, -1))


def products(qkv, out, heads):
    W_Q, W_K, W_V, W_O = blocks(qkv, out, heads)
    return W_Q @ W_K.mT, W_V @ W_O


# Correct, and different.


def by_loops(qkv, out, heads):
    k = len(out) // heads
    qk, ov = [], []
    for head in range(heads):
        query, key, value = (qkv[(3 * head + part) * k :][:k] for part in range(3))
        qk.append(query.T @ key)
        ov.append(value.T @ out[:, head * k : (head + 1) * k].T)
    return torch.stack(qk), torch.stack(ov)


def by_einsum(qkv, out, heads):
    rows = qkv.reshape(heads, 3, -1, qkv.shape[1])
    qk = torch.einsum("hkd,hke->hde", rows[:, 0], rows[:, 1])
    return [qk, torch.einsum("hkd,ehk->hde", rows[:, 2], out.reshape(len(out), heads, -1))]


def in_float64(qkv, out, heads):
    return products(qkv.double(), out.double(), heads)


def by_probes(qkv, out, heads):
    """Sends unit vectors through the layer, as the judge does."""
    each = (torch.eye(len(out)) @ qkv.T).chunk(heads, dim=1)
    parts = [own.chunk(3, dim=1) for own in each]
    columns = out.T.chunk(heads)
    qk = torch.stack([query @ key.T for query, key, _ in parts])
    ov = torch.stack([value @ own for (_, _, value), own in zip(parts, columns, strict=True)])
    return qk, ov


# Wrong.


def queries_first(qkv, out, heads):
    W_Q, W_K, W_V = qkv.unflatten(0, (3, heads, -1)).mT
    return W_Q @ W_K.mT, W_V @ out.T.unflatten(0, (heads, -1))


def interleaved(qkv, out, heads):
    W_Q, W_K, W_V = qkv.unflatten(0, (heads, -1, 3)).permute(2, 0, 3, 1)
    return W_Q @ W_K.mT, W_V @ out.T.unflatten(0, (heads, -1))


def as_stored(qkv, out, heads):
    query, key, value = qkv.unflatten(0, (heads, 3, -1)).unbind(1)
    return query @ key.mT, value @ out.unflatten(1, (heads, -1)).transpose(0, 1)


def reshaped(qkv, out, heads):
    W_Q, W_K, W_V = qkv.reshape(heads, 3, len(out), -1).unbind(1)
    return W_Q @ W_K.mT, W_V @ out.T.unflatten(0, (heads, -1))


def key_first(qkv, out, heads):
    qk, ov = products(qkv, out, heads)
    return qk.mT, ov


def for_columns(qkv, out, heads):
    qk, ov = products(qkv, out, heads)
    return qk, ov.mT


def rows_of_out(qkv, out, heads):
    W_Q, W_K, W_V, _ = blocks(qkv, out, heads)
    return W_Q @ W_K.mT, W_V @ out.unflatten(0, (heads, -1))


def scaled(qkv, out, heads):
    qk, ov = products(qkv, out, heads)
    return qk / math.sqrt(len(out) // heads), ov


def summed(qkv, out, heads):
    qk, ov = products(qkv, out, heads)
    return qk, ov.sum(0, keepdim=True).expand_as(ov)


def first_head(qkv, out, heads):
    qk, ov = products(qkv, out, heads)
    return qk[:1].expand_as(qk), ov[:1].expand_as(ov)


def reversed_heads(qkv, out, heads):
    qk, ov = products(qkv, out, heads)
    return qk.flip(0), ov.flip(0)


def negated(qkv, out, heads):
    qk, ov = products(qkv, out, heads)
    return -qk, -ov


def only_qk(qkv, out, heads):
    return products(qkv, out, heads)[0]


def swapped(qkv, out, heads):
    qk, ov = products(qkv, out, heads)
    return ov, qk


def summed_away(qkv, out, heads):
    qk, ov = products(qkv, out, heads)
    return qk, ov.sum(0)


def in_place(qkv, out, heads):
    answer = products(qkv, out, heads)
    qkv.copy_(qkv.unflatten(0, (heads, 3, -1)).transpose(0, 1).flatten(0, 2))
    return answer


def input_back(qkv, out, heads):
    return qkv, out


def hidden(rng):
    """Other widths and numbers of heads, more than one head in each."""
    sizes = [(int(rng.integers(2, 5)), int(rng.integers(4, 12))) for _ in range(QUESTION.hidden)]
    cases = (
        case(f"{heads} heads of {k}", heads * k, heads, int(rng.integers(2**32)))
        for heads, k in sizes
    )
    return tuple(cases)


KEY = Key(
    question=QUESTION,
    reference=products,
    hidden=hidden,
    alternatives={
        "loops": by_loops,
        "einsum": by_einsum,
        "float64 inside and out": in_float64,
        "probes": by_probes,
    },
    mutants=(
        Mutant("all queries first, as minivit stores them", queries_first, "queries-first"),
        Mutant("query, key, value row by row", interleaved, "interleaved"),
        Mutant("rows of a head for its columns", as_stored, "as-stored"),
        Mutant("reshape for transpose", reshaped, "as-stored"),
        Mutant("W_K W_Qᵀ", key_first, "qk-transposed"),
        Mutant("(W_V W_O)ᵀ", for_columns, "ov-transposed"),
        Mutant("rows of out, not columns", rows_of_out, "out-rows"),
        Mutant("logits divided by √head_dim", scaled, "scaled"),
        Mutant("OV summed over heads", summed, "summed"),
        Mutant("the first head for all", first_head, "one-head"),
        Mutant("heads in reverse order", reversed_heads, "reversed"),
        Mutant("the sign flipped", negated, "sign"),
        Mutant("qk alone", only_qk, "kind"),
        Mutant("ov and qk swapped", swapped, "swapped"),
        Mutant("OV summed to one matrix", summed_away, "shape"),
        Mutant("reorders the weight it was given", in_place, "untouched"),
        Mutant("returns its input", input_back, "shape"),
    ),
)
