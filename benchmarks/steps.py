"""One training step of minivit's ViT against timm's, vit-pytorch's and torchvision's.

Forward, cross-entropy, backward, AdamW; float32, the same batch and the same optimizer for all.
"""

import shutil

import torch
import torch.nn.functional as F

from benchmarks.measure import Row, Section, interleaved, ratio, timed_row
from benchmarks.peers import MODELS, NOTES, parameters, written_out
from minivit.graphs import GraphedStep
from minivit.model import ViTConfig
from minivit.runtime import pick_precision

SIZES = {
    "d 64, 6 layers, 2 heads": ViTConfig(dim=64, depth=6, heads=2),
    "ViT-Tiny: d 192, 12 layers, 3 heads": ViTConfig(dim=192, depth=12, heads=3),
}
UNFUSED = "minivit, AdamW not fused"
QUICK = {"a tiny model": ViTConfig(image_size=8, patch_size=4, dim=16, depth=1, heads=2)}


def training_step(model, images, labels, *, fused=True, precision="float32", graphed=False):
    """Returns a function that takes one step and returns nothing.

    precision: as in TrainConfig. graphed: recorded and replayed, as `train` does it on CUDA.
    """
    rate = torch.tensor(1e-3, device=images.device) if graphed else 1e-3
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, fused=fused, capturable=graphed)
    chosen = pick_precision(images.device, precision)
    scaler = torch.amp.GradScaler(images.device.type, enabled=chosen.scaled)

    def step(images, labels):
        optimizer.zero_grad(set_to_none=True)
        with chosen.autocast(images.device):
            loss = F.cross_entropy(model(images), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss.detach()

    take = GraphedStep(step) if graphed else step

    def action():
        take(images, labels)

    return action


def training_flops(config):
    """Floating-point operations of one training step, for one image; matrix products only.

    A product of (m, k) and (k, n) counts 2 m k n. Backward takes two products for each of forward,
    but for the patches, whose own gradient nobody asks for.
    """
    n, d, patches = config.tokens, config.dim, config.grid**2
    embed = 2 * patches * config.channels * config.patch_size**2 * d
    attention = 2 * n * d * (3 * d + d) + 2 * 2 * n * n * d  # qkv and proj; scores and their use
    mlp = 2 * 2 * n * d * config.hidden
    return 2 * embed + 3 * (config.depth * (attention + mlp) + 2 * d * config.classes)


def step_sections(*, quick, repeats):
    batch_size = 4 if quick else 128
    sizes = QUICK if quick else SIZES
    return [_section(name, sizes[name], batch_size, repeats) for name in sizes]


def _section(name, config, batch_size, repeats):
    images, labels = noise_batch(config, batch_size)
    models = {library: build(config) for library, build in MODELS.items()}
    actions = {library: training_step(model, images, labels) for library, model in models.items()}
    for attempt, model in tried(config, compiled=batch_size > 4).items():
        models[attempt] = model
        actions[attempt] = training_step(model, images, labels, fused=attempt != UNFUSED)
    seconds = interleaved(actions, repeats)
    rows = [
        timed_row(
            f"{library}, {parameters(models[library]):,} parameters",
            seconds[library],
            ratio="" if library == "minivit" else ratio(seconds[library], seconds["minivit"]),
        )
        for library in actions
    ]
    faster = [min(pair) for pair in zip(seconds["timm"], seconds["vit-pytorch"], strict=True)]
    goal = Row(
        what="the faster of timm and vit-pytorch in each round",
        median="",
        ratio=ratio(faster, seconds["minivit"]),
        goal="≥ 0.97×, hoped for 1.1×",
    )
    title = f"Training step, {name}, batch {batch_size}, {config.image_size} pixels, float32"
    return Section(title=title, rows=[*rows, goal], notes=("Ratio: its time / minivit's.", *NOTES))


def tried(config, *, compiled):
    """What was tried to make minivit's step faster: a dict of name → model."""
    found = {UNFUSED: MODELS["minivit"](config)}
    found["minivit, softmax written out"] = written_out(config)
    if compiled and shutil.which("c++"):  # seconds of compilation, before the clock
        found["minivit, compiled"] = MODELS["minivit"](config)
        found["minivit, compiled"].compile(dynamic=False)
    return found


def noise_batch(config, batch_size):
    g = torch.Generator().manual_seed(0)
    images = torch.randn(
        batch_size, config.channels, config.image_size, config.image_size, generator=g
    )
    return images, torch.randint(config.classes, (batch_size,), generator=g)
