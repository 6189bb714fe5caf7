"""FINDINGS' section and README's line on the runs of the recipe `full`: ViT-Tiny, 100 epochs.

They take a GPU, and come from `benchmarks.gpu_queue`. An arm is shown when all its seeds are there.
"""

from benchmarks.statements import Runs
from benchmarks.study import BETTER, FULL_ARMS, FULL_SEEDS, LONG, PAIR
from benchmarks.wording import length, level, size, when
from minivit.evidence import contrast, plain_threshold, points, time_to
from minivit.figures import ARM_NAMES
from minivit.recipes import FULL

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
        cells = [
            ARM_NAMES[arm],
            len(own),
            level(own),
            "" if arm == "plain" else points(runs.gain(arm)),
            "" if arm == "mimetic" else points(runs.gain("mimetic", arm)),
            when(time_to(own, threshold)),
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", "`python -m benchmarks.gpu_queue` ([GPU.md](GPU.md))"]
    return "\n".join([*lines, *_losses(records)])


def _losses(records):
    """Whether mimetic gains on the images it trains on, too: lines of a table; [] without runs."""
    small, large = Runs(records), Runs(records, scale=FULL.name)
    settings = {
        "laptop, as the recipe is": (small, ""),
        f"laptop, {length(LONG)}": (small, LONG),
        "full": (large, ""),
    }
    rows = []
    for name, (runs, variant) in settings.items():
        gaps = [_gap(runs, variant, key) for key in ("train_loss", "validation_loss")]
        if None not in gaps:
            rows.append(f"| {name} | {' | '.join(map(_nats, gaps))} |")
    if len(rows) < 2:
        return []
    return [
        "",
        "Is a better end a better fit? Losses of the last epoch, mimetic minus plain; training "
        "loss is that of the images as they were shown, changed by augmentation (at full size "
        "mixed, too, which holds differences small). Seen after the runs; no statements.",
        "",
        "| scale | training loss | validation loss |",
        "|---|---|---|",
        *rows,
    ]


def _gap(runs, variant, key):
    """What mimetic's last epoch has more of than plain's; None before both have all their seeds."""
    plain, mimetic = (runs(arm, variant) for arm in PAIR)
    has = all(key in run.epochs[-1] for run in (*plain, *mimetic))
    if not has or runs.gain(variant=variant) is None:
        return None
    return contrast([mimetic], [plain], value=lambda run: run.epochs[-1][key])


def _nats(gap):
    text = f"{gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}], n = {gap.n}"
    return text.replace("-", "−")


def line(records):
    """README's lines; [] before plain and mimetic have all their seeds."""
    runs = Runs(records, scale=FULL.name)
    if runs.gain() is None:
        return []
    left = [arm for arm in FULL_ARMS if len(runs(arm)) < len(FULL_SEEDS)]
    controls = [arm for arm in FULL_ARMS if arm not in ("plain", "mimetic", *left)]
    gains = [f"mimetic − {a} is {points(runs.gain('mimetic', a))}" for a in ("plain", *controls)]
    return [
        f"**Larger and longer** (scale `full`, on a GPU): ViT-Tiny, {size(FULL)}. {IMAGES} {RATE} "
        f"There {' and '.join(gains)}; mimetic ends at {level(runs('mimetic'))} %. With three "
        "seeds an interval's width is luck, too."
        + "".join(f" The control {arm} lacks seeds and is not shown." for arm in left),
        "",
    ]
