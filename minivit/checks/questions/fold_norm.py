"""Lesson 02: what a LayerNorm's gain and bias do to a head's form."""

import numpy as np

from minivit.checks.fixed import Fixed, Mistake
from minivit.checks.question import Case, Question

STATEMENT = """\
Attention reads tokens behind a LayerNorm. In a trained network this norm has a gain and a bias of
its own, so what W_Q and W_K meet is x = n ∘ gain + shift, where n is the plain normalised token
(mean 0, standard deviation 1) and ∘ multiplies number by number. The lesson folded the gain into
the product, for a head without biases. Now fold in everything.

`W_Q` and `W_K` have shape (heads, dim, k), for right multiplication; `b_Q` has shape (heads, k);
`gain` and `shift` have shape (dim,). The logit of token x that looks at token y is
(x W_Q + b_Q) (y W_K)ᵀ; a key bias would change nothing (lesson 01b).

Return `(form, preference)` of shapes (heads, dim, dim) and (heads, dim): with n and m the plain
normalised tokens behind x and y, the logit is

n · form · mᵀ  +  preference · mᵀ  +  (something that does not depend on m).

The last part need not be returned: softmax does not see it.

**Usual trap.** The shift is a bias in disguise. It adds to b_Q on the side that looks, and on the
side that is looked at it falls out of the softmax.
"""

HINTS = (
    "Put n ∘ gain + shift for x and m ∘ gain + shift for y into the logit, and multiply out. There "
    "are six terms. Cross out those without m.",
    "n ∘ gain is n G, with G the diagonal matrix of the gain. So (n G) W_Q (m G W_K)ᵀ = "
    "n (G W_Q W_Kᵀ G) mᵀ: the gain acts on both sides.",
    "What is left depends on m alone: (shift W_Q + b_Q) W_Kᵀ G mᵀ. In code, gain[:, None] * W_Q is "
    "G W_Q, and shift @ W_Q has shape (heads, k).",
)


def case(title, dim, heads, k, seed, *, gain=0.7, shift=1.0):
    """gain: how far the gains spread around 1; shift: the size of both biases."""
    rng = np.random.default_rng(seed)
    W_Q, W_K = rng.standard_normal((2, heads, dim, k)) / np.sqrt(dim)
    arguments = {
        "W_Q": W_Q,
        "W_K": W_K,
        "b_Q": shift * rng.standard_normal((heads, k)),
        "gain": 1 + gain * rng.uniform(-1, 1, dim),
        "shift": shift * rng.standard_normal(dim),
    }
    return Case(title, (arguments,))


VISIBLE = (
    case("gains of 1, no biases", 10, 2, 3, 61, gain=0.0, shift=0.0),
    case("gains alone", 10, 2, 3, 62, shift=0.0),
    case("one head, everything", 12, 1, 4, 63),
    case("three heads, everything", 15, 3, 5, 64),
)


def logits(arguments, left, right, *, shift_looks=True, shift_seen=True, bias=True):
    """The logits (head, n, m) of plain tokens `left` (n, dim) and `right` (m, dim)."""
    a = arguments
    x = left * a["gain"] + shift_looks * a["shift"]
    y = right * a["gain"] + shift_seen * a["shift"]
    return (x @ a["W_Q"] + bias * a["b_Q"][:, None]) @ (y @ a["W_K"]).transpose(0, 2, 1)


def measured(arguments, **slips):
    """Both parts, measured: logits of unit vectors and of 0, and their differences."""
    dim = len(arguments["gain"])
    tokens = np.concatenate([np.eye(dim), np.zeros((1, dim))])
    found = logits(arguments, tokens, tokens, **slips)
    found = found - found[:, :, -1:]  # what does not depend on m
    preference = found[:, -1, :-1]
    return found[:, :-1, :-1] - preference[:, None], preference


def seen(arguments, form, preference):
    """What tokens of mean 0 see of both: nothing that all their numbers have in common."""
    centred = np.eye(form.shape[-1]) - 1 / form.shape[-1]
    return centred @ form @ centred, preference @ centred


ANSWER = Fixed(measured, ("form", "preference"), axis="head", floor=0.1, seen=seen)


def _gains(left, right, borders):
    """G raised to these powers: on either side of the form, and in the preference."""

    def wrong(arguments):
        gain = arguments["gain"]
        form, preference = measured({**arguments, "gain": np.ones_like(gain)})
        return gain[:, None] ** left * form * gain**right, preference * gain**borders

    return wrong


def _of_lookers(arguments):
    """The part that depends on n, in place of the one that depends on m."""
    key = arguments["shift"] @ arguments["W_K"]  # (head, k)
    own = np.einsum("hdk,hk->hd", arguments["W_Q"], key) * arguments["gain"]
    return measured(arguments)[0], own


def _of_both(arguments):
    """That part on top of the right one."""
    form, preference = measured(arguments)
    return form, preference + _of_lookers(arguments)[1]


def _added_first(arguments):
    """(n + shift) ∘ gain: the shift times the gain."""
    return measured({**arguments, "shift": arguments["shift"] * arguments["gain"]})


def _turned(arguments):
    form, preference = measured(arguments)
    return form.transpose(0, 2, 1), preference


def _scaled(arguments):
    root = np.sqrt(arguments["W_Q"].shape[-1])
    return tuple(each / root for each in measured(arguments))


MISTAKES = ANSWER.diagnoses(
    Mistake(
        "no-gain",
        "The gain has no effect on the form.",
        2,
        (_gains(0, 0, 0), _gains(0, 0, 1)),
    ),
    Mistake(
        "left-only",
        "The gain is on the side that looks alone. The token looked at went through the same norm.",
        2,
        (_gains(1, 0, 0), _gains(1, 0, 1)),
    ),
    Mistake(
        "right-only",
        "The gain is on the side that is looked at alone. The token that looks went through the "
        "same norm.",
        2,
        (_gains(0, 1, 1), _gains(0, 1, 0)),
    ),
    Mistake(
        "divided-by-gain",
        "It divides by the gain. That would lead from x back to n; here the form takes n, which "
        "has to become x.",
        2,
        (_gains(-1, -1, -1), _gains(-1, -1, 1), _gains(-1, -1, 0)),
    ),
    Mistake(
        "gain-not-in-preference",
        "The form is right. In the preference the gain is missing: it multiplies m there as well.",
        3,
        _gains(1, 1, 0),
    ),
    Mistake(
        "no-shift",
        "The shift is left out of the preference. On the side that looks it acts as a query bias.",
        3,
        lambda arguments: measured(arguments, shift_looks=False),
    ),
    Mistake(
        "no-bias",
        "b_Q is left out of the preference.",
        3,
        lambda arguments: measured(arguments, bias=False),
    ),
    Mistake(
        "of-lookers",
        "The preference holds the term that depends on n, the token that *looks*: softmax does not "
        "see it.",
        1,
        (_of_lookers, _of_both),
    ),
    Mistake(
        "shift-times-gain",
        "The shift is multiplied by the gain. LayerNorm adds it afterwards.",
        1,
        _added_first,
    ),
    Mistake("transposed", "The form is transposed: W_K W_Qᵀ.", 2, _turned),
    Mistake("scaled", "It is divided by √k. The logit as written is asked for.", 1, _scaled),
)


QUESTION = Question(
    id="fold-norm",
    function="fold_norm",
    signature="fold_norm(W_Q, W_K, b_Q, gain, shift)",
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
    tolerates="diagonal matrices or broadcasting, loops, einsum, from probes, float64",
)
