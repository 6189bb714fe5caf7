"""What FINDINGS.md states: each sentence says that a contrast of final runs is positive."""

from typing import NamedTuple

from benchmarks.runs import Runs, contrast
from benchmarks.study import (
    BEST_LONG,
    BETTER,
    CENTRED,
    DATA_SIZES,
    EQUAL,
    EQUAL_TOKENS,
    LONG,
    LOUD_CENTRED,
    LOUDEST,
    ONLY_CENTRED,
    SCALED,
    SMALL_POSITIONS,
)
from benchmarks.wording import DURING, HALF, LAST, NEAR, SEEN, VARIANTS, images, length, size
from minivit import evidence
from minivit.evidence import points
from minivit.init import BASES
from minivit.recipes import FULL


class Statement(NamedTuple):
    """A sentence that says a contrast is positive, and that contrast (None: too few runs)."""

    text: str
    contrast: tuple | None


def statements(records):
    """Every statement that is tested, in order."""
    runs = Runs(records)
    made = []
    for base in BASES:
        for arm, over, words in (
            ("mimetic", "plain", "mimetic ends higher than plain"),
            ("norm_matched", "plain", "larger weights alone (norm-matched) end higher than plain"),
            (
                "rotated",
                "plain",
                "mimetic's singular values without its alignment (rotated) end higher than plain",
            ),
            ("mimetic", "norm_matched", "mimetic ends higher than norm-matched"),
            ("mimetic", "rotated", "mimetic ends higher than rotated"),
        ):
            made.append(Statement(f"On {base}, {words}.", runs.gain(arm, over, base=base)))
    weak = next(base for base in BASES if base != BETTER)
    more = contrast(
        [runs("mimetic", base=weak), runs("plain")], [runs("plain", base=weak), runs("mimetic")]
    )
    made += [
        Statement(f"Mimetic gains more over plain on {weak} than on {BETTER}.", more),
        Statement("QK alone ends higher than plain.", runs.gain("qk_only")),
        Statement("OV alone ends higher than plain.", runs.gain("ov_only")),
        Statement("Both halves end higher than QK alone.", runs.gain("mimetic", "qk_only")),
        Statement("Both halves end higher than OV alone.", runs.gain("mimetic", "ov_only")),
        Statement("−I in OV ends higher than +I in OV.", runs.gain("mimetic", "ov_flipped")),
        Statement(
            "With +I in OV, the rest of mimetic still ends higher than plain.",
            runs.gain("ov_flipped"),
        ),
        Statement("Impulse ends higher than plain.", runs.gain("impulse")),
        Statement("Impulse ends higher than mimetic.", runs.gain("impulse", "mimetic")),
        Statement(
            "Positions in their places let plain end higher than shuffled ones.",
            contrast([runs("plain")], [runs("plain", "positions=shuffled")]),
        ),
        Statement(
            "With shuffled positions (near ones not alike), mimetic still ends higher than plain.",
            runs.gain(variant="positions=shuffled"),
        ),
        Statement(
            "Mimetic gains more with positions in their places than with shuffled ones.",
            runs.excess("", "positions=shuffled"),
        ),
        Statement(
            "Mimetic gains more with the sin-cos table as it is than with the table × 0.04. "
            + DURING,
            runs.excess("", "position_scale=0.04"),
        ),
    ]
    for variant in [v for v in VARIANTS if v not in ("", "positions=shuffled")]:
        asked = f" {LAST}" * (variant in (CENTRED, SCALED, ONLY_CENTRED, LOUD_CENTRED))
        asked = f" {NEAR}" if variant == "position_scale=0.04" else asked
        text = f"Mimetic ends higher than plain: {VARIANTS[variant]}.{asked}"
        made.append(Statement(text, runs.gain(variant=variant)))
    # How much is one number worth?
    louder = runs("plain", LOUDEST["plain"])
    made += [
        Statement(
            f"{VARIANTS[LOUDEST['plain']].capitalize()}, and nothing else, lets plain end higher. "
            + SEEN,
            contrast([louder], [runs("plain")]),
        ),
        Statement(
            f"Mimetic as the recipe is ends higher than plain with {VARIANTS[LOUDEST['plain']]}. "
            + SEEN,
            contrast([runs("mimetic")], [louder]),
        ),
    ]
    loudest = LOUDEST["mimetic"]
    for control, words in (("norm_matched", "norm-matched"), ("rotated", "rotated")):
        text = f"Mimetic ends higher than {words}: {VARIANTS[loudest]}. {HALF}"
        made.append(Statement(text, runs.gain("mimetic", control, loudest)))
    made += _equal_logits(runs)
    made.append(
        Statement("Mimetic gains more with 1 head than with 8.", runs.excess("heads=1", "heads=8"))
    )
    for part in DATA_SIZES:
        gain = runs.gain(variant=part)
        made.append(Statement(f"Mimetic ends higher than plain on {images(part)}.", gain))
    made.append(
        Statement(
            f"Mimetic gains more on {images(DATA_SIZES[0])} than on {images(DATA_SIZES[-1])}.",
            runs.excess(DATA_SIZES[0], DATA_SIZES[-1]),
        )
    )
    best = contrast(*([runs(arm, BEST_LONG[arm])] for arm in ("mimetic", "plain")))
    text = f"Mimetic ends higher than plain after {length(LONG)}, each at its best rate. {HALF}"
    made.append(Statement(text, best))
    for control in ("plain", "rotated"):
        text = f"Mimetic ends higher than {control} after {length(LONG)}. {HALF}"
        made.append(Statement(text, runs.gain("mimetic", control, LONG)))
    made += _equal_tokens(runs)
    for variant in SMALL_POSITIONS:
        text = f"Mimetic ends higher than rotated: {VARIANTS[variant]}. {HALF}"
        made.append(Statement(text, runs.gain("mimetic", "rotated", variant)))
    return made + _nothing_shared(runs) + _larger_tokens(runs) + _full_size(records)


def strong(made):
    """The texts of those that differ from 0 also where all are asked at once (Holm, 5 %).

    Those that wait for runs count among all.
    """
    told = [each for each in made if each.contrast is not None]
    waiting = len(made) - len(told)
    kept = evidence.withstand([each.contrast for each in told], unanswered=waiting)
    return {each.text for each, is_kept in zip(told, kept, strict=True) if is_kept}


def marks(records):
    """points() with a † where the contrast is that of a statement that is `strong`."""
    made = statements(records)
    texts = strong(made)
    kept = [each.contrast for each in made if each.text in texts]
    return lambda gain: "–" if gain is None else points(gain) + " †" * (gain in kept)


def _equal_logits(runs):
    """Statements on the spread of logits at the start: is it that, and not the identity?"""
    equal = {arm: runs(arm, variant) for arm, variant in EQUAL.items()}
    times = {arm: f"W_Q W_Kᵀ × {variant.partition('=')[2]}" for arm, variant in EQUAL.items()}
    plain, rotated, mimetic = (runs(arm) for arm in ("plain", "rotated", "mimetic"))
    return [
        Statement(
            f"Mimetic ends higher than rotated whose logits spread as far ({times['rotated']}). "
            + LAST,
            contrast([mimetic], [equal["rotated"]]),
        ),
        Statement(
            "Mimetic whose logits spread no further than rotated's "
            f"({times['mimetic']}) ends higher than rotated. {LAST}",
            contrast([equal["mimetic"]], [rotated]),
        ),
        Statement(
            f"Mimetic ends higher than plain whose logits spread as far ({times['plain']}). {LAST}",
            contrast([mimetic], [equal["plain"]]),
        ),
        Statement(
            f"Logits that spread as far as mimetic's ({times['plain']}), and nothing else, let "
            f"plain end higher. {LAST}",
            contrast([equal["plain"]], [plain]),
        ),
    ]


def _equal_tokens(runs):
    """Statements on the size of tokens at the start: is it that, and not the identity?"""
    equal = {arm: runs(arm, variant) for arm, variant in EQUAL_TOKENS.items()}
    times = {arm: f"× {variant.rpartition('=')[2]}" for arm, variant in EQUAL_TOKENS.items()}
    return [
        Statement(
            f"Mimetic ends higher than plain whose tokens are as small ({times['plain']}). {LAST}",
            contrast([runs("mimetic")], [equal["plain"]]),
        ),
        Statement(
            f"Mimetic whose tokens are as large as rotated's ({times['mimetic']}) ends higher than "
            f"rotated. {LAST}",
            contrast([equal["mimetic"]], [runs("rotated")]),
        ),
        Statement(
            f"Tokens as small as mimetic's ({times['plain']}), and nothing else, let plain end "
            f"higher. {LAST}",
            contrast([equal["plain"]], [runs("plain")]),
        ),
    ]


def _nothing_shared(runs):
    """Statements on the part of the table that all patches share: does mimetic repair just that?"""
    less = {CENTRED: ", rescaled", ONLY_CENTRED: ", not rescaled"}
    return [
        *(
            Statement(
                f"Mimetic ends higher than rotated: {VARIANTS[variant]}. {LAST}",
                runs.gain("mimetic", "rotated", variant),
            )
            for variant in less
        ),
        *(
            Statement(
                f"{half} alone ends higher than plain: {VARIANTS[ONLY_CENTRED]}. {LAST}",
                runs.gain(arm, variant=ONLY_CENTRED),
            )
            for half, arm in (("QK", "qk_only"), ("OV", "ov_only"))
        ),
        *(
            Statement(
                f"{VARIANTS[variant].capitalize()}, and nothing else, let plain end higher. {LAST}",
                contrast([runs("plain", variant)], [runs("plain")]),
            )
            for variant in (CENTRED, SCALED, ONLY_CENTRED)
        ),
        *(
            Statement(
                "Mimetic gains more with the sin-cos table as it is than with the table minus its "
                f"mean over patches{words}. {LAST}",
                runs.excess("", variant),
            )
            for variant, words in less.items()
        ),
    ]


def _larger_tokens(runs):
    """Statements with one factor on what enters the first block of every arm."""
    variant = EQUAL_TOKENS["mimetic"]
    times = f"× {variant.rpartition('=')[2]} on what enters the first block of both"
    return [
        Statement(
            f"Mimetic ends higher than {arm}: {times}. {LAST}",
            runs.gain("mimetic", arm, variant),
        )
        for arm in ("plain", "rotated")
    ]


def _full_size(records):
    """Statements at the size and length that take a GPU."""
    runs, text = Runs(records, scale=FULL.name), f"at full size: {size(FULL)}. {SEEN}"
    return [
        Statement(f"Mimetic ends higher than {arm} {text}", runs.gain("mimetic", arm))
        for arm in ("plain", "rotated")
    ]
