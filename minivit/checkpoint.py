"""The file from which an interrupted training goes on, and the test that it is of the same run.

It holds the weights, AdamW's moments, the gradient scaler and the epochs so far, and names the run:
configuration, model, seed, data, device, and the weights at the start.
"""

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from minivit.model import ViT
from minivit.runtime import is_number, stream
from minivit.saving import check_positions
from minivit.storage import read_tensors, write_tensors

RARELY = 20  # of the time on a GPU, one part in so many at most goes into writing
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what AdamW remembers of each parameter
# What a file raises whose digest is right and whose contents are not what `_write` writes.
STRANGE = (AttributeError, KeyError, OverflowError, RuntimeError, TypeError)


@dataclass(frozen=True)
class EpochRecord:
    """One epoch, counted from 1; None where nothing was validated.

    train_loss: mean over the augmented batches, while the weights changed. learning_rate: that of
    the last step. seconds: wall time with the validation, without the checkpoint.
    """

    epoch: int
    train_loss: float
    validation_loss: float | None
    validation_accuracy: float | None
    learning_rate: float
    seconds: float


class Checkpoint:
    """The file at `path` for one `run` on these sets.

    run: has model, optimizer, scaler (which are written and read back), config, seed, device
    and ranks.
    """

    def __init__(self, path, run, train_set, eval_set):
        self.path, self.run = Path(path).expanduser(), run
        self.identity = json.loads(json.dumps(_identity(run, train_set, eval_set)))
        names = {parameter: name for name, parameter in run.model.named_parameters()}
        self.trained = [names[p] for group in run.optimizer.param_groups for p in group["params"]]
        self.start, self.sizes = _sketch(run.model.state_dict()), _sizes(run.model.state_dict())
        self.held = 0  # epochs that were written here
        if isinstance(run.model, ViT):
            check_positions(run.model)

    def open(self):
        """Writes epoch 0 where no file holds an epoch; returns the EpochRecords so far.

        Raises ValueError where the file is damaged or of another run, or the path a folder's, or
        where some of several ranks do not see what others do.
        """
        if self.path.is_dir():
            raise ValueError(f"the checkpoint {self.path} is a folder; name a file in it")
        there = self.path.exists()
        if not self.run.ranks.agree(there, self.run.device):  # all have looked before one may write
            raise ValueError(f"not all processes see {self.path}; name a file in a shared folder")
        if there:
            tensors, metadata = self._read()
            self.run.ranks.wait()  # all have read before one may write
            try:
                other = self._differences(tensors, metadata)
                if not other:
                    self.start = metadata["start"]
                    self.written, self.cost = time.perf_counter(), 0.0
                    return self._restore(tensors, metadata)
            except STRANGE as error:
                raise self._not_ours(f" ({error})") from error
            if metadata["epochs"]:
                raise ValueError(
                    f"{self.path} holds another run: {'; '.join(other)}. Name another file, or "
                    "delete this one to start again"
                )
        self.save([])
        return []

    def save(self, epochs):
        """Writes everything: whole, or not at all. Of several ranks the first writes."""
        started = time.perf_counter()
        if self.run.ranks.is_first:
            self._write(epochs)
        self.run.ranks.wait()
        self.held, self.written = len(epochs), time.perf_counter()
        self.cost = self.written - started

    def is_due(self):
        """Whether to write after this epoch.

        On a GPU an epoch may be as short as the writing. Ranks would not agree on the time.
        """
        if self.run.device.type == "cpu" or self.run.ranks.world > 1:
            return True
        return time.perf_counter() - self.written >= RARELY * self.cost

    def guarded(self, callback, epochs, epoch):
        """Calls back; should that end the training, the file gets what it has not got yet."""
        try:
            callback(epoch)
        except BaseException:
            if self.held < len(epochs):
                self.save(epochs)
            raise

    def _write(self, epochs):
        tensors = {f"model/{name}": value for name, value in self.run.model.state_dict().items()}
        for index, state in self.run.optimizer.state_dict()["state"].items():
            tensors |= {f"{moment}/{self.trained[index]}": state[moment] for moment in MOMENTS}
        metadata = {
            "run": self.identity,
            "start": self.start,
            "epochs": [asdict(epoch) for epoch in epochs],
            "scaler": self.run.scaler.state_dict(),
            "torch": str(torch.__version__),  # for the reader; another torch may go on
        }
        write_tensors(self.path, tensors, metadata)

    def after_interrupt(self):
        """Puts the model back to the last whole epoch; returns the sentence that says how to go on.

        So the same call may follow at once, in the same process too.
        """
        done = len(self._restore(*self._read()))
        return f"training stopped; {self.path} holds epoch {done}: run the same again to go on"

    def _read(self):
        try:
            tensors, metadata = read_tensors(self.path)
        except ValueError as error:
            hint = "if it is the checkpoint of this run, delete it to start again"
            raise ValueError(f"{error}; {hint}") from error
        if not metadata.keys() >= {"run", "start", "epochs", "scaler"}:
            raise self._not_ours()
        return tensors, metadata

    def _not_ours(self, reason=""):
        return ValueError(f"{self.path}: not a checkpoint of train(){reason}; name another file")

    def _differences(self, tensors, metadata):
        there, here = metadata["run"], self.identity
        other = [
            f"{name} is {there.get(name)!r} there and {here.get(name)!r} here"
            for name in sorted(there.keys() | here.keys())
            if there.get(name) != here.get(name)
        ]
        # Arms of one seed differ in nothing but the weights at the start. A model that is already
        # where the file is comes from a call that is repeated in the same process.
        starts = (metadata["start"], _sketch(_weights(tensors)))
        if not other and not any(_alike(self.start, start, self.sizes) for start in starts):
            other = ["the model starts from other weights (another initialization?)"]
        return other

    def _restore(self, tensors, metadata):
        epochs = _epochs(metadata["epochs"], self.run.config.epochs)
        # None before the first epoch, nor where the scaler has left out every step so far.
        stepped = any(name.startswith("step/") for name in tensors)
        if epochs and not stepped and not metadata["scaler"]:
            raise KeyError("AdamW's moments are missing")
        odd = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
        if odd:
            raise TypeError(f"{odd[0]} has numbers that are not finite")
        state = self._moments(tensors) if stepped else {}
        self.run.model.load_state_dict(_weights(tensors))
        groups = self.run.optimizer.state_dict()["param_groups"]
        self.run.optimizer.load_state_dict({"state": state, "param_groups": groups})
        if metadata["scaler"]:  # empty where gradients needed none: then this one starts anew
            self.run.scaler.load_state_dict(metadata["scaler"])
        return epochs

    def _moments(self, tensors):
        """What AdamW remembers, by the number of the parameter.

        PyTorch takes any shape here, and its fused step then writes beyond the end of a small one.
        """
        shapes = {name: p.shape for name, p in self.run.model.named_parameters()}
        state = {}
        for index, name in enumerate(self.trained):
            state[index] = {moment: tensors[f"{moment}/{name}"] for moment in MOMENTS}
            for moment, tensor in state[index].items():
                wanted = () if moment == "step" else shapes[name]
                if tensor.shape != wanted or not tensor.is_floating_point():
                    raise TypeError(f"{moment}/{name} is {tensor.dtype} {tuple(tensor.shape)}")
                if moment != "exp_avg" and not (tensor >= 0).all():
                    raise TypeError(f"{moment}/{name} has numbers that are not from 0")
        return state


def _epochs(saved, planned):
    """The EpochRecords of a file; TypeError where they can't be those of so long a run."""
    epochs = [EpochRecord(**epoch) for epoch in saved]
    numbers = [epoch.epoch for epoch in epochs]
    if numbers != [*range(1, len(epochs) + 1)] or len(epochs) > planned:
        raise TypeError(f"its epochs are {numbers}")
    for epoch in epochs:
        for name, value in asdict(epoch).items():
            is_none = value is None and name.startswith("validation")
            if not is_none and not (is_number(value) and math.isfinite(value)):
                raise TypeError(f"{name} of an epoch is {value!r}")
    return epochs


def _identity(run, train_set, eval_set):
    """What must be the same for a run to go on."""
    model = {f"model.{name}": value for name, value in asdict(run.model.config).items()}
    return {
        **asdict(run.config),
        **model,
        "frozen parameters": [n for n, p in run.model.named_parameters() if not p.requires_grad],
        "seed": run.seed,
        "training images": train_set.subset_digest,
        "validation images": eval_set and eval_set.subset_digest,
        # Means and deviations that images are normalised with: no digest of pixels has them.
        "normalization": [
            [[*map(float, images.mean)], [*map(float, images.std)]]
            for images in (train_set, eval_set)
            if images is not None
        ],
        "device": run.device.type,
    }


def _weights(tensors):
    return {
        name.removeprefix("model/"): value
        for name, value in tensors.items()
        if name.startswith("model/")
    }


def _sketch(weights):
    """One number for each tensor, its product with a fixed random one."""
    generator, found = stream(0, "sketch"), []
    for name in sorted(weights):
        tensor = weights[name].cpu().float()
        found.append((tensor * torch.randn(tensor.shape, generator=generator, device="cpu")).sum())
    return [product.item() for product in found]


def _sizes(weights):
    """The norm of each tensor, in the order of `_sketch`."""
    return [weights[name].float().norm().item() for name in sorted(weights)]


def _alike(a, b, sizes):
    """Whether each tensor is the same to about a hundredth of its norm.

    Not bit for bit: the SVD in an initializer differs a little from one machine to the next.
    """
    return len(a) == len(b) == len(sizes) and all(
        abs(one - other) <= 0.01 * size for one, other, size in zip(a, b, sizes, strict=True)
    )
