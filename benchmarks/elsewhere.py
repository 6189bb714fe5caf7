"""FINDINGS' table of what mimetic gains where something else is made alike or changed."""

from statistics import fmean

from benchmarks import patch_scale
from benchmarks.rates import SEEDS
from benchmarks.runs import Runs, contrast, is_whole
from benchmarks.statements import marks
from benchmarks.study import (
    BETTER,
    CENTRED,
    DATA_SIZES,
    EQUAL,
    EQUAL_TOKENS,
    LONG,
    LOUD_CENTRED,
    LOUDEST,
    ONLY_CENTRED,
    PAIR,
    SCALED,
    SMALL_POSITIONS,
)
from benchmarks.wording import VARIANTS, length
from minivit.evidence import points, verdict

# Variants that change the start alone, and not the network, its images or its training.
STARTS = dict.fromkeys(
    (
        *("", "patch_scale=0.25", "positions=shuffled", CENTRED, SCALED, ONLY_CENTRED),
        *(LOUD_CENTRED, *SMALL_POSITIONS),
        *(each for variants in (LOUDEST, EQUAL, EQUAL_TOKENS) for each in variants.values()),
    )
)


def section(records):
    """The table and how to read it; "" where no row has its runs."""
    runs, mark = Runs(records), marks(records)
    rows = [
        f"| {name} | {' | '.join(map(mark, both))} |"
        for name, both in gains(runs).items()
        if both != [None, None]
    ]
    if not rows:
        return ""
    beside = "\n".join(f"- {words} {points(each)}" for words, each in _beside(runs).items() if each)
    return "\n".join(
        [
            f"## Mimetic's gain where something else is made alike or changed ({BETTER})",
            "",
            "| with | mimetic − plain | mimetic − rotated |",
            "|---|---|---|",
            f"| nothing: the recipe as it is | {' | '.join(map(mark, _gains(runs)))} |",
            *rows,
            "",
            "Most of these were asked one after the other, when earlier runs had been seen "
            "([PROTOCOL.md](PROTOCOL.md)). Some rows set kinds of processor against each other; "
            "where runs were made again on one, both stand below; the others were not made again. "
            f"Learning rates are those of the usual setting; {_loudest()} did best of "
            f"{1 + len(patch_scale.GRID)} factors in plain and in mimetic, by {len(SEEDS)} seeds "
            "on validation images. †: see the next section.",
            "" if not beside else f"\nFor comparison:\n\n{beside}",
        ]
    ).rstrip()


def gains(runs):
    """Words for a setting → [mimetic's gain over plain, over rotated]; None: too few runs."""
    small, large = EQUAL_TOKENS["plain"], EQUAL_TOKENS["mimetic"]
    sizes = f"plain {_times(small)} beside mimetic; mimetic {_times(large)} beside rotated"
    found = {
        _loudest(): _gains(runs, LOUDEST["mimetic"], LOUDEST["plain"], LOUDEST["mimetic"]),
        f"logits that spread alike at the start (plain {_times(EQUAL['plain'])}, rotated "
        f"{_times(EQUAL['rotated'])})": _gains(runs, "", EQUAL["plain"], EQUAL["rotated"]),
        f"tokens of one size at the start, on average over the blocks ({sizes})": [
            _gains(runs, plain=small)[0],
            _gains(runs, mimetic=large)[1],
        ],
    }
    alike = {
        f"what enters the first block {_times(large)}, in every arm": large,
        **{VARIANTS[each]: each for each in (SCALED, ONLY_CENTRED, CENTRED, LOUD_CENTRED)},
        length(LONG): LONG,
    }
    for variant, words in VARIANTS.items():
        if verdict(runs.gain(variant=variant)) == "does not hold":
            alike[words] = variant
    return found | {words: _gains(runs, *[each] * 3) for words, each in alike.items()}


def _gains(runs, mimetic="", plain="", rotated=""):
    """Mimetic's gain over plain and over rotated, each arm with a variant."""
    ours, *others = runs("mimetic", mimetic), runs("plain", plain), runs("rotated", rotated)
    return [contrast([ours], [other]) for other in others]


def _beside(runs):
    """What the changed settings do to plain alone, and differences to read the table beside."""
    louder, small, most = LOUDEST["plain"], EQUAL_TOKENS["plain"], DATA_SIZES[-1]
    loud = LOUDEST["mimetic"]
    return {
        f"{VARIANTS[louder]} alone changes plain by": contrast(
            [runs("plain", louder)], [runs("plain")]
        ),
        "tokens as small as mimetic's change plain by": contrast(
            [runs("plain", small)], [runs("plain")]
        ),
        **{
            f"mimetic as the recipe is − plain with {VARIANTS[variant]} is": contrast(
                [runs("mimetic")], [runs("plain", variant)]
            )
            for variant in (CENTRED, ONLY_CENTRED)
        },
        f"rotated − plain, both with {VARIANTS[ONLY_CENTRED]}, is": runs.gain(
            "rotated", variant=ONLY_CENTRED
        ),
        **_best_starts(runs),
        "taking out the table's mean costs QK alone of its gain over plain": (
            _lost(runs, "qk_only")
        ),
        "and OV alone": _lost(runs, "ov_only"),
        f"the gain with {VARIANTS[loud]} minus that with {VARIANTS[LOUD_CENTRED]} is": runs.excess(
            loud, LOUD_CENTRED
        ),
        "taking out the table's mean costs mimetic more of its gain as the recipe is than with "
        "that factor, by": _lost_less(runs, loud),
        f"after {length(most)} mimetic − plain is": runs.gain(variant=most),
        f"after {length(LONG)} rotated − plain is": runs.gain("rotated", variant=LONG),
    }


def _best_starts(runs):
    """Mimetic over plain, each with the start that was best for it on validation images."""
    best = {arm: _best_start(runs, arm) for arm in PAIR}
    if None in best.values():
        return {}
    words = " − ".join(f"{arm} with {_words(best[arm])}" for arm in ("mimetic", "plain"))
    gain = contrast([runs("mimetic", best["mimetic"])], [runs("plain", best["plain"])])
    return {
        "each arm with the start of its own that these final runs' validation images like best "
        f"(chosen afterwards, so by the same seeds): {words} is": gain
    }


def _best_start(runs, arm):
    """The variant of STARTS with the highest mean validation accuracy; None where none is whole."""
    means = {
        variant: fmean(run.epochs[-1]["validation_accuracy"] for run in own)
        for variant in STARTS
        if is_whole(own := runs(arm, variant))
    }
    return max(means, key=means.get, default=None)


def _words(variant):
    if variant == EQUAL_TOKENS["mimetic"]:
        return f"what enters the first block {_times(variant)}"
    return VARIANTS.get(variant, variant)


def _lost(runs, half):
    """How much of a half's gain over plain goes with what patches share in the table."""
    return contrast(
        [runs(half), runs("plain", ONLY_CENTRED)], [runs("plain"), runs(half, ONLY_CENTRED)]
    )


def _lost_less(runs, loud):
    """What goes of the gain with what patches share, less what goes of it with `loud` patches."""
    mimetic, plain = (
        [runs(arm), runs(arm, LOUD_CENTRED), runs(arm, ONLY_CENTRED), runs(arm, loud)]
        for arm in ("mimetic", "plain")
    )
    return contrast([*mimetic[:2], *plain[2:]], [*plain[:2], *mimetic[2:]])


def _times(variant):
    return f"× {variant.rpartition('=')[2]}"


def _loudest():
    return " or ".join(dict.fromkeys(VARIANTS[variant] for variant in LOUDEST.values()))
