"""The GPU queue, on a CPU with tiny jobs: order, budget, kills, what fits into a folder."""

import json
import math
import os
import subprocess
import sys
import zipfile
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import minivit.compare
from benchmarks import gpu_jobs, gpu_queue, gpu_report, gpu_results, gpu_state
from benchmarks.epochs import noise_images
from benchmarks.gpu_jobs import Budget, Job, do
from benchmarks.gpu_plan import EIGHTY_FIVE, MARKS, NINETY
from benchmarks.gpu_queue import choose, queue, work_off
from benchmarks.gpu_state import Results, epochs_done, pack, unpack
from benchmarks.peers import MODELS
from benchmarks.steps import training_flops
from minivit import protocol
from minivit.checkpoint import MOMENTS
from minivit.compare import Arm, prepare, run_arm
from minivit.model import VIT_TINY, ViT, ViTConfig
from minivit.recipes import FULL, SMOKE
from minivit.records import Record, load_records
from minivit.runtime import Precision
from minivit.storage import read_tensors, write_tensors
from minivit.variants import vary

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[1]
RECIPE = replace(
    SMOKE,
    model=ViTConfig(dim=16, depth=1, heads=2, patch_size=8),
    training=replace(SMOKE.training, epochs=3, batch_size=20, warmup_epochs=0.5),
    subset=60,
    validation=20,
)


@pytest.fixture
def results(tmp_path):
    images = noise_images(100)
    return Results(tmp_path / "out", prepare(RECIPE, (images, images), tmp_path / "work"))


def run(seed=0, attention="plain", variant="", kind="run", **rest):
    arm = Arm(base="torch_default", attention=attention, seed=seed, variant=variant)
    return Job(kind=kind, arm=arm, **rest)


def untimed(record):
    return [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in record["epochs"]]


# The queue itself


@pytest.fixture
def full(tmp_path, monkeypatch):
    """Results of the real recipe, without images: nothing is run."""
    monkeypatch.setattr(protocol, "current_commit", lambda: ("abc", False))
    return Results(
        tmp_path, SimpleNamespace(recipe=FULL, data={"train": "0" * 64}, folder=tmp_path)
    )


def test_the_queue_is_in_order_of_value(full):
    jobs = list(queue(full))
    # Every seed has its pair and the control before another begins; then come the measurements.
    three = ("plain", "mimetic", "rotated")
    arms = [("torch_default", "", a, seed) for seed in (0, 1, 2) for a in three]
    named = [(j.arm.base, j.arm.variant, j.arm.attention, j.arm.seed) for j in jobs]
    assert named[:9] == arms
    assert [(j.kind, j.arm.variant) for j in jobs[9:12]] == [
        ("epochs", ""),
        ("steps", ""),
        ("attempts", ""),
    ]
    assert (jobs[12].role, jobs[12].arm.variant) == ("tuning", EIGHTY_FIVE.candidates[0])
    assert named[13:16] == [("torch_default", "", "norm_matched", seed) for seed in (0, 1, 2)]
    assert [(j.kind, j.arm.variant) for j in jobs[16:18]] == [
        ("steps", "patch_size=2"),
        ("attempts", "patch_size=2"),
    ]
    assert (jobs[18].role, jobs[18].arm.variant) == ("tuning", NINETY.candidates[0])
    rest = jobs[19:]
    assert [j.arm.variant for j in rest] == ["patch_size=2"] * 12 + [""] * 12
    assert {j.arm.base for j in rest[12:]} == {"vit_trunc_normal"}
    assert len({full.key(job) for job in jobs}) == len(jobs)


def test_every_run_is_one_that_the_protocol_accepts(full):
    for job in queue(full):
        protocol.check_role(job.role, FULL, job.arm)


def finish(results, job, accuracy):
    """Puts a made-up record of one epoch of a second into the results."""
    epoch = {"epoch": 1, "train_loss": 1.0, "validation_accuracy": accuracy, "seconds": 1.0}
    record = Record(
        scale="full",
        base=job.arm.base,
        attention=job.arm.attention,
        variant=job.arm.variant,
        seed=job.arm.seed,
        role=job.role,
        learning_rate=1e-3,
        recipe={},
        data={},
        versions={},
        device="none",
        commit=None,
        dirty=False,
        epochs=[epoch],
        final_accuracy=None,
    )
    results.put(job, state="done", alone=True, record=asdict(record), pace=[5.0, 1.0])


@pytest.mark.parametrize("mark", MARKS, ids=lambda mark: f"{mark.accuracy}")
def test_a_mark_takes_the_first_candidate_that_reaches_it_and_tries_no_dearer_one(full, mark):
    def jobs():
        return [job for job in queue(full) if job.arm.variant in mark.candidates]

    def tried():
        return [job for job in jobs() if job.role == "tuning"]

    for n in (1, 2):
        assert [job.arm.variant for job in tried()] == list(mark.candidates[:n])
        assert len(jobs()) == n, "no final run before one has reached it"
        if n == 1:
            full.put(tried()[-1], state="failed", failures=gpu_state.TRIES, error="no memory")
    finish(full, tried()[-1], mark.to_reach - 0.001)
    finish(full, tried()[-1], mark.to_reach)
    best, finals = mark.candidates[2], [job for job in jobs() if job.role == "final"]
    assert [job.arm.variant for job in tried()] == list(mark.candidates[:3])
    assert [job.arm.seed for job in finals] == list(mark.seeds)
    assert {job.arm.variant for job in finals} == {best}
    assert all(job.alone for job in jobs()), "the mark is a time"
    for job in finals:
        protocol.check_role(job.role, FULL, job.arm)
        assert job.arm.recipe(FULL) == tried()[-1].arm.recipe(FULL)


def test_candidates_stand_in_the_order_of_their_seconds_on_an_h200():
    for mark in MARKS:
        recipes = [vary(FULL, variant) for variant in mark.candidates]
        # By RESULTS.md an epoch at patch 2 takes about 3.2 times as long as one at patch 4.
        seconds = [r.training.epochs * {4: 1.0, 2: 3.2}[r.model.patch_size] for r in recipes]
        assert seconds == sorted(seconds)


def test_operations_are_those_that_torch_counts():
    for config in (ViTConfig(depth=2), ViTConfig(depth=1, dim=32, heads=2, pool="cls")):
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            ViT(config)(torch.randn(2, 3, 32, 32)).sum().backward()
        assert counter.get_total_flops() == 2 * training_flops(config)


def test_a_graph_is_replayed_where_training_replays_one():
    """With a scaler, as on a T4, `train` records no graph: neither does the measurement."""
    scaled, not_scaled = (Precision(torch.float16, scaled, "") for scaled in (True, False))
    for library in ("minivit", "timm"):
        assert gpu_jobs._ways(library, True, not_scaled)[-1] == "graphed"
        assert gpu_jobs._ways(library, True, scaled) == ("eager", "compiled")
        assert gpu_jobs._ways(library, False, not_scaled) == ("eager",)
    assert gpu_jobs._ways("torchvision", True, not_scaled) == ("eager",)


# Which job next


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class FakePool:
    """Answers when the clock says that a job is over: `seconds` of it after its start."""

    def __init__(self, clock, seconds, results, epochs=10):
        self.clock, self.seconds, self.results = clock, seconds, results
        self.started, self.ends, self.most = [], {}, 0

    @property
    def running(self):
        return list(self.ends)

    def give(self, job, *when):
        self.started.append(job)
        self.ends[job] = self.clock.now + self.seconds(job)
        self.most = max(self.most, len(self.ends))

    def answers(self, timeout):
        job = min(self.ends, key=self.ends.get)
        if self.ends[job] > self.clock.now + timeout:
            self.clock.now += timeout
            return
        self.clock.now = self.ends.pop(job)
        if job.kind == "run":
            pace = [self.seconds(job) / 4] * 2  # a start and three epochs
            yield job, "done", {"record": {}, "pace": pace}
        if job.kind == "steps":
            yield job, "done", {"result": {}}


def test_jobs_run_in_order_and_only_those_that_fit(results):
    jobs = [run(seed) for seed in range(5)]
    clock = Clock()
    pool = FakePool(clock, lambda job: 30.0, results)
    work_off(lambda _: jobs, results, pool, 100.0, clock)
    # Three fit, 10 s are left, which is too little for three epochs of a fourth.
    assert pool.started == jobs[:3] and clock.now <= 100 and pool.most == 1
    again = FakePool(clock, lambda job: 30.0, results)
    work_off(lambda _: jobs, results, again, 1000.0, clock)
    assert again.started == jobs[3:], "what is there is not run again"


@pytest.mark.parametrize("processes", [1, 3])
def test_as_many_runs_share_the_device_as_were_asked_for(results, processes):
    results.processes = processes
    measure = Job(kind="steps", arm=run().arm, seconds=10)
    alone, jobs = run(9, alone=True), [run(seed) for seed in range(8)]
    clock = Clock()
    pool = FakePool(clock, lambda job: 10.0, results)
    work_off(lambda _: [measure, *jobs[:4], alone, *jobs[4:]], results, pool, 1e6, clock)
    assert len(pool.started) == 10 and pool.most == processes
    # With three: the measurement, three runs, the fourth, the one that is alone, three, one.
    assert clock.now == {1: 100.0, 3: 60.0}[processes]
    assert results.of(alone)["alone"] and results.of(jobs[0])["alone"] == (processes == 1)


def test_a_measurement_takes_longer_on_a_slower_device(results):
    job = Job(kind="steps", arm=run().arm, seconds=10)
    assert gpu_queue.seconds_needed(job, results) == 10, "nothing is known of the device"
    finish(results, run(0), 0.5)  # 1 s an epoch
    assert gpu_queue.seconds_needed(job, results) == 20
    results.processes = 3
    assert gpu_queue.seconds_needed(job, results) == 20, "it is alone"
    assert gpu_queue.seconds_needed(replace(job, seconds=99), results) == 99
    assert choose([job], [], 19.0, results) == (None, True)


def test_what_one_device_measured_does_not_count_on_another(results):
    job = Job(kind="steps", arm=run().arm, seconds=10)
    results.put(job, state="done", result={})
    finish(results, run(0), 0.5)
    here, results.device = results.device, "another device"
    assert not results.settled(job) and results.settled(run(0)), "a run is a run"
    assert gpu_queue.epoch_seconds(run(1), results) is None
    results.put(job, state="done", result={})
    assert len(results.entries) == 3, "both devices have their entry"
    results.device = here
    assert results.settled(job) and gpu_queue.epoch_seconds(run(1), results) == 1.0


def test_a_run_that_moved_to_another_device_says_so_and_gives_no_seconds(
    results, tmp_path, monkeypatch
):
    kind, content = do(run(), -math.inf, None, results.task)
    gpu_queue.note(run(), kind, content, results)
    assert gpu_results._quotable(results.of(run()) | {"epoch_seconds": [1.0] * 3})
    first, results.device = results.device, "another device"
    gpu_queue.go_on(lambda _: [run()], results, tmp_path, results.task.folder)
    assert results.of(run())["devices"] == [first], "it is there, and not run here yet"
    kind, content = do(run(), math.inf, None, results.task)
    gpu_queue.note(run(), kind, content, results)
    entry = results.of(run())
    assert entry["record"]["device"] == f"{first}, then another device"
    assert not gpu_results._quotable(entry) and gpu_queue.epoch_seconds(run(1), results) is None


def test_a_run_that_failed_once_goes_on_where_it_was_on_the_next_machine(results, tmp_path, out):
    """A card that breaks is no reason to train for an hour again."""
    gpu_queue.note(run(), *do(run(), -math.inf, None, results.task), results)
    gpu_queue.note(run(), "failed", "the card broke", results)
    gpu_queue.keep(lambda _: [run()], results, out, results.task.folder)
    assert list(unpack(out, tmp_path / "next").values()) == [False]
    gpu_queue.note(run(), "failed", "the card broke", results)  # as often as it may
    gpu_queue.keep(lambda _: [run()], results, out, results.task.folder)
    assert unpack(out, tmp_path / "third") == {}


def test_a_step_is_measured_again_where_a_peer_was_missing(results, monkeypatch):
    job = Job(kind="steps", arm=run().arm, seconds=10)
    some = {"minivit eager": [0.1], "timm eager": [0.1], "vit-pytorch eager": [0.1]}
    results.put(job, state="done", result={"seconds": some})
    here = {"torchvision"}
    monkeypatch.setattr(gpu_state, "find_spec", here.__contains__)
    assert not results.settled(job)
    here.clear()
    assert results.settled(job), "it is not installed here either"
    here.add("torchvision")
    results.put(job, result={"seconds": some | {"torchvision eager": [0.1]}})
    assert results.settled(job)


def test_a_run_that_lost_its_checkpoint_forgets_where_it_was(results, tmp_path):
    kind, content = do(run(), -math.inf, None, results.task)
    gpu_queue.note(run(), kind, content, results)
    results.put(run(), rounded=[1])
    results.checkpoint(run()).unlink()
    results.device = "another device"
    gpu_queue.go_on(lambda _: [run()], results, tmp_path, results.task.folder)
    gpu_queue.note(run(), *do(run(), math.inf, None, results.task), results)
    entry = results.of(run())
    assert entry["record"]["device"] == "another device" and not entry["rounded"]


def test_an_epoch_beside_others_takes_as_long_as_it_took_before(results):
    results.processes = 2
    assert gpu_queue.epoch_seconds(run(1), results) is None
    finish(results, run(0), 0.5)  # alone, 1 s an epoch
    assert gpu_queue.epoch_seconds(run(1), results) == 2.0, "nothing else is known"
    results.put(run(2), state="unfinished", alone=False, pace=[5.0, 1.5])
    assert gpu_queue.epoch_seconds(run(1), results) == 1.5
    assert gpu_queue.epoch_seconds(run(1, alone=True), results) == 1.0


def test_what_cannot_end_is_started_once_and_nothing_beside_it_that_cannot_either(
    results, monkeypatch
):
    monkeypatch.setattr(gpu_queue, "MEASURING", 0)
    finish(results, run(0), 0.5)
    results.put(run(0), pace=[5.0, 7.5])
    results.put(run(6), state="unfinished", alone=False, pace=[5.0, 10.0])
    results.processes = 2
    long, other = run(1), run(2)
    assert gpu_queue.epoch_seconds(long, results) == 10
    assert gpu_queue.epoch_seconds(run(1, alone=True), results) == 7.5
    assert choose([long, other], [], 45.0, results) == (long, True)
    # 3 epochs: 1.1 (5 + 30) = 38.5 s.
    assert choose([long, other], [], 38.0, results) == (None, True)
    longer = run(3, variant="epochs=30")
    assert choose([longer, other], [], 45.0, results) == (other, True), "the next that fits"
    assert choose([longer], [], 45.0, results) == (longer, False), "some epochs of it"
    unknown = run(5, variant="patch_size=4")
    assert choose([longer, unknown], [], 20.0, results) == (None, True), "it can't jump the queue"
    assert choose([unknown, longer], [], 20.0, results) == (unknown, False)
    measure = Job(kind="epochs", arm=run().arm, seconds=10)
    assert choose([unknown, measure], [], 20.0, results) == (unknown, False), "it is worth more"
    assert choose([longer, measure], [], 45.0, results) == (measure, True)
    clock = Clock()
    pool = FakePool(clock, lambda job: 1e3, results)
    two = [longer, run(4, variant="epochs=30")]
    work_off(lambda _: two, results, pool, 60.0, clock)
    assert pool.started == [longer] and clock.now == 60


def test_a_measurement_that_hangs_is_named(results):
    job = Job(kind="steps", arm=run().arm, seconds=10)
    clock = Clock()
    work_off(lambda _: [job], results, FakePool(clock, lambda _: 1e9, results), 50.0, clock)
    assert results.of(job)["state"] == "failed" and not results.settled(job)
    results.put(job, failures=2)
    assert results.settled(job)
    results.entries[results.key(job)]["source"] = "other code"
    assert not results.settled(job), "other code may try again"
    gpu_queue.note(job, "failed", "no memory", results)
    assert results.of(job)["failures"] == 1, "and is counted for itself"


def test_what_failed_under_other_code_stays_its_failure_when_a_call_begins(results, out, tmp_path):
    results.put(run(), state="failed", failures=2, error="a bug", rounded=[1])
    results.entries[results.key(run())]["source"] = "other code"
    gpu_queue.go_on(lambda _: [run()], results, out, tmp_path / "work")
    assert not results.settled(run()), "this code has not failed"
    assert results.of(run())["rounded"] == [], "it starts again"


class BrokenPool(FakePool):
    """Each job fails after its seconds, but for those of these seeds."""

    well = ()

    def answers(self, timeout):
        for job, kind, content in super().answers(timeout):
            yield (
                (job, kind, content) if job.arm.seed in self.well else (job, "failed", "no driver")
            )


@pytest.mark.parametrize("well, begun", [((), 2), ((0,), 5), ((4,), 2)])
def test_a_machine_on_which_nothing_works_is_given_up(results, well, begun):
    jobs, clock = [run(seed) for seed in range(5)], Clock()
    pool = BrokenPool(clock, lambda job: 10.0, results)
    pool.well = well
    work_off(lambda _: jobs, results, pool, 1000.0, clock)
    assert pool.started == jobs[:begun]


def test_what_would_fail_every_final_run_is_said_before_any_time_is_spent(full, monkeypatch):
    gpu_queue._check_protocol(queue(full), FULL)
    monkeypatch.setattr(protocol, "current_commit", lambda: ("abc", True))
    with pytest.raises(SystemExit, match=r"differs from commit abc.*commit there"):
        gpu_queue._check_protocol(queue(full), FULL)


# The budget of a run


@pytest.mark.parametrize(
    "deadline, expected, done",
    [(65.0, None, 1), (70.0, None, 2), (75.0, None, 3), (65.0, 20.0, 2), (50.0, 20.0, 1)],
)
def test_no_epoch_is_started_that_might_pass_the_deadline(results, deadline, expected, done):
    clock, heard = Clock(), []
    budget = Budget(deadline, 3, expected, clock)

    def tick(epoch):  # a start of 10 s, then 20 s an epoch
        clock.now += 30.0 if epoch.epoch == 1 else 20.0
        heard.append(epoch.epoch)
        budget(epoch)

    # After one epoch (at 30 s) the next may take 1.2 · 30 s, or of what is expected; after two (at
    # 50 s) 1.2 · 20 s.
    if done < 3:
        with pytest.raises(gpu_jobs.OutOfTime):
            run_arm(run().arm, results.task, callback=tick)
    else:
        run_arm(run().arm, results.task, callback=tick)
    assert heard[-1] == done == epochs_done(results.checkpoint(run())) and clock.now <= deadline


def test_a_run_that_was_stopped_goes_on_to_the_same_record(results, tmp_path):
    kind, content = do(run(), -math.inf, None, results.task)
    assert (kind, content["epochs"]) == ("unfinished", 1)
    assert len(content["epoch_seconds"]) == 1
    gpu_queue.note(run(), kind, content, results)
    seen = content["last"]["validation_accuracy"]
    assert f"1 epochs are there, {100 * seen:.2f} %" in gpu_report.report(results)[0]
    kind, content = do(run(), math.inf, None, results.task)
    whole = run_arm(run().arm, replace(results.task, folder=tmp_path / "whole"))
    assert kind == "done" and untimed(content["record"]) == untimed(asdict(whole))


def test_other_code_begins_a_final_run_again(results, out, monkeypatch):
    """Its record names one code: what another made of it may not be in it."""
    task = replace(results.task, role="tuning")
    job, other = run(100, role="tuning"), Results(out, task)
    other.put(job, state="unfinished", **do(job, -math.inf, None, task)[1])
    path = other.checkpoint(job)
    pack([path], out, task.folder)
    path.unlink()
    gpu_queue.go_on(lambda _: [job], other, out, task.folder)
    assert epochs_done(path) == other.of(job)["epochs"] == 1, "the same code goes on"
    monkeypatch.setattr(minivit.compare, "package_digest", lambda: "0" * 64)
    gpu_queue.go_on(lambda _: [job], other, out, task.folder)
    assert epochs_done(other.checkpoint(job)) == 0 and path.exists()
    assert "0 epochs are there" in (text := gpu_report.report(other)[0]) and "%" not in text


def test_steps_without_timm_have_no_ratio(results):
    seconds = {"minivit eager": [0.1, 0.2, 0.3]}
    more = {"batch": 8, "device": "x", "precision": "float16", "flops": 1e9, "matmul": 1e10}
    job = run(kind="steps")
    results.put(job, state="done", result={"seconds": seconds, **more}, model=vars(VIT_TINY))
    (_, line) = gpu_report.report(results)
    assert "40 images/s" in line and "timm" not in line and "bfloat16" not in line


def test_a_run_whose_answer_was_lost_is_given_again(results, monkeypatch):
    """Its record is written before the worker says so, and a final run is made once."""
    monkeypatch.setattr(protocol, "SCALES", {results.task.recipe.name: results.task.recipe})
    monkeypatch.setattr(protocol, "current_commit", lambda: ("abc", False))
    monkeypatch.setattr(minivit.compare, "loaded_commit", lambda: ("abc", False))
    final = replace(results.task, role="final", test=results.task.validation)
    first, again = (do(run(), math.inf, None, final) for _ in range(2))
    assert first[0] == again[0] == "done" and first[1]["record"] == again[1]["record"]


# Measurements


def test_a_step_is_measured_against_its_peers(results, monkeypatch):
    def absent(config):
        raise ModuleNotFoundError("vit_pytorch")

    monkeypatch.setitem(MODELS, "vit-pytorch", absent)  # as on a machine without it
    result = gpu_jobs.measure_steps(Job(kind="steps", arm=run().arm), results.task)
    assert result["seconds"].keys() == {"minivit eager", "timm eager", "torchvision eager"}
    assert result["flops"] == 20 * training_flops(RECIPE.model) and result["matmul"] > 0


def test_an_epoch_is_measured_against_the_usual_script(results, monkeypatch):
    monkeypatch.setattr(gpu_jobs, "WORKERS", (0,))
    trained = []
    monkeypatch.setattr(gpu_jobs, "usual_epoch", lambda model, loader, _: trained.append(loader))
    job = Job(kind="epochs", arm=run().arm, seconds=10)
    kind, content = do(job, math.inf, None, results.task)
    seconds = content["result"]["seconds"]
    assert kind == "done" and content["result"]["images"] == len(results.task.train) == 60
    assert {name: len(values) for name, values in seconds.items()} == {
        "minivit": gpu_jobs.EPOCHS,
        "DataLoader script, 0 workers": gpu_jobs.EPOCHS,
    }
    assert len(trained) == gpu_jobs.EPOCHS + 1, "the first is not counted"
    results.put(job, state="done", result=content["result"])
    assert "it / minivit 1.00× (1.00-1.00)" in "\n".join(gpu_report.report(results))


def test_a_device_that_broke_ends_all_attempts(results, monkeypatch):
    """Otherwise all that follow fail too, and the entry counts as measured."""

    class Broken(RuntimeError):
        pass

    def failing(config):
        def fail(*_):
            raise Broken("an illegal memory access was encountered")

        model = ViT(config)
        model.register_forward_pre_hook(fail)
        return model

    monkeypatch.setattr(gpu_jobs, "BROKEN_DEVICE", Broken)
    monkeypatch.setattr(gpu_jobs, "ATTEMPTS", {"as it is": (failing, None, None)})
    job = Job(kind="attempts", arm=run().arm, seconds=10)
    with pytest.raises(Broken):
        do(job, math.inf, None, results.task)


def test_other_ways_of_a_step_are_measured_and_what_fails_is_named(results, monkeypatch):
    kernels = []

    def listening(config):
        model = ViT(config)
        allowed = torch.backends.cuda.flash_sdp_enabled
        model.register_forward_pre_hook(lambda *_: kernels.append(allowed()))
        return model

    def failing(config):
        def fail(*_):
            raise RuntimeError("No available kernel. Aborting execution.\nand more")

        model = ViT(config)
        model.register_forward_pre_hook(fail)
        return model

    ways = {
        "as it is": (ViT, None, None),
        "without flash": (listening, SDPBackend.MATH, None),
        "none": (failing, SDPBackend.CUDNN_ATTENTION, None),
    }
    monkeypatch.setattr(gpu_jobs, "ATTEMPTS", ways)
    job = Job(kind="attempts", arm=run().arm, seconds=10)
    kind, content = do(job, math.inf, None, results.task)
    result = content["result"]
    assert result["seconds"].keys() == {"as it is", "without flash"} and kernels
    assert not any(kernels) and torch.backends.cuda.flash_sdp_enabled()
    assert result["errors"] == {"none": "No available kernel. Aborting execution."}
    results.put(job, state=kind, **content)
    assert "without flash" in "\n".join(gpu_report.report(results))
    rows = gpu_results._attempts(result, "a size").rows
    assert len(rows) == 3 and rows[0].ratio.startswith("1.00×")
    del result["seconds"]["as it is"]  # as where that failed
    results.put(job, state=kind, **content)
    assert "without flash" in "\n".join(gpu_report.report(results))
    assert not any(row.ratio for row in gpu_results._attempts(result, "a size").rows)


# What comes back


def checkpoint(folder, name="a", n=2000):
    """A file as training writes it: three of n, and a step."""
    g = torch.Generator().manual_seed(0)
    tensors = {f"{kind}/w": torch.randn(n, generator=g) for kind in ("model", *MOMENTS[1:])}
    tensors["exp_avg_sq/w"] = tensors["exp_avg_sq/w"] ** 2 * 1e-12
    tensors["step/w"] = torch.tensor(8701.0)
    path = folder / f"{name}.safetensors"
    write_tensors(path, tensors, {"epochs": [{}, {}], "run": {}, "start": [0.1], "scaler": {}})
    return path


def moved(paths, tmp_path, limit, name):
    """What arrives on the next machine, and what `pack` and `unpack` say."""
    fates = pack(paths, tmp_path / "out", tmp_path, limit)
    return fates, unpack(tmp_path / "out", tmp_path / name)


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_what_fits_comes_back_exactly(tmp_path, out, monkeypatch):
    monkeypatch.setattr(gpu_state, "FILE_BYTES", 10_000)
    path = checkpoint(tmp_path)
    fates, written = moved([path], tmp_path, 30_000, "next")
    assert fates == [(path, "exact")] and written == {"a.safetensors": False}
    assert 2 < len(list(out.iterdir())) < 8
    assert max(file.stat().st_size for file in out.iterdir()) <= 10_000
    (tensors, notes), (others, other_notes) = (
        read_tensors(file) for file in (path, tmp_path / "next" / path.name)
    )
    assert notes == other_notes and tensors.keys() == others.keys()
    assert all(torch.equal(tensors[name], others[name]) for name in tensors)


def test_what_does_not_fit_is_rounded_and_said_so(tmp_path, out):
    paths = [checkpoint(tmp_path, name) for name in "abc"]
    fates, written = moved(paths, tmp_path, 36_020, "next")
    assert [fate for _, fate in fates] == ["exact", "rounded", "left out"]
    assert written == {"a.safetensors": False, "b.safetensors": True}
    whole, rounded = (read_tensors(f)[0] for f in (paths[1], tmp_path / "next" / "b.safetensors"))
    for name, bits in {"model/w": 11, "exp_avg/w": 8, "exp_avg_sq/w": 8, "step/w": 99}.items():
        assert rounded[name].dtype == torch.float32
        assert ((rounded[name] - whole[name]).abs() <= whole[name].abs() * 2.0**-bits).all()


def test_a_rounded_run_goes_on_and_its_entry_says_so(results, tmp_path, out):
    do(run(), -math.inf, None, results.task)
    path = results.checkpoint(run())
    size = sum(tensor.nbytes for tensor in read_tensors(path)[0].values())
    assert pack([path], out, results.task.folder, 0.6 * size) == [(path, "rounded")]
    next_ = Results(tmp_path / "next", replace(results.task, folder=tmp_path / "next"))
    gpu_queue.go_on(lambda _: [run()], next_, out, tmp_path / "next")
    assert "unfinished, 1 epochs" in gpu_report.report(next_)[0]
    kind, content = do(run(), math.inf, None, next_.task)
    gpu_queue.note(run(), kind, content, next_)
    assert (
        next_.of(run())["rounded"] == [1] and "rounded at epoch [1]" in gpu_report.report(next_)[0]
    )
    exact = do(run(), math.inf, None, results.task)[1]["record"]["epochs"]
    there = content["record"]["epochs"]
    assert there[0] == exact[0] and there[2] != exact[2]
    assert there[2]["train_loss"] == pytest.approx(exact[2]["train_loss"], rel=0.01)


def size_of_the_checkout():
    """Bytes of the files that git tracks; where this is no checkout, more than they were."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    files = [ROOT / name for name in listing.stdout.split("\0") if name]
    return sum(file.stat().st_size for file in files if file.is_file()) or 15e6


def test_a_vit_tiny_fits_a_folder_and_a_folder_its_limits(tmp_path):
    """8 files of 16 MB at most; with the images (18.6 MB) and the code, less than 64 MiB."""
    parameters = sum(p.numel() for p in ViT(FULL.model).parameters())
    assert 6 * parameters < gpu_state.STATE_BYTES < 64 * 2**20 - 18.6e6 - size_of_the_checkout()
    assert 1 + math.ceil((gpu_state.STATE_BYTES + 1e6) / gpu_state.FILE_BYTES) <= 8
    assert gpu_state.FILE_BYTES < 16e6


def test_parts_of_two_packings_count_as_none(tmp_path, out, monkeypatch, capsys):
    monkeypatch.setattr(gpu_state, "FILE_BYTES", 10_000)
    pack([checkpoint(tmp_path)], out, tmp_path)
    old = (out / "unfinished-0.bin").read_bytes()
    pack([checkpoint(tmp_path, "b", n=1999)], out, tmp_path)
    (out / "unfinished-0.bin").write_bytes(old)
    assert unpack(out, tmp_path / "next") == {} and "start again" in capsys.readouterr().out
    pack([], out, tmp_path)
    assert not list(out.iterdir()), "nothing unfinished, nothing kept"


def test_what_lies_there_already_is_newer(tmp_path, out):
    pack([checkpoint(tmp_path)], out, tmp_path)
    newer = checkpoint(tmp_path, n=7)
    assert unpack(out, tmp_path) == {} and len(read_tensors(newer)[0]["model/w"]) == 7


def test_what_was_packed_further_on_takes_the_place_of_an_older_one(tmp_path, out):
    pack([checkpoint(tmp_path, n=1999)], out, tmp_path)
    older = checkpoint(tmp_path, n=7)
    tensors, metadata = read_tensors(older)
    write_tensors(older, tensors, metadata | {"epochs": metadata["epochs"][:-1]})
    assert unpack(out, tmp_path) == {older.name: False}
    assert len(read_tensors(older)[0]["model/w"]) == 1999


def test_a_damaged_checkpoint_starts_again(tmp_path, capsys):
    path = checkpoint(tmp_path)
    path.write_bytes(path.read_bytes()[:-5])
    assert epochs_done(path) == 0 and not path.exists()
    assert "starts again" in capsys.readouterr().out


def test_results_that_are_none(tmp_path):
    (tmp_path / "results.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(ValueError, match="not the results of a GPU queue"):
        Results(tmp_path)


def test_records_get_the_commit_of_the_code_that_ran(results, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(gpu_report, "current_commit", lambda: ("abc", False))
    finish(results, run(0), 0.5)
    finish(results, run(1), 0.5)
    results.put(run(1), source="other code")
    finish(results, run(2), 0.5)
    record = results.of(run(2))["record"] | {"commit": "of another machine", "dirty": True}
    results.put(run(2), record=record)
    gpu_report.main([str(results.file.parent), "--records", str(tmp_path / "records")])
    assert "50.00 % on validation images" in capsys.readouterr().out
    commits = {r.seed: (r.commit, r.dirty) for r in load_records(tmp_path / "records")}
    assert commits == {0: ("abc", False), 1: (None, False), 2: ("abc", False)}


# Real processes, and real kills


DRIVER = Path(__file__).parent / "gpu_queue_driver.py"


@pytest.fixture(scope="module")
def driven(tmp_path_factory):
    """What the driver saw: one process that forks for each call, so that torch is imported once."""
    folder = tmp_path_factory.mktemp("driven")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, DRIVER, folder], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def records(seen):
    return {entry["key"]: untimed(entry["record"]) for entry in seen["entries"]}


def test_a_killed_queue_goes_on_to_the_same_records(driven):
    wanted = records(driven["whole"])
    assert len(wanted) == 3 and len(driven["stopped"]) == 5
    for seen in driven["stopped"]:
        assert records(seen) == wanted, seen["name"]
        assert seen["files"].keys() == {"results.jsonl"}, seen["name"]


def test_a_fresh_machine_goes_on_where_the_folder_says(driven):
    [seen] = [seen for seen in driven["stopped"] if "SIGTERM" in seen["name"]]
    [(file, epochs)] = seen["kept"].items()
    entry = next(e for e in seen["entries"] if e["key"] == f"run-{Path(file).stem}")
    # Their seconds too: these epochs were not run again.
    assert len(epochs) >= 1 and entry["record"]["epochs"][: len(epochs)] == epochs
    assert "kept, exact" in seen["log"]


def test_what_the_folder_holds_is_not_run_again(driven):
    assert driven["written again"] == 0


def test_a_job_that_fails_is_named_and_stops_no_other(driven):
    entries = {(e["kind"], e["arm"]["seed"]): e for e in driven["failing"]["entries"][:4]}
    assert entries["run", 7]["error"] == "its process died (exit code -9)"
    assert entries["run", 8]["error"] == "RuntimeError: this one is broken"
    states = [entry["state"] for entry in driven["failing"]["entries"]]
    assert sorted(states) == ["done", "done", "done", "failed", "failed"]
    assert "failed: run-smoke-torch_default-plain-seed7" in driven["failing"]["log"]
    measured = entries["steps", 0]["result"]["seconds"]
    assert min(value for values in measured.values() for value in values) > 0


def test_processes_end_with_the_first(driven):
    assert driven["seconds an orphan lives"] < 60, "it sleeps for 600"


HIDE = """
import sys
from importlib.machinery import PathFinder

class OnlyCarried:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] not in ("jaxtyping", "wadler_lindig"):
            return None
        carried = [place for place in path or sys.path if ".whl" in place]
        found = PathFinder.find_spec(name, carried)
        if found is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return found

sys.meta_path.insert(0, OnlyCarried)
"""


def test_wheels_on_the_path_are_enough_where_jaxtyping_is_missing(tmp_path):
    wheels = []
    for name in ("jaxtyping", "wadler_lindig"):
        wheels.append(tmp_path / f"{name}-py3-none-any.whl")
        with zipfile.ZipFile(wheels[-1], "w") as wheel:
            for file in metadata.files(name):
                if file.suffix == ".py" or file.name == "METADATA":
                    wheel.write(file.locate(), str(file))
    (tmp_path / "sitecustomize.py").write_text(HIDE)

    def python(code, *path):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, [tmp_path, *path]))}
        return subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
        )

    assert "No module named 'jaxtyping'" in python("import jaxtyping").stderr
    code = "import benchmarks.gpu_queue, jaxtyping; print(jaxtyping.__file__)"
    done = python(code, *wheels)
    assert done.returncode == 0 and str(wheels[0]) in done.stdout, done.stderr


def test_without_a_gpu_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="no CUDA device here"):
        gpu_queue.main(["--minutes", "1", "--out", str(tmp_path)])


@pytest.mark.slow
def test_it_runs_with_processes_that_are_spawned(tmp_path):
    folders = ["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    arguments = ["--quick", "--minutes", "10", *folders]
    code = f"""if True:
        from benchmarks import gpu_queue
        gpu_queue.main({arguments}, lambda results: list(gpu_queue.queue(results))[:1])
    """
    environment = os.environ | {"MINIVIT_SOURCE": "synthetic", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0 and "1 of 1 jobs known by now are done" in done.stdout, done.stderr
