"""The smallest model, images and training that are one: for faults, where only files matter."""

import torch

from minivit.data import ImageSet
from minivit.model import ViT, ViTConfig
from minivit.train import TrainConfig, train

MODEL = ViTConfig(image_size=4, patch_size=2, dim=4, depth=1, heads=1, classes=2)


def tiny_model():
    torch.manual_seed(0)
    return ViT(MODEL)


def tiny_set():
    images = torch.arange(4 * 3 * 4 * 4).reshape(4, 3, 4, 4).to(torch.uint8)
    labels, grey = torch.tensor([0, 1, 0, 1]), (0.5, 0.5, 0.5)
    return ImageSet(
        images=images, labels=labels, classes=("a", "b"), name="n", digest="", mean=grey, std=grey
    )


def train_tiny(path, epochs=2, callback=None):
    """Trains a tiny model, from the checkpoint at `path` on if there is one: (model, history)."""
    model = tiny_model()
    config = TrainConfig(epochs=epochs, batch_size=2, warmup_epochs=0.0, precision="float32")
    where = {"device": "cpu", "checkpoint": path, "callback": callback}
    return model, train(model, tiny_set(), None, config, **where)
