"""Several processes that train one model together, as `torchrun` starts them.

Every rank draws the order and the augmentation of the whole batch, from the same streams, and
computes its own part; gradients are averaged by PyTorch's DistributedDataParallel. So a run with
any number of ranks is the same run, up to rounding.
"""

import atexit
import os
import sys
import threading
import time
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Ranks:
    """This process's number, counted from 0, among the `world` that train together."""

    rank: int = 0
    world: int = 1

    @property
    def is_first(self):
        """Whether this process writes files and tells of progress: one does, for all."""
        return self.rank == 0

    def share(self, batch_size):
        """The part of a batch that is this rank's, as a slice; ValueError where it can't be cut."""
        if batch_size % self.world:
            raise ValueError(f"batch_size {batch_size} is not divisible by {self.world} ranks")
        own = batch_size // self.world
        return slice(self.rank * own, (self.rank + 1) * own)

    def sum(self, tensor):
        """The sum of the tensor over all ranks, on each of them; in place."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def agree(self, value, device):
        """Whether `value`, True or False, is the same on every rank; device: this process's."""
        return self.sum(torch.tensor(float(value), device=device)).item() in (0, self.world)

    def wait(self):
        """Waits until every rank has come here."""
        if self.world > 1:
            dist.barrier()

    def wrap(self, model):
        """What to call for a forward pass whose gradients are averaged over the ranks."""
        if self.world == 1:
            return model
        device = next(model.parameters()).device
        return DistributedDataParallel(
            model, device_ids=[device] if device.type == "cuda" else None
        )


def join(device):
    """Returns this process's Ranks; under torchrun it joins the others, once, over gloo or nccl.

    A GPU with a number becomes the current one: streams, graphs and nccl take that.
    """
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    if int(os.environ.get("WORLD_SIZE", 1)) == 1 and not (
        dist.is_available() and dist.is_initialized()
    ):
        return Ranks()
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(leave)
        if "TORCHELASTIC_RUN_ID" in os.environ:
            threading.Thread(target=_end_with_torchrun, args=(os.getppid(),), daemon=True).start()
    return Ranks(dist.get_rank(), dist.get_world_size())


def leave():
    """Ends the group, when the process ends well.

    Not after an error: nccl would wait here for the other ranks, they wait for this one's
    gradients, and torchrun, which ends all when one process fails, would not hear of it.
    """
    if dist.is_initialized() and getattr(sys, "last_type", None) is None:
        dist.destroy_process_group()


def ends_badly():
    """To be called before an exit after an error that was caught: see `leave`."""
    atexit.unregister(leave)


def _end_with_torchrun(parent):
    """Ends this process when torchrun is killed: started anew, two groups would write one file."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def local_device(asked=None):
    """The device for this process: under torchrun the GPU with its number, or else the CPU.

    asked: a device or its name, which goes before, but for a "cuda" without a number. Outside of
    torchrun it comes back as it is, None too.
    """
    if "LOCAL_RANK" not in os.environ or (asked is not None and str(asked) != "cuda"):
        return asked
    if asked is None and not torch.cuda.is_available():
        return torch.device("cpu")  # gloo does not carry the tensors of mps
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
