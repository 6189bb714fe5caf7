"""What the GPU queue does, in order of value."""

from benchmarks.gpu_jobs import Job
from benchmarks.gpu_pool import MOST
from benchmarks.time_to import Mark, chosen
from minivit.compare import Arm
from minivit.protocol import FIRST_TUNING_SEED, rates
from minivit.recipes import FULL
from minivit.records import Record

BASE, OTHER_BASE, PATCH_2 = "torch_default", "vit_trunc_normal", "patch_size=2"
PAIR, CONTROLS, SEEDS = ("plain", "mimetic"), ("rotated", "norm_matched"), (0, 1, 2)
NINETY = Mark(
    accuracy=0.90,
    to_reach=0.905,
    candidates=(
        "epochs=200",
        "epochs=200,batch_size=256",
        "patch_size=2,epochs=40",
        "patch_size=2,epochs=60",
        "patch_size=2,epochs=60,batch_size=256",
    ),
    seeds=range(10),
    recipe=FULL,
)


def queue(results):
    """All jobs in order of value, as far as they are known by now."""
    yield from _runs(results, BASE)
    yield Job(kind="epochs", arm=_plain(""), seconds=80)
    yield Job(kind="steps", arm=_plain(""), seconds=120)
    yield from _runs(results, BASE, CONTROLS)
    yield Job(kind="steps", arm=_plain(PATCH_2), seconds=120)
    for variant, processes in (("", MOST), (PATCH_2, 2)):
        arm = _plain(variant)
        yield Job(kind="together", arm=arm, processes=processes, seconds=100)
    yield from _ninety(results)
    yield from _runs(results, BASE, PAIR + CONTROLS, variant=PATCH_2)
    yield from _runs(results, OTHER_BASE, PAIR + CONTROLS)


def _plain(variant):
    return Arm(base=BASE, attention="plain", variant=variant)


def _runs(results, base, attentions=PAIR, seeds=SEEDS, variant=""):
    """Final runs, one seed after the other, so that what is there can be paired.

    The first has the device for itself: its seconds can be quoted.
    """
    for seed in seeds:
        for attention in attentions:
            rate, _ = rates(results.task.recipe.name, base, attention)
            names = {"base": base, "attention": attention, "variant": variant, "seed": seed}
            alone = (seed, attention) == (seeds[0], attentions[0])
            arm = Arm(**names, learning_rate=rate)
            yield Job(kind="run", arm=arm, role="final", alone=alone)


def _ninety(results):
    names = {"base": BASE, "attention": "mimetic", "seed": FIRST_TUNING_SEED}
    tried = [
        Job(kind="run", arm=Arm(**names, variant=variant), role="tuning")
        for variant in NINETY.candidates
    ]
    yield from tried
    if not all(results.settled(job) for job in tried):
        return
    entries = [results.of(job) for job in tried]
    best = chosen([Record(**entry["record"]) for entry in entries if "record" in entry], NINETY)
    if best:
        yield from _runs(results, BASE, ("mimetic",), NINETY.seeds, variant=best)
