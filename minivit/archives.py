"""Where images come from: folders and archives of image files, or the original CIFAR-10.

No archive is unpacked to disk: it is read once, from its beginning to its end. What was decoded is
kept in a cache. Functions return (tensors, about): "train_images" uint8 (image, 3, height, width),
"train_labels" int64, and the same for test; about is name, digest, classes, mean and std.
"""

import hashlib
import io
import os
import re
import socket
import warnings
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch

from minivit.image_files import SPLITS, collect, list_files
from minivit.storage import file_digest, read_tensors, tensor_digest, write_tensors

CIFAR10_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck"
ORIGINAL_MD5 = "c58f30108f718f92721af3b95e74349a"
ORIGINAL_FILES = ("cifar-10-batches-py", "cifar-10-python.tar.gz")
ARCHIVE = re.compile(r"cifar10(?!\d).*\.(tar|tgz|tar\.gz|tar\.xz|zip)")  # not cifar100
WAYS_OUT = (
    "Three ways out: (1) fetch cifar-10-python.tar.gz by hand (www.cs.toronto.edu/~kriz/cifar.html)"
    ", put it into a folder and set MINIVIT_DATA to that folder; (2) read an archive or folder of "
    "images: cifar10(path, source='folder'), or --data path; (3) use generated images: "
    "cifar10(source='synthetic'), or --source synthetic"
)


NO_CERTIFICATES = (
    "Python has no certificates here. On macOS run Install Certificates.command in "
    "/Applications/Python 3.x, and try again. "
)


class UnavailableError(ValueError):
    """The original CIFAR-10 can't be had: no network, or no working torchvision."""


def cache_dir():
    """The folder for decoded and downloaded data: $MINIVIT_CACHE, or else ~/.cache/minivit."""
    return Path(os.environ.get("MINIVIT_CACHE") or "~/.cache/minivit").expanduser()


def look_in(place):
    """Returns ("folder", path) or ("torchvision", root) for what stands there, or (None, None)."""
    place = Path(place).expanduser()
    if not place.exists():
        raise ValueError(f"{place}: no such file or folder (from root, or else MINIVIT_DATA)")
    if place.name in ORIGINAL_FILES:
        return "torchvision", place.parent
    if place.is_file():
        return "folder", place
    archives = sorted(file for file in place.iterdir() if ARCHIVE.fullmatch(file.name))
    if archives:
        return "folder", archives[0]
    if any((place / name).exists() for name in ORIGINAL_FILES):
        return "torchvision", place
    folders = [*place.glob("train"), *place.glob("*/train")]
    return ("folder", place) if folders else (None, None)


def original(root=None):
    """The original CIFAR-10 through torchvision, which checks it; downloads it where it is missing.

    root: where its files are or go, by default the cache. Raises UnavailableError.
    """

    def build():
        tensors, classes = _read_original(Path(root or cache_dir()).expanduser())
        return tensors, {"name": "CIFAR-10", "digest": ORIGINAL_MD5, "classes": classes}

    return _kept(f"cifar-10-{ORIGINAL_MD5}", build)


def image_folders(path):
    """The images `train/CLASS/*` and `test/CLASS/*`, png or jpg, of a folder or an archive.

    path: a folder, or .tar, .tgz, .tar.xz or .zip; train and test may stand in one folder more.
    Sorted by class, then by file name. Raises ValueError for an archive that is cut short, is none
    or holds paths out of it; for images that can't be read, are not RGB or not all of one size;
    and for classes that train and test do not share.
    """
    key = _fingerprint(path)

    def build():
        tensors, classes, suffixes = _read_image_folders(path)
        # A folder's key holds dates, so there the decoded images say which data they are.
        digest = key if path.is_file() else tensor_digest(tensors)
        name = _name(path, tensors, classes, suffixes)
        return tensors, {"name": name, "digest": digest, "classes": classes}

    return _kept(f"{path.name}-{key[:32]}", build)


def channel_statistics(images):
    """Mean and population std of each channel over all pixels, in units of the full range."""
    total = squares = torch.zeros(3, dtype=torch.float64)
    for part in images.split(1000):  # float64 copies of all would take over a gigabyte
        part = part.double() / 255
        total, squares = total + part.sum((0, 2, 3)), squares + part.square().sum((0, 2, 3))
    mean = total / images[:, 0].numel()
    variance = (squares / images[:, 0].numel() - mean**2).clamp(min=0)
    return {"mean": mean.tolist(), "std": variance.sqrt().tolist()}


def _name(path, tensors, classes, suffixes):
    counts = [len(tensors[f"{split}_labels"]) for split in ("train", "test")]
    # CINIC-10 has the same classes at the same size: only the counts tell.
    if " ".join(classes) == CIFAR10_CLASSES and counts == [50_000, 10_000]:
        if suffixes <= {".jpg", ".jpeg"}:
            return "CIFAR-10, JPEG re-encoded"
        if suffixes == {".png"}:
            return "CIFAR-10 (PNG)"
    return f"image folder {path.name}"


def _kept(key, build):
    """Returns what is kept under `key`; where that is nothing or damaged, builds and keeps it."""
    path = cache_dir() / f"{key}.safetensors"
    if path.exists():
        try:
            return read_tensors(path)
        except ValueError as error:
            warnings.warn(f"the cache is damaged and built again: {error}", stacklevel=5)
    tensors, about = build()
    about |= channel_statistics(tensors["train_images"])
    try:
        write_tensors(path, tensors, about)
    except Exception as error:  # a full disk or a read-only folder is no reason to stop
        warnings.warn(f"the decoded images can't be kept: {error}", stacklevel=5)
    return tensors, about


def _read_original(root):
    cifar10 = _torchvision_cifar10()
    timeout = socket.getdefaulttimeout()
    # Without one, a network that swallows packets would hang the download for minutes.
    socket.setdefaulttimeout(20.0)
    try:
        sets = {split: cifar10(root, split == "train", download=True) for split in SPLITS}
    except (OSError, HTTPException, RuntimeError) as error:
        reason = certificates(error) + _damaged(root)
        message = f"CIFAR-10 can't be downloaded to {root} ({error}). {reason}{WAYS_OUT}"
        raise UnavailableError(message) from error
    finally:
        socket.setdefaulttimeout(timeout)
    tensors = {}
    for split, data in sets.items():
        images = torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous()
        tensors |= {f"{split}_images": images, f"{split}_labels": torch.tensor(data.targets)}
    return tensors, sets["train"].classes


def certificates(error):
    """A sentence where Python finds no certificates, as after python.org's installer on macOS."""
    return NO_CERTIFICATES if "CERTIFICATE_VERIFY_FAILED" in str(error) else ""


def _damaged(root):
    """A sentence where files of the original are there, and torchvision did not take them."""
    there = [root / name for name in ORIGINAL_FILES if (root / name).exists()]
    return f"{there[0]} is there, but cut short or changed, by its MD5. " if there else ""


def _torchvision_cifar10():
    try:
        from torchvision.datasets import CIFAR10
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        raise UnavailableError(
            f"torchvision is missing or does not match torch {torch.__version__} ({error}). Install"
            f" a matching pair: pip install --upgrade torch torchvision; or do without. {WAYS_OUT}"
        ) from error
    return CIFAR10


def _read_image_folders(path):
    """Returns (tensors, class names, file suffixes)."""
    files = collect(path)
    train, test = ({place[1] for place in files if place[0] == split} for split in SPLITS)
    if not files:
        raise ValueError(
            f"{path}: no images found; expected train/CLASS/*.png or *.jpg, and test/CLASS/… "
            "(CIFAR-10's own cifar-10-python.tar.gz is read with source='torchvision')"
        )
    missing = [f"test/{c}" for c in train - test] + [f"train/{c}" for c in test - train]
    if missing:
        raise ValueError(
            f"{path}: class folders are missing or hold no images: {', '.join(sorted(missing))}; "
            "each class needs one in train and one in test"
        )
    classes = sorted(train)
    places = sorted(files)  # all of test before train
    images = torch.from_numpy(_decode_all(path, places, files))
    labels = torch.tensor([classes.index(place[1]) for place in places])
    n_test = sum(place[0] == "test" for place in places)
    tensors = {"test_images": images[:n_test], "test_labels": labels[:n_test]}
    tensors |= {"train_images": images[n_test:], "train_labels": labels[n_test:]}
    return tensors, classes, {Path(place[2]).suffix.lower() for place in places}


def _fingerprint(path):
    """A digest that changes with the data: of an archive's bytes, or of a folder's file list."""
    if path.is_file():
        return file_digest(path)
    try:
        stats = [(str(file.relative_to(path)), file.stat()) for file in list_files(path)]
    except OSError as error:  # a link that leads nowhere
        raise ValueError(f"{path}: can't be read ({error})") from error
    stats = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    return hashlib.sha256(repr(stats).encode()).hexdigest()


def _decode_all(path, places, files):
    """Decodes into one array (image, 3, height, width)."""
    shape = _decode(path, places[0], files).shape
    try:
        images = np.empty((len(places), *shape), np.uint8)
    except MemoryError as error:
        size = f"{len(places):,} images of {shape[2]} × {shape[1]} pixels"
        raise ValueError(f"{path}: {size} do not fit into the memory ({error})") from error
    for i, place in enumerate(places):
        image = _decode(path, place, files)
        if image.shape != shape:
            raise ValueError(
                f"{path}: {'/'.join(place)} has {image.shape[1:]} pixels, {'/'.join(places[0])} "
                f"{shape[1:]}; all images must have one size"
            )
        images[i] = image
    return images


def _decode(path, place, files):
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(files[place])) as image:
            mode, pixels = image.mode, np.asarray(image)
    except Exception as error:  # decoders fail in many ways: OSError, SyntaxError, struct.error, …
        unknown = isinstance(error, UnidentifiedImageError)  # its text is an object's address
        reason = "of no known format" if unknown else error
        raise ValueError(
            f"{path}: {'/'.join(place)} is no readable image ({reason}); replace or remove it"
        ) from error
    if mode != "RGB":
        raise ValueError(f"{path}: {'/'.join(place)} is in mode {mode}; images must be RGB")
    return pixels.transpose(2, 0, 1)
