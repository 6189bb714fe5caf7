"""FINDINGS' section and README's line on the runs of the recipe `full`: ViT-Tiny, 100 epochs.

They take a GPU, and come from `benchmarks.gpu_queue`. An arm is shown when all its seeds are there.
"""

from benchmarks.runs import Runs, contrast, is_whole
from benchmarks.statements import marks
from benchmarks.study import BETTER, FULL_ARMS, FULL_SEEDS, LONG, PAIR
from benchmarks.wording import length, level, size, when
from minivit.evidence import plain_threshold, points, time_to
from minivit.figures import ARM_NAMES
from minivit.recipes import FULL

RATE = (
    f"The learning rate, {FULL.training.learning_rate:g}, is the recipe's in every arm: none was "
    "tuned at this size."
)
# FULL.training.augment in words; a test holds them against it.
IMAGES = "Training images are flipped, cropped, partly covered (cutout) and mixed (mixup)."


def gain(runs):
    """Mimetic's over plain, counted among what `runs` (a `Runs` of another scale) has given."""
    large = Runs(runs.records, scale=FULL.name)
    found = large.gain()
    runs.used += large.used
    return found


def left(records):
    """(how many of the planned runs are missing, how many are planned)."""
    runs, planned = Runs(records, scale=FULL.name), len(FULL_ARMS) * len(FULL_SEEDS)
    return planned - sum(len(_seeds(runs(arm))) for arm in FULL_ARMS), planned


def section(records):
    """The tables; "" before plain and mimetic have all their seeds."""
    runs = Runs(records, scale=FULL.name)
    if runs.gain() is None:
        return ""
    shown = {arm: own for arm in FULL_ARMS if is_whole(own := runs(arm))}
    made = [run for own in shown.values() for run in own]
    machines = " and ".join(sorted({run.device for run in made}))
    commits = ", ".join(sorted({(run.commit or "none")[:8] for run in made}))
    threshold = plain_threshold(shown["plain"])
    lines = [
        f"## Full size: {size(FULL)} ({BETTER})",
        "",
        f"{IMAGES} {RATE} Batch {FULL.training.batch_size}, bfloat16 where a GPU has it; on "
        f"{machines}, the code of commit {commits}. Epochs: the first with plain's mean last "
        f"validation accuracy, {100 * threshold:.1f} %; the mean over the runs that reach it, and "
        "how many do where not all.",
        "",
        "| arm | n | test, % | minus plain | mimetic minus this | epochs |",
        "|---|---|---|---|---|---|",
    ]
    for arm in FULL_ARMS:
        if arm not in shown:
            there = f"{len(_seeds(runs(arm)))} of {len(FULL_SEEDS)}"
            lines.append(f"| {ARM_NAMES[arm]} | {there} | | | | |")
            continue
        cells = [
            ARM_NAMES[arm],
            len(shown[arm]),
            level(shown[arm]),
            "" if arm == "plain" else points(runs.gain(arm)),
            "" if arm == "mimetic" else points(runs.gain("mimetic", arm)),
            when(time_to(shown[arm], threshold)),
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", "`python -m benchmarks.gpu_queue`, as [GPU.md](GPU.md) says"]
    return "\n".join([*lines, *_losses(records)])


def _seeds(own):
    return {run.seed for run in own} & {*FULL_SEEDS}


def _losses(records):
    """Does mimetic gain on the images it trains on, too? Lines; [] if there is nothing to compare.

    One setting alone says little of losses, which differ by recipe.
    """
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
            fit = "yes" if gaps[0].high < 0 else "no" if gaps[0].low > 0 else "not known"
            rows.append(f"| {name} | {' | '.join(map(_nats, gaps))} | {fit} |")
    if len(rows) < 2:
        return []
    return [
        "",
        "Does the arm that ends higher also fit its training images better? Losses of the last "
        "epoch, mimetic minus plain. Training loss is that of augmented images, at full size with "
        "mixup; where it is lower, the fit is better. Seen after the runs; no statements.",
        "",
        "| scale | training loss | validation loss | a better fit (by training loss) |",
        "|---|---|---|---|",
        *rows,
    ]


def _gap(runs, variant, key):
    """What mimetic's last epoch has more of than plain's; None before both have all their seeds."""
    plain, mimetic = (runs(arm, variant) for arm in PAIR)
    if not all(key in run.epochs[-1] for run in (*plain, *mimetic)):
        return None
    return contrast([mimetic], [plain], value=lambda run: run.epochs[-1][key])


def _nats(gap):
    text = f"{gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}], n = {gap.n}"
    return text.replace("-", "−")


def line(records):
    """README's lines; [] before plain and mimetic have all their seeds."""
    runs, mark = Runs(records, scale=FULL.name), marks(records)
    if runs.gain() is None:
        return []
    others = [arm for arm in FULL_ARMS if arm != "mimetic" and is_whole(runs(arm))]
    gains = [f"mimetic − {ARM_NAMES[a]} is {mark(runs.gain('mimetic', a))}" for a in others]
    return [
        "**Larger and longer** (scale `full`, on a GPU; asked after these runs were seen): "
        f"ViT-Tiny, {size(FULL)}. {IMAGES} {RATE} There {' and '.join(gains)}; mimetic ends at "
        f"{level(runs('mimetic'))} %, plain at {level(runs('plain'))} %. With {len(FULL_SEEDS)} "
        "seeds an interval's width is luck, too."
        + "".join(
            f" The control {ARM_NAMES[arm]} has {len(_seeds(runs(arm)))} of its {len(FULL_SEEDS)} "
            "seeds and is not shown."
            for arm in FULL_ARMS
            if not is_whole(runs(arm))
        ),
        "",
    ]
