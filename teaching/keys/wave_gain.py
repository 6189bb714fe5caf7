"""Key of wave-gain."""

import math
from functools import partial

import numpy as np
import torch

from minivit.checks.questions.wave_gain import QUESTION, case
from teaching.keys.key import Key, Mutant


def wave_gain(weights, beta, sigma):
    return 1 - beta / sigma * torch.fft.fft2(weights).real


# Correct, and different.


def by_loops(weights, beta, sigma):
    rows, columns = weights.shape
    gains = torch.zeros(rows, columns, dtype=torch.float64)
    for u in range(rows):
        for v in range(columns):
            passed = 0.0
            for r in range(rows):
                for c in range(columns):
                    angle = 2 * math.pi * (u * r / rows + v * c / columns)
                    passed += weights[r, c].item() * math.cos(angle)
            gains[u, v] = 1 - beta * passed / sigma
    return gains


def through_a_map(weights, beta, sigma):
    """The whole attention map, and every wave through the layer as the lesson writes it."""
    rows, columns = weights.shape
    number = torch.arange(rows * columns)
    r, c = number // columns, number % columns
    A = weights[(r - r[:, None]) % rows, (c - c[:, None]) % columns]
    angle = r[:, None] * r / rows + c[:, None] * c / columns
    waves = (2 * math.pi * angle).cos()  # (wave, place)
    out = waves - beta * waves / sigma @ A.T
    return ((out * waves).sum(1) / waves.square().sum(1)).view(rows, columns)


def by_matrices(weights, beta, sigma):
    """cos(a + b) = cos a cos b − sin a sin b, in numpy."""
    turns = [2 * np.pi * np.outer(np.arange(n), np.arange(n)) / n for n in weights.shape]
    own = weights.numpy()
    passed = np.cos(turns[0]) @ own @ np.cos(turns[1]) - np.sin(turns[0]) @ own @ np.sin(turns[1])
    return 1 - beta / sigma * passed


# Wrong.


def passes(weights):
    return torch.fft.fft2(weights).real


def no_sigma(weights, beta, sigma):
    return 1 - beta * passes(weights)


def times_sigma(weights, beta, sigma):
    return 1 - beta * sigma * passes(weights)


def variance(weights, beta, sigma):
    return 1 - beta / sigma**2 * passes(weights)


def root_of_sigma(weights, beta, sigma):
    return 1 - beta / sigma**0.5 * passes(weights)


def all_normalised(weights, beta, sigma):
    """Adds to the normalised tokens."""
    return (1 - beta * passes(weights)) / sigma


def scaled_back(weights, beta, sigma):
    return sigma - beta * passes(weights)


def no_beta(weights, beta, sigma):
    return 1 - passes(weights) / sigma


def plus(weights, beta, sigma):
    return 1 + beta / sigma * passes(weights)


def no_residual(weights, beta, sigma):
    return -beta / sigma * passes(weights)


def attention_alone(weights, beta, sigma):
    return passes(weights)


def weights_for_waves(weights, beta, sigma):
    return 1 - beta / sigma * weights


def half_waves(weights, beta, sigma):
    rows, columns = weights.shape
    u, v = torch.arange(rows), torch.arange(columns)
    down = torch.pi * (u[:, None] * u / rows)
    right = torch.pi * (v[:, None] * v / columns)
    waves = (down[:, None, :, None] + right[None, :, None, :]).cos()
    return 1 - beta / sigma * (waves * weights).sum((2, 3))


def summed(weights, beta, sigma, *, turn=2 * torch.pi, join=lambda a, b: (a + b).cos(), sides=None):
    """The sum of cosines, with one step replaced."""
    tall, wide = sides or weights.shape
    u, v = (torch.arange(size) for size in weights.shape)
    down, right = turn * (u[:, None] * u / tall), turn * (v[:, None] * v / wide)
    waves = join(down[:, None, :, None], right[None, :, None, :])
    return 1 - beta / sigma * (waves * weights).sum((2, 3))


def product(down, right):
    return down.cos() * right.cos()


def sides_exchanged(weights, beta, sigma):
    return summed(weights, beta, sigma, sides=weights.shape[::-1])


def lessons_waves(weights, beta, sigma):
    """What each wave of the lesson keeps, with the map of every place."""
    rows, columns = weights.shape
    places = [(r, c) for r in range(rows) for c in range(columns)]
    A = torch.stack([weights.roll(place, (0, 1)).flatten() for place in places])
    lines = []
    for side in (rows, columns):
        n = torch.arange(side)
        line = torch.cos(torch.pi * (n[:, None] + 0.5) * n / side)
        lines.append(line / line.norm(dim=0))
    W = torch.einsum("ru,cv->uvrc", *lines).flatten(2).flatten(0, 1)  # (wave, place)
    return 1 - beta / sigma * ((W @ A.T) * W).sum(1).view(rows, columns)


def squared(weights, beta, sigma):
    return wave_gain(weights, beta, sigma) ** 2


def without_sign(weights, beta, sigma):
    return wave_gain(weights, beta, sigma).abs()


def magnitude(weights, beta, sigma):
    return 1 - beta / sigma * torch.fft.fft2(weights).abs()


def divided(weights, beta, sigma):
    return 1 - beta / sigma * torch.fft.fft2(weights, norm="forward").real


def orthonormal(weights, beta, sigma):
    return 1 - beta / sigma * torch.fft.fft2(weights, norm="ortho").real


def centred(weights, beta, sigma):
    return torch.fft.fftshift(wave_gain(weights, beta, sigma))


def exchanged(weights, beta, sigma):
    return 1 - sigma / beta * passes(weights)


def half_a_spectrum(weights, beta, sigma):
    return 1 - beta / sigma * torch.fft.rfft2(weights).real


def complex_numbers(weights, beta, sigma):
    return 1 - beta / sigma * torch.fft.fft2(weights)


def one_direction(weights, beta, sigma):
    return 1 - beta / sigma * torch.fft.fft(weights, dim=1).real


def normalises(weights, beta, sigma):
    weights /= weights.max()
    return wave_gain(weights, beta, sigma)


def hidden(rng):
    """Grids that are not square; beta and sigma whose quotient, product and order all differ."""
    cases = []
    for number in range(QUESTION.hidden):
        rows, columns = 4 + rng.choice(7, size=2, replace=False)
        beta = float(rng.uniform(1.3, 2.0) if number == 0 else rng.uniform(0.2, 0.6))
        sigma = float(rng.uniform(0.6, 0.85) if number < 2 else rng.uniform(1.3, 2.0))
        title = f"{rows} rows of {columns}, beta {beta:.2f}, sigma {sigma:.2f}"
        seed = int(rng.integers(2**32))
        cases.append(case(title, int(rows), int(columns), beta, sigma, seed))
    return tuple(cases)


KEY = Key(
    question=QUESTION,
    reference=wave_gain,
    hidden=hidden,
    alternatives={
        "loops, float64": by_loops,
        "waves through a whole map": through_a_map,
        "cosines and sines, numpy": by_matrices,
    },
    mutants=(
        Mutant("no sigma", no_sigma, "no-sigma"),
        Mutant("times sigma", times_sigma, "times-sigma"),
        Mutant("beta / sigma²", variance, "power-of-sigma"),
        Mutant("beta / √sigma", root_of_sigma, "power-of-sigma"),
        Mutant("the residual divided by sigma", all_normalised, "residual-scaled"),
        Mutant("the residual times sigma", scaled_back, "residual-scaled"),
        Mutant("no beta", no_beta, "no-beta"),
        Mutant("plus", plus, "plus"),
        Mutant("no residual", no_residual, "no-residual"),
        Mutant("λ alone", attention_alone, "attention-alone"),
        Mutant("weights for waves", weights_for_waves, "weights-for-waves"),
        Mutant("half-waves", half_waves, "half-waves"),
        Mutant(
            "products of half-waves", partial(summed, turn=torch.pi, join=product), "half-waves"
        ),
        Mutant("the lesson's waves", lessons_waves, "half-waves"),
        Mutant("cosines multiplied", partial(summed, join=product), "two-cosines"),
        Mutant("rows and columns exchanged", sides_exchanged, "sides-exchanged"),
        Mutant("no 2π", partial(summed, turn=1.0), "no-turn"),
        Mutant("squared", squared, "squared"),
        Mutant("the sign of the gain lost", without_sign, "without-sign"),
        Mutant("the sign of λ lost", magnitude, "magnitude"),
        Mutant("divided by the number of tokens", divided, "divided-by-tokens"),
        Mutant("divided by its root", orthonormal, "divided-by-tokens"),
        Mutant("the mean in the middle", centred, "centre-moved"),
        Mutant("sigma / beta", exchanged, "not-as-asked"),
        Mutant("half a spectrum", half_a_spectrum, "shape"),
        Mutant("complex numbers", complex_numbers, "dtype"),
        Mutant("waves along the columns alone", one_direction, "gain"),
        Mutant("normalises its input", normalises, "untouched"),
    ),
)
