"""Images that do not fit the device: read from folders by worker processes, batch by batch.

A FolderSet stands where `train` and `evaluate` take an ImageSet. The workers decode and cut an
image to its size with torchvision; whatever else `Augment` asks for happens on the device, by the
same code as for images in memory.
"""

import hashlib
import os
from pathlib import Path
from traceback import clear_frames

import torch
from PIL import Image
from torch.utils.data import DataLoader

from minivit.data import check_channels
from minivit.runtime import cpu_cores, is_count, stream

LONGEST = 50  # times as long as high, or as high as long
# Of ImageNet's training images, in units of the full range; what torchvision's models take.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class FolderSet:
    """Labelled images in path/CLASS/*, cut to `size` × `size` pixels as they are read.

    min_area: the smallest part of an image that a training crop may show (Inception's crop, arXiv
    1409.4842, which uses 0.08); None cuts the middle: the shorter side becomes 8/7 of `size`, as
    256 is of 224. mean, std: for each channel, of the full range. workers: processes that read (by
    default one for each core; under torchrun its processes share the cores). In a script, train
    under `if __name__ == "__main__":`, since where processes are spawned each of them imports it.
    Raises ValueError where a class has no images, while reading for a file that is no image, and
    ImportError without torchvision.
    """

    def __init__(
        self, path, *, size, min_area=None, mean=IMAGENET_MEAN, std=IMAGENET_STD, workers=None
    ):
        try:
            from torchvision.datasets import ImageFolder
        except ImportError as error:
            raise ImportError(
                "folders of images are read by torchvision: pip install torchvision"
            ) from error
        path = Path(path).expanduser()
        try:
            found = ImageFolder(path)
        except (FileNotFoundError, OSError) as error:
            raise ValueError(f"{path}: not a folder of folders with images ({error})") from error
        if not is_count(size):
            raise ValueError(f"size is {size!r}; it must be a whole number of pixels, at least 1")
        if min_area is not None and not 0 < min_area <= 1:
            raise ValueError(f"min_area is {min_area}; it must be above 0 and at most 1")
        self.name, self.classes = path.name, tuple(found.classes)
        self.mean, self.std = tuple(mean), tuple(std)
        check_channels(self.mean, self.std, channels=3)
        self.image_shape = (3, size, size)
        self.reader = _Reader(found.samples, size, min_area)
        here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))  # processes under torchrun
        self.workers = max(1, cpu_cores() // here) if workers is None else workers
        self.subset_digest = _digest(path, found.samples, (size, min_area))

    def __len__(self):
        return len(self.reader.samples)

    def to(self, device):
        """The set itself: each batch goes to the device when it is read."""
        return self

    def pieces(self, order, slices, device, *, seed, epoch):
        """Yields (uint8 images, labels) of order[s] for each s of `slices`, on `device`.

        Each image's crop depends on seed, epoch and the image alone.
        """
        seeds = torch.randint(
            2**62, (len(self),), generator=stream(seed, "window", epoch), device="cpu"
        )
        order = order.cpu()
        parts = (order[s] for s in slices)
        wanted = (list(zip(p.tolist(), seeds[p].tolist(), strict=True)) for p in parts)
        loader = DataLoader(
            self.reader,
            batch_sampler=wanted,
            num_workers=self.workers,
            generator=torch.Generator(),  # or it draws from the caller's global stream
            pin_memory=torch.device(device).type == "cuda",
        )
        for images, labels in _said_plainly(loader):
            yield images.to(device, non_blocking=True), labels.to(device, non_blocking=True)


class _Reader(torch.utils.data.Dataset):
    """Reads one image as (uint8 (3, size, size), label); its key is (index, seed)."""

    def __init__(self, samples, size, min_area):
        from torchvision.transforms import v2

        if min_area is None:
            cut = [v2.Resize(round(size * 8 / 7), antialias=True), v2.CenterCrop(size)]
        else:
            cut = [v2.RandomResizedCrop(size, scale=(min_area, 1.0), antialias=True)]
        self.samples, self.cut = samples, v2.Compose([*cut, v2.PILToTensor()])

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, key):
        index, seed = key
        file, label = self.samples[index]
        try:
            image = _open(file)
        except Exception as error:  # decoders fail in many ways
            raise ValueError(
                f"{file}: not a readable image ({error}); replace it, or take it away"
            ) from error
        # torchvision's transforms draw from the global stream: lend them one of this image's own.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would reach a GPU's too
            return self.cut(image), label


def _open(file):
    """The image as RGB; ValueError for one that cutting would not show as it is."""
    with Image.open(file) as image:
        short, long = sorted(image.size)
        if long > LONGEST * short:  # to be cut its shorter side is enlarged, and the other with it
            raise ValueError(f"{image.width} × {image.height} pixels are no picture")
        # Pillow cuts off all above 255 there: 16 bits come out white, and 0 to 1 black.
        if image.mode[0] in "IF":
            raise ValueError(f"more than 8 bits for a colour (mode {image.mode}); save it with 8")
        return image.convert("RGB")


def _said_plainly(batches):
    """The batches; a worker's ValueError without the tracebacks that DataLoader puts before it."""
    try:
        yield from batches
        return
    except ValueError as error:
        last = str(error).strip().rpartition("\n")[2]
        clear_frames(error.__traceback__)  # they hold the iterator, and that its workers
    raise ValueError(last.removeprefix("ValueError: "))


def _digest(path, samples, how):
    """SHA-256 of names and labels and of how images are cut; of the pixels it would take hours."""
    total = hashlib.sha256(repr(how).encode())
    for file, label in samples:
        total.update(f"{Path(file).relative_to(path).as_posix()}\t{label}\n".encode())
    return total.hexdigest()
