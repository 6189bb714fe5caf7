"""What makes a run evidence: the part of benchmarks/PROTOCOL.md that code can hold runs to.

Final runs read the test set, so nothing about them may still be open: they take a committed
recipe, a learning rate that was chosen on validation images, and a seed that tuning never used.
"""

import re

from minivit.bases import BASES
from minivit.recipes import SCALES
from minivit.records import current_commit
from minivit.variants import parse_variant, vary

FINAL_SEEDS = (0, 1, 2, 3, 4)
FIRST_TUNING_SEED = 100
# scale → base → attention → the best of the grid for this arm, by `python -m benchmarks.rates`.
# An arm that is not named was not tuned: it takes plain's rate or mimetic's.
RATES = {
    "laptop": {
        "torch_default": dict.fromkeys(
            ("plain", "norm_matched", "rotated", "mimetic", "impulse"), 1e-3
        ),
        "vit_trunc_normal": dict.fromkeys(("plain", "norm_matched", "rotated", "mimetic"), 1e-3),
    }
}


def rates(scale, base, attention, variant=""):
    """Returns (own, plain's): the learning rates at which this arm may be run as final.

    A scale that has no entry in RATES is not tuned; there both are its recipe's. A variant that
    names a rate was chosen with it, on validation images, so there both are that. Raises ValueError
    for an unknown base and for one on which the tuning of its scale is not done yet.
    """
    if base not in BASES:
        raise ValueError(f"base is {base!r}; it must be one of {', '.join(BASES)}")
    named = parse_variant(variant).get("learning_rate")
    if named is not None:
        return float(named), float(named)
    if scale not in RATES:
        rate = SCALES[scale].training.learning_rate
        return rate, rate
    if not is_chosen(scale, base):
        raise ValueError(f"{base}: no learning rate was chosen yet at scale {scale}")
    chosen = RATES[scale][base]
    return chosen.get(attention, chosen["mimetic"]), chosen["plain"]


def is_chosen(scale, base):
    """Whether the learning rates of a scale are settled on this base."""
    return scale not in RATES or base in RATES[scale]


def check_role(role, recipe, arm):
    """Raises ValueError where the protocol does not let `arm` run on `recipe` in this role.

    recipe: the scale's, before the arm's variant and learning rate are put in. In any role its name
    has to be one that a record takes, since a run whose record is refused would be lost.
    """
    if not re.fullmatch(r"\w+", recipe.name):
        raise ValueError(f"the recipe's name is {recipe.name!r}; take letters, digits and _")
    if role == "tuning" and arm.seed < FIRST_TUNING_SEED:
        raise ValueError(f"seed {arm.seed} is for final runs; tuning takes {FIRST_TUNING_SEED} up")
    if role != "final":
        return
    if not 0 <= arm.seed < FIRST_TUNING_SEED:
        raise ValueError(f"seed {arm.seed}: final runs take 0 to {FIRST_TUNING_SEED - 1}")
    if SCALES.get(recipe.name) != recipe:
        raise ValueError(f"a final run takes a committed recipe; {recipe.name!r} here is another")
    rate = vary(recipe, arm.variant, arm.learning_rate).training.learning_rate
    accepted = sorted({*rates(recipe.name, arm.base, arm.attention, arm.variant)})
    if rate not in accepted:
        raise ValueError(
            f"{arm.base}, {arm.attention}: learning rate {rate:g}; on validation images "
            f"{' and '.join(f'{r:g}' for r in accepted)} was chosen for final runs"
        )
    commit, dirty = current_commit()
    if dirty:
        raise ValueError(f"minivit differs from commit {commit}; commit before a final run")
