"""Key of fold-norm."""

import torch

from minivit.checks.questions.fold_norm import QUESTION, case
from teaching.keys.key import Key, Mutant


def fold_norm(W_Q, W_K, b_Q, gain, shift):
    key = gain[:, None] * W_K  # G W_K
    form = gain[:, None] * W_Q @ key.mT
    preference = (shift @ W_Q + b_Q)[:, None] @ key.mT
    return form, preference[:, 0]


# Correct, and different.


def by_matrices(W_Q, W_K, b_Q, gain, shift):
    G = torch.diag(gain).double()
    W_Q, W_K, b_Q, shift = W_Q.double(), W_K.double(), b_Q.double(), shift.double()
    form = torch.stack([G @ q @ k.T @ G for q, k in zip(W_Q, W_K, strict=True)])
    rows = [(shift @ q + b) @ k.T @ G for q, k, b in zip(W_Q, W_K, b_Q, strict=True)]
    return form, torch.stack(rows)


def by_einsum(W_Q, W_K, b_Q, gain, shift):
    form = torch.einsum("i,hik,hjk,j->hij", gain, W_Q, W_K, gain)
    query = torch.einsum("i,hik->hk", shift, W_Q) + b_Q
    return [form, torch.einsum("hk,hjk,j->hj", query, W_K, gain)]


def by_probes(W_Q, W_K, b_Q, gain, shift):
    tokens = torch.cat([torch.eye(len(gain)), torch.zeros(1, len(gain))])
    x = tokens * gain + shift
    logits = (x @ W_Q + b_Q[:, None]) @ (x @ W_K).mT
    logits = logits - logits[:, :, -1:]
    return logits[:, :-1, :-1] - logits[:, -1:, :-1], logits[:, -1, :-1]


def centred(W_Q, W_K, b_Q, gain, shift):
    """With what tokens of mean 0 do not see taken out."""
    C = torch.eye(len(gain)) - 1 / len(gain)
    form, preference = fold_norm(W_Q, W_K, b_Q, gain, shift)
    return C @ form @ C, preference @ C


# Wrong.


def variant(W_Q, W_K, b_Q, gain, shift, left, right, border):
    """The gain raised to these powers in the three places where it belongs."""
    form = (gain**left)[:, None] * (W_Q @ W_K.mT) * gain**right
    return form, ((shift @ W_Q + b_Q)[:, None] @ W_K.mT)[:, 0] * gain**border


def no_gain(W_Q, W_K, b_Q, gain, shift):
    return variant(W_Q, W_K, b_Q, gain, shift, 0, 0, 0)


def gain_in_preference_alone(W_Q, W_K, b_Q, gain, shift):
    return variant(W_Q, W_K, b_Q, gain, shift, 0, 0, 1)


def left_only(W_Q, W_K, b_Q, gain, shift):
    return variant(W_Q, W_K, b_Q, gain, shift, 1, 0, 0)


def right_only(W_Q, W_K, b_Q, gain, shift):
    return variant(W_Q, W_K, b_Q, gain, shift, 0, 1, 1)


def divided_by_gain(W_Q, W_K, b_Q, gain, shift):
    return variant(W_Q, W_K, b_Q, gain, shift, -1, -1, -1)


def bare_preference(W_Q, W_K, b_Q, gain, shift):
    return variant(W_Q, W_K, b_Q, gain, shift, 1, 1, 0)


def no_shift(W_Q, W_K, b_Q, gain, shift):
    return fold_norm(W_Q, W_K, b_Q, gain, torch.zeros_like(shift))


def no_bias(W_Q, W_K, b_Q, gain, shift):
    return fold_norm(W_Q, W_K, torch.zeros_like(b_Q), gain, shift)


def of_lookers(W_Q, W_K, b_Q, gain, shift):
    form, _ = fold_norm(W_Q, W_K, b_Q, gain, shift)
    return form, gain * (W_Q @ (shift @ W_K)[:, :, None])[:, :, 0]


def of_both(W_Q, W_K, b_Q, gain, shift):
    form, preference = fold_norm(W_Q, W_K, b_Q, gain, shift)
    return form, preference + of_lookers(W_Q, W_K, b_Q, gain, shift)[1]


def shift_times_gain(W_Q, W_K, b_Q, gain, shift):
    return fold_norm(W_Q, W_K, b_Q, gain, shift * gain)


def transposed(W_Q, W_K, b_Q, gain, shift):
    form, preference = fold_norm(W_Q, W_K, b_Q, gain, shift)
    return form.mT, preference


def scaled(W_Q, W_K, b_Q, gain, shift):
    root = W_Q.shape[-1] ** 0.5
    return tuple(each / root for each in fold_norm(W_Q, W_K, b_Q, gain, shift))


def form_alone(W_Q, W_K, b_Q, gain, shift):
    return fold_norm(W_Q, W_K, b_Q, gain, shift)[0]


def preference_as_rows(W_Q, W_K, b_Q, gain, shift):
    form, preference = fold_norm(W_Q, W_K, b_Q, gain, shift)
    return form, preference[:, None]


def gain_into_weights(W_Q, W_K, b_Q, gain, shift):
    answer = fold_norm(W_Q, W_K, b_Q, gain, shift)
    W_Q *= gain[:, None]
    return answer


def hidden(rng):
    """Everything at once; sizes that differ."""
    cases = []
    for _ in range(QUESTION.hidden):
        heads, k, dim = (int(rng.integers(*ends)) for ends in ((2, 5), (3, 7), (9, 20)))
        title = f"{heads} heads of {k}, width {dim}"
        cases.append(case(title, dim, heads, k, int(rng.integers(2**32))))
    return tuple(cases)


KEY = Key(
    question=QUESTION,
    reference=fold_norm,
    hidden=hidden,
    alternatives={
        "diagonal matrices, float64": by_matrices,
        "einsum": by_einsum,
        "probes": by_probes,
        "centred": centred,
    },
    mutants=(
        Mutant("the gain ignored", no_gain, "no-gain"),
        Mutant("the gain in the preference alone", gain_in_preference_alone, "no-gain"),
        Mutant("the gain on the left alone", left_only, "left-only"),
        Mutant("the gain on the right alone", right_only, "right-only"),
        Mutant("divided by the gain", divided_by_gain, "divided-by-gain"),
        Mutant("no gain in the preference", bare_preference, "gain-not-in-preference"),
        Mutant("the shift ignored", no_shift, "no-shift"),
        Mutant("the query bias ignored", no_bias, "no-bias"),
        Mutant("the term of the token that looks", of_lookers, "of-lookers"),
        Mutant("both such terms", of_both, "of-lookers"),
        Mutant("the shift times the gain", shift_times_gain, "shift-times-gain"),
        Mutant("W_K W_Qᵀ", transposed, "transposed"),
        Mutant("divided by √k", scaled, "scaled"),
        Mutant("the form alone", form_alone, "kind"),
        Mutant("the preference as a matrix of one row", preference_as_rows, "shape"),
        Mutant("writes the gain into W_Q", gain_into_weights, "untouched"),
    ),
)
