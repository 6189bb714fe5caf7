"""The final runs: what is planned, in which order, and the command that makes what is missing.

`python -m benchmarks.study` goes through the plan and writes each finished run into
minivit/records; it may be stopped and started at any time. `--list` says how far it is.
"""

import argparse
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import minivit
from minivit.compare import DEFAULT_ARMS, Arm, compare, prepare
from minivit.data import cifar10
from minivit.init import BASES
from minivit.protocol import FINAL_SEEDS, is_chosen, rates
from minivit.recipes import LAPTOP
from minivit.records import load_records

FOLDER = Path(minivit.__file__).parent / "records"
BETTER = "torch_default"  # plain does better on it: benchmarks/records/recipe_search
PAIR = ("plain", "mimetic")


@dataclass(frozen=True, kw_only=True)
class Question:
    """One block of the plan: every arm × variant × seed, one seed after the other."""

    name: str
    arms: tuple = PAIR
    bases: tuple = (BETTER,)
    variants: tuple = ("",)
    seeds: tuple = FINAL_SEEDS
    rates: str = "own"  # "own": each arm's best; "plain": plain's best on this base

    def rate(self, base, arm, variant):
        """The learning rate of an arm; None where none was chosen yet."""
        if not is_chosen("laptop", base):
            return None
        return rates("laptop", base, arm, variant)[self.rates == "plain"]

    def runs(self):
        return [
            Arm(
                base=base,
                attention=arm,
                seed=seed,
                variant=variant,
                learning_rate=self.rate(base, arm, variant),
            )
            for seed in self.seeds
            for variant in self.variants
            for base in self.bases
            for arm in self.arms
        ]


# Equal numbers of steps, but for the images that do not fill the last batch of an epoch.
DATA_SIZES = tuple(
    f"subset={subset},epochs={epochs}"
    for subset, epochs in ((2250, 40), (4500, 20), (11250, 8), (22500, 4), (45000, 2))
)
# The factor on the patch embedding that is best for each arm: `python -m benchmarks.patch_scale`.
LOUDEST = {"plain": "patch_scale=4", "mimetic": "patch_scale=4"}
# Factors on W_Q W_Kᵀ. With them logits of rotated and plain spread as mimetic's do at the start,
# and mimetic's as rotated's (`python -m benchmarks.logit_spread`).
EQUAL = {"rotated": "qk_scale=2.6", "plain": "qk_scale=9", "mimetic": "qk_scale=0.36"}
# A factor on all that enters the first block. With it plain's tokens are on average as small as
# mimetic's at the start, and mimetic's as large as rotated's (`python -m benchmarks.token_size`).
EQUAL_TOKENS = {
    "plain": "patch_scale=0.4,position_scale=0.4",
    "mimetic": "patch_scale=2.1,position_scale=2.1",
}
# The table less what all patches share, as large as the whole (`python -m benchmarks.token_size`).
CENTRED = "positions=centred,position_scale=1.86"
# CENTRED changes two things; each alone: the table as large as there, and it minus its mean.
SCALED, ONLY_CENTRED = "position_scale=1.86", "positions=centred"
# The same where the patch embedding is best: what patches share is then mostly the image's.
LOUD_CENTRED = f"{ONLY_CENTRED},{LOUDEST['mimetic']}"
# With either mimetic ended below plain.
SMALL_POSITIONS = ("positions=learned", "position_scale=0.04")
# All images and 4.5 times the recipe's steps: plain's and rotated's turn at `time_to`'s recipe.
LONG = "subset=45000,epochs=6"
# The arms at the rate that is best for them there: `python -m benchmarks.long_rates`.
BEST_LONG = {"plain": f"{LONG},learning_rate=0.003", "mimetic": LONG}
# The recipe `full` takes a GPU: its runs are made by `benchmarks.gpu_queue`, not here.
FULL_ARMS, FULL_SEEDS = ("plain", "mimetic", "rotated"), FINAL_SEEDS[:3]
PLAN = (
    Question(name="structure or size", arms=DEFAULT_ARMS, bases=tuple(BASES)),
    Question(name="the same at plain's rate", arms=DEFAULT_ARMS, bases=tuple(BASES), rates="plain"),
    Question(name="which half", arms=("qk_only", "ov_only", "ov_flipped")),
    Question(name="impulse", arms=(*PAIR, "impulse")),
    Question(name="shuffled positions", variants=("positions=shuffled",)),
    Question(name="learned positions", variants=("positions=learned",)),
    Question(name="size of the positions", variants=("position_scale=0.04",)),
    Question(name="class token", variants=("pool=cls",)),
    Question(name="patch embedding", variants=("patch_scale=0.25", LOUDEST["plain"])),
    Question(name="number of heads", variants=("heads=1", "heads=4", "heads=8")),
    Question(
        name="controls where the patch embedding is best",
        arms=("norm_matched", "rotated"),
        variants=(LOUDEST["mimetic"],),
    ),
    *(
        Question(name=f"equal logits, {arm}", arms=(arm,), variants=(variant,))
        for arm, variant in EQUAL.items()
    ),
    Question(name="data size", variants=DATA_SIZES, seeds=FINAL_SEEDS[:3]),
    Question(name="longer training", arms=(*PAIR, "rotated"), variants=(LONG,)),
    *(
        Question(name=f"equal tokens, {arm}", arms=(arm,), variants=(variant,))
        for arm, variant in EQUAL_TOKENS.items()
    ),
    Question(name="a control with small positions", arms=("rotated",), variants=SMALL_POSITIONS),
    Question(name="nothing shared", arms=("plain", "rotated", "mimetic"), variants=(CENTRED,)),
    Question(name="scaled or not shared", variants=(SCALED, ONLY_CENTRED)),
    Question(
        name="larger tokens for all",
        arms=("plain", "rotated"),
        variants=(EQUAL_TOKENS["mimetic"],),
    ),
    Question(
        name="which half, nothing shared",
        arms=("qk_only", "ov_only", "rotated"),
        variants=(ONLY_CENTRED,),
    ),
    Question(name="nothing shared, patch embedding", variants=(LOUD_CENTRED,)),
    Question(
        name="longer training at plain's best rate",
        arms=("plain",),
        variants=(BEST_LONG["plain"],),
    ),
)


def main():
    parser = argparse.ArgumentParser(description="the final runs of the plan that are missing")
    parser.add_argument("--list", action="store_true", help="only say how far it is")
    if parser.parse_args().list:
        return print(progress(load_records()))
    task = prepare(LAPTOP, cifar10(), FOLDER, role="final")
    arms = dict.fromkeys(arm for question in PLAN for arm in question.runs())
    compare([arm for arm in arms if arm.learning_rate is not None], task, progress=say)


def at_laptop(records):
    """The final runs of the scale that this plan is for."""
    return [r for r in records if (r.role, r.scale) == ("final", LAPTOP.name)]


def missing(question, records):
    """The planned runs of a question that have no record."""
    done = Counter(map(_key, at_laptop(records)))
    return [arm for arm in question.runs() if not done[_key(arm)]]


def progress(records):
    """A line for each question of the plan: how many of its runs have a record."""
    rows = ((q.name, len(q.runs()), len(missing(q, records))) for q in PLAN)
    return "\n".join(f"{name:<30}{total - left:>4} of {total}" for name, total, left in rows)


def _key(run):
    return run.base, run.attention, run.variant, run.learning_rate, run.seed


def say(arm, epoch):
    where = f"{arm.base} {arm.attention} {arm.variant or '–'} {arm.learning_rate:g} {arm.seed}"
    print(f"{where} epoch {epoch.epoch}: {100 * epoch.validation_accuracy:.1f} %", flush=True)


if __name__ == "__main__":
    main()
