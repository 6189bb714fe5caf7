"""Several ranks train the same run as one process, and a rank that dies ends all."""

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from ranks_training import run, train_module

from minivit.__main__ import main
from minivit.augment import Augment
from minivit.data import cifar10, epoch_batches
from minivit.ranks import Ranks, join, leave, local_device
from minivit.runtime import pick_device
from minivit.storage import read_tensors

pytestmark = pytest.mark.integration

SCRIPT = Path(__file__).parent / "ranks_training.py"


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def torchrun(*words, ranks=2, limit=600):
    command = torchrun_words(*words, ranks=ranks)
    return subprocess.run(command, capture_output=True, text=True, timeout=limit)


def torchrun_words(*words, ranks=2):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return list(map(str, [*command, "--nproc-per-node", ranks, SCRIPT, *words]))


def test_two_ranks_take_the_steps_of_one_in_float64(tmp_path, monkeypatch):
    monkeypatch.setattr(train_module, "epoch_batches", train_module.epoch_batches)  # put back later
    losses, weights = run("float64")
    done = torchrun(tmp_path / "two", "float64")
    assert done.returncode == 0, done.stderr
    there, metadata = read_tensors(tmp_path / "two")
    assert metadata["losses"] == pytest.approx(losses, abs=1e-6)  # summed in float32
    for name, weight in weights.items():
        torch.testing.assert_close(there[name], weight, atol=1e-10, rtol=0)


@pytest.mark.parametrize("began, goes_on", [(2, 1), (1, 2)])
def test_ranks_that_die_and_others_that_go_on_have_the_losses_of_one(tmp_path, began, goes_on):
    losses, _ = run("float32")
    done = torchrun(tmp_path / "out", "float32", tmp_path / "checkpoint", "die", ranks=began)
    assert done.returncode != 0 and not (tmp_path / "out").exists()
    assert "exitcode  : 7" in done.stderr.replace("exitcode:", "exitcode  :"), done.stderr
    _, metadata = read_tensors(tmp_path / "checkpoint")
    # Two epochs, 20 steps, are in the checkpoint; the third was cut off.
    twenty = [epoch["train_loss"] for epoch in metadata["epochs"]]
    assert twenty == pytest.approx(losses[:2], abs=1e-5)
    done = torchrun(tmp_path / "out", "float32", tmp_path / "checkpoint", ranks=goes_on)
    assert done.returncode == 0, done.stderr
    _, metadata = read_tensors(tmp_path / "out")
    assert metadata["losses"] == pytest.approx(losses, abs=1e-5)


def test_a_rank_with_an_error_ends_all_though_its_farewell_would_hang(tmp_path):
    """It used to end the group on its way out; with nccl that waits for ranks that wait for it."""
    done = torchrun(tmp_path / "out", "float32", tmp_path / "checkpoint", "raise", limit=120)
    assert done.returncode != 0 and "an image can't be read" in done.stderr
    assert len(read_tensors(tmp_path / "checkpoint")[1]["epochs"]) == 2


def test_ranks_end_when_torchrun_is_killed(tmp_path):
    words = torchrun_words(tmp_path / "out", "float32", tmp_path / "checkpoint", "wait")
    agent = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    notes = [tmp_path / f"out.{rank}" for rank in range(2)]
    assert soon(lambda: all(note.exists() and note.read_text() for note in notes), 300)
    ranks = [psutil.Process(int(note.read_text())) for note in notes]
    agent.kill()
    agent.wait()
    try:
        assert soon(lambda: not any(map(is_alive, ranks)), 30), "they live on"
    finally:
        for rank in ranks:
            with contextlib.suppress(psutil.NoSuchProcess):
                rank.kill()


def is_alive(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE  # whose new parent may not ask for it
    return False


def soon(is_so, seconds):
    """Whether it comes true within so long."""
    end = time.monotonic() + seconds
    while not is_so() and time.monotonic() < end:
        time.sleep(0.2)
    return is_so()


def test_a_group_is_left_when_all_went_well_alone(monkeypatch):
    left = []
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: left.append(True))
    monkeypatch.setattr(sys, "last_type", ValueError, raising=False)
    leave()
    assert left == []
    monkeypatch.setattr(sys, "last_type", None)
    leave()
    assert left == [True]


def test_a_command_that_fails_does_not_leave_it(monkeypatch, tmp_path, capsys):
    told = []
    monkeypatch.setattr("minivit.ranks.ends_badly", lambda: told.append(True))
    assert main(["inspect", str(tmp_path / "none.safetensors")]) == 1 and told == [True]
    assert "no such file" in capsys.readouterr().err


def batches(share, augment):
    images = cifar10(source="synthetic")[0].subset(60, seed=0)
    options = {"seed": 1, "epoch": 2, "augment": augment, "device": "cpu"}
    return list(epoch_batches(images, 12, share=share, **options))


@pytest.mark.parametrize("world", [1, 2, 3])
def test_the_shares_of_a_batch_put_together_are_the_batch(world):
    augment = Augment(crop=2, cutout=4, mixup=0.5)
    parts = [batches(Ranks(rank, world).share(12), augment) for rank in range(world)]
    for whole, *own in zip(batches(None, augment), *parts, strict=True):
        for whole_part, own_parts in zip(whole, zip(*own, strict=True), strict=True):
            assert torch.equal(torch.cat(own_parts), whole_part)


def test_a_batch_that_the_ranks_do_not_divide():
    with pytest.raises(ValueError, match="batch_size 20 is not divisible by 3 ranks"):
        Ranks(0, 3).share(20)


def test_torchrun_without_cuda_trains_on_the_cpu(monkeypatch):
    """gloo does not carry the tensors of mps, which a Mac would take otherwise."""
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert local_device() is None
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert local_device() == torch.device("cpu")
    with pytest.raises(ValueError, match="is not available here"):
        pick_device(local_device("cuda"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert local_device() == torch.device("cuda", 1)
    # Asked for "cuda", ranks would all train on the first GPU.
    assert local_device("cuda") == local_device(torch.device("cuda")) == torch.device("cuda", 1)
    assert local_device("cpu") == "cpu" and local_device("cuda:0") == "cuda:0"
    monkeypatch.delenv("LOCAL_RANK")
    assert local_device("cuda") == "cuda"


def test_a_gpu_with_a_number_becomes_the_current_one(monkeypatch):
    """Streams and graphs are made on the current device, and nccl's first barrier is held there."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    for name in ("cpu", "cuda", "cuda:1"):
        assert join(torch.device(name)) == Ranks()
    assert chosen == [torch.device("cuda", 1)]
