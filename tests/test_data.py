import hashlib
import http.server
import inspect
import io
import pickle
import ssl
import sys
import tarfile
import threading
import urllib.error
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from minivit import archives, image_files
from minivit.augment import Augment, drawn, square
from minivit.data import ImageSet, cifar10, epoch_batches, eval_batches, normalize

OFF = Augment(flip=False, crop=0)


def image_set(n=60, classes=3, size=8, seed=0, labels=None):
    generator = torch.Generator().manual_seed(seed)
    return ImageSet(
        images=torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=generator),
        labels=torch.arange(n) % classes if labels is None else labels,
        classes=tuple("abcdefghij"[:classes]),
        name="test",
        digest="0",
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.3, 0.25),
    )


def changed(**pieces):
    whole = image_set()
    fields = {name: getattr(whole, name) for name in whole.__dataclass_fields__}
    return ImageSet(**(fields | pieces))


def one_epoch(images, batch_size=10, *, seed=0, epoch=0, augment=OFF):
    return list(
        epoch_batches(images, batch_size, seed=seed, epoch=epoch, augment=augment, device="cpu")
    )


def pixels(images, like):
    """Undoes `normalize`, back to uint8."""
    scale = torch.tensor(like.std).view(3, 1, 1), torch.tensor(like.mean).view(3, 1, 1)
    return ((images * scale[0] + scale[1]) * 255).round().to(torch.uint8)


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ({"images": torch.rand(60, 3, 8, 8)}, "uint8"),
        ({"images": torch.zeros(60, 8, 8, 3, dtype=torch.uint8)}, "permute"),
        ({"images": torch.zeros(60, 1, 8, 8, dtype=torch.uint8)}, "height, width"),
        ({"labels": torch.full((60,), 3)}, "labels run from 3 to 3, not 0 to 2"),
        ({"labels": torch.full((60,), -1)}, "labels run from -1"),
        ({"labels": torch.zeros(59, dtype=torch.int64)}, "59"),
        ({"labels": torch.zeros(60)}, "int64"),
        ({"classes": ()}, "0 classes"),
        ({"std": (0.1, 0.0, 0.1)}, "never changes"),
        ({"std": (0.1, float("nan"), 0.1)}, r"std is \(0.1, nan, 0.1\); it must be 3 finite"),
        ({"mean": (0.1, 0.1, float("inf"))}, r"mean is .*; it must be 3 finite numbers"),
    ],
)
def test_pieces_that_do_not_fit_are_refused(pieces, message):
    with pytest.raises(ValueError, match=message):
        changed(**pieces)


def test_an_empty_set_is_refused():
    with pytest.raises(ValueError, match="0 images"):
        image_set(n=0)


def rows(images):
    return {row.numpy().tobytes() for row in images.images}


@pytest.mark.parametrize("seed", [0, 1])
def test_subsets_are_nested_and_balanced(seed):
    whole = image_set(n=60, labels=torch.arange(60) // 20)  # sorted by class, as archives are
    sets = {n: whole.subset(n, seed=seed) for n in (1, 6, 7, 8, 30, 60)}
    for n, part in sets.items():
        counts = part.labels.bincount(minlength=3)
        assert len(part) == len(rows(part)) == n
        assert counts.max() - counts.min() == (n % 3 > 0)
    for small, large in zip((1, 6, 7, 8, 30), (6, 7, 8, 30, 60), strict=True):
        assert rows(sets[small]) < rows(sets[large])
    assert rows(sets[60]) == rows(whole)


def test_a_subset_keeps_each_image_with_its_label():
    whole = image_set()
    label = {x.numpy().tobytes(): y for x, y in zip(whole.images, whole.labels, strict=True)}
    part = whole.subset(20, seed=3)
    assert all(label[x.numpy().tobytes()] == y for x, y in zip(part.images, part.labels))  # noqa: B905


def test_subsets_depend_on_the_seed_alone():
    whole = image_set()
    digests = [whole.subset(20, seed=seed).subset_digest for seed in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]


def test_a_class_that_runs_out_leaves_room_for_the_others():
    whole = image_set(n=30, labels=torch.tensor([0] * 2 + [1] * 14 + [2] * 14))
    assert whole.subset(18, seed=0).labels.bincount().tolist() == [2, 8, 8]


def test_a_split_is_disjoint_complete_and_balanced():
    whole = image_set(n=60, labels=torch.arange(60) // 20)
    train, validation = whole.split(12, seed=0)
    assert validation.labels.bincount().tolist() == [4, 4, 4]
    assert train.labels.bincount().tolist() == [16, 16, 16]
    assert rows(train) | rows(validation) == rows(whole)
    assert not rows(train) & rows(validation)
    assert rows(whole.split(12, seed=0)[1]) == rows(validation) != rows(whole.split(12, seed=1)[1])


@pytest.mark.parametrize("n", [0, -1, 61, 6.0, "6", None])
def test_impossible_subsets_are_refused(n):
    with pytest.raises(ValueError, match=f"size of a subset is {n!r}; .* from 1 to 60"):
        image_set().subset(n, seed=0)


@pytest.mark.parametrize("n", [0, 60, 6.0])
def test_impossible_splits_are_refused(n):
    with pytest.raises(ValueError, match=f"n_validation is {n}; .* from 1 to 59"):
        image_set().split(n, seed=0)


def test_the_subset_digest_sees_labels_and_images():
    whole = image_set()
    images = whole.images.clone()
    images[5, 1, 2, 3] ^= 1
    others = [changed(images=images), changed(labels=whole.labels.flip(0)), changed()]
    assert [other.subset_digest == whole.subset_digest for other in others] == [False, False, True]


def test_normalize_is_the_formula():
    images = image_set().images
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.6, 0.7])
    expected = (images.double() / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    torch.testing.assert_close(
        normalize(images, tuple(mean.tolist()), tuple(std.tolist())).double(), expected
    )


def test_images_that_are_scaled_already_are_not_scaled_twice():
    scaled = image_set().images / 255
    with pytest.raises(ValueError, match=r"images are torch\.float32; they must be uint8"):
        inspect.unwrap(normalize)(scaled, (0.5,) * 3, (0.2,) * 3)  # without the tests' type checks


def test_each_image_comes_once_an_epoch_with_its_label():
    whole = image_set(n=60)
    label = {x.numpy().tobytes(): y for x, y in zip(whole.images, whole.labels, strict=True)}
    seen = []
    for images, targets in one_epoch(whole):
        for image, target in zip(pixels(images, whole), targets, strict=True):
            seen.append(image.numpy().tobytes())
            assert target.argmax() == label[seen[-1]]
            assert target.sum() == target.max() == 1
    assert len(seen) == 60
    assert set(seen) == set(label)


def test_the_ragged_last_batch_is_dropped():
    assert [len(images) for images, _ in one_epoch(image_set(n=25))] == [10, 10]


def test_order_depends_on_seed_and_epoch():
    def first(seed, epoch):
        return one_epoch(image_set(), seed=seed, epoch=epoch)[0][0]

    assert torch.equal(first(0, 1), first(0, 1))
    assert not torch.equal(first(0, 1), first(0, 2))
    assert not torch.equal(first(0, 1), first(1, 1))


def test_augmentation_depends_on_seed_and_epoch():
    """Of one image many times over: the order can't hide what is done to it."""
    one = changed(images=image_set().images[:1].repeat(60, 1, 1, 1))

    def seen(seed, epoch):
        augment = Augment(crop=3, mixup=0.5)
        return torch.cat([x for x, _ in one_epoch(one, seed=seed, epoch=epoch, augment=augment)])

    assert torch.equal(seen(0, 1), seen(0, 1))
    for other in (seen(0, 2), seen(1, 1)):
        assert (seen(0, 1) != other).flatten(1).any(1).sum() > 30  # of 60


def reference(image, numbers, border):
    """Crop and mirror of one image, pixel by pixel."""
    flip, top, left, _, _ = numbers.tolist()
    _, height, width = image.shape
    out = torch.zeros_like(image)
    for i in range(height):
        for j in range(width):
            row = top + i - border
            column = left + (width - 1 - j if flip else j) - border
            if 0 <= row < height and 0 <= column < width:
                out[:, i, j] = image[:, row, column]
    return out


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("crop", [0, 1, 3])
def test_crop_and_flip_equal_a_loop_over_pixels(flip, crop):
    whole = image_set(n=30, size=7)
    augment = Augment(flip=flip, crop=crop)
    order = torch.randperm(30, generator=generator_of("order"))
    numbers, _ = drawn(30, (7, 7), augment, generator_of("augmentation"))
    images = torch.cat([images for images, _ in one_epoch(whole, 10, augment=augment)])
    expected = [reference(whole.images[i], n, crop) for i, n in zip(order, numbers, strict=True)]
    assert torch.equal(pixels(images, whole), torch.stack(expected))


def generator_of(purpose):
    from minivit.runtime import stream

    return stream(0, purpose, 0)


def test_draws_reach_all_values_and_differ_between_images():
    numbers, shares = drawn(4000, (8, 8), Augment(crop=2, mixup=0.3), generator_of("x"))
    assert [column.unique().tolist() for column in numbers.T] == [
        [0, 1],
        *[list(range(5))] * 2,
        *[list(range(8))] * 2,
    ]
    assert (numbers[:, 0].double().mean() - 0.5).abs() < 0.05
    # Beta(a, a) has mean 1/2 and variance 1 / (4 (2a + 1)).
    assert abs(shares.mean() - 0.5) < 0.05
    assert abs(shares.var() - 1 / (4 * 1.6)) < 0.02
    pairs = numbers.double().T.corrcoef() - torch.eye(5)
    assert pairs.abs().max() < 0.1


def test_one_augmentation_leaves_the_draws_of_the_others():
    draws = [
        drawn(50, (8, 8), augment, generator_of("x"))[0]
        for augment in (Augment(), Augment(flip=False, cutout=3, mixup=1.0))
    ]
    assert torch.equal(draws[0][:, 1:], draws[1][:, 1:])
    assert draws[0][:, 0].any()
    assert not draws[1][:, 0].any()


def test_augmentation_does_not_depend_on_the_batch_size():
    augment = Augment(flip=True, crop=2, cutout=3)
    small, large = (
        torch.cat([images for images, _ in one_epoch(image_set(), size, augment=augment)])
        for size in (10, 30)
    )
    assert torch.equal(small, large)


@pytest.mark.parametrize("side", [1, 2, 5])
def test_cutout_is_a_square_cut_off_at_the_edge(side):
    row, column = torch.tensor([0, 4, 7, 4]), torch.tensor([0, 4, 3, 7])
    mask = square(torch.zeros(4, 3, 8, 8), row, column, side)
    for i in range(4):
        expected = torch.zeros(8, 8, dtype=torch.bool)
        top, left = int(row[i]) - side // 2, int(column[i]) - side // 2
        expected[max(top, 0) : top + side, max(left, 0) : left + side] = True
        assert torch.equal(mask[i, 0], expected)
    assert mask[1].sum() == side**2


def test_cutout_sets_its_square_to_the_mean_and_nothing_else():
    whole = image_set(n=20)
    plain, cut = (one_epoch(whole, augment=a) for a in (OFF, Augment(flip=False, crop=0, cutout=3)))
    for (before, _), (after, _) in zip(plain, cut, strict=True):
        hidden = (after == 0).all(1, keepdim=True)
        areas = hidden.flatten(1).sum(1)
        assert areas.min() >= 4  # a corner of a 3 × 3 square
        assert areas.max() == 9
        assert torch.equal(after, before.masked_fill(hidden, 0))


def test_mixup_is_convex_between_two_images_of_the_batch():
    whole = image_set(n=20, classes=5)
    plain = one_epoch(whole)
    mixed = one_epoch(whole, augment=Augment(flip=False, crop=0, mixup=0.5))
    _, shares = drawn(20, (8, 8), Augment(mixup=0.5), generator_of("augmentation"))
    for k, ((x, y), (x_mixed, y_mixed)) in enumerate(zip(plain, mixed, strict=True)):
        torch.testing.assert_close(y_mixed.sum(1), torch.ones(10))
        for i in range(10):
            share = shares[10 * k + i]
            torch.testing.assert_close(x_mixed[i], share * x[i] + (1 - share) * x[9 - i])
            torch.testing.assert_close(y_mixed[i], share * y[i] + (1 - share) * y[9 - i])
    assert len(shares.unique()) == 20


def test_eval_batches_keep_order_and_the_last_images():
    whole = image_set(n=25)
    batches = list(eval_batches(whole, 10, "cpu"))
    assert [len(x) for x, _ in batches] == [10, 10, 5]
    assert torch.equal(torch.cat([pixels(x, whole) for x, _ in batches]), whole.images)
    assert torch.equal(torch.cat([y for _, y in batches]), whole.labels)


@pytest.mark.parametrize("size", [0, -1, 61])
def test_impossible_batches_are_refused_at_once(size):
    with pytest.raises(ValueError, match=f"batch_size is {size}"):
        epoch_batches(image_set(), size, seed=0, epoch=0, augment=OFF, device="cpu")
    if size < 1:
        with pytest.raises(ValueError, match=f"batch_size is {size}"):
            eval_batches(image_set(), size, "cpu")


@pytest.mark.parametrize(
    "settings", [{"crop": -1}, {"cutout": -2}, {"mixup": -0.1}, {"mixup": float("nan")}]
)
def test_impossible_augmentations_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Augment(**settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [("flip", 0.5), ("crop", 0.125), ("cutout", 2.0), ("crop", "4"), ("mixup", "0.2")],
)
def test_a_share_for_a_switch_or_for_pixels_is_a_sentence(name, value):
    augment = Augment()
    object.__setattr__(augment, name, value)  # past the type checks, which run in tests only
    with pytest.raises(ValueError, match=f"{name} is {value!r}; it must be"):
        augment.__post_init__()


def test_augmentations_larger_than_the_image_are_refused():
    for large in ({"crop": 9}, {"cutout": 9}):
        with pytest.raises(ValueError, match="must fit"):
            one_epoch(image_set(), augment=Augment(**large))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_same_batches_on_cuda_without_waiting_for_it():
    augment = Augment(crop=2, cutout=3, mixup=0.4)
    expected, whole = one_epoch(image_set(), augment=augment), image_set().to("cuda")
    batches = epoch_batches(whole, 10, seed=0, epoch=0, augment=augment, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = list(batches)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for (x, y), (x_cuda, y_cuda) in zip(expected, found, strict=True):
        torch.testing.assert_close(x_cuda.cpu(), x)
        torch.testing.assert_close(y_cuda.cpu(), y)


def encoded(seed, kind="PNG", size=32, mode="RGB"):
    noise = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(file, kind)
    return file.getvalue()


def small_files(top=""):
    """Two classes, 3 training images and 1 test image each; seeds 0 to 7 in sorted order."""
    names = [f"test/{c}/0.png" for c in ("cat", "dog")]
    names += [f"train/{c}/{i}.png" for c in ("cat", "dog") for i in range(3)]
    return {top + name: encoded(i) for i, name in enumerate(names)}


def write_tar(path, files, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def write_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_folder(path, files):
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def write(path, files):
    if path.suffix == ".zip":
        return write_zip(path, files)
    if not path.suffix:
        return write_folder(path, files)
    return write_tar(path, files, {".tar": "w", ".xz": "w:xz"}.get(path.suffix, "w:gz"))


KINDS = ["a.tar", "a.tgz", "a.tar.gz", "a.tar.xz", "a.zip", "folder"]


@pytest.mark.parametrize("top", ["", "cifar10/", "./"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_images(tmp_path, kind, top):
    files = small_files(top)
    backwards = dict(reversed(files.items()))  # what an archive holds first must not matter
    path = write(
        tmp_path / kind, backwards | {top + "README.txt": b"", top + "train/cat/._x.png": b""}
    )
    train, test = cifar10(path, "folder")
    expected = [np.array(Image.open(io.BytesIO(data))) for data in files.values()]
    expected = torch.from_numpy(np.stack(expected)).permute(0, 3, 1, 2)
    assert torch.equal(test.images, expected[:2])
    assert torch.equal(train.images, expected[2:])
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert test.labels.tolist() == [0, 1]
    assert train.classes == test.classes == ("cat", "dog")
    assert train.name == f"image folder {kind}"
    scaled = expected[2:].double() / 255
    assert train.mean == test.mean == pytest.approx(scaled.mean((0, 2, 3)).tolist())
    assert train.std == pytest.approx(scaled.std((0, 2, 3), correction=0).tolist())
    if path.is_file():
        assert train.digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_archive_is_never_unpacked(tmp_path):
    path = write(tmp_path / "a.tgz", small_files())
    cifar10(path)
    assert not [f for f in tmp_path.rglob("*") if f.suffix == ".png" or f.name == "train"]


def test_a_copied_folder_keeps_its_digest(tmp_path):
    first, second = (write(tmp_path / name, small_files()) for name in ("a", "b"))
    assert cifar10(first)[0].digest == cifar10(second)[0].digest


def test_a_changed_folder_is_read_again(tmp_path):
    path = write(tmp_path / "a", small_files())
    before = cifar10(path)[0]
    (path / "train/cat/1.png").write_bytes(encoded(99, size=32))
    (path / "train/cat/3.png").write_bytes(encoded(98))
    after = cifar10(path)[0]
    assert len(after) == 7
    assert after.digest != before.digest
    (path / "train/cat/1.png").write_bytes(encoded(97, size=32))  # nothing but the content changes
    assert cifar10(path)[0].digest != after.digest


@pytest.mark.parametrize("kind", ["a.tar", "a.tgz", "a.tar.xz", "a.zip"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.75])
def test_an_archive_cut_short_is_refused(tmp_path, kind, share):
    path = write(tmp_path / kind, small_files())
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match="cut short"):
        cifar10(path)


def test_a_tar_cut_between_two_files_is_refused(tmp_path):
    path = write(tmp_path / "a.tar", small_files())
    with tarfile.open(path) as archive:
        end = archive.getmembers()[-1].offset
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(ValueError, match="cut short"):
        cifar10(path)


@pytest.mark.parametrize("kind", ["a.tar", "a.tgz", "a.zip"])
@pytest.mark.parametrize(
    "name", ["../x.png", "train/cat/../../../x.png", "/etc/x", "..\\x", "C:\\x"]
)
def test_a_path_out_of_the_archive_is_refused(tmp_path, kind, name):
    path = write(tmp_path / kind, small_files() | {name: encoded(0)})
    with pytest.raises(ValueError, match="climbs out"):
        cifar10(path)


@pytest.mark.parametrize("kind", ["a.tgz", "a.zip", "folder"])
@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"train/cat/7.png": b"no image"}, r"7.png is no readable image \(of no known format\)"),
        ({"train/cat/7.png": encoded(7)[:-500]}, "train/cat/7.png is no readable image"),
        ({"train/cat/7.jpg": encoded(7, "JPEG")[:-300]}, "train/cat/7.jpg is no readable image"),
        ({"train/cat/7.png": encoded(7, mode="L")}, "train/cat/7.png is in mode L"),
        ({"train/cat/7.png": encoded(7, mode="P")}, "train/cat/7.png is in mode P"),
        ({"train/cat/7.png": encoded(7, size=16)}, r"train/cat/7.png has \(16, 16\) pixels"),
        ({"train/cow/7.png": encoded(7)}, r"missing or hold no images: test/cow; each class"),
        ({"test/cow/7.png": encoded(7)}, r"missing or hold no images: train/cow; each class"),
        ({"other/train/cat/7.png": encoded(7)}, "several data sets"),
    ],
)
def test_bad_images_and_classes_are_named(tmp_path, kind, extra, message):
    path = write(tmp_path / kind, small_files() | extra)
    with pytest.raises(ValueError, match=message):
        cifar10(path)


@pytest.mark.parametrize("kind", ["a.tar", "a.tgz", "a.tar.xz", "a.zip", "folder"])
def test_a_file_that_would_fill_the_memory_is_refused(tmp_path, kind, monkeypatch):
    """Zeros shrink to a thousandth: what an archive states of its files is not to be believed."""
    monkeypatch.setattr(image_files, "LARGEST_FILE", 1 << 20)
    largest = encoded(7) + bytes((1 << 20) - len(encoded(7)))
    path = write(tmp_path / kind, small_files() | {"train/cat/7.png": largest})
    assert len(cifar10(path)[0]) == 7, "a file of just this size is read"
    path = write(tmp_path / f"1{kind}", small_files() | {"train/cat/7.png": largest + b"0"})
    with pytest.raises(ValueError, match=r"train.cat.7\.png holds more than 1 MiB"):
        cifar10(path)


@pytest.mark.parametrize("kind", ["a.tar.xz", "a.zip", "folder"])
def test_many_files_that_would_fill_the_memory_together_are_refused(tmp_path, kind, monkeypatch):
    path = write(tmp_path / kind, small_files())
    total = sum(map(len, small_files().values()))
    monkeypatch.setattr(image_files, "LARGEST_SUM", total)
    assert len(image_files.collect(path)) == len(small_files())
    monkeypatch.setattr(image_files, "LARGEST_SUM", total - 1)
    with pytest.raises(ValueError, match="more than 0 MiB of images"):
        image_files.collect(path)


def test_images_that_do_not_fit_into_the_memory_are_a_sentence(tmp_path, monkeypatch):
    """The first says how large all must be: a small archive may ask for terabytes."""

    def no_memory(shape, kind):
        raise MemoryError(f"Unable to allocate {np.prod(shape)} bytes")

    path = write(tmp_path / "a.zip", small_files())
    monkeypatch.setattr(archives.np, "empty", no_memory)
    with pytest.raises(ValueError, match="8 images of 32 × 32 pixels do not fit into the memory"):
        cifar10(path)


@pytest.mark.parametrize("data", [b"", b"This is no archive. " * 100])
def test_what_is_no_archive_is_refused(tmp_path, data):
    path = tmp_path / "a.tar.xz"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="no archive") as caught:
        cifar10(path)
    assert "\n" not in str(caught.value)


def test_a_folder_with_something_unreadable_is_not_called_an_archive(tmp_path):
    folder = write(tmp_path / "folder", small_files())
    (folder / "train" / "cat" / "7.png").mkdir()
    with pytest.raises(ValueError, match=r"7\.png.*a folder of images must hold readable files"):
        cifar10(folder)
    (folder / "train" / "cat" / "7.png").rmdir()
    (folder / "train" / "cat" / "7.png").symlink_to("nowhere.png")
    with pytest.raises(ValueError, match=r"folder: can't be read .*7\.png"):
        cifar10(folder)


@pytest.mark.parametrize("kind", ["a.tgz", "a.tar.xz"])
def test_a_compressed_archive_without_its_last_bytes_is_refused(tmp_path, kind):
    """tarfile stops before the checksum: all images are there, but nobody has checked them."""
    path = write(tmp_path / kind, small_files())
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="damaged or cut short"):
        cifar10(path)


@pytest.mark.parametrize("kind", ["a.tgz", "a.zip"])
def test_an_archive_without_images_is_refused(tmp_path, kind):
    path = write(tmp_path / kind, {"README": b"nothing", "images/cat/0.png": encoded(0)})
    with pytest.raises(ValueError, match="no images found"):
        cifar10(path)


def test_a_missing_split_is_refused(tmp_path):
    files = {name: data for name, data in small_files().items() if name.startswith("train")}
    with pytest.raises(ValueError, match="class folders are missing"):
        cifar10(write(tmp_path / "a.tgz", files))


@pytest.mark.parametrize(
    ("counts", "suffixes", "expected"),
    [
        ((50_000, 10_000), {".jpg"}, "CIFAR-10, JPEG re-encoded"),
        ((50_000, 10_000), {".png"}, "CIFAR-10 (PNG)"),
        ((50_000, 10_000), {".png", ".jpg"}, "image folder x.zip"),
        ((90_000, 90_000), {".png"}, "image folder x.zip"),
    ],
)
def test_only_cifar10_is_called_cifar10(tmp_path, counts, suffixes, expected):
    tensors = {
        f"{s}_labels": torch.zeros(n) for s, n in zip(("train", "test"), counts, strict=True)
    }
    classes = archives.CIFAR10_CLASSES.split()
    assert archives._name(tmp_path / "x.zip", tensors, classes, suffixes) == expected
    assert archives._name(tmp_path / "x.zip", tensors, classes[1:], suffixes).startswith("image")


def cached_file(tmp_path):
    (file,) = (tmp_path / "cache").glob("*.safetensors")
    return file


def same(one, other):
    return all(
        torch.equal(a.images, b.images) and (a.name, a.mean, a.digest) == (b.name, b.mean, b.digest)
        for a, b in zip(one, other, strict=True)
    )


def test_the_second_time_nothing_is_decoded(tmp_path, monkeypatch):
    path = write(tmp_path / "a.tgz", small_files())
    first = cifar10(path)
    monkeypatch.setattr(archives, "_read_image_folders", None)
    assert same(first, cifar10(path))


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_cache_is_noticed_and_rebuilt(tmp_path, damage):
    path = write(tmp_path / "a.tgz", small_files())
    first = cifar10(path)
    file = cached_file(tmp_path)
    data = bytearray(file.read_bytes())
    data[-100] ^= 1
    file.write_bytes({"flip": data, "cut": data[:-50], "empty": b""}[damage])
    with pytest.warns(UserWarning, match="damaged"):
        assert same(first, cifar10(path))
    assert same(first, cifar10(path))  # pytest would turn up a second warning


def test_a_cache_that_cannot_be_written_is_no_reason_to_stop(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MINIVIT_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(UserWarning, match="can't be kept"):
        assert len(cifar10(write(tmp_path / "a.tgz", small_files()))[0]) == 6


def original_archive(path):
    """A CIFAR-10 of 20 + 4 images, in the format of the original; returns its arrays."""
    random = np.random.default_rng(0)
    names = archives.CIFAR10_CLASSES.split()
    batches = {"batches.meta": {"label_names": names}}
    for name, n in {"data_batch_1": 20, "test_batch": 4}.items():
        data = random.integers(0, 256, (n, 3072), np.uint8)
        batches[name] = {"data": data, "labels": list(range(10)) * (n // 10) or [3, 1, 4, 1]}
    files = {f"cifar-10-batches-py/{k}": pickle.dumps(v) for k, v in batches.items()}
    write_tar(path, files)
    return batches, {
        name.split("/")[1]: hashlib.md5(data).hexdigest() for name, data in files.items()
    }


@pytest.fixture
def tiny_original(tmp_path, monkeypatch):
    """The folder of a tiny original, which torchvision takes for the real one."""
    from torchvision.datasets import CIFAR10

    monkeypatch.delenv("MINIVIT_DATA", raising=False)
    folder = tmp_path / "served"
    folder.mkdir()
    batches, md5 = original_archive(folder / "cifar-10-python.tar.gz")
    digest = hashlib.md5((folder / "cifar-10-python.tar.gz").read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR10, "tgz_md5", digest)
    monkeypatch.setattr(CIFAR10, "train_list", [["data_batch_1", md5["data_batch_1"]]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5["batches.meta"]})
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")  # nobody there
    return folder, batches


@pytest.fixture
def server(tiny_original, monkeypatch):
    from torchvision.datasets import CIFAR10

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(tiny_original[0]))

        def log_message(self, *args):
            pass

    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=serving.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{serving.server_port}/cifar-10-python.tar.gz"
    monkeypatch.setattr(CIFAR10, "url", url)
    yield tiny_original[0] / "cifar-10-python.tar.gz"
    serving.shutdown()
    serving.server_close()


def assert_is_the_original(sets, batches):
    for data, name in zip(sets, ("data_batch_1", "test_batch"), strict=True):
        expected = torch.from_numpy(batches[name]["data"]).view(-1, 3, 32, 32)
        assert torch.equal(data.images, expected)
        assert data.labels.tolist() == batches[name]["labels"]
        assert data.classes == tuple(archives.CIFAR10_CLASSES.split())
        assert (data.name, data.digest) == ("CIFAR-10", archives.ORIGINAL_MD5)


@pytest.mark.parametrize("source", ["torchvision", "auto"])
def test_the_download(tmp_path, server, tiny_original, source):
    assert_is_the_original(cifar10(source=source), tiny_original[1])
    assert (tmp_path / "cache" / "cifar-10-python.tar.gz").is_file()


def test_the_download_goes_where_it_is_told(tmp_path, server, tiny_original):
    (tmp_path / "mine").mkdir()
    assert_is_the_original(cifar10(tmp_path / "mine"), tiny_original[1])
    assert (tmp_path / "mine" / "cifar-10-python.tar.gz").is_file()


def test_a_damaged_download_is_refused(server):
    server.write_bytes(server.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"corrupted.*Three ways out"):
        cifar10(source="torchvision")


@pytest.mark.parametrize("place", ["", "cifar-10-python.tar.gz"])
def test_a_file_fetched_by_hand_is_found(tiny_original, monkeypatch, place):
    folder, batches = tiny_original
    monkeypatch.setenv("MINIVIT_DATA", str(folder / place))
    assert_is_the_original(cifar10(), batches)


def test_the_cache_of_the_original_needs_no_torchvision(tiny_original, monkeypatch):
    folder, batches = tiny_original
    cifar10(folder)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    assert_is_the_original(cifar10(source="torchvision"), batches)


def test_without_network_three_ways_out_are_named(tiny_original):
    for source in ("torchvision", "auto"):
        with pytest.raises(ValueError) as raised:
            cifar10(source=source)
        ways = ("MINIVIT_DATA", "source='folder'", "source='synthetic'", "www.cs.toronto.edu")
        for way in (*ways, "--data path", "--source synthetic"):
            assert way in str(raised.value)
        assert "is there, but" not in str(raised.value)


def test_a_url_error_counts_as_no_network(monkeypatch):
    from torchvision.datasets import CIFAR10

    def fail(self):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(CIFAR10, "download", fail)
    with pytest.raises(ValueError, match=r"Name or service not known.*Three ways out"):
        cifar10(source="torchvision")


def test_missing_certificates_are_named(monkeypatch):
    from torchvision.datasets import CIFAR10

    def fail(self):
        reason = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"
        raise urllib.error.URLError(ssl.SSLError(reason))

    monkeypatch.setattr(CIFAR10, "download", fail)
    with pytest.raises(ValueError, match=r"VERIFY_FAILED.*Install Certificates.*Three ways out"):
        cifar10(source="torchvision")


@pytest.mark.integration
def test_only_when_allowed_auto_turns_to_the_stand_in(tiny_original):
    with pytest.warns(UserWarning, match="synthetic stand-in, because"):
        train, _ = cifar10(offline_ok=True)
    assert train.name == "synthetic stand-in"
    with pytest.raises(ValueError, match="Three ways out"):
        cifar10(source="torchvision", offline_ok=True)


def test_damaged_files_of_ones_own_are_never_replaced_by_the_stand_in(tiny_original):
    folder, _ = tiny_original
    (folder / "cifar-10-python.tar.gz").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"python\.tar\.gz is there, but cut .*Three ways out"):
        cifar10(folder, offline_ok=True)


class Mismatch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")


def test_a_torchvision_that_does_not_match_torch(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Mismatch(), *sys.meta_path])
    with pytest.raises(ValueError, match=r"nms does not exist.*matching pair: pip install"):
        cifar10(source="torchvision")


def test_an_unknown_source_lists_the_four():
    with pytest.raises(ValueError, match="'auto', 'torchvision', 'folder', 'synthetic'"):
        cifar10(source="imagefolder")


def test_the_environment_names_the_source_in_place_of_auto(monkeypatch, tmp_path):
    monkeypatch.setenv("MINIVIT_SOURCE", "synthetic")
    monkeypatch.setenv("MINIVIT_DATA", str(tmp_path))
    assert cifar10()[0].name == "synthetic stand-in"
    given = write(tmp_path / "a.zip", small_files())
    assert cifar10(given)[0].name == "image folder a.zip"  # what the call names comes first
    monkeypatch.setenv("MINIVIT_SOURCE", "nowhere")
    with pytest.raises(ValueError, match="source is 'nowhere'"):
        cifar10()


@pytest.mark.parametrize("name", ["cifar10.tgz", "cifar10-jpeg.tar.xz", "cifar10.zip", "cifar10"])
@pytest.mark.parametrize("source", ["auto", "folder"])
def test_minivit_data_is_searched(tmp_path, monkeypatch, name, source):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "cifar100.tgz").write_bytes(b"another data set")
    write(folder / name, small_files())
    monkeypatch.setenv("MINIVIT_DATA", str(folder))
    assert len(cifar10(source=source)[0]) == 6
    monkeypatch.setenv("MINIVIT_DATA", str(folder / name))
    assert len(cifar10(source=source)[0]) == 6


def test_root_comes_before_minivit_data(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIVIT_DATA", str(write(tmp_path / "a.zip", small_files())))
    other = write(tmp_path / "b.zip", small_files() | {"train/cat/4.png": encoded(9)})
    assert len(cifar10(other)[0]) == 7


def test_a_minivit_data_that_holds_nothing_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("MINIVIT_DATA", str(tmp_path / "empty"))
    for source in ("auto", "folder"):
        with pytest.raises(ValueError, match=r"MINIVIT_DATA.*none of.*cifar-10-batches-py"):
            cifar10(source=source, offline_ok=True)


@pytest.mark.parametrize("source", ["auto", "folder"])
def test_a_path_that_is_not_there_is_an_error(tmp_path, source):
    with pytest.raises(ValueError, match="no such file"):
        cifar10(tmp_path / "typo.tar.xz", source, offline_ok=True)


def test_the_stand_in_is_the_same_everywhere():
    train, test = cifar10(source="synthetic")
    assert (len(train), len(test), train.name) == (20_000, 2_000, "synthetic stand-in")
    assert train.labels.bincount().tolist() == [2_000] * 10
    assert train.digest == "0e7c9bab6d0f31fd3925b1f69f0ca1f49b29549003bac6032af64018a3901ff8"
    assert not rows(train) & rows(test)


def test_the_mean_colour_says_nothing_about_the_stand_ins_classes():
    def features(data):
        x = data.images.double().mean((2, 3)) / 255 - 0.5
        return torch.cat([torch.ones(len(x), 1), x, x**2], 1)

    train, test = cifar10(source="synthetic")
    one_hot = torch.eye(10).double()[train.labels]
    weights = torch.linalg.lstsq(features(train), one_hot).solution
    accuracy = ((features(test) @ weights).argmax(1) == test.labels).double().mean()
    assert accuracy < 0.1 + 6 * (0.1 * 0.9 / 2000) ** 0.5


def test_a_mirrored_motif_keeps_its_class():
    from minivit.synthetic import _motifs

    names, motifs = _motifs()
    for name, motif in zip(names, motifs, strict=True):
        if name == "checkerboard":  # mirrored, light and dark change places
            motif = motif ^ (torch.arange(12) >= 6)
        assert torch.equal(motif, motif.flip(1)) or name == "bars down", name
    # `bars down` mirrored are the same bars, moved by two pixels.
    down = motifs[names.index("bars down")]
    assert torch.equal(down.flip(1), ~down)


@pytest.mark.slow
def test_the_real_archive(real_data):
    path = real_data / "cifar10-jpeg.tar.xz"
    if not path.is_file():
        pytest.skip(f"{path} is missing")
    train, test = cifar10(path)
    assert train.name == "CIFAR-10, JPEG re-encoded"
    assert train.digest.startswith("613bffa31430dd95")
    assert train.classes == tuple(archives.CIFAR10_CLASSES.split())
    assert train.labels.bincount().tolist() == [5000] * 10
    assert test.labels.bincount().tolist() == [1000] * 10
    assert train.mean == pytest.approx((0.4913, 0.4821, 0.4465), abs=1e-3)
    assert train.std == pytest.approx((0.2452, 0.2428, 0.2606), abs=1e-3)
    lossless = real_data / "cifar10_train_first4000.npz"
    if lossless.is_file():
        assert_twins_are_close(train, np.load(lossless))


def assert_twins_are_close(train, twins):
    """Each lossless image stands where its name says: nearer to its twin than JPEG's error."""
    names = train.classes
    for i in range(0, 4000, 40):
        split, class_name, file = str(twins["jpeg_name"][i]).split("/")[-3:]
        assert split == "train"
        place = names.index(class_name) * 5000 + int(file.split(".")[0])
        difference = train.images[place].permute(1, 2, 0).double() - torch.tensor(twins["x"][i])
        assert difference.square().mean().sqrt() < 25
        assert train.labels[place] == twins["y"][i]
