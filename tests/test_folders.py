"""Training from a folder of images: the same numbers whoever reads them, and clear refusals."""

import multiprocessing
import os
import subprocess
import sys

import pytest
import torch
from PIL import Image

from minivit import ViT, ViTConfig, initialize_
from minivit.__main__ import main
from minivit.augment import Augment
from minivit.data import ImageSet, epoch_batches, eval_batches
from minivit.folders import FolderSet
from minivit.ranks import Ranks
from minivit.train import TrainConfig, evaluate, train

SIZE = 64
pytest.importorskip("torchvision")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """24 and 9 images of 64 × 64 in three classes, each class with a colour of its own."""
    root = tmp_path_factory.mktemp("images")
    generator = torch.Generator().manual_seed(0)
    for split, each in (("train", 8), ("validation", 3)):
        for label, name in enumerate(("blue", "green", "red")):
            place = root / split / name
            place.mkdir(parents=True)
            for i in range(each):
                pixels = torch.randint(0, 90, (SIZE, SIZE, 3), generator=generator)
                pixels[..., 2 - label] += 150
                Image.fromarray(pixels.to(torch.uint8).numpy()).save(place / f"{i}.png")
    return root


def read(folder, split="train", **options):
    return FolderSet(folder / split, **{"size": 32, "workers": 0, **options})


def batches(image_set, *, seed=0, epoch=1, share=None, augment=None):
    augment = augment or Augment(crop=2, cutout=4, mixup=0.4)
    how = {"seed": seed, "epoch": epoch, "augment": augment, "device": "cpu", "share": share}
    return list(epoch_batches(image_set, 8, **how))


def same(one, other):
    """Whether two lists of (images, targets) are equal, bit for bit."""
    pairs = zip(one, other, strict=True)
    return all(torch.equal(x, u) and torch.equal(y, v) for (x, y), (u, v) in pairs)


def cut(folder_set, seed=0, epoch=0):
    """All images in order, as they are cut in this epoch, and their labels."""
    order = torch.arange(len(folder_set))
    [piece] = folder_set.pieces(order, [slice(0, None)], "cpu", seed=seed, epoch=epoch)
    return piece


def in_memory(folder_set):
    """The same images as an ImageSet."""
    images, labels = cut(folder_set)
    scale = {"mean": folder_set.mean, "std": folder_set.std}
    about = {"classes": folder_set.classes, "name": "memory", "digest": ""}
    return ImageSet(images=images, labels=labels, **about, **scale)


def test_batches_equal_those_of_the_same_images_in_memory(folder):
    of_folder = read(folder)  # the middle of each image: nothing of it is drawn
    assert same(batches(of_folder), batches(in_memory(of_folder)))
    whole, memory = list(eval_batches(of_folder, 7, "cpu")), in_memory(of_folder)
    assert same(whole, list(eval_batches(memory, 7, "cpu"))) and len(whole[-1][0]) == 3


def test_what_is_cut_depends_on_seed_epoch_and_image_and_not_on_who_reads(folder):
    alone, helped = (read(folder, min_area=0.2, workers=n) for n in (0, 2))
    usual = batches(alone)
    assert same(usual, batches(helped))
    for other in ({"seed": 1}, {"epoch": 2}):
        windows, others = cut(alone)[0], cut(alone, **other)[0]
        assert (windows != others).flatten(1).any(1).sum() > 20  # of 24 images
    before = torch.get_rng_state()
    batches(alone)
    assert torch.equal(before, torch.get_rng_state())  # the caller's random numbers stay his


def test_reading_in_the_same_process_leaves_a_gpu_s_random_numbers_alone(folder, monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    batches(read(folder, min_area=0.2))
    assert not seeded


def test_ranks_share_a_batch(folder):
    images = read(folder, min_area=0.2)
    whole = batches(images)
    halves = [batches(images, share=slice(i, i + 4)) for i in (0, 4)]
    for (x, y), (x1, y1), (x2, y2) in zip(whole, *halves, strict=True):
        assert torch.equal(x, torch.cat([x1, x2])) and torch.equal(y, torch.cat([y1, y2]))
    parts = [list(eval_batches(images, 5, "cpu", (rank, 2))) for rank in (0, 1)]
    together = list(eval_batches(images, 5, "cpu"))
    assert same(together[0::2], parts[0]) and same(together[1::2], parts[1])


def test_a_training_crop_shows_a_part_and_the_middle_is_cut_for_validation(tmp_path):
    (tmp_path / "a").mkdir()
    ramp = torch.arange(SIZE).mul(4).to(torch.uint8).expand(SIZE, SIZE)
    Image.fromarray(ramp.contiguous().numpy()).save(tmp_path / "a" / "ramp.png")
    seen = in_memory(FolderSet(tmp_path, size=SIZE, workers=0)).images[0, 0, 0].int()
    # Of 64 pixels, enlarged to 73, the middle 64: an eighth is lost, half of it at either end.
    assert abs(int(seen[0]) - 4 * 4) < 6 and abs(int(seen[-1]) - (255 - 4 * 4)) < 8
    part = in_memory(FolderSet(tmp_path, size=SIZE, min_area=0.08, workers=0)).images[0, 0, 0].int()
    assert part[-1] - part[0] < seen[-1] - seen[0]


@pytest.mark.integration
def test_it_learns_and_a_checkpoint_goes_on(folder, tmp_path):
    sets = read(folder, min_area=0.5), read(folder, "validation")
    config = TrainConfig(epochs=6, batch_size=8, warmup_epochs=1.0, augment=Augment(crop=0))

    def run(config, **options):
        small = ViTConfig(image_size=32, patch_size=8, classes=3, dim=32, depth=1, heads=2)
        model = initialize_(ViT(small), "torch_default", "mimetic", seed=0)
        return model, train(model, *sets, config, device="cpu", **options)

    model, history = run(config)
    assert history.final.validation_accuracy == evaluate(model, sets[1]).accuracy > 0.8
    file = {"checkpoint": tmp_path / "run"}

    def stop(epoch):
        if epoch.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, callback=stop, **file)
    _, resumed = run(config, **file)
    assert [e.train_loss for e in resumed.epochs] == [e.train_loss for e in history.epochs]
    (folder / "train" / "red" / "8.png").write_bytes((folder / "train/red/0.png").read_bytes())
    sets = read(folder, min_area=0.5), sets[1]
    with pytest.raises(ValueError, match="training images"):
        run(config, **file)
    (folder / "train" / "red" / "8.png").unlink()


def test_an_unreadable_image_is_named(folder, tmp_path):
    (tmp_path / "red").mkdir()
    (tmp_path / "red" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing more")
    for workers in (0, 1):
        broken = FolderSet(tmp_path, size=32, workers=workers)
        with pytest.raises(ValueError, match=r"bad\.png: not a readable image") as caught:
            list(eval_batches(broken, 1, "cpu"))
        said = str(caught.value)  # a worker's comes with its traceback before it
        assert said.startswith(str(tmp_path)) and said.endswith("take it away"), said
        assert not multiprocessing.active_children(), "a worker outlives what it said"


@pytest.mark.parametrize(
    "image, said",
    [
        (Image.new("I;16", (8, 8), 30_000), "more than 8 bits for a colour .mode I;16"),
        (Image.new("F", (8, 8), 0.5), "more than 8 bits for a colour .mode F"),
        (Image.new("1", (2000, 8)), "2000 × 8 pixels are no picture"),
    ],
)
def test_an_image_that_would_not_be_shown_as_it_is_is_refused(tmp_path, image, said):
    """Pillow makes 16 bits white and fractions black; a thin line would fill the memory."""
    (tmp_path / "red").mkdir()
    image.save(tmp_path / "red" / "odd.tiff")
    odd = FolderSet(tmp_path, size=32, workers=0)
    with pytest.raises(ValueError, match=rf"odd\.tiff: not a readable image \({said}"):
        list(eval_batches(odd, 1, "cpu"))


def test_any_error_of_a_decoder_names_the_file(folder, monkeypatch):
    def fails(file):
        raise NotImplementedError("unknown block")

    monkeypatch.setattr("minivit.folders.Image.open", fails)
    with pytest.raises(ValueError, match=r"0\.png: not a readable image \(unknown block\)"):
        list(eval_batches(read(folder), 1, "cpu"))


@pytest.mark.parametrize(
    ("options", "words"),
    [({"size": 0}, "size is 0"), ({"size": 8, "min_area": 2.0}, "min_area is 2.0")],
)
def test_bad_options(folder, options, words):
    with pytest.raises(ValueError, match=words):
        FolderSet(folder / "train", **options)


def test_torchrun_s_processes_share_the_cores_among_their_readers(folder, monkeypatch):
    monkeypatch.setattr("minivit.folders.cpu_cores", lambda: 6)
    for world, workers in (("", 6), ("2", 3), ("8", 1)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", world or "1")
        assert read(folder, workers=None).workers == workers


@pytest.mark.integration
def test_a_home_folder_may_be_a_tilde(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    there = FolderSet("~/train", size=32, workers=0)
    assert there.subset_digest == read(folder).subset_digest and len(cut(there)[1]) == 24


def test_without_torchvision_it_says_what_to_install(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    assert main(["train-folder", str(folder / "train"), str(folder / "validation")]) == 1
    assert "pip install torchvision" in capsys.readouterr().err


def test_a_folder_without_classes(tmp_path):
    with pytest.raises(ValueError, match="not a folder of folders"):
        FolderSet(tmp_path, size=8)
    with pytest.raises(ValueError, match="not a folder of folders"):
        FolderSet(tmp_path / "nowhere", size=8)


WORDS = "model=vit_tiny size=32 patch=16 epochs=2 warmup-epochs=0.5 batch-size=8 workers=0"
COMMAND = [f"--{word}" for word in f"{WORDS} min-area=0.5".split()]


@pytest.mark.integration
def test_the_command_trains_and_two_processes_do_the_same(folder, tmp_path, capsys):
    where = [str(folder / "train"), str(folder / "validation")]
    alone = tmp_path / "alone"
    assert main(["train-folder", *where, *COMMAND, "--out", str(alone)]) == 0
    said = capsys.readouterr().out
    assert "24 and 9 images, 3 classes" in said and "epoch 2 of 2" in said
    assert {file.name for file in alone.iterdir()} == {
        "checkpoint.safetensors",
        "history.json",
        "model.safetensors",
    }
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*launch, "-m", "minivit", "train-folder", *where, *COMMAND, "--out"]
    done = subprocess.run(
        [*command, str(tmp_path / "two")],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in said.splitlines() if line.startswith("epoch")]
    theirs = [line for line in done.stdout.splitlines() if line.startswith("epoch")]
    assert [x.rpartition(",")[0] for x in lines] == [x.rpartition(",")[0] for x in theirs]


def test_of_several_processes_the_one_that_is_left_says_how_to_go_on(
    folder, tmp_path, monkeypatch, capsys
):
    """gloo tells it no more than that a connection was closed."""

    def cut_off(*_, **__):
        raise RuntimeError("[pair.cc:545] Connection closed by peer")

    monkeypatch.setattr("minivit.ranks.join", lambda device: Ranks(1, 2))
    monkeypatch.setattr(sys.modules["minivit.train"], "train", cut_off)
    words = ["train-folder", str(folder / "train"), str(folder / "validation"), *COMMAND]
    assert main([*words, "--out", str(tmp_path / "out")]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "closed by peer" in said and "another process has ended" in said
    assert "checkpoint.safetensors holds the last whole epoch: start the same again" in said


def test_other_classes_in_the_validation_folder_are_an_error(folder, tmp_path, capsys):
    (tmp_path / "red").mkdir()
    (tmp_path / "red" / "0.png").write_bytes((folder / "train/red/0.png").read_bytes())
    words = ["train-folder", str(folder / "train"), str(tmp_path), *COMMAND]
    assert main([*words, "--out", str(tmp_path / "out")]) == 1
    classes = {place.name for place in (folder / "train").iterdir()}
    assert f"in one of them only: {', '.join(sorted(classes - {'red'}))}" in capsys.readouterr().err
