"""A step that is replayed as a CUDA graph is the step itself."""

import json
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
import torch

from minivit.data import cifar10
from minivit.graphs import WARMUP, GraphedStep
from minivit.model import ViT, ViTConfig
from minivit.train import TrainConfig, train

ROOT = Path(__file__).parents[1]


def on_cuda(test):
    missing = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    return pytest.mark.gpu(missing(test))


class Recorder:
    """In place of torch.cuda: replays by calling again what was recorded, on the same tensors."""

    def __init__(self, monkeypatch):
        self.recorded, self.replays = None, 0
        fakes = {"current_stream": lambda: self, "Stream": lambda: self, "stream": lambda _: self}
        fakes |= {"CUDAGraph": lambda: self, "graph": lambda *_, **__: self}
        for name, fake in fakes.items():
            monkeypatch.setattr(torch.cuda, name, fake)

    def wait_stream(self, other):
        pass

    def __enter__(self):
        pass

    def __exit__(self, *_):
        pass

    def replay(self):
        self.replays += 1
        self.recorded()


def test_every_call_is_one_step_on_its_own_batch(monkeypatch):
    recorder, seen = Recorder(monkeypatch), []

    def step(images, targets):
        seen.append((images.item(), targets.item()))
        recorder.recorded = lambda: step(images, targets)
        return images + targets

    take = GraphedStep(step)
    for i in range(6):
        take(torch.tensor(float(i)), torch.tensor(10 + i))
    # A recording takes no step on a GPU; here it shows as the fourth call's first.
    assert seen == [(0, 10), (1, 11), (2, 12), (3, 13), (3, 13), (4, 14), (5, 15)]
    assert recorder.replays == 3


def test_a_batch_of_another_shape_is_refused(monkeypatch):
    recorder = Recorder(monkeypatch)
    recorder.recorded = lambda: None
    take = GraphedStep(lambda images, targets: images.sum())
    for _ in range(WARMUP + 1):
        take(torch.zeros(4, 3), torch.zeros(4))
    with pytest.raises(ValueError, match=r"a batch of \(1, 3\); the recorded step takes \(4, 3\)"):
        take(torch.zeros(1, 3), torch.zeros(1))


def test_a_recorded_rate_is_changed_in_place(monkeypatch):
    """Recorded, with rates in tensors, a training has the losses that it has otherwise."""
    images = cifar10(source="synthetic")[0].subset(120, seed=0)
    config = TrainConfig(epochs=2, batch_size=20, warmup_epochs=1.0)

    def losses():
        torch.manual_seed(0)
        model = ViT(ViTConfig(dim=16, depth=1, heads=2, patch_size=8))
        return [epoch.train_loss for epoch in train(model, images, None, config).epochs]

    expected, recorder, rates = losses(), Recorder(monkeypatch), []
    module = sys.modules["minivit.train"]
    make, take_step = module._Run.__init__, module._train_step

    def recorded(run, *rest):
        make(run, *rest)
        run.graphed = True
        rates.extend(torch.tensor(0.0) for _ in run.optimizer.param_groups)
        for group, rate in zip(run.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    calls = count()

    def step(run, images, targets):
        same = (g["lr"] is rate for g, rate in zip(run.optimizer.param_groups, rates, strict=True))
        assert all(same), "a graph would hold the address of a tensor that is no longer read"
        if next(calls) < WARMUP:
            return take_step(run, images, targets)
        loss = torch.zeros(())  # recording takes no step
        recorder.recorded = lambda: loss.copy_(take_step(run, images, targets))
        return loss

    monkeypatch.setattr(module._Run, "__init__", recorded)
    monkeypatch.setattr(module, "_train_step", step)
    assert losses() == expected


def steps_taken(graphed, n=8):
    """Losses and weights after n steps, each with its own batch and its own learning rate."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(12, 32), torch.nn.GELU(), torch.nn.Linear(32, 5)]
    model = torch.nn.Sequential(*layers).cuda()
    rate = torch.tensor(0.0, device="cuda")
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, fused=True, capturable=True)

    def step(images, targets):
        with torch.autocast("cuda", torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(model(images).float(), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        return loss.detach()

    take, losses = GraphedStep(step) if graphed else step, []
    for i in range(n):
        batch = torch.randn(16, 12, generator=torch.Generator().manual_seed(i)).cuda()
        rate.fill_(0.01 * (i + 1))
        losses.append(take(batch, batch[:, :5].softmax(dim=1)).clone())
    return torch.stack(losses), [p.detach() for p in model.parameters()]


@on_cuda
def test_a_replayed_step_is_the_step():
    # A recording that kept its first batch, or its first rate, would part from the fifth step on.
    losses, weights = steps_taken(graphed=False)
    found, others = steps_taken(graphed=True)
    torch.testing.assert_close(found, losses)
    for a, b in zip(others, weights, strict=True):
        torch.testing.assert_close(a, b)


# In a process of its own: the type checks of a test run are in the way of torch.compile.
TRAINING = """
import json, sys
from dataclasses import asdict, replace
from minivit.init import initialize_
from minivit.data import cifar10
from minivit.model import ViT
from minivit.recipes import FULL
from minivit.train import train

images = cifar10(source="synthetic")[0]
train_set, eval_set = images.subset(3060, seed=0).split(500, seed=0)
config = replace(FULL.training, epochs=3, warmup_epochs=1.0, compile=json.loads(sys.argv[1]))
losses = []
for checkpoint in (None, sys.argv[2], sys.argv[2]):
    stop = 1 if checkpoint and len(losses) == 1 else 9
    def tell(epoch):
        if epoch.epoch == stop:
            raise InterruptedError
    model = initialize_(ViT(FULL.model), "torch_default", "mimetic", seed=0)
    try:
        history = train(model, train_set, eval_set, config, checkpoint=checkpoint, callback=tell)
        losses.append([[e.train_loss, e.validation_loss] for e in history.epochs])
    except InterruptedError:
        losses.append(None)
print(json.dumps(losses))
"""


def losses_of(compiled, folder):
    command = [sys.executable, "-c", TRAINING, compiled, folder / f"{compiled}.safetensors"]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return torch.tensor(json.loads(done.stdout.splitlines()[-1])[::2])


@on_cuda
def test_a_graphed_training_is_the_training_and_goes_on_from_its_checkpoint(tmp_path):
    eager, graphed = losses_of("false", tmp_path), losses_of("null", tmp_path)
    # In bfloat16: the orders of summation differ.
    torch.testing.assert_close(graphed[0], eager[0], rtol=0.02, atol=0)
    torch.testing.assert_close(graphed[1], graphed[0], rtol=0.02, atol=0)
