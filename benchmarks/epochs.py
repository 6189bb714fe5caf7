"""One epoch with augmentation: `minivit.train` against the usual script around a DataLoader.

The images are noise in memory: what is in them changes no time.
"""

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

from benchmarks.measure import Section, interleaved, ratio, timed_row
from minivit.augment import Augment
from minivit.data import ImageSet
from minivit.model import ViT, ViTConfig
from minivit.runtime import pick_precision
from minivit.train import TrainConfig, train

CPU = torch.device("cpu")
NOTES = (
    "Ratio: its time / minivit's. The same model, batch size, number of steps and fused AdamW.",
    "The script: PIL images, RandomCrop(32, padding=4), RandomHorizontalFlip, ToTensor, Normalize; "
    "its workers are started before the clock and stay.",
)


class PILImages(Dataset):
    """Images as torchvision's CIFAR10 hands them out: PIL, then a transform for each."""

    def __init__(self, image_set, transform):
        self.pixels = image_set.images.permute(0, 2, 3, 1).numpy()  # (n, height, width, channel)
        self.labels, self.transform = image_set.labels.tolist(), transform

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, index):
        from PIL import Image

        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


def usual_transform(image_set):
    from torchvision import transforms

    return transforms.Compose(
        [
            transforms.RandomCrop(image_set.images.shape[2], padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(image_set.mean, image_set.std),
        ]
    )


def usual_loader(image_set, batch_size, workers):
    return DataLoader(
        PILImages(image_set, usual_transform(image_set)),
        batch_size=batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def usual_epoch(model, loader, device=CPU):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    autocast = pick_precision(device).autocast
    model.train()
    for batch in loader:
        images, labels = (values.to(device, non_blocking=True) for values in batch)
        with autocast(device):
            loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


def epoch_sections(*, quick, repeats):
    n, batch_size = (16, 8) if quick else (2048, 128)
    model = ViTConfig(dim=16, depth=1, heads=2) if quick else ViTConfig(dim=64, depth=6, heads=2)
    image_set = noise_images(n)
    augment = Augment(flip=True, crop=4)
    config = TrainConfig(epochs=1, batch_size=batch_size, warmup_epochs=0.0, augment=augment)
    ours, theirs = ViT(model), ViT(model)
    actions = {"minivit.train": lambda: _our_epoch(ours, image_set, config)}
    for workers in (0, 2):
        loader = usual_loader(image_set, batch_size, workers)
        actions[f"DataLoader script, {workers} workers"] = lambda loader=loader: usual_epoch(
            theirs, loader
        )
    return [_section(interleaved(actions, repeats), n, model)]


def _section(seconds, n, model):
    own = seconds["minivit.train"]
    rows = [
        timed_row(
            name,
            seconds[name],
            ratio="" if seconds[name] is own else ratio(seconds[name], own),
            goal="" if seconds[name] is own else "≥ 1.0×, hoped for 1.2×",
        )
        for name in seconds
    ]
    title = f"One epoch of {n:,} images with flip and crop, d {model.dim}, {model.depth} layers"
    return Section(title=title, rows=rows, notes=NOTES)


def _our_epoch(model, image_set, config):
    train(model, image_set, None, config, device="cpu")


def noise_images(n):
    g = torch.Generator().manual_seed(0)
    return ImageSet(
        images=torch.randint(256, (n, 3, 32, 32), generator=g, dtype=torch.uint8),
        labels=torch.randint(10, (n,), generator=g),
        classes=tuple("0123456789"),
        name="noise",
        digest="",
        mean=(0.5, 0.5, 0.5),
        std=(0.29, 0.29, 0.29),
    )
