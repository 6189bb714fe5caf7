"""Key of masked-reading."""

from functools import partial

import torch
import torch.nn.functional as F

from minivit.checks.questions.masked_reading import QUESTION, case
from teaching.keys.key import Key, Mutant


def read_from(x, y, W_Q, W_K, W_V, W_O, allowed):
    x, y = x[:, None], y[:, None]
    logits = (x @ W_Q) @ (y @ W_K).mT / W_Q.shape[-1] ** 0.5
    weights = logits.masked_fill(allowed == 0, float("-inf")).softmax(-1).nan_to_num(0.0)
    return (weights @ (y @ W_V) @ W_O).sum(1)


# Correct, and different.


def by_loops(x, y, W_Q, W_K, W_V, W_O, allowed):
    output = torch.zeros_like(x)
    for image in range(len(x)):
        for q, k, v, o in zip(W_Q, W_K, W_V, W_O, strict=True):
            for i, token in enumerate(x[image]):
                seen = y[image][allowed[i].bool()]
                if len(seen):
                    weights = ((token @ q) @ (seen @ k).T / q.shape[1] ** 0.5).softmax(0)
                    output[image, i] += weights @ (seen @ v) @ o
    return output


def by_pytorch(x, y, W_Q, W_K, W_V, W_O, allowed):
    x, y = x[:, None], y[:, None]
    mask = allowed.bool()
    mixed = F.scaled_dot_product_attention(x @ W_Q, y @ W_K, y @ W_V, attn_mask=mask)
    return (mixed @ W_O).sum(1).masked_fill(~mask.any(1)[:, None], 0.0)


def by_einsum(x, y, W_Q, W_K, W_V, W_O, allowed):
    """float64, exponentials by hand, and the whole W_V W_O at once."""
    x, y, W_Q, W_K, W_V, W_O = (each.double() for each in (x, y, W_Q, W_K, W_V, W_O))
    logits = torch.einsum("bnd,hdk,hek,bme->bhnm", x, W_Q, W_K, y) / W_Q.shape[2] ** 0.5
    shares = (logits - logits.amax(-1, keepdim=True)).exp() * allowed
    shares = shares / shares.sum(-1, keepdim=True).clamp_min(1e-30)
    return torch.einsum("bhnm,bme,hev,hvd->bnd", shares, y, W_V, W_O)


def shared_out_anew(x, y, W_Q, W_K, W_V, W_O, allowed):
    """The weights that are left, by their sum; a small number spares the blind token 0 / 0."""
    x, y = x[:, None], y[:, None]
    weights = ((x @ W_Q) @ (y @ W_K).mT / W_Q.shape[-1] ** 0.5).softmax(-1) * allowed
    weights = weights / (weights.sum(-1, keepdim=True) + 1e-6)
    return (weights @ (y @ W_V) @ W_O).sum(1)


def low_and_times(x, y, W_Q, W_K, W_V, W_O, allowed):
    """A large negative number before, and the table again after the softmax."""
    x, y = x.unsqueeze(1), y.unsqueeze(1)
    logits = (x @ W_Q) @ (y @ W_K).mT / W_Q.size(-1) ** 0.5 - 1e9 * (1 - allowed)
    return (((logits.softmax(-1) * allowed) @ (y @ W_V)) @ W_O).sum(1)


# Wrong.


def variant(
    x, y, W_Q, W_K, W_V, W_O, allowed, *, mask=None, after=None, scale=None, axis=-1, merge=None
):
    """The reference with one step replaced."""
    mask = mask or (lambda logits, table: logits.masked_fill(table == 0, float("-inf")))
    divisor = scale(x, W_V) if scale else W_Q.shape[-1] ** 0.5
    x, y = x[:, None], y[:, None]
    logits = (x @ W_Q) @ (y @ W_K).mT / divisor
    weights = mask(logits, allowed).softmax(axis).nan_to_num(0.0)
    if after:
        weights = after(weights, allowed)
    output = weights @ (y @ W_V) @ W_O
    return merge(output) if merge else output.sum(1)


def unmasked(logits, table):
    return logits


def lowest(logits, table):
    return logits.masked_fill(table == 0, -1e9)


def inverted(logits, table):
    return logits.masked_fill(table == 1, float("-inf"))


def left_nan(x, y, W_Q, W_K, W_V, W_O, allowed):
    x, y = x[:, None], y[:, None]
    logits = (x @ W_Q) @ (y @ W_K).mT / W_Q.shape[-1] ** 0.5
    weights = logits.masked_fill(allowed == 0, float("-inf")).softmax(-1)
    return (weights @ (y @ W_V) @ W_O).sum(1)


def mask_of_numbers(x, y, W_Q, W_K, W_V, W_O, allowed):
    x, y = x[:, None], y[:, None]
    mixed = F.scaled_dot_product_attention(x @ W_Q, y @ W_K, y @ W_V, attn_mask=allowed)
    return (mixed @ W_O).sum(1)


def each_reads_itself(x, y, W_Q, W_K, W_V, W_O, allowed):
    return read_from(x, x, W_Q, W_K, W_V, W_O, torch.ones(x.shape[1], x.shape[1]))


def no_axis_for_heads(x, y, W_Q, W_K, W_V, W_O, allowed):
    logits = (x @ W_Q) @ (y @ W_K).mT / W_Q.shape[-1] ** 0.5
    weights = logits.masked_fill(allowed == 0, float("-inf")).softmax(-1).nan_to_num(0.0)
    return weights @ (y @ W_V) @ W_O


def roles_exchanged(x, y, W_Q, W_K, W_V, W_O, allowed):
    return read_from(y, x, W_Q, W_K, W_V, W_O, allowed.T)


def heads_kept(x, y, W_Q, W_K, W_V, W_O, allowed):
    return variant(x, y, W_Q, W_K, W_V, W_O, allowed, merge=lambda output: output)


def masks_its_table(x, y, W_Q, W_K, W_V, W_O, allowed):
    answer = read_from(x, y, W_Q, W_K, W_V, W_O, allowed)
    allowed[allowed == 0] = float("-inf")
    return answer


def least_share(case):
    """The smallest part of a token's weights that falls, without the table, on whom it may see."""
    given = {name: torch.tensor(value) for name, value in case.calls[0].items()}
    x, y, table = given["x"][:, None], given["y"][:, None], given["allowed"]
    logits = (x @ given["W_Q"]) @ (y @ given["W_K"]).mT / given["W_Q"].shape[-1] ** 0.5
    return float((logits.softmax(-1) * table).sum(-1)[:, :, table.any(1)].min())


def hidden(rng):
    """Several heads, widths that all differ, part of the table forbidden; once a blind token.

    As many images as heads in the first case, where one may pass for the other; then not. No token
    sees as good as nobody, or a small number beside the sum of its weights would be an error in
    some learners' cases, and in the visible ones none.
    """
    cases = []
    while len(cases) < QUESTION.hidden:
        drawn = _drawn(rng, len(cases))
        if least_share(drawn) > 3e-3:  # the least of the visible ones
            cases.append(drawn)
    return tuple(cases)


def _drawn(rng, number):
    n, m = 4 + rng.choice(5, size=2, replace=False)
    k, v = 3 + rng.choice(5, size=2, replace=False)
    heads, dim = int(rng.integers(2, 4)), int(rng.integers(9, 14))
    nobody = (int(rng.integers(n)),) if number == 2 else ()
    title = f"{heads} heads, {n} tokens read {m}{', one of them nobody' if nobody else ''}"
    sizes, widths = (int(n), int(m), dim), (int(k), int(v))
    seed, forbid = int(rng.integers(2**32)), float(rng.uniform(0.3, 0.6))
    batch = heads if number == 0 else 5 - heads
    return case(title, batch, sizes, heads, widths, seed, forbid=forbid, nobody=nobody)


KEY = Key(
    question=QUESTION,
    reference=read_from,
    hidden=hidden,
    misses="−20 or so in place of −∞, with the table again after the softmax: no case has logits "
    "so low; exponentials without the largest logit taken off: none has logits so high",
    alternatives={
        "loops": by_loops,
        "PyTorch's own, a mask of True and False": by_pytorch,
        "einsum, float64": by_einsum,
        "a large negative number, and the table again": low_and_times,
        "the weights that are left, shared out anew": shared_out_anew,
    },
    mutants=(
        Mutant(
            "table after the softmax",
            partial(variant, mask=unmasked, after=lambda weights, table: weights * table),
            "masked-after",
        ),
        Mutant(
            "logits times table",
            partial(variant, mask=lambda logits, table: logits * table),
            "logits-times-table",
        ),
        Mutant("the table as a mask of numbers", mask_of_numbers, "table-added"),
        Mutant("the table inverted", partial(variant, mask=inverted), "table-inverted"),
        Mutant("no table", partial(variant, mask=unmasked), "table-ignored"),
        Mutant("−1e9 and no more", partial(variant, mask=lowest), "nobody-sees-all"),
        Mutant("−∞ and no more", left_nan, "nobody-nan"),
        Mutant("no √k", partial(variant, scale=lambda x, W_V: 1.0), "unscaled"),
        Mutant("√dim", partial(variant, scale=lambda x, W_V: x.shape[-1] ** 0.5), "scaled-by-dim"),
        Mutant(
            "√v", partial(variant, scale=lambda x, W_V: W_V.shape[-1] ** 0.5), "scaled-by-values"
        ),
        Mutant("softmax over those that look", partial(variant, axis=-2), "over-lookers"),
        Mutant("mean over heads", partial(variant, merge=lambda o: o.mean(1)), "mean-of-heads"),
        Mutant("the first head", partial(variant, merge=lambda o: o[:, 0]), "first-head"),
        Mutant("no axis for heads", no_axis_for_heads, "no-axis-for-heads"),
        Mutant("every token reads its own crowd", each_reads_itself, "output"),
        Mutant("y reads x", roles_exchanged, "shape"),
        Mutant("heads not added up", heads_kept, "shape"),
        Mutant("writes −∞ into the table", masks_its_table, "untouched"),
    ),
)
