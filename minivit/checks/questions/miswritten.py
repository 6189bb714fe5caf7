"""Lesson 07: a bug in the initializer of the new arm, found and mended."""

import numpy as np

from minivit.checks.fixed import Fixed, Mistake
from minivit.checks.hunt import Hunt
from minivit.checks.question import Case, Question

STATEMENT = """\
"We tried mimetic initialization, and it did not help." No rule on runs finds a fault in the code.
So before you believe it, look at what their copy of `minivit` wrote into a layer. Each patient is
one layer, either right or with **one** fault. Name it *and* mend it.

`qkv` (3 · dim, dim) and `out` (dim, dim) are the weights of the two nn.Linear, as minivit stores
them: the rows of `qkv` are W_Qᵀ, W_Kᵀ, W_Vᵀ, each head after head, with head_dim = dim / heads rows
for a head; `out` is W_projᵀ. In a right layer W_Q W_Kᵀ of every head is the best approximation of
rank head_dim to 0.7 Z + 0.7 I, and W_V W_proj, all heads together, is 0.4 Z − 0.4 I.

| fault | what their code did |
|---|---|
| 0 | nothing wrong |
| 1 | it wrote W_proj into `out`, not its transpose |
| 2 | it wrote keys one head too early: head h has those of head h + 1, the last those of head 0 |
| 3 | it wrote the thirds in the order query, value, key |
| 4 | it wrote head by head: query, key, value of head 0, then those of head 1, and so on |

Return `(fault, qkv, out)`: the number of the fault, and both weights as they should have been
written; other factors with the same products count as the same. There are two to four heads.

**Usual trap.** No fault changes the size of either weight as a whole: their norms, spreads and
histograms are those of a right layer.
"""

HINTS = (
    "What a product is near to is its mean diagonal. W_Q W_Kᵀ of a right head: above 0.2. W_V "
    "W_proj: about −0.4. A product of two matrices that do not belong together: 0, give or take "
    "0.1. Which of the two products does each fault destroy?",
    "Fault 1 leaves all W_Q W_Kᵀ alone, and fault 2 leaves W_V W_proj alone. Faults 3 and 4 "
    "destroy both. To tell these two apart, mend one of them and look whether the layer is right.",
    "Put heads on an axis of their own. Fault 2: keys.view(heads, k, dim).roll(1, 0), as head h + "
    "1 has to get what head h holds. Fault 4: qkv.view(heads, 3, k, dim).transpose(0, 1).",
)


def blocks(qkv, heads):
    """(3, heads, head_dim, dim), from minivit's storage."""
    return qkv.reshape(3, heads, -1, qkv.shape[1])


def maps(arguments, fault, qkv, out):
    """What the layer computes hangs on these, not on the factors one by one."""
    query, key, value = blocks(qkv, arguments["heads"])
    W_V = value.reshape(len(out), -1).T
    return fault, query.transpose(0, 2, 1) @ key, W_V @ out.T


def is_right(qkv, out, heads):
    """Near to I where it should be, and to −I; half of the least that a right layer has."""
    _, logits, values = maps({"heads": heads}, 0, qkv, out)
    dim = len(out)
    return logits.trace(axis1=1, axis2=2).min() > 0.17 * dim and values.trace() < -0.2 * dim


def written(fault, qkv, out, heads):
    """What their code wrote where `qkv` and `out` should be."""
    parts = blocks(qkv, heads)
    if fault == 1:
        out = out.T
    if fault == 2:
        parts = np.stack([parts[0], np.roll(parts[1], -1, 0), parts[2]])
    if fault == 3:
        parts = parts[[0, 2, 1]]
    if fault == 4:
        parts = parts.swapaxes(0, 1)
    return parts.reshape(qkv.shape), out


def undone(arguments, fault):
    """Both weights after the treatment of `fault`."""
    qkv, out, heads = (arguments[name] for name in ("qkv", "out", "heads"))
    if fault == 4:
        by_head = qkv.reshape(heads, 3, -1, qkv.shape[1])
        return by_head.swapaxes(0, 1).reshape(qkv.shape), out
    if fault == 2:
        return _rolled(qkv, arguments, 1), out
    return written(fault, qkv, out, heads)  # 1 and 3 undo themselves


def _rolled(qkv, arguments, steps, third=1):
    parts = blocks(qkv, arguments["heads"]).copy()
    parts[third] = np.roll(parts[third], steps, 0)
    return parts.reshape(qkv.shape)


def fault_of(arguments):
    """The fault whose treatment leaves a right layer; 1 and 3 and 4 can't be taken for another."""
    for fault in range(5):
        if is_right(*undone(arguments, fault), arguments["heads"]):
            return fault
    raise ValueError("no treatment makes this layer right")


def layer(dim, heads, rng):
    """qkv and out of a right layer, a singular value's root on either side of each product."""
    noise = rng.standard_normal((heads + 1, dim, dim)) / np.sqrt(dim)
    target = 0.7 * noise + 0.7 * np.eye(dim)
    target[-1] = 0.4 * noise[-1] - 0.4 * np.eye(dim)
    left, size, right = np.linalg.svd(target)
    left, right = left * np.sqrt(size)[:, None], np.sqrt(size)[:, :, None] * right
    queries = left[:-1, :, : dim // heads].swapaxes(1, 2).reshape(dim, dim)  # W_Qᵀ, head by head
    keys = right[:-1, : dim // heads].reshape(dim, dim)
    return np.concatenate([queries, keys, left[-1].T]), right[-1].T


def patient(fault, seed, *, dim=32, heads=2):
    qkv, out = written(fault, *layer(dim, heads, np.random.default_rng(seed)), heads)
    return {"qkv": qkv, "out": out, "heads": heads}


VISIBLE = (
    Case("patient A, as it should be", (patient(0, 441),)),
    Case("patient B, out not transposed", (patient(1, 442),)),
    Case("patient C, three heads, keys one head too early", (patient(2, 443, dim=48, heads=3),)),
    Case("patient D, query, value, key", (patient(3, 444),)),
    Case("patient E, four heads, head by head", (patient(4, 445, dim=64, heads=4),)),
)

HUNT = Hunt(fault_of, ("qkv", "out"), undone)
ANSWER = Fixed(
    HUNT.answer,
    ("fault", *HUNT.names),
    seen=maps,
    sights=("fault", "W_Q W_Kᵀ", "W_V W_proj"),
    tolerance=1e-3,
)


def _values_transposed(arguments):
    """Fault 1 treated in W_V, and `out` left as it is."""
    if fault_of(arguments) != 1:
        return HUNT.answer(arguments)
    query, key, value = np.split(arguments["qkv"], 3)
    return np.array(1), np.concatenate([query, key, value.T]), arguments["out"]


# The more an answer has to agree in, the earlier a mistake is asked for.
MISTAKES = ANSWER.diagnoses(
    Mistake(
        "treats-everybody",
        "It gives every treatment to every patient. What was right has to come back as it is.",
        1,
        HUNT.all_treated((1, 2, 3, 4)),
    ),
    Mistake(
        "transpose-missed",
        "It takes a layer with W_proj in `out` for right. Its W_Q W_Kᵀ are: look at W_V W_proj.",
        1,
        HUNT.taken_for(1, 0),
    ),
    Mistake(
        "keys-missed",
        "It takes a layer whose keys stand at other heads for right. Look at W_Q W_Kᵀ head by "
        "head.",
        1,
        HUNT.taken_for(2, 0),
    ),
    Mistake("thirds-missed", "It takes query, value, key for right.", 1, HUNT.taken_for(3, 0)),
    Mistake("layout-missed", "It takes rows head by head for right.", 1, HUNT.taken_for(4, 0)),
    Mistake(
        "out-misread",
        "It takes a right layer for one with W_proj in `out`. Do you read `out` as W_proj? It is "
        "W_projᵀ: W_V W_proj is qkv[2 * dim:].T @ out.T.",
        1,
        HUNT.taken_for(0, 1),
    ),
    Mistake(
        "right-treated",
        "A right layer is taken for one with a fault, and spoiled. Ask first whether all its "
        "products are what they should be.",
        1,
        tuple(HUNT.taken_for(0, fault) for fault in (2, 3, 4)),
    ),
    Mistake(
        "layout-for-thirds",
        "It calls rows head by head the order query, value, key. Both destroy both products: mend "
        "one and look.",
        2,
        HUNT.taken_for(4, 3),
    ),
    Mistake(
        "thirds-for-layout",
        "It calls the order query, value, key rows head by head. Both destroy both products: mend "
        "one and look.",
        2,
        HUNT.taken_for(3, 4),
    ),
    Mistake(
        "named-not-mended",
        "The fault has its right name, and the weights are as they came in.",
        3,
        HUNT.named_only,
        whole=True,
    ),
    Mistake(
        "mended-not-named",
        "The layer is mended, and the number says that nothing was wrong.",
        1,
        HUNT.renamed(lambda fault: 0),
        whole=True,
    ),
    Mistake(
        "misnamed",
        "All is mended, and the number is another fault's. Look it up in the table: a right layer "
        "has number 0.",
        1,
        (*HUNT.off_by_one(), *HUNT.exchanged(5)),
        whole=True,
    ),
    Mistake(
        "wrong-way-round",
        "The keys went one head further the wrong way. With two heads that is the same, with three "
        "it isn't.",
        3,
        HUNT.instead(1, lambda qkv, a: _rolled(qkv, a, -1), 2),
    ),
    Mistake(
        "queries-moved",
        "Queries were moved to where their keys are. Now each pair stands beside the values of "
        "another head.",
        3,
        HUNT.instead(1, lambda qkv, a: _rolled(qkv, a, -1, third=0), 2),
        whole=True,
    ),
    Mistake(
        "values-transposed",
        "The values were transposed, and `out` was not. That makes lesson 04's twin: the layer "
        "computes (W_proj W_V)ᵀ, with the same trace.",
        2,
        _values_transposed,
    ),
    Mistake(
        "reshaped",
        "The rows are in blocks of the right sizes and in the wrong order. They came head by "
        "head: read them as (heads, 3, k, dim), not as (3, heads, k, dim), before two axes change "
        "places.",
        3,
        HUNT.instead(1, lambda qkv, a: written(4, qkv, a["out"], a["heads"])[0], 4),
    ),
)


QUESTION = Question(
    id="miswritten",
    function="mend",
    signature="mend(qkv, out, heads)",
    lesson="07",
    points=4,
    minutes=30,
    difficulty=4,
    statement=STATEMENT,
    visible=VISIBLE,
    hidden=3,
    judge=ANSWER.judge,
    hints=HINTS,
    diagnoses=MISTAKES,
    tolerates="any way to find the fault; other factors with the same products; the number as a "
    "number or a tensor; float64",
    first_hints={"W_Q W_Kᵀ": 3, "W_V W_proj": 3},
)
