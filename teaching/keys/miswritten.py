"""Key of miswritten."""

import numpy as np
import torch

from minivit.checks.question import Case
from minivit.checks.questions.miswritten import QUESTION, patient
from teaching.keys import hunt
from teaching.keys.key import Key, Mutant

NAMES = ("qkv", "out")


def mend(qkv, out, heads):
    dim, k = len(out), len(out) // heads

    def right(qkv, out):
        query, key, value = qkv.view(3, heads, k, dim)
        logits = (query.mT @ key).diagonal(dim1=1, dim2=2).mean(1)  # (heads,)
        return logits.min() > 0.2 and (value.reshape(dim, dim).T @ out.T).trace() < -0.2 * dim

    query, key, value = qkv.chunk(3)
    keys = key.view(heads, k, dim).roll(1, 0).flatten(0, 1)
    by_head = qkv.view(heads, 3, k, dim).transpose(0, 1).reshape(3 * dim, dim)
    treatments = (
        (qkv, out),
        (qkv, out.T),
        (torch.cat([query, keys, value]), out),
        (torch.cat([query, value, key]), out),
        (by_head, out),
    )
    return next((fault, *pair) for fault, pair in enumerate(treatments) if right(*pair))


# Correct, and different.


def by_symptoms(qkv, out, heads):
    """Which product is ill says which fault it is; loops over heads; float64."""
    qkv, out = qkv.double(), out.double()
    dim, k = len(out), len(out) // heads
    W_Q, W_K, W_V = (part.T for part in qkv.split(dim))

    def near(A, B):
        return sum(float(A[i] @ B[:, i]) for i in range(dim)) / dim

    def attention(W_Q, W_K):
        spans = [slice(h * k, (h + 1) * k) for h in range(heads)]
        return min(near(W_Q[:, s], W_K[:, s].T) for s in spans)

    looks, writes = attention(W_Q, W_K) > 0.2, near(W_V, out.T) < -0.2
    if looks and writes:
        return 0, qkv, out
    if looks:
        return 1, qkv, out.T.clone()
    if writes:
        order = [(h - 1) % heads for h in range(heads)]
        moved = torch.cat([W_K.T[h * k : (h + 1) * k] for h in order])
        return 2, torch.cat([W_Q.T, moved, W_V.T]), out
    if near(W_K, out.T) < -0.2:
        return 3, torch.cat([W_Q.T, W_V.T, W_K.T]), out
    rows = [qkv[(3 * h + part) * k :][:k] for part in range(3) for h in range(heads)]
    return 4, torch.cat(rows), out


def in_numpy(qkv, out, heads):
    """All five treatments at once; the one whose diagonals are nearest to the right ones."""
    rows, write = qkv.numpy(), out.numpy()
    dim = len(write)
    thirds = rows.reshape(3, heads, -1, dim)
    moved = np.stack([thirds[0], np.roll(thirds[1], 1, axis=0), thirds[2]])
    by_head = np.swapaxes(rows.reshape(heads, 3, -1, dim), 0, 1)
    candidates = [(thirds, write), (thirds, write.T), (moved, write)]
    candidates += [(thirds[[0, 2, 1]], write), (by_head, write)]
    scores = []
    for parts, back in candidates:
        looks = np.einsum("hkd,hkd->h", parts[0], parts[1]).min()
        scores.append(looks - np.einsum("kd,dk->", parts[2].reshape(dim, dim), back))
    fault = int(np.argmax(scores))
    parts, back = candidates[fault]
    return torch.tensor(fault), np.ascontiguousarray(parts).reshape(rows.shape), back.copy()


def in_other_bases(qkv, out, heads):
    """The reference, queries and keys turned together inside each head; all numbers as a list."""
    fault, qkv, out = mend(qkv, out, heads)
    parts = qkv.unflatten(0, (3, heads, -1)).clone()
    k = parts.shape[2]
    turn = torch.linalg.qr(torch.randn(k, k, generator=torch.Generator().manual_seed(2)))[0]
    parts[:2] = turn @ parts[:2]
    return [float(fault), parts.flatten(0, 2), out]


# Wrong.


def always_right(qkv, out, heads):
    return 0, qkv, out


def treats_everybody(qkv, out, heads):
    fault = mend(qkv, out, heads)[0]
    dim, k = len(out), len(out) // heads
    parts = qkv.view(3, heads, k, dim).clone()
    parts[1] = parts[1].roll(1, 0)
    parts = parts[[0, 2, 1]].reshape(heads, 3, k, dim)
    return fault, parts.transpose(0, 1).reshape(3 * dim, dim), out.T


def thirds(qkv, **rest):
    query, key, value = qkv.chunk(3)
    return torch.cat([query, value, key])


def heads_first(qkv, out, heads):
    return qkv.view(heads, 3, -1, len(out)).transpose(0, 1).reshape(qkv.shape)


def taken_for(fault, other, treatment):
    def doctor(qkv, out, heads):
        answer = mend(qkv, out, heads)
        return (
            (other, treatment(qkv=qkv, out=out, heads=heads), out) if answer[0] == fault else answer
        )

    return doctor


def out_misread(qkv, out, heads):
    answer = mend(qkv, out, heads)
    return (1, qkv, out.T) if answer[0] == 0 else answer


def misnamed(qkv, out, heads):
    """All is mended, with the names of faults 2 and 4 exchanged."""
    fault, *weights = mend(qkv, out, heads)
    return {2: 4, 4: 2}.get(fault, fault), *weights


def roll(third, steps):
    def treatment(qkv, out, heads):
        parts = qkv.view(3, heads, -1, len(out)).clone()
        parts[third] = parts[third].roll(steps, 0)
        return parts.view(qkv.shape)

    return treatment


def values_transposed(qkv, out, heads):
    """The twin: what stands in `out` stays, and the values are turned to match."""
    fault, mended, back = mend(qkv, out, heads)
    if fault != 1:
        return fault, mended, back
    query, key, value = qkv.chunk(3)
    return fault, torch.cat([query, key, value.T]), out


def other_way(qkv, out, heads):
    """From (3, heads, k, dim) to (heads, 3, k, dim): what they did, once more."""
    return qkv.view(3, heads, -1, len(out)).transpose(0, 1).reshape(qkv.shape)


def hidden(rng):
    """Each fault comes at least once, faults 2 and 4 with three heads and with four.

    Three heads tell the ways to roll apart; four tell both ways to reshape, which three do not.
    """
    three, four = [(48, 3), (60, 3)], ((48, 4), (64, 4))[rng.integers(2)]
    rng.shuffle(three)
    one, other = three
    layers = (
        ((1, one), (2, one)),
        ((3, four), (4, four)),
        ((0, other), (2, (48, 4)), (4, (60, 3))),
    )
    cases = []
    for each in layers:
        calls = [
            patient(fault, int(rng.integers(2**31)), dim=dim, heads=heads)
            for fault, (dim, heads) in each
        ]
        sizes = " and ".join(dict.fromkeys(f"{heads} of width {dim}" for _, (dim, heads) in each))
        cases.append(Case(f"{len(each)} layers, heads: {sizes}", tuple(calls)))
    return tuple(cases)


KEY = Key(
    question=QUESTION,
    reference=mend,
    hidden=hidden,
    alternatives={
        "by its symptoms, loops, float64": by_symptoms,
        "numpy, all treatments, the best score": in_numpy,
        "in other bases inside the heads": in_other_bases,
    },
    mutants=(
        Mutant("everything is right", always_right, "transpose-missed"),
        Mutant("every treatment for everybody", treats_everybody, "treats-everybody"),
        Mutant("transpose missed", hunt.missing(mend, NAMES, 1), "transpose-missed"),
        Mutant("keys missed", hunt.missing(mend, NAMES, 2), "keys-missed"),
        Mutant("thirds missed", hunt.missing(mend, NAMES, 3), "thirds-missed"),
        Mutant("layout missed", hunt.missing(mend, NAMES, 4), "layout-missed"),
        Mutant("nothing wrong, called thirds", taken_for(0, 3, thirds), "right-treated"),
        Mutant("out read as W_proj", out_misread, "out-misread"),
        Mutant("layout called thirds", taken_for(4, 3, thirds), "layout-for-thirds"),
        Mutant("thirds called layout", taken_for(3, 4, heads_first), "thirds-for-layout"),
        Mutant("named, not mended", hunt.named_not_mended(mend, NAMES), "named-not-mended"),
        Mutant("mended, not named", hunt.mended_not_named(mend), "mended-not-named"),
        Mutant("counted from one", hunt.counted_from_one(mend), "misnamed"),
        Mutant("two names exchanged", misnamed, "misnamed"),
        Mutant("keys the other way", hunt.instead(mend, 2, 1, roll(1, -1)), "wrong-way-round"),
        Mutant("queries moved", hunt.instead(mend, 2, 1, roll(0, -1)), "queries-moved"),
        Mutant("values transposed", values_transposed, "values-transposed"),
        Mutant("the layout once more", hunt.instead(mend, 4, 1, other_way), "reshaped"),
        Mutant("in place", hunt.in_place(mend, NAMES), "untouched"),
        Mutant("the number alone", hunt.only_the_number(mend), "kind"),
    ),
)
