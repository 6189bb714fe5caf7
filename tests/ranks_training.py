"""One training under torchrun, for test_ranks.py: OUT PRECISION [CHECKPOINT [WAY]].

Writes the losses of each epoch and the weights. With a WAY the last rank ends itself in epoch 3:
"die" at once, "raise" with an error. "wait": all ranks write their number beside OUT there, and
go on for ever.
"""

import importlib
import os
import sys
import time
from pathlib import Path

import torch
import torch.distributed

from minivit.augment import Augment
from minivit.data import cifar10
from minivit.init import initialize_
from minivit.model import ViT, ViTConfig
from minivit.storage import write_tensors
from minivit.train import TrainConfig, train

train_module = importlib.import_module("minivit.train")  # the package's name is the function's
MODEL = ViTConfig(dim=32, depth=2, heads=2, patch_size=8)
AUGMENT = Augment(crop=2, cutout=4, mixup=0.5)


def run(precision, checkpoint=None, way="", out=None):
    """Returns (loss of each epoch, weights) of three epochs of ten steps on generated images."""
    if precision == "float64":
        whole = train_module.epoch_batches

        def doubled(*args, **kwargs):
            return ((x.double(), y.double()) for x, y in whole(*args, **kwargs))

        train_module.epoch_batches = doubled
    if way:
        step, count = train_module._train_step, iter(range(10**6))
        # As nccl may, for as long as other ranks wait for this one's gradients.
        torch.distributed.destroy_process_group = lambda: time.sleep(600)

        def dying(*args):
            rank, last = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]) - 1
            here = next(count) == 25
            if here and way == "wait":
                Path(f"{out}.{rank}").write_text(str(os.getpid()))
                time.sleep(600)
            if here and rank == last:
                if way == "raise":
                    raise ValueError("an image can't be read")
                os._exit(7)
            return step(*args)

        train_module._train_step = dying
    model = initialize_(ViT(MODEL), "torch_default", "mimetic", seed=0)
    model.to(getattr(torch, precision))
    images = cifar10(source="synthetic")[0].subset(240, seed=0)
    train_set, eval_set = images.split(40, seed=0)
    config = TrainConfig(epochs=3, batch_size=20, warmup_epochs=1.0, clip_norm=1.0, augment=AUGMENT)
    eval_set = None if precision == "float64" else eval_set
    history = train(model, train_set, eval_set, config, checkpoint=checkpoint)
    return [epoch.train_loss for epoch in history.epochs], model.state_dict()


if __name__ == "__main__":
    out, precision, *rest = sys.argv[1:]
    torch.set_num_threads(1)
    losses, weights = run(precision, *rest, out=out)
    if os.environ.get("RANK", "0") == "0":
        write_tensors(out, weights, {"losses": losses})
