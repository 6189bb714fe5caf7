"""The jobs of the GPU queue: measure a step, an epoch, what else was tried; run an arm."""

import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from statistics import mean

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.epochs import usual_epoch, usual_loader
from benchmarks.measure import interleaved
from benchmarks.peers import MODELS, written_out
from benchmarks.steps import noise_batch, training_flops, training_step
from minivit.augment import Augment
from minivit.compare import Arm, finished, run_arm
from minivit.graphs import WARMUP
from minivit.model import ViT
from minivit.records import describe_machine
from minivit.runtime import Stopwatch, can_compile, pick_device, pick_precision
from minivit.train import train

REPEATS, STEPS = 7, 10  # rounds that count, and training steps in each; without a GPU 1 and 1
EPOCHS = 3  # of each measurement in epochs
WORKERS = (2, 8)  # of the usual script's DataLoader
# What may make minivit's step faster: name → (model, attention kernel, mode of torch.compile).
ATTEMPTS = {
    "as it is": (ViT, None, None),
    "cuDNN's attention": (ViT, SDPBackend.CUDNN_ATTENTION, None),
    "flash attention": (ViT, SDPBackend.FLASH_ATTENTION, None),
    "memory-efficient attention": (ViT, SDPBackend.EFFICIENT_ATTENTION, None),
    "softmax written out": (written_out, None, None),
    "as it is, again": (ViT, None, None),
    # Last, for they compile for minutes.
    "max-autotune": (ViT, None, "max-autotune-no-cudagraphs"),
    "softmax written out, max-autotune": (written_out, None, "max-autotune-no-cudagraphs"),
}
# After such an error the device is of no use to this process: the job fails, and ends it.
BROKEN_DEVICE = getattr(torch, "AcceleratorError", ())
MARGIN = 1.2  # an epoch may take this much longer than the longest of the last RECENT
RECENT = 3


@dataclass(frozen=True, kw_only=True)
class Job:
    """One entry of the queue.

    kind: "steps" (a training step against timm), "attempts" (that step in other ways), "epochs" (an
    epoch against the usual script) or "run". arm: what is run; for a measurement only its variant
    matters. seconds: at most, for a measurement on an H200. alone: nothing runs beside it, as for a
    time that is to be quoted.
    """

    kind: str
    arm: Arm
    role: str = "live"
    seconds: float | None = None
    alone: bool = False


class OutOfTime(Exception):
    """A run stopped after an epoch, because the next might not have ended in time."""


class Budget:
    """The callback that stops a run before an epoch that might end after `deadline`.

    expected: seconds of an epoch, if known; it counts until one was measured here.
    """

    def __init__(self, deadline, epochs, expected=None, clock=time.monotonic):
        self.deadline, self.epochs, self.expected, self.clock = deadline, epochs, expected, clock
        self.last, self.marks, self.seconds = None, [clock()], []

    def __call__(self, epoch):
        self.last = epoch
        self.seconds.append(epoch.seconds)
        self.marks.append(self.clock())
        if epoch.epoch < self.epochs and self.marks[-1] + MARGIN * self._longest() > self.deadline:
            raise OutOfTime

    def _longest(self):
        # The first holds the start and the compilation: it counts only where nothing else does.
        first, *others = self._spans()
        return max(others[-RECENT:], default=self.expected or first)

    def _spans(self):
        return [b - a for a, b in zip(self.marks, self.marks[1:], strict=False)]

    def pace(self):
        """{"pace": [seconds before the first epoch, mean of an epoch]}, empty if not measured."""
        first, *others = self._spans() or [0.0]
        return {"pace": [max(first - mean(others), 0.0), mean(others)]} if others else {}


def do(job, deadline, expected, task):
    """Does one job; returns (kind, content). deadline: on the clock time.monotonic().

    expected: as in Budget.
    """
    if job.kind != "run":
        return "done", {"result": MEASURE[job.kind](job, task)}
    budget = Budget(deadline, job.arm.recipe(task.recipe).training.epochs, expected)
    try:
        # Its record may be there, and the answer that said so was lost with the process.
        record = finished(job.arm, task) or run_arm(job.arm, task, callback=budget)
    except OutOfTime:
        last = budget.last
        at = {"epochs": last.epoch, "epoch_seconds": budget.seconds, "last": asdict(last)}
        return "unfinished", at | budget.pace()
    return "done", {"record": asdict(record)} | budget.pace()


def measure_steps(job, task):
    """Seconds of a step of minivit and its peers, interleaved, and what a share of peak needs.

    The same batch, optimizer and precision for all; a peer that is not installed is left out.
    """
    recipe, device = job.arm.recipe(task.recipe), pick_device()
    cuda, batch = device.type == "cuda", recipe.training.batch_size
    precision = pick_precision(device)
    batch_of_noise = [values.to(device) for values in noise_batch(recipe.model, batch)]
    actions = {}
    for library in MODELS:
        for way in _ways(library, cuda, precision):
            try:
                model = MODELS[library](recipe.model).to(device)
            except ModuleNotFoundError:
                break
            if way != "eager":
                model.compile(dynamic=False)
            step = training_step(model, *batch_of_noise, precision="auto", graphed=way == "graphed")
            actions[f"{library} {way}"] = partial(_seconds, step, STEPS if cuda else 1, device)
    return {
        "seconds": interleaved(actions, REPEATS if cuda else 1),
        "batch": batch,
        "flops": batch * training_flops(recipe.model),
        "matmul": matmul_rate(device, precision.dtype),
        "precision": str(precision.dtype),
        "device": describe_machine(device),
        "torch": torch.__version__,
    }


def measure_attempts(job, task):
    """Seconds of minivit's step as `train` takes it on this device, and in the ways of ATTEMPTS.

    Not interleaved, since what was traced for one kernel would serve for the next: the first way is
    measured again at the end. errors: what can't be done there, and why.
    """
    recipe, device = job.arm.recipe(task.recipe), pick_device()
    cuda, batch = device.type == "cuda", recipe.training.batch_size
    way = _ways("minivit", cuda, pick_precision(device))[-1]
    batch_of_noise = [values.to(device) for values in noise_batch(recipe.model, batch)]
    seconds, errors = {}, {}
    for name, (build, kernel, mode) in ATTEMPTS.items():
        torch.compiler.reset()
        model = build(recipe.model).to(device)
        if way != "eager":
            model.compile(dynamic=False, mode=mode)
        step = training_step(model, *batch_of_noise, precision="auto", graphed=way == "graphed")
        try:
            with sdpa_kernel(kernel) if kernel else nullcontext():
                _seconds(step, WARMUP + 1, device)  # compiles and records
                rounds = range(REPEATS if cuda else 1)
                seconds[name] = [_seconds(step, STEPS if cuda else 1, device) for _ in rounds]
        except BROKEN_DEVICE:
            raise
        except RuntimeError as error:
            errors[name] = str(error).strip().partition("\n")[0][:200]
    torch.compiler.reset()
    return {
        "seconds": seconds,
        "errors": errors,
        "way": way,
        "batch": batch,
        "precision": str(pick_precision(device).dtype),
        "device": describe_machine(device),
        "torch": torch.__version__,
    }


def _ways(library, cuda, precision):
    """How a step of this library is run: as it is; on CUDA compiled; replayed as a CUDA graph.

    `train` replays graphs where gradients need no scaler, so not on a T4.
    """
    if not cuda or library not in ("minivit", "timm"):
        return ("eager",)
    return ("eager", "compiled") if precision.scaled else ("eager", "compiled", "graphed")


def _seconds(action, times, device):
    watch = Stopwatch(device)
    for _ in range(times):
        action()
    return watch.seconds() / times


def matmul_rate(device, dtype):
    """Floating-point operations a second of a large product of random matrices."""
    n = 8192 if device.type == "cuda" else 256
    a, b = torch.randn(2, n, n, device=device).to(dtype)
    _seconds(lambda: a @ b, 3, device)
    return 2 * n**3 / _seconds(lambda: a @ b, 10, device)


def measure_epochs(job, task):
    """Seconds of an epoch of minivit and of the usual script, in turn, validation left out.

    The same model, batch size, images, flip and crop. The script is eager, with autocast in the
    precision of the device and with pinned memory; then compiled too, to tell the share of that.
    """
    recipe, device = job.arm.recipe(task.recipe), pick_device()
    batch, models = recipe.training.batch_size, [ViT(recipe.model).to(device) for _ in range(2)]
    scripts = {
        f"DataLoader script, {n} workers": (models[0], usual_loader(task.train, batch, n))
        for n in WORKERS
    }
    if can_compile(device):
        models[1].compile(dynamic=False)
        loader = scripts[f"DataLoader script, {WORKERS[-1]} workers"][1]
        scripts[f"DataLoader script, compiled, {WORKERS[-1]} workers"] = models[1], loader
    seconds = {name: [] for name in ("minivit", *scripts)}

    def between(epoch):
        seconds["minivit"].append(epoch.seconds)
        for name, (model, loader) in scripts.items():
            watch = Stopwatch(device)
            usual_epoch(model, loader, device)
            seconds[name].append(watch.seconds())

    training = replace(recipe.training, epochs=1 + EPOCHS, warmup_epochs=1.0)
    config = replace(training, augment=Augment(flip=True, crop=4))
    train(ViT(recipe.model), task.train, None, config, callback=between)
    return {
        # Without the first, which compiles and starts the workers.
        "seconds": {name: values[1:] for name, values in seconds.items()},
        "images": len(task.train) // batch * batch,
        "batch": batch,
        "precision": str(pick_precision(device).dtype),
        "device": describe_machine(device),
    }


MEASURE = {"steps": measure_steps, "attempts": measure_attempts, "epochs": measure_epochs}
