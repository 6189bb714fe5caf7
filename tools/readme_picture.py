"""Draws README's two pictures.

docs/readme.png: the products of attention weights before training, plain and mimetic.
docs/results.png: mimetic's gains, from the records.

Run `make picture`. It needs kaleido (in the extra "test") and a Chromium or Chrome. The second
picture keeps its words inside, so that a test can tell whether it is that of the records.
"""

import io
import os
import shutil
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from benchmarks.results_picture import picture
from minivit import AttentionWeights, ViT, initialize_, ov, qk
from minivit.figures import alt_text, product_panels
from minivit.recipes import LAPTOP
from minivit.records import load_records

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


def save(figure, target):
    """Writes a figure as PNG in a palette, with its words as the text chunk "alt"."""
    drawn = Image.open(io.BytesIO(figure.to_image("png", width=1000, scale=2))).convert("RGB")
    words = PngInfo()
    words.add_itxt("alt", alt_text(figure))
    drawn.quantize(128, dither=Image.Dither.NONE).save(target, pnginfo=words, optimize=True)
    print(target)


if __name__ == "__main__":
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser:
        os.environ.setdefault("BROWSER_PATH", browser)
    docs = Path(__file__).parents[1] / "docs"
    docs.mkdir(exist_ok=True)
    save(draw(), docs / "readme.png")
    save(picture(load_records()), docs / "results.png")
