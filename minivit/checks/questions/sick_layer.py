"""Lesson 03: a doctor for layers, who names one fault of four and mends it."""

import numpy as np

from minivit.checks.fixed import Fixed, Mistake
from minivit.checks.hunt import Hunt
from minivit.checks.measures import close
from minivit.checks.question import Case, Diagnosis, Question

LOUDER, SHARPER, BETA_OV = 8.0, 10.0, 0.4

STATEMENT = """\
Patients come in: each is what the first layer of a small mimetic network works with, either healthy
or with **one** fault. Write the doctor, who names the fault *and* mends it.

`content` (patch, dim) are the embedded patches of one image with `grid` × `grid` patches, row by
row; `positions` (patch, dim) should be minivit's sin-cos table (`minivit.model.sincos_positions`,
which your answer may use), and a token is the sum of the two.
`qk` (heads, dim, dim) holds W_Q W_Kᵀ of each head, the best approximation of rank dim / heads to
0.7 Z + 0.7 I; `ov` (dim, dim) is W_V W_proj and should be 0.4 Z − 0.4 I. (Z: normal noise of
variance 1 / dim.) In a healthy layer the numbers of `content` have a standard deviation between 0.5
and 0.9.

| fault | what happened |
|---|---|
| 0 | nothing: a healthy layer |
| 1 | the rows of `positions` were shuffled |
| 2 | `content` is 8 times too loud |
| 3 | `qk` is 10 times too large, in every head |
| 4 | in `ov` stands +0.4 I where −0.4 I should; its noise is as it was |

Return `(fault, content, positions, qk, ov)`: the number of the fault, and the four tensors as they
were before it happened. What was not ill comes back as it is.

**Usual trap.** One number moves for several reasons: the 3×3 mass does with faults 1, 2 and 3, and
with every new picture. It may tell that something is wrong, and not what.
"""

HINTS = (
    "Take one number for each suspect, such that no other fault moves it: the standard deviation "
    "of content, the size of qk, the mean diagonal of ov, and the positions beside what they "
    "should be.",
    "What is the number in a healthy layer, and what with the fault? Put the border between the "
    "two, far from both. The mean diagonal of ov is −0.4 or +0.4; the largest singular value of qk "
    "is below 3, or above 10.",
    "minivit.model.sincos_positions(grid, dim) is the table. For ov: +0.4 I has to become −0.4 I, "
    "and the noise stays, so subtract 0.8 I. A minus sign before all of ov turns the noise too.",
)


def table(grid, dim):
    """The 2-D sin-cos table, (patch, dim), as `minivit.model.sincos_positions` has it."""
    frequency = 10000.0 ** (-np.arange(dim // 4) / (dim // 4))
    angle = np.arange(grid)[:, None] * frequency
    waves = np.concatenate([np.sin(angle), np.cos(angle)], 1)
    return np.concatenate([np.tile(waves, (grid, 1)), np.repeat(waves, grid, 0)], 1)


def layer(grid, dim, heads, rng):
    """A healthy layer: smooth pictures in a random embedding, and mimetic products."""
    places = np.stack(np.divmod(np.arange(grid**2), grid), 1)
    apart = np.square(places[:, None] - places).sum(-1)
    smooth = np.exp(-apart / 4) @ rng.standard_normal((grid**2, 6))
    content = (smooth + 0.5 * rng.standard_normal(smooth.shape)) @ rng.standard_normal((6, dim))
    content *= rng.uniform(0.55, 0.85) / content.std()
    noise = rng.standard_normal((heads + 1, dim, dim)) / np.sqrt(dim)
    left, size, right = np.linalg.svd(0.7 * noise[:-1] + 0.7 * np.eye(dim))
    rank = dim // heads
    qk = (left[:, :, :rank] * size[:, None, :rank]) @ right[:, :rank]
    ov = 0.4 * noise[-1] - BETA_OV * np.eye(dim)
    return {"content": content, "positions": table(grid, dim), "qk": qk, "ov": ov}


def patient(fault, seed, *, grid=6, dim=32, heads=2):
    rng = np.random.default_rng(seed)
    ill = layer(grid, dim, heads, rng)
    if fault == 1:
        ill["positions"] = ill["positions"][rng.permutation(grid**2)]
    if fault == 2:
        ill["content"] = LOUDER * ill["content"]
    if fault == 3:
        ill["qk"] = SHARPER * ill["qk"]
    if fault == 4:
        ill["ov"] = ill["ov"] + 2 * BETA_OV * np.eye(dim)
    return {**ill, "grid": grid}


VISIBLE = (
    Case("patient A, healthy", (patient(0, 111),)),
    Case("patient B, positions shuffled", (patient(1, 112),)),
    Case("patient C, content too loud", (patient(2, 113),)),
    Case("patient D, qk too large", (patient(3, 114),)),
    Case("patient E, +0.4 I in ov", (patient(4, 115),)),
)


def fault_of(arguments):
    if np.abs(arguments["positions"] - table(arguments["grid"], len(arguments["ov"]))).max() > 1e-3:
        return 1
    if arguments["content"].std() > 2:
        return 2
    if np.linalg.norm(arguments["qk"], 2, axis=(1, 2)).max() > 8:
        return 3
    return 4 if np.trace(arguments["ov"]) > 0 else 0


def cure(arguments, fault):
    """The four tensors after the treatment of `fault`."""
    content, positions, qk, ov = HUNT.given(arguments)
    if fault == 1:
        positions = table(arguments["grid"], len(ov))
    if fault == 2:
        content = content / LOUDER
    if fault == 3:
        qk = qk / SHARPER
    if fault == 4:
        ov = ov - 2 * BETA_OV * np.eye(len(ov))
    return content, positions, qk, ov


HUNT = Hunt(fault_of, ("content", "positions", "qk", "ov"), cure)
ANSWER = Fixed(HUNT.answer, ("fault", *HUNT.names))


def _normalised(content, arguments):
    return (content - content.mean(1, keepdims=True)) / content.std(1, keepdims=True)


def _moved(content, arguments):
    """The rows of content in the order that puts those of positions right."""
    rows = table(arguments["grid"], content.shape[1])
    return content[np.square(rows[:, None] - arguments["positions"]).sum(-1).argmin(1)]


ILL = {1: 2, 2: 1, 3: 3, 4: 4}  # fault → the place in an answer of the tensor that it changed


def _treated(case, results, *faults):
    """(as it came, as it went) for the tensor of each of these faults, named right and not mended.

    What went as it came was not treated, and is left out too.
    """
    for arguments, result in zip(case.calls, results, strict=True):
        fault, went = fault_of(arguments), [array.values for array in result.returned]
        if fault in faults and went[0] == fault:
            place = ILL[fault]
            came, mine = HUNT.given(arguments)[place - 1], went[place]
            mended = close(mine, HUNT.answer(arguments)[place], ANSWER.tolerance)
            if not mended and not close(mine, came, ANSWER.tolerance):
                yield came, mine


def _another_factor(case, results):
    return any(
        close(mine, came * (mine * came).sum() / (came**2).sum(), 1e-3)
        for came, mine in _treated(case, results, 2, 3)
    )


def _diagonal_alone(case, results):
    """Nothing else of ov was changed."""
    return any(
        close(mine - came, np.diag((mine - came).diagonal()), 1e-3)
        for came, mine in _treated(case, results, 4)
    )


# The more an answer has to agree in, the earlier a mistake is asked for.
KNOWN = ANSWER.diagnoses(
    Mistake(
        "treats-everybody",
        "It gives every treatment to every patient. What was not ill has to come back as it is.",
        1,
        HUNT.all_treated((1, 2, 3, 4)),
    ),
    Mistake(
        "shuffle-missed",
        "It takes shuffled positions for healthy. Neither their size nor their spread has "
        "changed: only their places have.",
        1,
        HUNT.taken_for(1, 0),
    ),
    Mistake("loud-missed", "It takes loud content for healthy.", 1, HUNT.taken_for(2, 0)),
    Mistake("sharp-missed", "It takes too large a qk for healthy.", 1, HUNT.taken_for(3, 0)),
    Mistake(
        "sign-missed",
        "It takes an ov with +I for healthy. Attention of this layer does not show it.",
        1,
        HUNT.taken_for(4, 0),
    ),
    Mistake(
        "loud-and-shuffled",
        "It takes loud content for shuffled positions, or these for loud content. Both change "
        "where tokens look: find a number that only one of them changes.",
        1,
        (HUNT.taken_for(1, 2), HUNT.taken_for(2, 1)),
    ),
    Mistake(
        "named-not-mended",
        "The fault has its right name, and the tensors are as they came in.",
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
        "All is mended, and the number is another fault's. Look it up in the table: a healthy "
        "layer has number 0.",
        1,
        (*HUNT.off_by_one(), *HUNT.exchanged(5)),
        whole=True,
    ),
    Mistake(
        "healthy-treated",
        "What is healthy is taken for ill, and treated. Its number lies on the wrong side of your "
        "border.",
        2,
        (
            *(HUNT.taken_for(0, fault) for fault in (2, 3, 4)),
            *(HUNT.taken_for(fault, 2) for fault in (3, 4)),
        ),
    ),
    Mistake(
        "out-of-order",
        "Content and positions come back in each other's place: the order is content, positions, "
        "qk, ov.",
        1,
        HUNT.swapped(1, 2),
    ),
    Mistake(
        "turned-over",
        "All of ov has been turned over, its noise as well. Only the multiple of I was wrong.",
        3,
        HUNT.instead(4, lambda ov, a: -ov, 4),
    ),
    Mistake(
        "identity-taken-out",
        "The +0.4 I has been taken out of ov, and nothing put in: −0.4 I should be there.",
        3,
        HUNT.instead(4, lambda ov, a: ov - BETA_OV * np.eye(len(ov)), 4),
    ),
    Mistake(
        "normalised",
        "The loud content was normalised, token by token. It was 8 times as loud, no more: divide "
        "by that.",
        2,
        HUNT.instead(1, _normalised, 2),
    ),
    Mistake(
        "root-of-ten",
        "qk was divided by √10. It is a product already: all of the 10 is in it.",
        2,
        HUNT.instead(3, lambda qk, a: qk / np.sqrt(SHARPER), 3),
    ),
    Mistake(
        "positions-taken-out",
        "The shuffled positions were set to 0. The table is known: put it in.",
        3,
        HUNT.instead(2, lambda positions, a: 0 * positions, 1),
    ),
    Mistake(
        "content-moved-too",
        "Where positions were shuffled, the content was put into another order with them. The rows "
        "of positions alone had moved: every patch stands where it always stood.",
        3,
        HUNT.instead(1, _moved, 1),
    ),
)
MISTAKES = (
    *KNOWN,
    Diagnosis(
        "another-factor",
        "What was too loud, or too large, is divided by another number than it was multiplied by. "
        "No size is typical enough to be aimed at: undo the factor of the table.",
        2,
        _another_factor,
        ("content", "qk"),
    ),
    Diagnosis(
        "diagonal-set",
        "Only the diagonal of ov was changed, as it should be, and by other numbers. The noise on "
        "it stays, with a mean of its own: +0.4 I has to become −0.4 I, and no more.",
        3,
        _diagonal_alone,
        ("ov",),
    ),
)


QUESTION = Question(
    id="sick-layer",
    function="treat",
    signature="treat(content, positions, qk, ov, grid)",
    lesson="03",
    points=5,
    minutes=35,
    difficulty=4,
    statement=STATEMENT,
    visible=VISIBLE,
    hidden=3,
    judge=ANSWER.judge,
    hints=HINTS,
    diagnoses=MISTAKES,
    tolerates="any way to find the fault; positions sorted back or written anew; the number as a "
    "number or a tensor; float64",
    first_hints={"positions": 3, "ov": 3},
)
