"""Draws docs/readme.png: the products of attention weights before training, plain and mimetic.

Run `make picture`. It needs kaleido (in the extra "test") and a Chromium or Chrome.
"""

import os
import shutil
from pathlib import Path

from minivit import AttentionWeights, ViT, initialize_, ov, qk
from minivit.figures import product_panels
from minivit.recipes import LAPTOP

BASE, SEED = "torch_default", 0


def draw():
    """W_Q W_Kᵀ of one head and W_V W_proj of its layer, for both arms, on one colour range."""
    panels = {}
    for form, product in (("W_Q W_Kᵀ", _first_head), ("W_V W_proj", _first_layer)):
        for attention in ("plain", "mimetic"):
            model = initialize_(ViT(LAPTOP.model), BASE, attention, seed=SEED)
            panels[f"{attention}: {form}"] = product(AttentionWeights.of(model))
    config = LAPTOP.model
    size = f"width {config.dim}, {config.heads} heads"
    source = f"layer 1 before training · {size} · base {BASE} · seed {SEED}"
    return product_panels(panels, title="What mimetic initialization writes", source=source)


def _first_head(weights):
    return qk(weights)[0, 0]


def _first_layer(weights):
    return ov(weights)[0].sum(0)


if __name__ == "__main__":
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser:
        os.environ.setdefault("BROWSER_PATH", browser)
    target = Path(__file__).parents[1] / "docs" / "readme.png"
    target.parent.mkdir(exist_ok=True)
    draw().write_image(target, width=1000, scale=2)
    print(target)
