"""Lesson 07: a control for an initializer of MLPs: the same sizes, without the idea."""

import numpy as np

from minivit.checks.calls import Seed
from minivit.checks.measures import drawn, returned, untouched
from minivit.checks.question import Case, Diagnosis, Finding, Question

STATEMENT = """\
Somebody initializes the MLP of a block such that both linear maps, one after the other, make nearly
a multiple of I, and says that this is what helps. A reviewer objects: its weights are larger, and
their singular values are others than usual. Perhaps *that* helps. Build the control that settles
it.

`first` (hidden, dim) and `second` (dim, hidden) are the two weights as nn.Linear stores them;
without what stands between them, x becomes x @ first.T @ second.T. Write A for first.T @ second.T.
Return `(first, second)` for the control, of the same shapes, such that

- each of the two weights has the singular values that it had,
- their product A has the singular values that it had,
- what A had to do with I is gone, as far as chance allows: the cosine between the new A and I,
  which is trace / (‖A‖ √dim), lies within ±6 / dim. (Its standard deviation is 1 / dim.)
- nor does the diagonal stand out by its size, whatever its signs: its squares sum to at most
  6 / dim of ‖A‖². (By chance to about 1 / dim.)

All randomness comes from `generator`; two seeds give two controls. What you are given stays as it
is.

**Usual trap.** Turning is not enough, it depends on the place. What you turn between the two maps
either breaks their product or cancels; what you turn on both sides alike leaves I as it was.
"""

HINTS = (
    "An orthogonal matrix R leaves all singular values as they are: of R W, of W R, of R A, of A "
    "R. Weights of the same norm do not have the same singular values.",
    "minivit.init.random_orthogonal(size, generator) draws one. There are three places: before "
    "`first`, between the two, behind `second`. Two of them leave A its singular values, and "
    "not its trace. Which?",
    "Behind `second`: A R. Leave `first` as it is and ask which new `second` has first.T @ "
    "second.T equal to A R; mind its transpose. (With R A Rᵀ the trace would stay: trace(R A Rᵀ) "
    "= trace(A).)",
)


def case(title, dim, hidden, seeds, *, beta=0.8, noise=0.4, share=0.5):
    """A = noise · Z + beta · I, split over a random frame of the hidden numbers.

    share: the power of A's singular values that `first` gets; `second` gets the rest. Where it is
    not a half, A taken apart anew with a root on either side has other weights.
    """
    rng = np.random.default_rng(seeds[0])
    target = noise * rng.standard_normal((dim, dim)) / np.sqrt(dim) + beta * np.eye(dim)
    left, size, right = np.linalg.svd(target)
    frame = np.linalg.qr(rng.standard_normal((hidden, dim)))[0]
    first = frame @ (left * size**share).T
    second = ((frame * size ** (1 - share)) @ right).T
    weights = {"first": first, "second": second}
    return Case(title, tuple({**weights, "generator": Seed(seed)} for seed in seeds))


# QR alone, its signs left as they come, leans to −I by about √dim / 2 chance deviations. At 64 that
# is near the bound of 6, and luck would decide over a right answer.
VISIBLE = (
    case("a few more hidden numbers", 32, 36, (431,)),
    case("half as many again", 32, 48, (432,), share=0.2),
    case("near −I", 32, 40, (433,), beta=-0.9, share=0.75),
    case("one seed twice, then another", 32, 34, (434, 434, 435), share=0.3),
)


def whole(first, second):
    return first.T @ second.T


def aligned(product):
    """Its cosine with I."""
    return np.trace(product) / np.linalg.norm(product) / np.sqrt(len(product))


def _weights(arguments, result=None):
    """first, second: as they were given, or as they came back."""
    if result is None:
        return arguments["first"], arguments["second"]
    return tuple(array.values for array in result.returned)


def judge(case, results):
    for arguments, result in zip(case.calls, results, strict=True):
        shapes = [weight.shape for weight in _weights(arguments)]
        finding = (
            returned((result,), 2, shapes, ("first", "second"))
            or untouched(arguments, result)
            or _spectra(arguments, result)
            or _alignment(arguments, result)
            or _diagonal(arguments, result)
            or drawn(result)
        )
        if finding:
            return finding
    return _seeds(case, results)


def _spectra(arguments, result):
    old, new = _weights(arguments), _weights(arguments, result)
    triples = (("first", old[0], new[0]), ("second", old[1], new[1]))
    for name, before, after in (*triples, ("product", whole(*old), whole(*new))):
        had, has = (np.linalg.svd(each, compute_uv=False) for each in (before, after))
        at = int(np.abs(had - has).argmax())
        if abs(had[at] - has[at]) > 2e-3 * had[0]:
            return Finding(name, f"singular value {at + 1} is {has[at]:.3f}, was {had[at]:.3f}")
    return None


def _alignment(arguments, result):
    product, dim = whole(*_weights(arguments, result)), arguments["first"].shape[1]
    cosine = aligned(product)
    if abs(cosine) <= 6 / dim:
        return None
    before = aligned(whole(*_weights(arguments)))
    text = f"cosine with I {cosine:+.3f}, it was {before:+.3f}; within ±{6 / dim:.3f} is chance"
    return Finding("alignment", text, product, example(arguments), shows="one possible control")


def _diagonal(arguments, result):
    product, dim = whole(*_weights(arguments, result)), arguments["first"].shape[1]
    share = (np.diagonal(product) ** 2).sum() / (product**2).sum()
    if share <= 6 / dim:
        return None
    text = f"the diagonal holds {share:.3f} of ‖A‖²; by chance about {1 / dim:.3f}, at most "
    text += f"{6 / dim:.3f} is accepted"
    return Finding("diagonal", text, product, example(arguments), shows="one possible control")


def example(arguments):
    """The product of one control, with a turn of its own: to be drawn beside mine."""
    product = whole(*_weights(arguments))
    noise = np.random.default_rng(20230509).standard_normal(product.shape)
    return product @ np.linalg.qr(noise)[0]


def _seeds(case, results):
    """Equal seeds give equal products, and different ones different products."""
    seen = {}
    for arguments, result in zip(case.calls, results, strict=True):
        mine, seed = whole(*_weights(arguments, result)), arguments["generator"].value
        for other, theirs in seen.items():
            gap = np.linalg.norm(mine - theirs) / np.linalg.norm(mine)
            if other == seed and gap > 1e-3:
                return Finding("repeatable", f"two calls with seed {seed} give different controls")
            if other != seed and gap < 0.1:
                return Finding("generator", f"seeds {other} and {seed} give the same control")
        seen.setdefault(seed, mine)
    return None


def _of_first_call(predicate):
    """predicate(old weights, new weights) as the `matches` of a Diagnosis."""
    return lambda case, results: bool(
        predicate(_weights(case.calls[0]), _weights(case.calls[0], results[0]))
    )


def _near(one, two, part=1e-3):
    return np.linalg.norm(one - two) <= part * np.linalg.norm(two)


unchanged = _of_first_call(lambda old, new: all(map(_near, new, old)))
cancelled = _of_first_call(lambda old, new: _near(whole(*new), whole(*old)))
flipped = _of_first_call(lambda old, new: _near(-whole(*new), whole(*old)))
# Asked last, where the finding leaves nothing else that it could be.
whatever_it_is = _of_first_call(lambda old, new: True)


@_of_first_call
def of_norm(old, new):
    """Each weight has about its norm."""
    return all(
        abs(np.linalg.norm(a) / np.linalg.norm(b) - 1) < 0.06 for a, b in zip(new, old, strict=True)
    )


@_of_first_call
def taken_apart(old, new):
    """The product has its singular values, though a weight has not."""
    had, has = (np.linalg.svd(whole(*pair), compute_uv=False) for pair in (old, new))
    return np.abs(had - has).max() <= 2e-3 * had[0]


@_of_first_call
def weakened(old, new):
    before, after = aligned(whole(*old)), aligned(whole(*new))
    return before * after > 0 and abs(after) < abs(before) - 1e-3


@_of_first_call
def signed(old, new):
    """The entries of the diagonal have their sizes, and other signs."""
    before, after = (np.diagonal(whole(*pair)) for pair in (old, new))
    return _near(np.abs(after), np.abs(before)) and not _near(after, before)


@_of_first_call
def conjugated(old, new):
    return abs(aligned(whole(*new)) - aligned(whole(*old))) < 1e-3


DIAGNOSES = (
    Diagnosis("unchanged", "Both weights are as they came in.", 2, unchanged, ("alignment",)),
    Diagnosis(
        "taken-apart",
        "The product has its singular values, and the weights have others: it was taken apart "
        "anew. Turn what is there instead.",
        1,
        taken_apart,
        ("first", "second"),
    ),
    Diagnosis(
        "norm-matched",
        "The weights have their norms, and other singular values. This control leaves open whether "
        "the singular values did it.",
        1,
        of_norm,
        ("first", "second"),
    ),
    Diagnosis(
        "not-orthogonal",
        "The weights have other norms: what they were multiplied by is not orthogonal, or stands "
        "at the wrong scale.",
        1,
        whatever_it_is,
        ("first", "second"),
    ),
    Diagnosis(
        "broken-between",
        "Each weight has its singular values, and their product has not: something was turned "
        "between the two, and not turned back.",
        2,
        whatever_it_is,
        ("product",),
    ),
    Diagnosis(
        "cancelled",
        "The product is what it was: the turn between the two maps cancels.",
        2,
        cancelled,
        ("alignment",),
    ),
    Diagnosis(
        "sign",
        "The product is what it was, with the other sign. That is the idea upside down, and no "
        "control: −I is as much a structure as I.",
        2,
        flipped,
        ("alignment",),
    ),
    Diagnosis(
        "signs",
        "The diagonal has its size, and other signs: signs were drawn and nothing else. A matrix "
        "of ±1 is a structure as well.",
        2,
        signed,
        ("alignment", "diagonal"),
    ),
    Diagnosis(
        "both-sides",
        "The product was turned on both sides alike, R A Rᵀ: its trace stays, and I stays I.",
        3,
        conjugated,
        ("alignment",),
    ),
    Diagnosis(
        "weakened",
        "Some of the alignment is left: some directions were not turned, or not far enough.",
        2,
        weakened,
        ("alignment", "diagonal"),
    ),
)


QUESTION = Question(
    id="rotated-control",
    function="rotated_control",
    signature="rotated_control(first, second, generator)",
    lesson="07",
    points=4,
    minutes=20,
    difficulty=3,
    statement=STATEMENT,
    visible=VISIBLE,
    hidden=3,
    judge=judge,
    hints=HINTS,
    diagnoses=DIAGNOSES,
    tolerates="which side is turned, two different turns, a turn of the hidden numbers that "
    "cancels beside them, how an orthogonal matrix is drawn (a random permutation with random "
    "signs is one), float64",
    first_hints={"generator": 2, "product": 2, "alignment": 2, "diagonal": 2},
    withheld=("init.rotated_", "init.norm_matched_"),
)
