"""Seconds of `mimetic_` on whole networks."""

import torch

from benchmarks.measure import Section, interleaved, timed_row
from minivit.init import mimetic_
from minivit.model import VIT_BASE, VIT_TINY, ViT, ViTConfig

MODELS = {"ViT-Tiny": (VIT_TINY, "≤ 2 s"), "ViT-B/16": (VIT_BASE, "≤ 25 s")}
QUICK = {"a tiny model": (ViTConfig(dim=16, depth=1, heads=2), "")}


def initializer_sections(*, quick, repeats):
    chosen = QUICK if quick else MODELS
    rows = []
    for name, (config, goal) in chosen.items():
        model, generator = ViT(config), torch.Generator().manual_seed(0)
        seconds = interleaved({name: lambda m=model, g=generator: _run(m, g)}, repeats)[name]
        rows.append(timed_row(f"mimetic_ on {name}", seconds, goal=goal))
    return [Section(title="Initializers, on the CPU", rows=rows)]


def _run(model, generator):
    mimetic_(model, generator=generator)
