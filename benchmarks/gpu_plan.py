"""What the GPU queue does, in order of value."""

from benchmarks.gpu_jobs import Job
from benchmarks.study import FULL_ARMS, FULL_SEEDS
from benchmarks.time_to import Mark, chosen
from minivit.compare import Arm
from minivit.protocol import FIRST_TUNING_SEED, rates
from minivit.recipes import FULL
from minivit.records import Record

BASE, OTHER_BASE, PATCH_2 = "torch_default", "vit_trunc_normal", "patch_size=2"
# One seed on 5,000 images is ± 0.5 points off its own mean, so one run has to reach a little more.
# In the order of their seconds on an H200: 0.8 an epoch at patch 4, 2.6 at patch 2.
EIGHTY_FIVE = Mark(
    accuracy=0.85,
    to_reach=0.855,
    candidates=(
        "epochs=40,learning_rate=0.002",
        "epochs=60,learning_rate=0.002",
        "epochs=80,learning_rate=0.002",
        "epochs=100",
        "patch_size=2,epochs=40,learning_rate=0.002",
    ),
    seeds=range(10),
    recipe=FULL,
)
NINETY = Mark(
    accuracy=0.90,
    to_reach=0.905,
    candidates=(
        "patch_size=2,epochs=60,learning_rate=0.002",
        "patch_size=2,epochs=100,learning_rate=0.002",
        "patch_size=2,epochs=100,learning_rate=0.002,mixup=0.8,label_smoothing=0.1",
        "patch_size=2,epochs=150,learning_rate=0.002,mixup=0.8,label_smoothing=0.1",
    ),
    seeds=range(10),
    recipe=FULL,
)
MARKS = (EIGHTY_FIVE, NINETY)


def queue(results):
    """All jobs in order of value, as far as they are known by now."""
    yield from _runs(results, BASE)  # with the control: without it a gain says nothing of ±I
    yield Job(kind="epochs", arm=_plain(""), seconds=80)
    yield Job(kind="steps", arm=_plain(""), seconds=120)
    yield Job(kind="attempts", arm=_plain(""), seconds=200)
    yield from _mark(results, EIGHTY_FIVE)
    yield from _runs(results, BASE, ("norm_matched",))
    yield Job(kind="steps", arm=_plain(PATCH_2), seconds=120)
    yield Job(kind="attempts", arm=_plain(PATCH_2), seconds=200)
    yield from _mark(results, NINETY)
    yield from _runs(results, BASE, (*FULL_ARMS, "norm_matched"), variant=PATCH_2)
    yield from _runs(results, OTHER_BASE, (*FULL_ARMS, "norm_matched"))


def _plain(variant):
    return Arm(base=BASE, attention="plain", variant=variant)


def _runs(results, base, attentions=FULL_ARMS, seeds=FULL_SEEDS, variant="", alone=False):
    """Final runs, one seed after the other, so that what is there can be paired.

    alone: each has the device for itself, so that its seconds can be quoted; else the first has.
    """
    for seed in seeds:
        for attention in attentions:
            rate, _ = rates(results.task.recipe.name, base, attention, variant)
            names = {"base": base, "attention": attention, "variant": variant, "seed": seed}
            first = (seed, attention) == (seeds[0], attentions[0])
            arm = Arm(**names, learning_rate=rate)
            yield Job(kind="run", arm=arm, role="final", alone=alone or first)


def _mark(results, mark):
    """Candidates until one reaches the mark, each when the last is done; then its final runs.

    Each has the device for itself: the mark is a time.
    """
    names = {"base": BASE, "attention": "mimetic", "seed": FIRST_TUNING_SEED}
    tried = []
    for variant in mark.candidates:
        job = Job(kind="run", arm=Arm(**names, variant=variant), role="tuning", alone=True)
        yield job
        if not results.settled(job):
            return
        tried += [Record(**results.of(job)["record"])] if "record" in results.of(job) else []
        if chosen(tried, mark):
            yield from _runs(results, BASE, ("mimetic",), mark.seeds, variant, alone=True)
            return
