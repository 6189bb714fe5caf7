"""FINDINGS' section and README's line on the runs of the recipe `full`: ViT-Tiny, 100 epochs.

They take a GPU, and come from `benchmarks.gpu_queue`. An arm is shown when all its seeds are there.
"""

from benchmarks.statements import Runs
from benchmarks.study import BETTER, FULL_ARMS, FULL_SEEDS
from benchmarks.wording import size
from minivit.evidence import plain_threshold, points, time_to
from minivit.figures import ARM_NAMES
from minivit.recipes import FULL
from minivit.records import summarise

RATE = (
    f"The learning rate, {FULL.training.learning_rate:g}, is the recipe's in every arm: none was "
    "tuned at this size."
)
IMAGES = "Training images are flipped, cropped, partly covered (cutout) and mixed (mixup)."


def gain(runs):
    """Mimetic's over plain, counted among what `runs` (a `Runs` of another scale) has given."""
    large = Runs(runs.records, scale=FULL.name)
    found = large.gain()
    runs.used += large.used
    return found


def section(records):
    """The table; "" before plain and mimetic have all their seeds."""
    runs = Runs(records, scale=FULL.name)
    if runs.gain() is None:
        return ""
    plain = runs("plain")
    threshold = plain_threshold(plain)
    lines = [
        f"## Full size: {size(FULL)} ({BETTER})",
        "",
        f"{IMAGES} {RATE} Batch {FULL.training.batch_size}, bfloat16 where a GPU has it; on "
        f"{' and '.join(sorted({run.device for run in plain}))}. Epochs: the first with plain's "
        f"mean last validation accuracy, {100 * threshold:.1f} %.",
        "",
        "| arm | n | test, % | minus plain | mimetic minus this | epochs |",
        "|---|---|---|---|---|---|",
    ]
    for arm in FULL_ARMS:
        own = runs(arm)
        if len(own) < len(FULL_SEEDS):
            lines.append(f"| {ARM_NAMES[arm]} | {len(own)} of {len(FULL_SEEDS)} | | | | |")
            continue
        level = summarise([100 * run.final_accuracy for run in own])
        reached = time_to(own, threshold)
        cells = [
            ARM_NAMES[arm],
            len(own),
            f"{level.mean:.1f} ± {level.std:.1f}",
            "" if arm == "plain" else points(runs.gain(arm)),
            "" if arm == "mimetic" else points(runs.gain("mimetic", arm)),
            f"{reached.epoch:.1f} ({reached.reached} of {reached.n})",
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join([*lines, "", "`python -m benchmarks.gpu_queue` ([GPU.md](GPU.md))"])


def line(records):
    """README's lines; [] before plain and mimetic have all their seeds."""
    runs = Runs(records, scale=FULL.name)
    if runs.gain() is None:
        return []
    left = [arm for arm in FULL_ARMS if len(runs(arm)) < len(FULL_SEEDS)]
    controls = [arm for arm in FULL_ARMS if arm not in ("plain", "mimetic", *left)]
    gains = [f"mimetic − {a} {points(runs.gain('mimetic', a))}" for a in ("plain", *controls)]
    level = summarise([100 * run.final_accuracy for run in runs("mimetic")]).mean
    return [
        f"**Larger and longer** (scale `full`, on a GPU): ViT-Tiny, {size(FULL)}. {IMAGES} {RATE} "
        f"There {' and '.join(gains)}; mimetic ends at {level:.1f} %."
        + "".join(f" The control {arm} lacks seeds and is not shown." for arm in left),
        "",
    ]
