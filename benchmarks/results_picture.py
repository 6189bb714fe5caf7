"""README's picture of the result: mimetic's gains with their intervals, failures included."""

from benchmarks.runs import Runs
from benchmarks.study import BETTER, LONG, LOUDEST, ONLY_CENTRED
from benchmarks.wording import VARIANTS, length
from minivit.evidence import behind, recorded_on
from minivit.figures import ARM_NAMES, alt_text, intervals
from minivit.init import BASES
from minivit.recipes import FULL

COMPARED = ("plain", "norm_matched", "rotated")
CHANGED = {
    LOUDEST["mimetic"]: VARIANTS[LOUDEST["mimetic"]],
    LONG: length(LONG).partition(" (")[0],
    ONLY_CENTRED: "positions minus what patches share",
    "positions=learned": "positions start random and small",
}
LARGE = f"ViT-Tiny, {FULL.training.epochs} epochs of 45,000 images"


def gains(records):
    """Label → Summary of mimetic less another arm: by base, then with something changed."""
    runs = Runs(records)
    found = {
        f"{base}: − {ARM_NAMES[other]}": runs.gain("mimetic", other, base=base)
        for base in BASES
        for other in COMPARED
    }
    found |= {f"{words}: − plain": runs.gain(variant=v) for v, words in CHANGED.items()}
    found[f"{LARGE}: − plain"] = Runs(records, scale=FULL.name).gain()
    return {label: gain for label, gain in found.items() if gain is not None}


def picture(records):
    """The figure; None where no gain has all its runs."""
    rows = gains(records)
    if not rows:
        return None
    last = sum(not label.startswith(tuple(BASES)) for label in rows)
    title = f"Mimetic less another start of attention (the last {last}: on {BETTER})"
    return intervals(rows, title=title, source=recorded_on(behind(rows.values())))


def markdown(records):
    """The picture as README shows it, its numbers in words; "" where there is none."""
    figure = picture(records)
    return "" if figure is None else f"![{alt_text(figure)}](docs/results.png)"
