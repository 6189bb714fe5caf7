import itertools
import json
import math
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounter

from minivit.augment import Augment
from minivit.checkpoint import Checkpoint, _alike, _identity, _sizes, _sketch
from minivit.data import ImageSet, epoch_batches
from minivit.init import ATTENTION, initialize_
from minivit.model import ViT, ViTConfig
from minivit.ranks import Ranks
from minivit.recipes import SMOKE
from minivit.runtime import Precision, stream
from minivit.schedule import decay_groups, warmup_cosine
from minivit.storage import read_tensors, write_tensors
from minivit.train import TrainConfig, evaluate, train

# The package offers the function `train` under the name of its module.
train_module = sys.modules["minivit.train"]
checkpoint_module = sys.modules["minivit.checkpoint"]

MODEL = ViTConfig(image_size=8, patch_size=4, classes=4, dim=16, depth=2, heads=2)
PLAIN = Augment(flip=False, crop=0)
CONFIG = TrainConfig(
    epochs=4, batch_size=16, warmup_epochs=0.5, clip_norm=1.0, augment=Augment(crop=2)
)


def a_set(n=64, seed=0, noise=40, size=8, classes=4):
    """Noisy images around one fixed image for each class."""
    generator = stream(seed, "test images")
    centres = torch.randint(60, 196, (classes, 3, size, size), generator=stream(0, "centres"))
    labels = torch.arange(n) % classes
    images = centres[labels] + torch.randint(
        -noise, noise + 1, (n, 3, size, size), generator=generator
    )
    return ImageSet(
        images=images.clamp(0, 255).to(torch.uint8),
        labels=labels,
        classes=tuple("abcdefghij"[:classes]),
        name="test images",
        digest=f"{seed}",
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )


def a_model(seed=0, config=MODEL):
    model, generator = ViT(config), stream(seed, "test weights")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0, 0.1, generator=generator)
            else:
                parameter.fill_(0.0)
        for module in model.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.weight.fill_(1.0)
    return model


def timeless(history):
    return [{**asdict(epoch), "seconds": None} for epoch in history.epochs]


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same_weights(a, b):
    return all(torch.equal(a[name], b[name]) for name in a.keys() | b.keys())


# The parts


def test_schedule_end_points():
    factors = [warmup_cosine(step, 100, 10) for step in range(101)]
    assert factors[0] == 0.1 and factors[9] == 1.0 and factors[10] == 1.0 and factors[100] == 0.0
    assert factors[4] == 0.5 and math.isclose(factors[55], 0.5)  # half of the rise, of the fall
    assert all(a < b for a, b in pairwise(factors[:10]))
    assert all(a > b for a, b in pairwise(factors[10:]))
    assert warmup_cosine(0, 5, 0) == 1.0  # without warm-up the first step is the largest


@pytest.mark.parametrize("bad", [(-1, 10, 2), (11, 10, 2), (0, 10, 10), (0, 10, -1)])
def test_schedule_refuses_what_it_is_not_defined_for(bad):
    with pytest.raises(ValueError, match="warmup"):
        warmup_cosine(*bad)


def test_decay_groups_hold_every_trained_parameter_once_and_decay_matrices_only():
    model = ViT(replace(MODEL, pool="cls"))
    model.head.weight.requires_grad_(False)
    decayed, others = decay_groups(model, 0.3)
    assert decayed["weight_decay"] == 0.3 and others["weight_decay"] == 0.0
    names = {parameter: name for name, parameter in model.named_parameters()}
    by_group = [sorted(names[p] for p in group["params"]) for group in (decayed, others)]
    expected = {"patch_embed.proj.weight"} | {
        f"blocks.{i}.{part}.weight"
        for i in range(2)
        for part in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    }
    assert by_group[0] == sorted(expected)
    assert sorted(by_group[0] + by_group[1]) == sorted(set(names.values()) - {"head.weight"})
    assert {"pos_embed", "cls_token", "norm.weight", "head.bias"} <= set(by_group[1])


def test_decay_groups_know_torchvisions_names():
    module = torch.nn.Module()
    module.encoder = torch.nn.Module()
    module.encoder.pos_embedding = torch.nn.Parameter(torch.zeros(1, 5, 4))
    module.class_token = torch.nn.Parameter(torch.zeros(1, 1, 4))
    module.unpos_embed = torch.nn.Parameter(torch.zeros(4, 4))  # only the whole name is spared
    decayed, others = decay_groups(module, 0.1)
    assert [p is module.unpos_embed for p in decayed["params"]] == [True]
    assert len(others["params"]) == 2


def test_all_frozen_is_refused():
    with pytest.raises(ValueError, match="frozen"):
        decay_groups(ViT(MODEL).requires_grad_(False), 0.1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("epochs", 1.5),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", "1e-3"),
        ("learning_rate", math.nan),
        ("learning_rate", math.inf),
        ("warmup_epochs", -1.0),
        ("warmup_epochs", 100.0),
        ("warmup_epochs", math.nan),
        ("weight_decay", -0.1),
        ("weight_decay", math.inf),
        ("weight_decay", None),
        ("betas", (0.9, 1.0)),
        ("betas", (0.9,)),
        ("betas", 0.9),
        ("betas", (0.9, "0.999")),
        ("clip_norm", -1.0),
        ("clip_norm", math.nan),
        ("label_smoothing", 1.0),
        ("label_smoothing", -0.1),
        ("label_smoothing", "0.1"),
        ("precision", "half"),
        ("compile", "yes"),
        ("epochs", True),
        ("batch_size", True),
        ("epochs", "10"),
        ("weight_decay", True),
        ("learning_rate", np.float32(1e-3)),
        ("augment", None),
    ],
)
def test_config_names_the_bad_value(name, value):
    config = TrainConfig()
    object.__setattr__(config, name, value)  # past the type checks, which run in tests only
    with pytest.raises(ValueError, match=f"^{name} is "):
        config.__post_init__()


def test_a_warm_up_longer_than_the_training_names_both():
    with pytest.raises(ValueError, match=r"warmup_epochs is 5\.0; .* below epochs, 3"):
        TrainConfig(epochs=3)


# Learning


def test_it_learns_32_images_by_heart():
    model, image_set = a_model(), a_set(32, noise=60)
    config = TrainConfig(
        epochs=50, batch_size=32, learning_rate=1e-2, warmup_epochs=5.0, augment=PLAIN
    )
    history = train(model, image_set, None, config)
    assert history.final.train_loss < 0.1
    assert history.final.train_loss < history.epochs[0].train_loss / 5
    assert evaluate(model, image_set).accuracy == 1.0


def test_steps_equal_a_loop_written_out():
    """Loss, smoothing, mixup, clipping, decay, schedule: against torch's own AdamW, not fused."""
    config = replace(
        CONFIG,
        epochs=2,
        label_smoothing=0.2,
        weight_decay=0.5,
        clip_norm=0.5,
        betas=(0.8, 0.95),
        learning_rate=1e-2,
        augment=Augment(crop=2, mixup=0.5),
    )
    model, other, image_set = a_model().double(), a_model().double(), a_set()
    with double_images():
        history = train(model, image_set, None, config, seed=3)
    names = dict(other.named_parameters())
    spared = [p for n, p in names.items() if p.ndim < 2 or n == "pos_embed"]
    matrices = [p for n, p in names.items() if not (p.ndim < 2 or n == "pos_embed")]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.5}, {"params": spared, "weight_decay": 0.0}],
        betas=(0.8, 0.95),
        fused=False,
    )
    losses, norms = [[], []], []
    for epoch in (1, 2):
        options = {"seed": 3, "epoch": epoch, "augment": config.augment, "device": "cpu"}
        for i, (images, targets) in enumerate(epoch_batches(image_set, 16, **options)):
            step = (epoch - 1) * 4 + i
            rate = 1e-2 * (
                (step + 1) / 2 if step < 2 else 0.5 + 0.5 * math.cos(math.pi * (step - 2) / 6)
            )
            logs = other(images.double()).log_softmax(dim=1)
            loss = -((0.8 * targets + 0.2 / 4) * logs).sum(dim=1).mean()
            losses[epoch - 1].append(loss.item())
            for parameter in names.values():
                parameter.grad = None
            loss.backward()
            norm = torch.cat([p.grad.flatten() for p in names.values()]).norm()
            norms.append(norm)
            for parameter in names.values():
                parameter.grad *= min(1.0, 0.5 / (norm + 1e-6))
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
    assert max(norms) > 0.5  # or the clipping was not tested
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter, names[name], rtol=1e-4, atol=1e-5)
    for record, values in zip(history.epochs, losses, strict=True):
        assert math.isclose(record.train_loss, sum(values) / 4, rel_tol=1e-5)
    assert math.isclose(history.final.learning_rate, rate)


class double_images:
    """Feeds float64 batches to train, so that rounding can't hide what is compared."""

    def __enter__(self):
        self.patch = pytest.MonkeyPatch()

        def doubled(*args, **kwargs):
            return ((x.double(), y) for x, y in epoch_batches(*args, **kwargs))

        self.patch.setattr(train_module, "epoch_batches", doubled)

    def __exit__(self, *error):
        self.patch.undo()


def test_frozen_parameters_and_positions_without_gradient_stay():
    model = a_model()
    model.blocks[0].requires_grad_(False)
    before = weights(model)
    train(model, a_set(), None, CONFIG)
    after = weights(model)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert moved == trained


def test_one_seed_gives_the_same_bits_and_another_does_not():
    runs = []
    for seed in (0, 0, 1):
        model = a_model()
        history = train(model, a_set(), a_set(32, seed=1), CONFIG, seed=seed)
        runs.append((timeless(history), weights(model)))
    assert runs[0][0] == runs[1][0] and same_weights(runs[0][1], runs[1][1])
    assert runs[0][0] != runs[2][0] and not same_weights(runs[0][1], runs[2][1])


def test_validation_changes_nothing_and_the_global_seed_is_left_alone():
    first, second = a_model(), a_model()
    before = torch.get_rng_state()
    a = train(first, a_set(), None, CONFIG)
    b = train(second, a_set(), a_set(32, seed=1), CONFIG)
    assert torch.equal(before, torch.get_rng_state())
    assert same_weights(weights(first), weights(second))
    assert [e.train_loss for e in a.epochs] == [e.train_loss for e in b.epochs]
    assert a.final.validation_loss is None and a.final.validation_accuracy is None
    truth = evaluate(second, a_set(32, seed=1))
    assert (b.final.validation_loss, b.final.validation_accuracy) == truth[:2]


def test_modes_callback_and_silence(capsys):
    model, seen = a_model().eval(), []
    model.register_forward_hook(lambda *_: seen.append(model.training))
    records = []
    history = train(model, a_set(), a_set(32, seed=1), CONFIG, callback=records.append)
    assert seen == ([True] * 4 + [False]) * 4 and not model.training
    assert tuple(records) == history.epochs and [e.epoch for e in records] == [1, 2, 3, 4]
    assert history.final is history.epochs[-1] and history.device == "cpu"
    assert not history.compiled and history.precision.dtype == torch.float32
    assert capsys.readouterr() == ("", "")


@pytest.mark.integration
def test_a_compiled_training_leaves_the_model_as_it_was(monkeypatch):
    """Or each batch size that the caller then tries would be compiled first, for half a minute."""
    count, real = CompileCounter(), torch.compile
    monkeypatch.setattr(torch, "compile", partial(real, backend=count))
    model, config = a_model(), replace(CONFIG, epochs=2, compile=True)
    history = train(model, a_set(), a_set(32, seed=1), config)
    in_training = count.frame_count
    assert history.compiled and in_training >= 2  # with and without gradients
    for n in (1, 2, 3):
        model(torch.zeros(n, *a_set().image_shape))
    again = train(model, a_set(), a_set(32, seed=1), replace(config, compile=False))
    assert not again.compiled and count.frame_count == in_training
    torch.compiler.reset()


def test_nothing_waits_for_the_device_within_an_epoch(monkeypatch):
    """Every step more must not read one more number back from the device."""
    reads = {"n": 0}
    for name in ("item", "tolist", "numpy", "__bool__", "__float__", "__int__", "__index__"):
        original = getattr(torch.Tensor, name)

        def counted(self, *args, _original=original):
            reads["n"] += 1
            return _original(self, *args)

        monkeypatch.setattr(torch.Tensor, name, counted)
    counts = []
    for batch_size in (32, 8):
        reads["n"] = 0
        train(a_model(), a_set(), None, replace(CONFIG, batch_size=batch_size))
        counts.append(reads["n"])
    assert counts[0] == counts[1] > 0


def test_an_epoch_is_drawn_before_the_wait_for_the_one_before_it(monkeypatch):
    """Some 15 ms of a CPU's time for CIFAR-10, in which a GPU would have nothing to do."""
    log, drawn, summed = [], train_module.epoch_batches, Ranks.sum

    def draw(*args, epoch, **options):
        log.append(epoch)
        return drawn(*args, epoch=epoch, **options)

    monkeypatch.setattr(train_module, "epoch_batches", draw)
    monkeypatch.setattr(Ranks, "sum", lambda self, x: log.append("wait") or summed(self, x))
    train(a_model(), a_set(), None, replace(CONFIG, epochs=3))
    assert log == [1, 2, "wait", 3, "wait", "wait"]


def test_bfloat16_is_close_to_float32_and_keeps_its_weights_in_float32():
    losses = {}
    for precision in ("float32", "bfloat16"):
        model, dtypes = a_model(), set()
        model.blocks[0].mlp.fc1.register_forward_hook(lambda m, i, o, d=dtypes: d.add(o.dtype))
        config = replace(CONFIG, precision=precision)
        history = train(model, a_set(), a_set(32, seed=1), config)
        assert dtypes == {getattr(torch, precision)}
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        losses[precision] = history.final.train_loss
    assert losses["bfloat16"] != losses["float32"]
    assert math.isclose(losses["bfloat16"], losses["float32"], rel_tol=0.02)


def test_the_float16_path_of_a_t4_keeps_the_losses_of_float32(tmp_path, monkeypatch):
    """The same code on a CPU, which only `pick_precision` keeps from it: autocast and scaler."""
    expected = train(a_model(), a_set(), a_set(32, seed=1), CONFIG, device="cpu")
    half = Precision(torch.float16, True, "as on a T4")
    monkeypatch.setattr(train_module, "pick_precision", lambda *_: half)
    file, model = tmp_path / "run.safetensors", a_model()
    found = train(model, a_set(), a_set(32, seed=1), CONFIG, device="cpu", checkpoint=file)
    pairs = list(zip(expected.epochs, found.epochs, strict=True))
    for a, b in pairs:
        assert math.isclose(a.train_loss, b.train_loss, rel_tol=0.01)
        assert math.isclose(a.validation_loss, b.validation_loss, rel_tol=0.01)
    assert any(a.train_loss != b.train_loss for a, b in pairs)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    assert read_tensors(file)[1]["scaler"]["scale"] > 1


def test_a_run_begun_without_a_scaler_goes_on_with_one(tmp_path, monkeypatch):
    """Begun in float32 or bfloat16, and moved to a T4."""
    file, sets = tmp_path / "run.safetensors", (a_set(32), None)
    interrupted(1, sets=sets, checkpoint=file, device="cpu")
    half = Precision(torch.float16, True, "as on a T4")
    monkeypatch.setattr(train_module, "pick_precision", lambda *_: half)
    found = train(a_model(), *sets, CONFIG, checkpoint=file, device="cpu")
    assert len(found.epochs) == CONFIG.epochs
    assert read_tensors(file)[1]["scaler"]["scale"] > 1


def test_float16_clips_gradients_of_their_true_size_and_goes_on_with_its_scale(
    tmp_path, monkeypatch
):
    half = Precision(torch.float16, True, "as on a T4")
    monkeypatch.setattr(train_module, "pick_precision", lambda *_: half)
    growing = partial(torch.amp.GradScaler, init_scale=0.25, growth_interval=1)
    monkeypatch.setattr(torch.amp, "GradScaler", growing)
    sizes, clip = [], torch.nn.utils.clip_grad_norm_

    def spied(*args):
        sizes.append(clip(*args).item())

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spied)
    sets, file = (a_set(32), None), tmp_path / "run.safetensors"
    expected = timeless(train(a_model(), *sets, CONFIG, device="cpu"))
    assert max(sizes) < 8 * min(sizes), "the scale, which grows to 64, would show in them"
    scale = 0.25 * 2 ** len(sizes)
    interrupted(2, sets=sets, checkpoint=file, device="cpu")
    found = train(a_model(), *sets, CONFIG, checkpoint=file, device="cpu")
    assert timeless(found) == expected
    assert read_tensors(file)[1]["scaler"]["scale"] == scale


def test_a_step_whose_float16_gradients_overflow_is_left_out(monkeypatch):
    half = Precision(torch.float16, True, "as on a T4")
    monkeypatch.setattr(train_module, "pick_precision", lambda *_: half)
    monkeypatch.setattr(
        torch.amp,
        "GradScaler",
        partial(torch.amp.GradScaler, init_scale=2.0**40, growth_interval=1),
    )
    history = train(a_model(), a_set(), None, CONFIG, device="cpu")
    assert all(math.isfinite(epoch.train_loss) for epoch in history.epochs)


def test_float16_on_a_cpu_is_refused():
    with pytest.raises(ValueError, match="float16 needs cuda"):
        train(a_model(), a_set(), None, replace(CONFIG, precision="float16"), device="cpu")


def test_what_does_not_fit_is_refused_before_anything_moves(tmp_path):
    model, file = a_model(), tmp_path / "run.safetensors"
    before = weights(model)
    wide = replace(CONFIG, augment=PLAIN)
    for arguments, words in {
        (a_set(size=12), None, wide): "the model takes 3 × 8 × 8",
        (a_set(), a_set(size=12), wide): "the model takes 3 × 8 × 8",
        (a_set(classes=5), None, CONFIG): "5 classes, the model 4",
        (a_set(), a_set(30, classes=3), CONFIG): "3 classes, the model 4",
        (a_set(12), None, CONFIG): "batch_size is 16; the set has 12",
    }.items():
        with pytest.raises(ValueError, match=words):
            train(model, *arguments, checkpoint=file)
    assert same_weights(before, weights(model))
    with pytest.raises(ValueError, match="not available"):
        train(model, a_set(), None, CONFIG, device="mps" if torch.cuda.is_available() else "cuda")
    train(a_model(), a_set(), None, CONFIG, checkpoint=file)  # the file is in no one's way


def test_a_model_of_another_library_is_a_sentence():
    with pytest.raises(
        ValueError, match="torch's Linear has no ViTConfig of minivit; minivit trains its own"
    ):
        train(torch.nn.Linear(2, 2), a_set(), None, CONFIG)
    other = torch.nn.Linear(2, 2)
    other.config = object()  # as Hugging Face's models have
    with pytest.raises(ValueError, match="Linear has no ViTConfig"):
        evaluate(other, a_set())


@pytest.mark.parametrize("sets", [(None, None), ((a_set(), a_set()), None), (a_set(), [])])
def test_what_is_no_set_of_images_is_a_sentence(sets):
    with pytest.raises(ValueError, match="an ImageSet or a FolderSet is expected, not "):
        train(a_model(), *sets, CONFIG)


def test_ranks_read_before_one_writes_and_have_to_see_the_same_file(tmp_path, monkeypatch):
    """What a second rank would see: told by the order of what one asks of the others."""
    train(a_model(), a_set(), None, CONFIG, checkpoint=(file := tmp_path / "run.safetensors"))
    heard, read = [], Checkpoint._read
    monkeypatch.setattr(Ranks, "agree", lambda *_: heard.append("agree") or True)
    monkeypatch.setattr(Ranks, "wait", lambda _: heard.append("wait"))
    monkeypatch.setattr(Checkpoint, "_read", lambda self: heard.append("read") or read(self))
    train(a_model(), a_set(), None, CONFIG, checkpoint=file)
    assert heard[:3] == ["agree", "read", "wait"]
    monkeypatch.setattr(Ranks, "agree", lambda *_: False)
    with pytest.raises(ValueError, match=r"not all processes see .*; name a file in a shared"):
        train(a_model(), a_set(), None, CONFIG, checkpoint=file)


def test_a_folder_for_a_checkpoint_is_not_to_be_deleted(tmp_path):
    with pytest.raises(ValueError, match="is a folder; name a file in it") as caught:
        train(a_model(), a_set(), None, CONFIG, checkpoint=tmp_path)
    assert "delete" not in str(caught.value)


def test_a_loss_that_is_not_finite_stops_with_the_learning_rate(tmp_path):
    model, file = a_model(), tmp_path / "run.safetensors"
    history = []

    def poison(record):
        history.append(record)
        if record.epoch == 2:
            with torch.no_grad():
                model.head.weight.fill_(math.inf)

    with pytest.raises(
        RuntimeError, match=r"nan.* in epoch 3; lower the learning rate \(now 0.001\)"
    ):
        train(model, a_set(), None, CONFIG, checkpoint=file, callback=poison)
    assert len(read_tensors(file)[1]["epochs"]) == 2
    assert not model.training


def test_a_validation_loss_that_is_not_finite_stops_too():
    model = a_model()

    def poison(own, _, logits):
        return logits if own.training else logits * math.nan

    model.register_forward_hook(poison)
    with pytest.raises(
        RuntimeError, match=r"validation: nan\) in epoch 1; lower the learning rate"
    ):
        train(model, a_set(), a_set(32, seed=1), CONFIG)


# Evaluation


def test_evaluate_equals_a_loop_written_out_for_any_batch_size():
    model, image_set = a_model(), a_set(50)
    loss = right = 0.0
    for i in range(50):
        image = (image_set.images[i : i + 1].double() / 255 - 0.5) / 0.25
        logs = model.double()(image).log_softmax(dim=1)[0]
        loss -= logs[image_set.labels[i]].item()
        right += logs.argmax().item() == image_set.labels[i].item()
    model.float()
    for batch_size in (1, 7, 50, 500):
        found = evaluate(model, image_set, batch_size=batch_size)
        assert math.isclose(found.loss, loss / 50, rel_tol=1e-5)
        assert (found.accuracy, found.n) == (right / 50, 50)
    assert 0 < right < 50


def test_validation_keeps_no_graph():
    """Or the activations of all validation images would be held at once."""
    model, seen = a_model(), []
    model.register_forward_hook(lambda own, _, out: seen.append((own.training, out.requires_grad)))
    train(model, a_set(), a_set(32, seed=1), CONFIG, device="cpu")
    evaluate(model, a_set())
    assert set(seen) == {(True, True), (False, False)}


@pytest.mark.parametrize("training", [True, False])
def test_evaluate_restores_the_mode_and_leaves_the_weights(training):
    model = a_model().train(training)
    before, graphs = weights(model), []
    model.register_forward_hook(lambda module, images, logits: graphs.append(logits.requires_grad))
    evaluate(model, a_set())
    assert model.training is training and same_weights(before, weights(model))
    assert graphs == [False]  # nothing is kept for a backward pass


def test_evaluate_leaves_each_module_s_mode_and_does_so_when_it_fails():
    model = a_model().train()
    model.blocks[0].eval()
    modes = [module.training for module in model.modules()]
    evaluate(model, a_set())
    assert [module.training for module in model.modules()] == modes
    model.head.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        evaluate(model, a_set())
    assert [module.training for module in model.modules()] == modes


def test_evaluate_refuses_another_image_size():
    with pytest.raises(ValueError, match="the model takes"):
        evaluate(a_model(), a_set(size=12))


# Checkpoints


# The wrapper alone: dynamo does not trace through the type checks, which run in tests only.
@torch.compiler.set_stance("force_eager")
def test_a_compiled_model_goes_on_with_the_checkpoint_of_one_that_is_not(tmp_path):
    """And its names in the file are those of the model inside."""
    sets, file = (a_set(), a_set(32, seed=1)), tmp_path / "run.safetensors"
    whole = train(a_model(), *sets, CONFIG, device="cpu")
    compiled = torch.compile(a_model())
    with pytest.raises(KeyboardInterrupt):
        train(compiled, *sets, CONFIG, device="cpu", checkpoint=file, callback=stop_at(2))
    assert not [name for name in read_tensors(file)[0] if "_orig_mod" in name]
    model = a_model()
    again = train(model, *sets, CONFIG, device="cpu", checkpoint=file)
    assert timeless(again) == timeless(whole)
    again = train(torch.compile(a_model()), *sets, CONFIG, device="cpu", checkpoint=file)
    assert timeless(again) == timeless(whole)


def stop_at(epoch):
    def stop(record):
        if record.epoch == epoch:
            raise KeyboardInterrupt

    return stop


def test_no_number_of_a_run_depends_on_the_caller_s_default_device(tmp_path):
    """Meta stands for a GPU, whose tensors do not mix with the CPU's either."""
    sets = a_set(), a_set(32, seed=1)
    whole = train(a_model(), *sets, CONFIG, device="cpu")
    model = a_model()
    with torch.device("meta"):
        again = train(model, *sets, CONFIG, device="cpu", checkpoint=tmp_path / "run.safetensors")
        parts = sets[0].split(16, seed=0)
    assert timeless(again) == timeless(whole) and [len(part) for part in parts] == [48, 16]


def interrupted(epoch, **options):
    """Trains until Ctrl-C comes after `epoch`; returns the exception."""

    def stop(record):
        if record.epoch == epoch:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        train(
            options.pop("model", None) or a_model(),
            *options.pop("sets"),
            CONFIG,
            callback=stop,
            **options,
        )
    return caught.value


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_stopped_run_goes_on_with_the_same_bits(tmp_path, epoch):
    sets, file = (a_set(), a_set(32, seed=1)), tmp_path / "run.safetensors"
    whole = a_model()
    expected = timeless(train(whole, *sets, CONFIG, seed=5))
    error = interrupted(epoch, sets=sets, seed=5, checkpoint=file)
    assert f"{file} holds epoch {epoch}: run the same again to go on" in error.__notes__[0]
    seen, model = [], a_model()
    again = train(model, *sets, CONFIG, seed=5, checkpoint=file, callback=seen.append)
    assert timeless(again) == expected and same_weights(weights(whole), weights(model))
    assert [record.epoch for record in seen] == list(range(epoch + 1, 5))


def test_ctrl_c_within_an_epoch_puts_the_model_back_and_the_same_cell_may_follow(
    tmp_path, monkeypatch
):
    sets, file, model = (a_set(), None), tmp_path / "run.safetensors", a_model()
    expected = timeless(train(a_model(), *sets, CONFIG))
    # In epoch 1; gone on from the start, in epoch 2; gone on from epoch 1, in epoch 3.
    for stop_at, done in ((2, 0), (7, 1), (6, 2)):
        steps, original = [], train_module._train_step

        def step(*args, steps=steps, stop_at=stop_at, original=original):
            steps.append(1)
            if len(steps) == stop_at:
                raise KeyboardInterrupt
            return original(*args)

        monkeypatch.setattr(train_module, "_train_step", step)
        with pytest.raises(KeyboardInterrupt) as caught:
            train(model, *sets, CONFIG, checkpoint=file)
        monkeypatch.undo()
        assert f"holds epoch {done}:" in caught.value.__notes__[0]
        stored = read_tensors(file)[0]
        assert same_weights(
            weights(model),
            {n.removeprefix("model/"): v for n, v in stored.items() if n.startswith("model/")},
        )
    fresh = a_model()  # as in a new process: the file must still know the weights at the start
    assert timeless(train(fresh, *sets, CONFIG, checkpoint=file)) == expected


def test_ctrl_c_without_a_checkpoint_says_that_nothing_was_kept():
    assert "nothing was kept" in interrupted(1, sets=(a_set(), None)).__notes__[0]


def test_a_finished_run_is_not_run_again(tmp_path):
    file, model = tmp_path / "run.safetensors", a_model()
    history = train(model, a_set(), a_set(32, seed=1), CONFIG, checkpoint=file)
    fresh, seen = a_model(), []
    again = train(fresh, a_set(), a_set(32, seed=1), CONFIG, checkpoint=file, callback=seen.append)
    assert again == history and not seen and same_weights(weights(fresh), weights(model))
    assert train(model, a_set(), a_set(32, seed=1), CONFIG, checkpoint=file) == history


def test_another_run_is_refused_by_the_name_of_what_differs(tmp_path):
    file = tmp_path / "run.safetensors"
    interrupted(2, sets=(a_set(), a_set(32, seed=1)), checkpoint=file)
    before = file.read_bytes()
    usual = {"model": a_model(), "train": a_set(), "eval": a_set(32, seed=1), "config": CONFIG}
    frozen = a_model()
    frozen.head.requires_grad_(False)
    for change, words in [
        ({"config": replace(CONFIG, learning_rate=3e-3)}, "learning_rate is 0.001 there and 0.003"),
        ({"config": replace(CONFIG, augment=Augment(crop=2, flip=False))}, "augment is "),
        ({"config": replace(CONFIG, epochs=5)}, "epochs is 4 there and 5 here"),
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"model": a_model(config=replace(MODEL, depth=3))}, "model.depth is 2 there and 3 here"),
        ({"train": a_set(seed=9)}, "training images is "),
        ({"eval": a_set(32, seed=9)}, "validation images is "),
        ({"eval": None}, "validation images is "),
        ({"train": a_set().subset(48, seed=0)}, "training images is "),  # of the same data
        ({"eval": a_set(32, seed=1).subset(16, seed=0)}, "validation images is "),
        ({"model": a_model(seed=1)}, "starts from other weights"),
        ({"model": frozen}, "frozen parameters is [] there and ['head.weight', 'head.bias'] here"),
        ({"train": replace(a_set(), mean=(0.4, 0.4, 0.4))}, "normalization is "),
        ({"eval": replace(a_set(32, seed=1), std=(0.4, 0.4, 0.4))}, "normalization is "),
    ]:
        run = {**usual, "seed": 0, **change}
        with pytest.raises(ValueError, match="holds another run") as caught:
            train(
                run["model"],
                run["train"],
                run["eval"],
                run["config"],
                seed=run["seed"],
                checkpoint=file,
            )
        assert words in str(caught.value)
    assert file.read_bytes() == before


@pytest.mark.parametrize("kind", [torch.tensor, np.float32, tuple])
def test_a_checkpoint_takes_means_of_any_kind(kind):
    """As they come from a computation: an ImageSet and a FolderSet keep what they are given."""
    images = SimpleNamespace(subset_digest="0", mean=kind([0.5, 0.25, 0.5]), std=kind([0.5] * 3))
    run = SimpleNamespace(config=CONFIG, model=a_model(), seed=0, device=torch.device("cpu"))
    found = json.loads(json.dumps(_identity(run, images, None)))
    assert found["normalization"] == [[[0.5, 0.25, 0.5], [0.5, 0.5, 0.5]]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_weights_are_refused_before_anything_is_written(tmp_path, dtype):
    model, file = a_model().to(dtype), tmp_path / "run.safetensors"
    with pytest.raises(ValueError, match=r"the weights are torch.b?float16; use model.float"):
        train(model, a_set(), None, CONFIG, checkpoint=file)
    with pytest.raises(ValueError, match=r"the weights are torch.b?float16; use model.float"):
        evaluate(model, a_set())
    assert not file.exists()


def test_the_arms_of_one_seed_start_from_weights_that_a_checkpoint_tells_apart():
    """At the smallest scale, where the table of positions outweighs the attention weights."""
    weights = {
        name: initialize_(ViT(SMOKE.model), "torch_default", name, seed=0).state_dict()
        for name in ATTENTION
    }
    starts, sizes = map(_sketch, weights.values()), map(_sizes, weights.values())
    found = dict(zip(weights, zip(starts, sizes, strict=True), strict=True))
    for one, other in itertools.combinations(found, 2):
        (start, size), (others, _) = found[one], found[other]
        assert not _alike(start, others, size), (one, other)
        assert _alike(start, [x * (1 + 1e-4) for x in start], size)


def test_a_start_that_differs_in_one_small_tensor_is_another_run(tmp_path):
    file = tmp_path / "run.safetensors"
    interrupted(1, sets=(a_set(), None), checkpoint=file)
    for name in ("head.weight", "blocks.1.attn.proj.bias", "patch_embed.proj.bias"):
        model = a_model()
        model.get_parameter(name).data.add_(0.05)
        with pytest.raises(ValueError, match="starts from other weights"):
            train(model, a_set(), None, CONFIG, checkpoint=file)


def test_a_checkpoint_may_have_no_moments_but_not_some(tmp_path):
    """With float16 the scaler may leave out all steps of an epoch: AdamW has no state then."""
    file = tmp_path / "run.safetensors"
    interrupted(1, sets=(a_set(), None), checkpoint=file)
    tensors, metadata = read_tensors(file)
    weights = {name: each for name, each in tensors.items() if name.startswith("model/")}
    scaled = {"scaler": {"scale": 1.0, "growth_factor": 2.0, "backoff_factor": 0.5}}
    for kept, scaler, message in (
        (tensors.keys() - {"step/head.bias"}, scaled, "not a checkpoint"),
        (weights, {}, "not a checkpoint.*moments are missing"),
        (weights, scaled, ""),
    ):
        write_tensors(file, {name: tensors[name] for name in kept}, metadata | scaler)
        refused = pytest.raises(ValueError, match=message) if message else nullcontext()
        with refused:
            assert len(train(a_model(), a_set(), None, CONFIG, checkpoint=file).epochs) == 4


@pytest.mark.parametrize(
    "name, change",
    [
        ("exp_avg/head.weight", lambda t: t[:0]),
        ("exp_avg_sq/head.weight", lambda t: t.flatten()[:1]),
        ("exp_avg/head.weight", lambda t: t.mT),
        ("exp_avg/head.weight", lambda t: t.long()),
        ("step/head.weight", lambda t: t[None][:0]),
        ("exp_avg/head.weight", lambda t: t * float("nan")),
        ("exp_avg_sq/head.weight", lambda t: t - 1),
        ("model/head.weight", lambda t: t * float("inf")),
    ],
)
def test_odd_moments_are_refused_and_the_model_stays(tmp_path, name, change):
    """PyTorch's fused step would write beyond their end."""
    file, model = tmp_path / "run.safetensors", a_model()
    interrupted(1, sets=(a_set(), None), checkpoint=file)
    tensors, metadata = read_tensors(file)
    write_tensors(file, tensors | {name: change(tensors[name])}, metadata)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=f"not a checkpoint of train.*{name} (is torch|has)"):
        train(model, a_set(), None, CONFIG, checkpoint=file)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    "changes",
    [
        [{"epoch": 2}],
        [{"epoch": "x"}],
        [{"train_loss": None}],
        [{"seconds": float("nan")}],
        [{"epoch": n} for n in range(1, 6)],  # CONFIG has 4
    ],
)
def test_epochs_that_are_none_of_this_run_are_refused(tmp_path, changes):
    file = tmp_path / "run.safetensors"
    interrupted(1, sets=(a_set(), None), checkpoint=file)
    tensors, metadata = read_tensors(file)
    (first,) = metadata["epochs"]
    write_tensors(file, tensors, metadata | {"epochs": [first | each for each in changes]})
    with pytest.raises(ValueError, match="not a checkpoint of train"):
        train(a_model(), a_set(), None, CONFIG, checkpoint=file)


def test_fixed_positions_that_were_changed_are_not_lost_in_a_checkpoint(tmp_path):
    model = a_model(config=replace(MODEL, positions="sincos"))
    model.pos_embed.mul_(0.04)
    with pytest.raises(ValueError, match="fixed positions were changed"):
        train(model, a_set(), None, CONFIG, checkpoint=tmp_path / "run.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_module_that_works_in_train_is_put_back_by_train():
    """As LoRA's layers merge their weights in eval mode, and part them again in train mode."""

    class Merging(torch.nn.Linear):
        merged = False

        def train(self, mode=True):
            self.merged = not mode
            return super().train(mode)

    model = a_model()
    model.blocks[0].mlp.fc1 = Merging(model.config.dim, model.config.hidden)
    model.train()
    model.blocks[0].norm1.eval()
    evaluate(model, a_set())
    assert not model.blocks[0].mlp.fc1.merged and model.training
    assert not model.blocks[0].norm1.training and model.blocks[0].norm2.training


def test_sets_of_other_classes_are_no_pair():
    """Label 0 is one thing here and another there: the accuracy would mean nothing."""
    other = replace(a_set(), classes=tuple("bacd"))
    with pytest.raises(ValueError, match="have other classes, or in another order"):
        train(a_model(), a_set(), other, CONFIG)


def test_a_wrapped_model_is_told_to_be_unwrapped():
    with pytest.raises(ValueError, match=r"DataParallel is around the model: give model\.module"):
        evaluate(torch.nn.DataParallel(a_model()), a_set())


@pytest.mark.parametrize("seed", [None, 1.0, "0", np.int64(0)])
def test_a_seed_that_is_no_int_is_refused(seed):
    with pytest.raises(ValueError, match=r"seed is .* it must be an int"):
        train(a_model(), a_set(), None, CONFIG, seed=seed)


def test_a_checkpoint_of_another_device_is_another_run(tmp_path):
    file = tmp_path / "run.safetensors"
    interrupted(1, sets=(a_set(), None), checkpoint=file)
    tensors, metadata = read_tensors(file)
    write_tensors(file, tensors, metadata | {"run": metadata["run"] | {"device": "cuda"}})
    with pytest.raises(ValueError, match="device is 'cuda' there and 'cpu' here"):
        train(a_model(), a_set(), None, CONFIG, checkpoint=file, device="cpu")


def test_a_start_that_differs_by_rounding_is_the_same_run(tmp_path):
    """An SVD gives other last digits on another machine; a run may move there."""
    file = tmp_path / "run.safetensors"
    interrupted(2, sets=(a_set(), None), checkpoint=file)
    model = a_model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + 1e-5)
    assert len(train(model, a_set(), None, CONFIG, checkpoint=file).epochs) == 4


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "pickle", "weights only"])
def test_a_damaged_checkpoint_says_what_to_do(tmp_path, damage):
    file = tmp_path / "run.safetensors"
    interrupted(2, sets=(a_set(), None), checkpoint=file)
    data = bytearray(file.read_bytes())
    if damage == "flipped":
        data[-100] ^= 1
    file.write_bytes({"cut": data[: len(data) // 2], "empty": b""}.get(damage, bytes(data)))
    if damage == "pickle":
        torch.save({"a": torch.zeros(2)}, file)
    if damage == "weights only":
        write_tensors(file, {"a": torch.zeros(2)})
    left, model = file.read_bytes(), a_model()
    before = weights(model)
    with pytest.raises(ValueError, match=r"run\.safetensors.*(delete it|name another)"):
        train(model, a_set(), None, CONFIG, checkpoint=file)
    assert file.read_bytes() == left and same_weights(before, weights(model))


def test_an_epoch_is_on_disk_before_its_callback(tmp_path):
    file, stored = tmp_path / "run.safetensors", []
    train(
        a_model(),
        a_set(),
        None,
        CONFIG,
        checkpoint=file,
        callback=lambda record: stored.append(len(read_tensors(file)[1]["epochs"]) - record.epoch),
    )
    assert stored == [0, 0, 0, 0]


# On a GPU an epoch may be as short as the writing of its checkpoint.


def on_a_gpu(monkeypatch, due=lambda self: False):
    """Lets checkpoints be due as on a GPU; returns a list that gets the epochs of each write."""
    written, write = [], Checkpoint._write

    def counted(self, epochs):
        written.append(len(epochs))
        write(self, epochs)

    monkeypatch.setattr(Checkpoint, "_write", counted)
    monkeypatch.setattr(Checkpoint, "is_due", due)
    return written


def test_where_no_checkpoint_is_due_the_last_epoch_has_one(tmp_path, monkeypatch):
    file, written = tmp_path / "run.safetensors", on_a_gpu(monkeypatch)
    history = train(a_model(), a_set(), None, CONFIG, checkpoint=file)
    assert written == [0, 4]
    assert train(a_model(), a_set(), None, CONFIG, checkpoint=file) == history


@pytest.mark.parametrize("due", [False, True])
def test_an_epoch_whose_callback_ends_the_training_is_kept_once(tmp_path, monkeypatch, due):
    sets, file, model = (a_set(), None), tmp_path / "run.safetensors", a_model()
    expected = timeless(train(a_model(), *sets, CONFIG, seed=5))
    written = on_a_gpu(monkeypatch, lambda self: due)
    error = interrupted(2, model=model, sets=sets, seed=5, checkpoint=file)
    assert f"{file} holds epoch 2:" in error.__notes__[0]
    assert written == ([0, 1, 2] if due else [0, 2])
    # Gone on from there, and stopped before another one is due.
    interrupted(3, model=model, sets=sets, seed=5, checkpoint=file)
    assert timeless(train(model, *sets, CONFIG, seed=5, checkpoint=file)) == expected
    assert written == ([0, 1, 2, 3, 4] if due else [0, 2, 3, 4])


def test_a_step_that_is_stopped_between_checkpoints_costs_what_came_after_the_last(
    tmp_path, monkeypatch
):
    sets, file, model = (a_set(), None), tmp_path / "run.safetensors", a_model()
    expected = timeless(train(a_model(), *sets, CONFIG))
    on_a_gpu(monkeypatch, lambda self: False)
    steps, original = [], train_module._train_step

    def step(*args):
        steps.append(1)
        if len(steps) == 10:  # in epoch 3
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(train_module, "_train_step", step)
    with pytest.raises(KeyboardInterrupt) as caught:
        train(model, *sets, CONFIG, checkpoint=file)
    assert "holds epoch 0:" in caught.value.__notes__[0]
    assert same_weights(weights(model), weights(a_model()))
    monkeypatch.setattr(train_module, "_train_step", original)
    assert timeless(train(model, *sets, CONFIG, checkpoint=file)) == expected


def test_checkpoints_on_a_gpu_take_a_twentieth_of_the_time(tmp_path, monkeypatch):
    now, times = [0.0], []
    model, file = a_model(), tmp_path / "run.safetensors"
    clock = SimpleNamespace(perf_counter=lambda: now[0])
    monkeypatch.setattr(checkpoint_module, "time", clock)
    run = train_module._Run(model, CONFIG, 0, torch.device("cpu"), Ranks())
    Checkpoint(file, run, a_set(), None).open()
    stored = Checkpoint(file, run, a_set(), None)
    stored.open()
    run.device = torch.device("cuda")  # the tensors stay where they are
    assert stored.is_due(), "what writing costs is not known yet"
    monkeypatch.setattr(stored, "_write", lambda epochs: now.__setitem__(0, now[0] + 0.5))
    stored.save([])
    while now[0] < 100:
        now[0] += 1.0  # an epoch
        if stored.is_due():
            times.append(now[0])
            stored.save([])
    assert times[:2] == [10.5, 21.0] and 0.04 < 0.5 * len(times) / now[0] <= 0.05
    monkeypatch.setattr(stored, "_write", lambda epochs: None)
    stored.save([])
    assert stored.is_due(), "writing that takes no time is done after each epoch"
    now[0] = stored.written
    stored.cost = 1.0
    assert not stored.is_due()
    for change in ({"device": torch.device("cpu")}, {"ranks": Ranks(0, 2)}):
        stored.run = SimpleNamespace(**{"device": run.device, "ranks": run.ranks, **change})
        assert stored.is_due()


CHILD = """
import sys
import time

sys.path.insert(0, sys.argv[1])
import torch
from torch._dynamo.testing import CompileCounter
torch.set_num_threads(1)
from test_train import CONFIG, a_model, a_set, train

def tell(record):
    print(record.epoch, flush=True)
    time.sleep(60 * (record.epoch == 2))

train(a_model(), a_set(), a_set(32, seed=1), CONFIG, checkpoint=sys.argv[2], callback=tell)
"""


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.integration
def test_a_killed_process_goes_on_with_the_same_bits(tmp_path, one_thread):
    tests, file = Path(__file__).parent, tmp_path / "run.safetensors"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tests), str(file)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tests.parent)},
    )
    try:
        assert [child.stdout.readline().strip() for _ in range(2)] == ["1", "2"]
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    sets, seen, whole, model = (a_set(), a_set(32, seed=1)), [], a_model(), a_model()
    again = train(model, *sets, CONFIG, checkpoint=file, callback=seen.append)
    assert [record.epoch for record in seen] == [3, 4]
    assert timeless(again) == timeless(train(whole, *sets, CONFIG))
    assert same_weights(weights(model), weights(whole))


# CUDA


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_cuda_gives_nearly_the_losses_of_the_cpu(tmp_path, precision):
    # Uncompiled: the type checks of this test run are in the way of torch.compile.
    config = replace(CONFIG, precision="float32", compile=False)
    expected = train(a_model(), a_set(), a_set(32, seed=1), config, device="cpu")
    config, file = replace(config, precision=precision), tmp_path / "run.safetensors"
    model = a_model()
    found = train(model, a_set(), a_set(32, seed=1), config, device="cuda", checkpoint=file)
    assert next(model.parameters()).is_cuda
    for a, b in zip(expected.epochs, found.epochs, strict=True):
        tolerance = 1e-3 if precision == "float32" else 0.05
        assert math.isclose(a.train_loss, b.train_loss, rel_tol=tolerance)
    again = train(a_model(), a_set(), a_set(32, seed=1), config, device="cuda", checkpoint=file)
    assert again == found
