"""One training loop for CPU, CUDA and mps, which goes on where a kill has stopped it.

Read from top to bottom: the configuration, what comes back, `train` and `evaluate`, then the parts.
Images lie on the device as uint8 and are augmented there; within an epoch nothing waits for it.
"""

import math
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F

from minivit.augment import Augment
from minivit.checkpoint import Checkpoint, EpochRecord
from minivit.data import epoch_batches, eval_batches
from minivit.graphs import GraphedStep
from minivit.model import ViTConfig
from minivit.ranks import Ranks, join, local_device
from minivit.runtime import (
    Precision,
    Stopwatch,
    can_compile,
    in_eval_mode,
    is_count,
    is_number,
    is_whole,
    pick_device,
    pick_precision,
    uncompiled,
)
from minivit.schedule import decay_groups, warmup_cosine

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
EVAL_BATCH = 500  # images at a time, without gradients


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train: AdamW (arXiv 1711.05101) on the cross-entropy.

    warmup_epochs: may be a fraction. clip_norm: the largest norm of the whole gradient, 0 for no
    limit. compile: None compiles on CUDA only, if Triton and a C compiler are there; a compiled
    step is also recorded and replayed as a CUDA graph (`graphs.py`). Raises ValueError for a value
    out of its range.
    """

    epochs: int = 100
    batch_size: int = 512
    learning_rate: float = 1e-3
    warmup_epochs: float = 5.0
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: float = 0.0
    label_smoothing: float = 0.0
    augment: Augment = field(default_factory=Augment)
    precision: str = "auto"
    compile: bool | None = None

    def __post_init__(self):
        numbers = ("learning_rate", "warmup_epochs", "weight_decay", "clip_norm", "label_smoothing")
        for name in numbers:
            if not is_number(getattr(self, name)):  # YAML reads 1e-3 as text
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be a number")
        for name in ("epochs", "batch_size"):
            if not is_count(value := getattr(self, name)):
                raise ValueError(f"{name} is {value!r}; it must be a whole number from 1")
        accepted = {
            "learning_rate": (0 < self.learning_rate < math.inf, "above 0 and finite"),
            "warmup_epochs": (
                0 <= self.warmup_epochs < self.epochs,
                f"from 0 to below epochs, {self.epochs}",
            ),
            "weight_decay": (0 <= self.weight_decay < math.inf, "at least 0 and finite"),
            "betas": (_are_betas(self.betas), "two numbers from 0 to below 1"),
            "clip_norm": (0 <= self.clip_norm < math.inf, "at least 0 and finite"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "from 0 to below 1"),
            "precision": (self.precision in PRECISIONS, f"one of {PRECISIONS}"),
            "augment": (isinstance(self.augment, Augment), "an Augment"),
            "compile": (self.compile in (None, True, False), "None, True or False"),
        }
        for name, (good, values) in accepted.items():
            if not good:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be {values}")


class Evaluation(NamedTuple):
    """Mean cross-entropy over `n` images and the fraction of them, 0 to 1, that is right."""

    loss: float
    accuracy: float
    n: int


@dataclass(frozen=True)
class History:
    """All epochs of a run, its device, its precision, and whether it was compiled."""

    epochs: tuple[EpochRecord, ...]
    device: str
    precision: Precision
    compiled: bool

    @property
    def final(self):
        return self.epochs[-1]


def train(
    model, train_set, eval_set, config, *, seed=0, device=None, checkpoint=None, callback=None
) -> History:
    """Trains `model` in place, leaves it on the device in eval mode, and returns its History.

    seed: with the epoch it decides batches and augmentation; initializing is the caller's part.
    eval_set: None for no validation. callback: gets each EpochRecord; if it raises, that epoch is
    kept. checkpoint: a path, written before the first epoch and after each (on a GPU after so many
    that it takes a twentieth of the time). Found there, the same run goes on, with the same history
    but for `seconds`: on a CPU bit for bit, given the same torch and threads. Ctrl-C puts the model
    back to the checkpoint and says so in a note on the exception.
    Under `torchrun` the ranks share each batch (`ranks.py`): the same run up to rounding, in which
    the first rank alone writes and calls back; any number of ranks may go on with a checkpoint.
    Raises ValueError for sets that do not fit the model, a batch that the ranks do not divide, and
    a checkpoint that is damaged or of another run, RuntimeError for a loss that is not finite.
    """
    _check_fits(model, train_set)
    if eval_set is not None:
        _check_fits(model, eval_set)
        if [*eval_set.classes] != [*train_set.classes]:
            raise ValueError(
                f"{train_set.name} and {eval_set.name} have other classes, or in another order"
            )
    if not is_whole(seed):
        raise ValueError(f"seed is {seed!r}; it must be an int")
    device = pick_device(local_device(device))
    ranks = join(device)
    ranks.share(config.batch_size)
    run = _Run(model.to(device), config, seed, device, ranks)
    file = None if checkpoint is None else Checkpoint(checkpoint, run, train_set, eval_set)
    run.epochs = file.open() if file else []
    run.forward = ranks.wrap(run.fast)
    train_set, eval_set = train_set.to(device), eval_set and eval_set.to(device)
    take_step = partial(_train_step, run)
    take_step = GraphedStep(take_step) if run.graphed else take_step
    callback = partial(file.guarded, callback, run.epochs) if file and callback else callback
    try:
        while len(run.epochs) < config.epochs:
            run.epochs.append(_train_epoch(run, take_step, train_set, eval_set))
            if file and (len(run.epochs) == config.epochs or file.is_due()):
                file.save(run.epochs)
            if callback and ranks.is_first:
                callback(run.epochs[-1])
    except KeyboardInterrupt as interrupt:
        nothing = "training stopped; it had no checkpoint, so nothing was kept"
        interrupt.add_note(file.after_interrupt() if file else nothing)
        raise
    finally:
        model.eval()
    return History(tuple(run.epochs), str(device), run.precision, run.compiled)


def evaluate(
    model, image_set, *, batch_size=EVAL_BATCH, device=None, precision="auto"
) -> Evaluation:
    """Returns the Evaluation of `model` on every image, by default where the model lies.

    device: where the model goes, and stays. precision: as in TrainConfig. Each module's train or
    eval mode is restored. Raises ValueError for a model that is none of minivit's ViTs, and for
    images that do not fit it.
    """
    _check_fits(model, image_set)
    device = next(model.parameters()).device if device is None else pick_device(device)
    return _evaluate(model.to(device), image_set, batch_size, device, precision, Ranks())


@torch.no_grad()
def _evaluate(model, image_set, batch_size, device, precision, ranks):
    """As `evaluate`, each rank on a part of the images."""
    autocast = pick_precision(device, precision).autocast
    loss, right = torch.zeros((), device=device), torch.zeros((), device=device, dtype=torch.int64)
    batches = eval_batches(image_set, batch_size, device, (ranks.rank, ranks.world))
    with in_eval_mode(model):
        for images, labels in batches:
            with autocast(device):
                logits = model(images)
            loss += F.cross_entropy(logits.float(), labels, reduction="sum")
            right += (logits.argmax(dim=1) == labels).sum()
    loss, right, n = ranks.sum(loss).item(), ranks.sum(right).item(), len(image_set)
    return Evaluation(loss / n, right / n, n)


class _Run:
    """What a training holds while it runs."""

    def __init__(self, model, config, seed, device, ranks):
        self.model, self.config, self.seed, self.device = uncompiled(model), config, seed, device
        self.ranks, self.ahead = ranks, None  # ahead: the next epoch's batches, once drawn
        self.precision = pick_precision(device, config.precision)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision.scaled)
        self.compiled = can_compile(device) if config.compile is None else config.compile
        # Beside the model: compiled in place it would stay so after the training, for the caller.
        self.fast = torch.compile(self.model, dynamic=False) if self.compiled else model
        # A scaler has a state of its own and ranks meet between kernels: not tried in a graph.
        alone = ranks.world == 1 and not self.precision.scaled
        self.graphed = self.compiled and device.type == "cuda" and alone
        # Fused is three times as fast on a CPU too, and spares a scaled step on CUDA a host sync.
        self.optimizer = torch.optim.AdamW(
            decay_groups(model, config.weight_decay),
            lr=torch.tensor(0.0, device=device) if self.graphed else 0.0,
            betas=config.betas,
            fused=True,
            capturable=self.graphed,
        )

    def set_rate(self, rate):
        for group in self.optimizer.param_groups:
            if torch.is_tensor(group["lr"]):
                group["lr"].fill_(rate)  # in place: a graph holds its address
            else:
                group["lr"] = rate


def _train_epoch(run, take_step, train_set, eval_set):
    config, epoch, watch = run.config, len(run.epochs) + 1, Stopwatch(run.device)
    steps = len(train_set) // config.batch_size
    warmup = int(config.warmup_epochs * steps)
    total = torch.zeros((), device=run.device)
    run.model.train()
    batches = run.ahead or _batches(run, train_set, epoch)
    for step, (images, targets) in enumerate(batches, start=(epoch - 1) * steps):
        rate = config.learning_rate * warmup_cosine(step, config.epochs * steps, warmup)
        run.set_rate(rate)
        total += take_step(images, targets)
    # Drawn on the CPU while the device is still busy with the last steps.
    run.ahead = _batches(run, train_set, epoch + 1) if epoch < config.epochs else None
    loss = run.ranks.sum(total).item() / (steps * run.ranks.world)
    validation_loss, accuracy = None, None
    if eval_set is not None:
        how = EVAL_BATCH, run.device, config.precision, run.ranks
        validation_loss, accuracy, _ = _evaluate(run.fast, eval_set, *how)
    if not math.isfinite(loss) or not math.isfinite(validation_loss or 0):
        raise RuntimeError(
            f"the loss became {loss} (validation: {validation_loss}) in epoch {epoch}; lower the "
            f"learning rate (now {config.learning_rate:g}), warm up for longer or set clip_norm"
        )
    return EpochRecord(epoch, loss, validation_loss, accuracy, rate, watch.seconds())


def _batches(run, train_set, epoch):
    order = {"seed": run.seed, "epoch": epoch, "augment": run.config.augment, "device": run.device}
    order["share"] = run.ranks.share(run.config.batch_size)
    return epoch_batches(train_set, run.config.batch_size, **order)


def _train_step(run, images, targets):
    """Takes one step; returns the loss, still on the device."""
    with run.precision.autocast(run.device):
        logits = run.forward(images)
    loss = F.cross_entropy(logits.float(), targets, label_smoothing=run.config.label_smoothing)
    run.optimizer.zero_grad(set_to_none=True)
    run.scaler.scale(loss).backward()
    if run.config.clip_norm:
        run.scaler.unscale_(run.optimizer)
        torch.nn.utils.clip_grad_norm_(run.model.parameters(), run.config.clip_norm)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    return loss.detach()


def _check_fits(model, image_set):
    config = getattr(model, "config", None)
    if not isinstance(config, ViTConfig):
        kind = f"{type(model).__module__.partition('.')[0]}'s {type(model).__name__}"
        if isinstance(getattr(getattr(model, "module", None), "config", None), ViTConfig):
            raise ValueError(
                f"{kind} is around the model: give model.module. For several GPUs start the script "
                "with torchrun; train() does the rest"
            )
        raise ValueError(f"{kind} has no ViTConfig of minivit; minivit trains its own ViT")
    if not hasattr(image_set, "image_shape"):
        kind = type(image_set).__name__
        raise ValueError(f"an ImageSet or a FolderSet is expected, not {kind}; cifar10() gives two")
    shape, classes = image_set.image_shape, len(image_set.classes)
    if shape != (config.channels, config.image_size, config.image_size):
        taken = f"{config.channels} × {config.image_size} × {config.image_size}"
        raise ValueError(f"images of {image_set.name} are {shape}; the model takes {taken}")
    if classes != config.classes:
        raise ValueError(f"{image_set.name} has {classes} classes, the model {config.classes}")
    half = {p.dtype for p in model.parameters()} & {torch.float16, torch.bfloat16}
    if half:
        raise ValueError(
            f"the weights are {', '.join(map(str, half))}; use model.float(), and `precision` for "
            "what is to be computed in fewer bits"
        )


def _are_betas(value):
    pair = isinstance(value, tuple | list) and len(value) == 2
    return pair and all(is_number(beta) and 0 <= beta < 1 for beta in value)
