"""Key of sick-layer."""

import numpy as np
import torch
import torch.nn.functional as F

from minivit.checks.question import Case
from minivit.checks.questions.sick_layer import QUESTION, patient, table
from minivit.model import sincos_positions
from teaching.keys import hunt
from teaching.keys.key import Key, Mutant

NAMES = ("content", "positions", "qk", "ov")


def treat(content, positions, qk, ov, grid):
    eye = torch.eye(len(ov))
    table = sincos_positions(grid, len(ov))
    if not torch.allclose(positions, table, atol=1e-3):
        return 1, content, table, qk, ov
    if content.std() > 2:
        return 2, content / 8, positions, qk, ov
    if torch.linalg.matrix_norm(qk, 2).max() > 8:
        return 3, content, positions, qk / 10, ov
    if ov.diagonal().mean() > 0:
        return 4, content, positions, qk, ov - 0.8 * eye
    return 0, content, positions, qk, ov


# Correct, and different.


def by_symptoms(content, positions, qk, ov, grid):
    """As the lesson looks at a layer: where each kind of token looks, and how sharply."""
    dim, heads = len(ov), len(qk)
    number = torch.arange(grid**2)
    row, column = number // grid, number % grid
    near = torch.maximum((row[:, None] - row).abs(), (column[:, None] - column).abs()) <= 1

    def look(tokens):
        y = F.layer_norm(tokens, (dim,))
        maps = (y @ qk @ y.T / (dim // heads) ** 0.5).softmax(-1)
        entropy = -(maps * maps.clamp_min(1e-30).log()).sum(-1).mean()
        return (maps * near).sum(-1).mean(), entropy.exp()

    fault = torch.tensor(0)
    mass, attended = look(positions)
    if ov.trace() > 0:
        fault, ov = torch.tensor(4), ov - 0.8 * torch.eye(dim)
    elif (content - content.mean(1, keepdim=True)).square().mean() > 4:
        fault, content = torch.tensor(2), content / 8
    elif attended < 4:
        fault, qk = torch.tensor(3), qk / 10
    elif mass < 1.4 * near.float().mean():
        fault, positions = torch.tensor(1), sincos_positions(grid, dim)
    return fault, content, positions, qk, ov


def sorted_back(content, positions, qk, ov, grid):
    """Each row of the table looks for its own among the rows that came in; all in float64."""
    content, positions, qk, ov = (each.double() for each in (content, positions, qk, ov))
    order = torch.cdist(sincos_positions(grid, len(ov)).double(), positions).argmin(1)
    back = positions[order]
    if not torch.equal(order, torch.arange(grid**2)):
        return [1, content, back, qk, ov]
    if content.abs().mean() > 1.5:
        return [2, content * 0.125, back, qk, ov]
    if qk.square().sum() > 50 * len(ov):
        return [3, content, back, qk * 0.1, ov]
    off = torch.diag_embed(torch.full((len(ov),), 0.8, dtype=torch.float64))
    return [4, content, back, qk, ov - off] if ov.trace() > 0 else [0, content, back, qk, ov]


def in_numpy(content, positions, qk, ov, grid):
    content, positions, qk, ov = (each.numpy().copy() for each in (content, positions, qk, ov))
    table = sincos_positions(grid, len(ov)).numpy()
    ill = [
        False,
        np.abs(positions - table).max() > 0.1,
        content.std() > 1.5,
        np.abs(qk).max() > 4,
        np.trace(ov) > 0,
    ]
    ov[np.diag_indices(len(ov))] -= 0.8 * ill[4]
    mended = content / (8 if ill[2] else 1), table, qk / (10 if ill[3] else 1), ov
    return int(np.argmax(ill)), *mended


# Wrong.


def always_healthy(content, positions, qk, ov, grid):
    return 0, content, positions, qk, ov


def treats_everybody(content, positions, qk, ov, grid):
    fault = treat(content, positions, qk, ov, grid)[0]
    table = sincos_positions(grid, len(ov))
    return fault, content / 8, table, qk / 10, ov - 0.8 * torch.eye(len(ov))


def shuffled_for_loud(content, positions, qk, ov, grid):
    answer = treat(content, positions, qk, ov, grid)
    return (2, content / 8, positions, qk, ov) if answer[0] == 1 else answer


def loud_for_shuffled(content, positions, qk, ov, grid):
    answer = treat(content, positions, qk, ov, grid)
    table = sincos_positions(grid, len(ov))
    return (1, content, table, qk, ov) if answer[0] == 2 else answer


def healthy_for_sharp(content, positions, qk, ov, grid):
    fault, *tensors = treat(content, positions, qk, ov, grid)
    return (3, content, positions, qk / 10, ov) if fault == 0 else (fault, *tensors)


def of_mean(ov, **rest):
    """Its mean diagonal brought to −0.4."""
    return ov - (ov.diagonal().mean() + 0.4) * torch.eye(len(ov))


def with_diagonal(ov, **rest):
    return ov - torch.diag(ov.diagonal()) - 0.4 * torch.eye(len(ov))


def exchanged(**patient):
    fault, content, positions, *products = treat(**patient)
    return fault, positions, content, *products


def misnamed(**patient):
    """All is mended, with the names of faults 1 and 2 exchanged."""
    fault, *tensors = treat(**patient)
    return {1: 2, 2: 1}.get(fault, fault), *tensors


def moved_together(content, positions, grid, **rest):
    """Tokens are sorted where only the positions were to be."""
    fault, _, table, *products = treat(content, positions, grid=grid, **rest)
    order = torch.cdist(table, positions).argmin(1) if fault == 1 else torch.arange(grid**2)
    return fault, content[order], table, *products


def hidden(rng):
    """Two patients a case, so that each fault comes at least once; no size that is visible.

    The content is as loud as it may be without being ill, and where it is ill as quiet. The first
    row of shuffled positions stays where it was.
    """
    sizes = [(9, 36, 3), (7, 48, 3), (8, 40, 4)]
    rng.shuffle(sizes)
    cases = []
    for faults, (grid, dim, heads) in zip(((1, 2), (3, 4), (0, 4)), sizes, strict=True):
        calls = [_clear_case(rng, fault, grid=grid, dim=dim, heads=heads) for fault in faults]
        cases.append(Case(f"two patients, {grid} × {grid} patches, width {dim}", tuple(calls)))
    return tuple(cases)


def _clear_case(rng, fault, **size):
    """Drawn anew where the fault hardly shows in the lesson's own diagnostics."""
    while True:
        call = patient(fault, int(rng.integers(2**32)), **size)
        loud = 8 * 0.56 if fault == 2 else 0.84
        call["content"] *= loud / call["content"].std()
        if fault == 1:
            others = 1 + rng.permutation(size["grid"] ** 2 - 1)
            call["positions"] = table(size["grid"], size["dim"])[[0, *others]]
        parts = {k: torch.from_numpy(v).float() for k, v in call.items() if k in NAMES}
        if by_symptoms(**parts, grid=size["grid"])[0] == fault:
            return call


KEY = Key(
    question=QUESTION,
    reference=treat,
    hidden=hidden,
    alternatives={
        "by its symptoms": by_symptoms,
        "positions sorted back, float64": sorted_back,
        "numpy, all suspects at once": in_numpy,
    },
    mutants=(
        Mutant("everybody is healthy", always_healthy, "shuffle-missed"),
        Mutant("every treatment for everybody", treats_everybody, "treats-everybody"),
        Mutant("named, not mended", hunt.named_not_mended(treat, NAMES), "named-not-mended"),
        Mutant("mended, not named", hunt.mended_not_named(treat), "mended-not-named"),
        Mutant("counted from one", hunt.counted_from_one(treat), "misnamed"),
        Mutant("two names exchanged", misnamed, "misnamed"),
        Mutant("content and positions exchanged", exchanged, "out-of-order"),
        Mutant("shuffled positions missed", hunt.missing(treat, NAMES, 1), "shuffle-missed"),
        Mutant("loud content missed", hunt.missing(treat, NAMES, 2), "loud-missed"),
        Mutant("large qk missed", hunt.missing(treat, NAMES, 3), "sharp-missed"),
        Mutant("+I in ov missed", hunt.missing(treat, NAMES, 4), "sign-missed"),
        Mutant("shuffled positions called loud", shuffled_for_loud, "loud-and-shuffled"),
        Mutant("loud content called shuffled", loud_for_shuffled, "loud-and-shuffled"),
        Mutant("health called a large qk", healthy_for_sharp, "healthy-treated"),
        Mutant("−ov", hunt.instead(treat, 4, 4, lambda ov, **rest: -ov), "turned-over"),
        Mutant(
            "ov − 0.4 I",
            hunt.instead(treat, 4, 4, lambda ov, **rest: ov - 0.4 * torch.eye(len(ov))),
            "identity-taken-out",
        ),
        Mutant(
            "content normalised",
            hunt.instead(
                treat, 2, 1, lambda content, **rest: F.layer_norm(content, content.shape[1:])
            ),
            "normalised",
        ),
        Mutant("ov with a mean of −0.4", hunt.instead(treat, 4, 4, of_mean), "diagonal-set"),
        Mutant("−0.4 on the diagonal", hunt.instead(treat, 4, 4, with_diagonal), "diagonal-set"),
        Mutant(
            "content brought to 0.7",
            hunt.instead(treat, 2, 1, lambda content, **rest: 0.7 * content / content.std()),
            "another-factor",
        ),
        Mutant(
            "qk brought to 2",
            hunt.instead(
                treat, 3, 3, lambda qk, **rest: 2 * qk / torch.linalg.matrix_norm(qk, 2).max()
            ),
            "another-factor",
        ),
        Mutant(
            "qk / √10", hunt.instead(treat, 3, 3, lambda qk, **rest: qk / 10**0.5), "root-of-ten"
        ),
        Mutant(
            "no positions",
            hunt.instead(treat, 1, 2, lambda positions, **rest: 0 * positions),
            "positions-taken-out",
        ),
        Mutant("content in another order too", moved_together, "content-moved-too"),
        Mutant("in place", hunt.in_place(treat, NAMES), "untouched"),
        Mutant("the number alone", hunt.only_the_number(treat), "kind"),
    ),
)
