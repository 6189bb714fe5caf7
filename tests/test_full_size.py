"""The runs of the recipe `full` stand for themselves: shown when whole, taken for no others."""

import itertools
import random
from dataclasses import replace
from statistics import fmean, stdev
from types import SimpleNamespace

import pytest
from evidence_records import final, made_up
from scipy.stats import ttest_rel

from benchmarks import again, claims, full_size, gpu_plan, replication, study
from benchmarks.gpu_state import Results
from benchmarks.runs import Runs
from benchmarks.statements import statements
from minivit import protocol
from minivit.compare import Arm
from minivit.evidence import recorded_on

ORDER = ["plain", "mimetic", "rotated"]


def accuracy(arm):
    """Mimetic 3 points above plain at scale laptop, 4 above at full size; rotated 2 below."""
    level = 0.5 + 0.05 * random.Random(arm.seed).random()
    noise = 0.002 * random.Random(str(arm)).random()
    return level + {"mimetic": 0.04, "rotated": -0.02}.get(arm.attention, 0) + noise


SMALL = made_up(lambda arm: accuracy(arm) - 0.01 * (arm.attention == "mimetic"), study.PLAN[:1])
ARMS = [
    Arm(base="torch_default", attention=attention, seed=seed, learning_rate=1e-3)
    for attention in study.FULL_ARMS
    for seed in study.FULL_SEEDS
]
LARGE = [replace(r, scale="full", device="a GPU") for r in final(accuracy, ARMS)]


def without(attention):
    return SMALL + [r for r in LARGE if (r.attention, r.seed) != (attention, 2)]


def stated(records):
    made = {each.text: each.contrast for each in statements(records) if "full size" in each.text}
    return {text.split()[4]: found for text, found in made.items()}


def test_a_gain_at_full_size_is_that_of_its_own_runs():
    gains = stated(SMALL + LARGE)
    assert list(gains) == ["plain", "rotated"]
    assert [found.n for found in gains.values()] == [3, 3]
    assert [100 * found.mean for found in gains.values()] == pytest.approx([4, 6], abs=0.3)
    assert {r.scale for found in gains.values() for r in found.runs} == {"full"}
    assert 100 * Runs(SMALL + LARGE).gain().mean == pytest.approx(3, abs=0.3), "as without them"


def test_nothing_is_shown_before_the_last_seed():
    page, line = (part(without("rotated")) for part in (full_size.section, full_size.line))
    assert "| rotated | 2 of 3 | | | | |" in page
    assert "mimetic − rotated" not in line[0] and "control rotated has 2 of its 3 seeds" in line[0]
    assert stated(without("rotated"))["rotated"] is None
    assert stated(without("rotated"))["plain"] is not None
    assert full_size.section(without("plain")) == "" and full_size.line(without("mimetic")) == []
    whole = full_size.line(SMALL + LARGE)[0]
    assert "mimetic − rotated is +5.9" in whole and "lacks" not in whole


def test_losses_are_those_of_the_last_epoch_and_of_whole_arms():
    def lose(run):
        last = 0.5 - 0.1 * (run.attention == "mimetic") + 0.001 * run.seed
        ends = {"train_loss": 9.0, "validation_loss": 8.0}
        *before, end = ({**epoch, **ends} for epoch in run.epochs)
        return replace(run, epochs=[*before, end | dict.fromkeys(ends, last)])

    small, large = map(lose, SMALL), [*map(lose, LARGE)]
    assert "losses" not in full_size.section(SMALL + LARGE).lower(), "these have no validation loss"
    page = full_size.section([*small, *large])
    for scale, n in (("laptop, as the recipe is", 5), ("full", 3)):
        (row,) = (line for line in page.splitlines() if line.startswith(f"| {scale} |"))
        assert row.count(f"−0.100 [−0.100, −0.100], n = {n}") == 2, row
    by_length = study.Question(name="longer", variants=(study.LONG,))
    longer = [lose(r) for r in made_up(accuracy, [by_length])]
    for run in longer:
        run.epochs[-1]["train_loss"] += 0.3 * (run.attention == "mimetic")
    (row,) = (
        line
        for line in full_size.section([*map(lose, SMALL), *large, *longer]).splitlines()
        if line.startswith("| laptop, 6 epochs of 45,000 images")
    )
    assert "+0.200 [+0.200, +0.200], n = 5 | −0.100 [" in row and row.endswith("| no |")
    less = [r for r in SMALL if (r.attention, r.seed) != ("mimetic", 4)]
    assert "as the recipe is" not in full_size.section([*map(lose, less), *large])


def test_a_claim_counts_the_runs_behind_it():
    runs = Runs(SMALL + LARGE)
    assert full_size.gain(runs).n == 3
    assert {r.scale for r in runs.used} == {"full"}
    assert "| `full-torch_default-mimetic-lr0.001`<br>`full-" in claims.claims_page(SMALL + LARGE)


def test_they_stand_in_for_no_run_of_another_scale():
    assert len(study.missing(study.PLAN[0], LARGE)) == len(study.PLAN[0].runs())
    elsewhere = [replace(r, device="other") for r in SMALL]
    before = replication.pairs(SMALL, elsewhere)
    assert replication.pairs(SMALL + LARGE, elsewhere) == before
    replaced = replication._replaced(SMALL + LARGE, elsewhere)
    assert [r.scale for r in replaced if r.device == "a GPU"] == ["full"] * len(LARGE)
    assert "First: none." in replication.section(SMALL + LARGE, elsewhere)


def test_a_picture_names_every_scale_of_its_runs():
    assert "· scale laptop ·" in recorded_on(SMALL)
    assert "· scales laptop and full ·" in recorded_on(LARGE + SMALL)


@pytest.mark.parametrize("device, wanted", [("cpu", {"cpu"}), ("cuda", {"cpu", "a GPU"})])
def test_a_record_that_is_run_again_by_chance_can_be_made_here(device, wanted, monkeypatch):
    monkeypatch.setattr(again, "pick_device", lambda: type("Device", (), {"type": device}))
    both = [replace(SMALL[0], device="cpu: some, threads: 1"), LARGE[0]]
    found = {again.at_random(both).device.partition(":")[0] for _ in range(100)}
    assert found == wanted
    if device == "cpu":
        with pytest.raises(SystemExit, match="made on a GPU"):
            again.at_random(LARGE)


def test_the_table_is_that_of_the_records():
    values = {arm: [r.final_accuracy for r in LARGE if r.attention == arm] for arm in ORDER}

    def gap(arm, other):
        if arm == other:
            return ""
        found = ttest_rel(values[arm], values[other]).confidence_interval(0.95)
        ends = (found.low, (found.low + found.high) / 2, found.high)
        low, mean, high = (f"{100 * x:+.1f}".replace("-", "−") for x in ends)
        return f"{mean} [{low}, {high}], n = 3"

    reached = {arm: sum(value >= fmean(values["plain"]) for value in values[arm]) for arm in ORDER}
    assert len({*reached.values()}) == 3, "so that no arm's epochs pass for another's"
    rows = [line.split(" | ") for line in full_size.section(LARGE).splitlines() if "±" in line]
    assert [row[0].strip("| ") for row in rows] == ORDER
    for arm, (_, n, level, over_plain, under, epochs) in zip(ORDER, rows, strict=True):
        assert (n, level) == (
            "3",
            f"{100 * fmean(values[arm]):.1f} ± {100 * stdev(values[arm]):.1f}",
        )
        assert (over_plain.strip(), under.strip()) == (gap(arm, "plain"), gap("mimetic", arm))
        some = {0: "not reached", 3: "6.0"}.get(reached[arm], f"6.0 ({reached[arm]} of 3)")
        assert epochs.rstrip(" |") == some
    mean = f"mimetic ends at {100 * fmean(values['mimetic']):.1f} ±"
    assert mean in full_size.line(LARGE)[0]


def test_words_and_machines_are_those_of_the_runs():
    augment = full_size.FULL.training.augment
    assert augment.flip and min(augment.crop, augment.cutout, augment.mixup) > 0, full_size.IMAGES
    moved = [replace(r, device="B") if r.attention == "mimetic" else r for r in LARGE]
    assert "on B and a GPU, the code of commit 00000000." in full_size.section(moved)
    unfinished = [r for r in moved if (r.attention, r.seed) != ("mimetic", 0)]
    assert full_size.left(unfinished) == (1, 9) and full_size.left(SMALL) == (9, 9)
    # A seed that was not planned stands in for none.
    other = [replace(r, seed=7) if r.seed == 2 else r for r in LARGE]
    assert full_size.left(other) == (3, 9) and full_size.section(other) == ""


def test_the_queue_begins_with_what_is_planned(tmp_path, monkeypatch):
    monkeypatch.setattr(protocol, "current_commit", lambda: ("abc", False))
    task = SimpleNamespace(recipe=full_size.FULL, data={"train": "0" * 64}, folder=tmp_path)
    jobs = itertools.islice(gpu_plan.queue(Results(tmp_path, task)), len(ARMS))
    made = [(job.arm.base, job.arm.attention, job.arm.variant, job.arm.seed) for job in jobs]
    assert {*made} == {("torch_default", arm.attention, "", arm.seed) for arm in ARMS}
