"""Four sizes of one experiment: seconds, a laptop's minutes, a free GPU's minutes, the full size.

A recipe says everything about a run but its arm (base, attention) and its seed.
"""

import difflib
import hashlib
import json
import os
from dataclasses import asdict, dataclass

from minivit.augment import Augment
from minivit.model import ViTConfig
from minivit.runtime import pick_device
from minivit.train import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A model, how to train it, and on how many class-balanced images.

    subset: training images; None takes all that the validation images leave. minutes: an estimate,
    in words, for plain and mimetic together. Raises ValueError for a set without a batch in it.
    """

    name: str
    model: ViTConfig
    training: TrainConfig
    minutes: str
    subset: int | None = None
    validation: int = 5_000

    def __post_init__(self):
        least = {"validation": 1, "subset": self.training.batch_size}  # one image, one batch
        for name, low in least.items():
            if getattr(self, name) is not None and getattr(self, name) < low:
                raise ValueError(f"{name} is {getattr(self, name)} images; it needs {low}")


_smoke = ViTConfig(dim=32, depth=2, heads=2, positions="sincos_learned")
_small = ViTConfig(dim=64, depth=6, heads=2, positions="sincos_learned")
_tiny = ViTConfig(dim=192, depth=12, heads=3, positions="sincos_learned")

_seconds = TrainConfig(epochs=2, batch_size=50, warmup_epochs=0.5)
# Chosen by `python -m benchmarks.recipe_search`, before any final run.
_laptop = TrainConfig(epochs=6, batch_size=32, warmup_epochs=1.0, augment=Augment(crop=0))
_colab = TrainConfig(epochs=16, batch_size=256, warmup_epochs=2.0, clip_norm=1.0)
_strong = Augment(cutout=8, mixup=0.2)
_full = TrainConfig(epochs=100, batch_size=512, clip_norm=1.0, augment=_strong)

# Minutes of plain and mimetic together: on a CPU from a timing of one thread, on an H200 from
# benchmarks/RESULTS.md. On a T4 planned: their operations at 4.3 TFLOP/s, a fifteenth of what its
# data sheet names for float16. A small network is far from that, by how much nobody has measured.
SMOKE = Recipe(
    name="smoke", model=_smoke, training=_seconds, subset=200, validation=100, minutes="seconds"
)
LAPTOP = Recipe(
    name="laptop",
    model=_small,
    training=_laptop,
    subset=10_000,
    minutes="about 5 minutes on 2 CPU cores",
)
COLAB = Recipe(
    name="colab",
    model=_tiny,
    training=_colab,
    minutes="about 12 minutes on a T4 (planned, not measured)",
)
FULL = Recipe(
    name="full",
    model=_tiny,
    training=_full,
    minutes="about 3 minutes on an H200, about 75 on a T4 (planned, not measured)",
)
SCALES = {recipe.name: recipe for recipe in (SMOKE, LAPTOP, COLAB, FULL)}


def pick_scale(name=None, device=None):
    """Returns the Recipe called `name`, else $MINIVIT_SCALE, else by device: COLAB on CUDA, LAPTOP.

    Raises ValueError for a name that is none, with the nearest one.
    """
    wanted = name or os.environ.get("MINIVIT_SCALE")
    if not wanted:
        return COLAB if pick_device(device).type == "cuda" else LAPTOP
    if wanted.lower() not in SCALES:
        source = "the scale" if name else "MINIVIT_SCALE"
        near = difflib.get_close_matches(wanted.lower(), SCALES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{source} is {wanted!r}; it must be one of {list(SCALES)}{hint}")
    return SCALES[wanted.lower()]


def as_json(recipe):
    """The recipe as a dictionary, in the types that JSON gives back: what a record holds of it."""
    return json.loads(json.dumps(asdict(recipe)))


def recipe_digest(recipe):
    """SHA-256 (hex) of all that changes a run: the words in `name` and `minutes` do not count.

    recipe: a Recipe, or `as_json` of one.
    """
    whole = recipe if isinstance(recipe, dict) else asdict(recipe)
    parts = {name: v for name, v in whole.items() if name not in ("name", "minutes")}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
