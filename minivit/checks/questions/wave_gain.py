"""Lesson 03: what a layer leaves of each wave, for any attention that is the same everywhere."""

import numpy as np

from minivit.checks.fixed import Fixed, Mistake, altered, changed
from minivit.checks.question import Case, Question

STATEMENT = """\
The lesson measured what a layer with W_V W_proj = −βI leaves of each wave. Where every token looks
in the same way, it can be computed.

Think of a picture without edges: to the right of the last column comes the first one again, and
below the last row the first. Each token gives weight `weights[r, c]` to the token r rows below and
c columns to the right of it. `weights` has shape (rows, columns), sums to 1, and looks to both
sides alike: weights[−r, −c] = weights[r, c]. All tokens have the same standard deviation `sigma`,
and are centred; the layer, with W_V W_proj = −`beta` · I, reads them behind a LayerNorm without
gain or bias, and adds to them.

Return the gain of every wave, shape (rows, columns): entry (u, v) says by what number the layer
multiplies the wave cos(2π (u r / rows + v c / columns)) over the places (r, c). (Whole waves, as
there are no edges. The lesson's pictures had edges, and half-waves.)

**Usual trap.** The layer reads normalised tokens and adds to tokens that are not. And the residual
is there, too.
"""

HINTS = (
    "Follow one wave x, in three steps: attention mixes x / sigma and passes on a part λ of it; "
    "W_V W_proj multiplies by −beta; the residual adds x. What is the sum, as a multiple of x?",
    "Put a wave into attention and look at the place (0, 0), where it is 1. What comes out there "
    "is Σ weights[r, c] · cos(2π (u r / rows + v c / columns)): that is λ(u, v).",
    "All these sums at once are the real part of a Fourier transform in two dimensions: torch.fft "
    "has it. A check: λ(0, 0) is 1, the sum of the weights.",
)


def case(title, rows, columns, beta, sigma, seed=None, *, reach=None):
    """Weights around a token: drawn where there is a seed, even within `reach`, or everywhere."""
    r, c = np.indices((rows, columns))
    if seed is not None:
        noise = np.random.default_rng(seed).exponential(size=(rows, columns))
        apart = np.minimum(r, rows - r) ** 2 + np.minimum(c, columns - c) ** 2
        weights = (noise + noise[-r, -c]) * np.exp(-0.15 * apart)
    elif reach is None:
        weights = np.ones((rows, columns))
    else:
        weights = (np.minimum(r, rows - r) <= reach) & (np.minimum(c, columns - c) <= reach)
    weights = weights / weights.sum()
    return Case(title, ({"weights": weights, "beta": beta, "sigma": sigma},))


VISIBLE = (
    case("everywhere equally", 6, 6, 0.4, 1.0),
    case("a token and its 8 neighbours, sigma 0.8", 8, 8, 0.4, 0.8, reach=1),
    case("uneven weights, 5 rows of 7", 5, 7, 0.3, 1.5, seed=101),
    case("uneven weights, 9 rows of 4, large beta", 9, 4, 1.2, 0.6, seed=102),
)


def one_cosine(down, right):
    return np.cos(down + right)


def measured(
    arguments,
    strength=lambda a: a["beta"] / a["sigma"],
    residual=1.0,
    turns=2.0,
    wave=one_cosine,
    sides=lambda shape: shape,
):
    """Each wave sent through the layer, place by place. The keywords let mistakes in."""
    weights = arguments["weights"]
    rows, columns = weights.shape
    r, c = np.indices((rows, columns))
    gains = np.empty((rows, columns))
    tall, wide = sides(weights.shape)
    for u in range(rows):
        for v in range(columns):
            passed = wave(turns * np.pi * u * r / tall, turns * np.pi * v * c / wide)
            gains[u, v] = residual - strength(arguments) * (weights * passed).sum()
    return (gains,)


ANSWER = Fixed(measured, ("gain",), tolerance=1e-4, floor=0.1)


def _with(**slips):
    return lambda arguments: measured(arguments, **slips)


def _product(down, right):
    return np.cos(down) * np.cos(right)


def _lessons_waves(arguments):
    """The lesson's cosines, which know edges, sent through the map of a picture without any."""
    weights = arguments["weights"]
    shifts = np.ndindex(weights.shape)
    maps = np.stack([np.roll(weights, shift, (0, 1)) for shift in shifts])  # (place, r, c)
    lines = []
    for side in weights.shape:
        n = np.arange(side)
        line = np.cos(np.pi * (n[:, None] + 0.5) * n / side)  # (place, half-waves)
        lines.append(line / np.linalg.norm(line, axis=0))
    own = np.einsum("ru,cv->rcuv", *lines)
    passed = np.einsum("prc,rcuv->puv", maps, own).reshape(own.shape)
    return (1 - arguments["beta"] / arguments["sigma"] * (own * passed).sum((0, 1)),)


def _weights_for_waves(arguments):
    return (1 - arguments["beta"] / arguments["sigma"] * arguments["weights"],)


def _unsummed(arguments):
    """The transform divided by the number of tokens, as some libraries do."""
    count = arguments["weights"].size
    return measured(arguments, strength=lambda a: a["beta"] / a["sigma"] / count)


def _magnitude(arguments):
    """|λ| in place of λ."""
    ratio = arguments["beta"] / arguments["sigma"]
    return (1 - np.abs(1 - measured(arguments)[0]) * np.sign(ratio),)


def _orthonormal(arguments):
    root = np.sqrt(arguments["weights"].size)
    return measured(arguments, strength=lambda a: a["beta"] / a["sigma"] / root)


MISTAKES = ANSWER.diagnoses(
    Mistake(
        "no-sigma",
        "It has no sigma in it: 1 − beta λ. The layer reads x / sigma.",
        1,
        _with(strength=lambda a: a["beta"]),
    ),
    Mistake(
        "times-sigma",
        "It multiplies by sigma. LayerNorm divides by it.",
        1,
        _with(strength=lambda a: a["beta"] * a["sigma"]),
    ),
    Mistake(
        "power-of-sigma",
        "sigma came in as its square, or as its root. LayerNorm divides by the standard deviation, "
        "and that is sigma itself.",
        1,
        (
            _with(strength=lambda a: a["beta"] / a["sigma"] ** 2),
            _with(strength=lambda a: a["beta"] / a["sigma"] ** 0.5),
        ),
    ),
    Mistake(
        "residual-scaled",
        "The residual has a sigma in it. The layer adds to the tokens as they are, before they are "
        "normalised: there all of a wave stays.",
        1,
        (
            altered(_with(strength=lambda a: a["beta"]), lambda each, a: each / a["sigma"]),
            altered(measured, lambda each, a: each * a["sigma"]),
        ),
    ),
    Mistake("no-beta", "beta has no effect.", 1, _with(strength=lambda a: 1 / a["sigma"])),
    Mistake(
        "plus",
        "The sign is that of W_V W_proj = +βI: the layer adds what it looks at.",
        1,
        _with(strength=lambda a: -a["beta"] / a["sigma"]),
    ),
    Mistake(
        "no-residual",
        "The residual is missing: it is what attention adds, not what comes out.",
        1,
        _with(residual=0.0),
    ),
    Mistake(
        "attention-alone",
        "It is what attention passes on, λ. The layer is 1 − (beta / sigma) λ.",
        1,
        _with(strength=lambda a: -1.0, residual=0.0),
    ),
    Mistake(
        "weights-for-waves",
        "It takes the weights at (u, v) for what the wave (u, v) keeps. One is a place, the other "
        "a wave.",
        2,
        _weights_for_waves,
    ),
    Mistake(
        "half-waves",
        "Its waves are half as fine, as the lesson's cosines were. Without edges a wave has u "
        "*whole* turns from top to bottom.",
        2,
        (_with(turns=1.0), _with(turns=1.0, wave=_product), _lessons_waves),
    ),
    Mistake(
        "two-cosines",
        "A cosine for the rows is multiplied by one for the columns. The wave is one cosine, of "
        "both angles added up.",
        2,
        _with(wave=_product),
    ),
    Mistake(
        "sides-exchanged",
        "u r is divided by the number of columns, and v c by that of rows. Each direction has its "
        "own length.",
        2,
        _with(sides=lambda shape: shape[::-1]),
    ),
    Mistake(
        "no-turn",
        "The 2π is missing: u = 1 should be one whole turn from top to bottom.",
        2,
        _with(turns=1 / np.pi),
    ),
    Mistake(
        "squared",
        "It is the gain of the energy: the gain, squared.",
        1,
        altered(measured, lambda each, a: each**2),
    ),
    Mistake(
        "without-sign",
        "It is the gain without its sign. A wave may come out turned over.",
        1,
        altered(measured, lambda each, a: np.abs(each)),
    ),
    Mistake(
        "magnitude",
        "It takes λ without its sign. Attention may turn a wave over.",
        3,
        _magnitude,
    ),
    Mistake(
        "divided-by-tokens",
        "λ is divided by the number of tokens, or by its root. λ(0, 0) should be 1.",
        3,
        (_unsummed, _orthonormal),
    ),
    Mistake(
        "centre-moved",
        "The waves are in another order: the mean, (0, 0), has been moved to the middle.",
        3,
        altered(measured, lambda each, a: np.fft.fftshift(each)),
    ),
    Mistake(
        "not-as-asked",
        "beta and sigma are exchanged.",
        1,
        changed(measured, beta=lambda a: a["sigma"], sigma=lambda a: a["beta"]),
    ),
)


QUESTION = Question(
    id="wave-gain",
    function="wave_gain",
    signature="wave_gain(weights, beta, sigma)",
    lesson="03",
    points=4,
    minutes=20,
    difficulty=3,
    statement=STATEMENT,
    visible=VISIBLE,
    hidden=3,
    judge=ANSWER.judge,
    hints=HINTS,
    diagnoses=MISTAKES,
    tolerates="a Fourier transform, sums of cosines, waves sent through a whole attention map, "
    "float64",
    first_hints={"shape": 3},
)
