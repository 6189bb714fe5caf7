"""Key of logit-form."""

import torch

from minivit.checks.questions.logit_form import QUESTION, case
from teaching.keys.key import Key, Mutant


def logit_form(weight, bias, heads):
    beside = torch.cat([weight, bias[:, None]], 1)  # each row: a column of W, and its bias
    query, key, _ = beside.unflatten(0, (3, heads, -1))  # each (head, head_dim, dim + 1)
    return query.mT @ key


def split(weight, bias, heads):
    """W_Q, W_K (head, dim, head_dim); b_Q, b_K (head, 1, head_dim)."""
    W_Q, W_K, _ = weight.unflatten(0, (3, heads, -1)).mT
    b_Q, b_K, _ = bias.unflatten(0, (3, heads, 1, -1))
    return W_Q, W_K, b_Q, b_K


# Correct, and different.


def by_blocks(weight, bias, heads):
    W_Q, W_K, b_Q, b_K = split(weight, bias, heads)
    top = torch.cat([W_Q @ W_K.mT, W_Q @ b_K.mT], 2)
    return torch.cat([top, torch.cat([b_Q @ W_K.mT, b_Q @ b_K.mT], 2)], 1)


def by_loops(weight, bias, heads):
    dim = weight.shape[1]
    k = dim // heads
    forms = torch.zeros(heads, dim + 1, dim + 1, dtype=torch.float64)
    for head in range(heads):
        for row in range(head * k, (head + 1) * k):
            query = torch.cat([weight[row], bias[row : row + 1]]).double()
            key = torch.cat([weight[dim + row], bias[dim + row : dim + row + 1]]).double()
            forms[head] += torch.outer(query, key)
    return forms


def by_probes(weight, bias, heads):
    """Logits of unit tokens and of the token 0, and their differences."""
    dim = weight.shape[1]
    out = torch.cat([torch.eye(dim), torch.zeros(1, dim)]) @ weight.T + bias
    query, key, _ = out.unflatten(1, (3, heads, -1)).permute(1, 2, 0, 3)
    logits = query @ key.mT  # (head, dim + 1, dim + 1), of tokens
    rows = torch.cat([logits[:, :-1] - logits[:, -1:], logits[:, -1:]], 1)
    return torch.cat([rows[:, :, :-1] - rows[:, :, -1:], rows[:, :, -1:]], 2)


# Wrong.


def put_together(blocks):
    (a, b), (c, d) = blocks
    return torch.cat([torch.cat([a, b], 2), torch.cat([c, d], 2)], 1)


def exchanged(weight, bias, heads):
    W_Q, W_K, b_Q, b_K = split(weight, bias, heads)
    return put_together([[W_Q @ W_K.mT, (b_Q @ W_K.mT).mT], [(W_Q @ b_K.mT).mT, b_Q @ b_K.mT]])


def no_biases(weight, bias, heads):
    form = logit_form(weight, bias, heads)
    form[:, -1], form[:, :, -1] = 0, 0
    return form


def query_bias_only(weight, bias, heads):
    form = logit_form(weight, bias, heads)
    form[:, :, -1] = 0
    return form


def no_corner(weight, bias, heads):
    form = logit_form(weight, bias, heads)
    form[:, -1, -1] = 0
    return form


def one_in_corner(weight, bias, heads):
    form = logit_form(weight, bias, heads)
    form[:, -1, -1] = 1
    return form


def one_in_front(weight, bias, heads):
    beside = torch.cat([bias[:, None], weight], 1)
    query, key, _ = beside.unflatten(0, (3, heads, -1))
    return query.mT @ key


def transposed(weight, bias, heads):
    return logit_form(weight, bias, heads).mT


def scaled(weight, bias, heads):
    return logit_form(weight, bias, heads) / (weight.shape[1] // heads) ** 0.5


def as_stored(weight, bias, heads):
    dim = weight.shape[1]
    turned = torch.cat([weight[:dim].T, weight[dim : 2 * dim].T, weight[2 * dim :]])
    return logit_form(turned, bias, heads)


def head_by_head(weight, bias, heads):
    beside = torch.cat([weight, bias[:, None]], 1).unflatten(0, (heads, 3, -1))
    return beside[:, 0].mT @ beside[:, 1]


def values_for_keys(weight, bias, heads):
    beside = torch.cat([weight, bias[:, None]], 1)
    query, _, value = beside.unflatten(0, (3, heads, -1))
    return query.mT @ value


def bias_of_values(weight, bias, heads):
    query, key, value = bias.chunk(3)
    return logit_form(weight, torch.cat([query, value, key]), heads)


def summed(weight, bias, heads):
    form = logit_form(weight, bias, heads)
    return form.sum(0, keepdim=True).expand_as(form)


def without_border(weight, bias, heads):
    return logit_form(weight, bias, heads)[:, :-1, :-1]


def all_heads_as_one(weight, bias, heads):
    return logit_form(weight, bias, 1)


def hidden(rng):
    """Two heads or more, sizes that differ, biases of size 1 and above."""
    cases = []
    for _ in range(QUESTION.hidden):
        heads, k = int(rng.integers(2, 5)), int(rng.integers(4, 9))
        seed, size = int(rng.integers(2**32)), float(rng.uniform(1, 2))
        cases.append(case(f"{heads} heads of {k}", heads * k, heads, seed, size))
    return tuple(cases)


KEY = Key(
    question=QUESTION,
    reference=logit_form,
    hidden=hidden,
    alternatives={"block by block": by_blocks, "loops, float64": by_loops, "probes": by_probes},
    mutants=(
        Mutant("the two borders exchanged", exchanged, "border-exchanged"),
        Mutant("no biases", no_biases, "no-biases"),
        Mutant("only what softmax sees", query_bias_only, "query-bias-only"),
        Mutant("corner 0", no_corner, "no-corner"),
        Mutant("corner 1", one_in_corner, "corner-is-one"),
        Mutant("[1 x] for [x 1]", one_in_front, "one-in-front"),
        Mutant("transposed", transposed, "transposed"),
        Mutant("divided by √head_dim", scaled, "scaled"),
        Mutant("stored rows taken for columns", as_stored, "as-stored"),
        Mutant("another library's order of rows", head_by_head, "head-by-head"),
        Mutant("values for keys", values_for_keys, "values-for-keys"),
        Mutant("the bias of the values", bias_of_values, "values-for-keys"),
        Mutant("summed over heads", summed, "summed"),
        Mutant("no border at all", without_border, "shape"),
        Mutant("one head of full width", all_heads_as_one, "shape"),
    ),
)
